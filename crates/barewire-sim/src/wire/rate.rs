//! How fast an open-loop source sends.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use thiserror::Error;

/// Bytes a frame takes on the wire beyond those the NIC hands over: 7 of preamble, 1 start
/// delimiter, 12 of gap (IEEE 802.3 §4.4.2) and 4 of FCS.
pub const WIRE_OVERHEAD: usize = 24;

/// Bits per second of 10 Gbit Ethernet, overhead included.
pub const LINE_RATE: NonZeroU64 = NonZeroU64::new(10_000_000_000).unwrap();

/// The largest rate that can be written, in units a second: 1 Pbit/s is beyond any wire and keeps
/// all arithmetic far from its limits.
const LARGEST: u64 = 1_000_000_000_000_000;

/// A rate in frames or in bits per second.
///
/// Written as a number and a unit: `5Mpps`, `500kpps`, `100pps`, `10G`, `1.5Gbit`, `100Mbit`, or
/// `linerate` for the 10 Gbit/s of the 82599. Bits are those on the wire, each frame counted with
/// its [`WIRE_OVERHEAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Frames,
    Bits,
}

/// Why a rate cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a rate: write frames per second as 500kpps or 5Mpps, bits per second as \
     100Mbit, 1.5Gbit or 10G, or linerate; at least 1 and at most 10^15 a second"
)]
pub struct RateError {
    text: String,
}

/// Unit names in lower case, and the power of ten each stands for.
const UNITS: [(&str, Unit, u32); 11] = [
    ("pps", Unit::Frames, 0),
    ("kpps", Unit::Frames, 3),
    ("mpps", Unit::Frames, 6),
    ("gpps", Unit::Frames, 9),
    ("bit", Unit::Bits, 0),
    ("kbit", Unit::Bits, 3),
    ("mbit", Unit::Bits, 6),
    ("gbit", Unit::Bits, 9),
    ("k", Unit::Bits, 3),
    ("m", Unit::Bits, 6),
    ("g", Unit::Bits, 9),
];

impl Rate {
    /// The line rate of 10 Gbit Ethernet.
    pub const LINE: Self = Self::wire_bits(LINE_RATE);

    /// `per_second` frames a second, whatever their length.
    pub const fn frames(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            unit: Unit::Frames,
        }
    }

    /// `per_second` bits a second on the wire, overhead included.
    pub const fn wire_bits(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            unit: Unit::Bits,
        }
    }

    /// Units (frames or bits) a second.
    pub(super) const fn per_second(self) -> u64 {
        self.per_second.get()
    }

    /// Units that a frame of `length` bytes, without FCS, takes.
    pub(super) const fn cost(self, length: usize) -> u64 {
        match self.unit {
            Unit::Frames => 1,
            Unit::Bits => super::widen(length + WIRE_OVERHEAD) * 8,
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        parse(text).ok_or_else(|| RateError {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Rate> {
    let lower = text.to_ascii_lowercase();
    if lower == "linerate" {
        return Some(Rate::LINE);
    }
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, name) = lower.split_at(end);
    let (_, unit, exponent) = UNITS.iter().find(|unit| unit.0 == name)?;
    let per_second = scaled(number, *exponent)?;
    if per_second > LARGEST {
        return None;
    }
    Some(Rate {
        per_second: NonZeroU64::new(per_second)?,
        unit: *unit,
    })
}

/// `number` times ten to the `exponent`, if that is a whole number.
fn scaled(number: &str, exponent: u32) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let places = u32::try_from(fraction.len()).ok()?;
    let missing = exponent.checked_sub(places)?;
    let whole = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(10u64.checked_pow(exponent)?)?;
    let fraction = match fraction {
        "" => 0,
        digits => digits
            .parse::<u64>()
            .ok()?
            .checked_mul(10u64.checked_pow(missing)?)?,
    };
    whole.checked_add(fraction)
}

impl fmt::Display for Rate {
    /// Writes the rate so that it reads back as the same rate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Frames => "pps",
            Unit::Bits => "bit",
        };
        let rate = self.per_second();
        let (prefix, scale) = match rate {
            1_000_000_000.. => ("G", 1_000_000_000),
            1_000_000.. => ("M", 1_000_000),
            1_000.. => ("k", 1_000),
            _ => ("", 1),
        };
        let (whole, rest) = (rate / scale, rate % scale);
        if rest == 0 {
            return write!(f, "{whole}{prefix}{unit}");
        }
        let width = usize::try_from(scale.ilog10()).unwrap_or_default();
        let digits = format!("{rest:0width$}");
        write!(f, "{whole}.{}{prefix}{unit}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(per_second: u64) -> Rate {
        Rate::frames(NonZeroU64::new(per_second).unwrap())
    }

    fn bits(per_second: u64) -> Rate {
        Rate::wire_bits(NonZeroU64::new(per_second).unwrap())
    }

    #[test]
    fn rates_as_people_write_them() {
        for (text, rate) in [
            ("5Mpps", frames(5_000_000)),
            ("500kpps", frames(500_000)),
            ("1pps", frames(1)),
            ("0.5kpps", frames(500)),
            ("14.88Mpps", frames(14_880_000)),
            ("10G", bits(10_000_000_000)),
            ("1.5Gbit", bits(1_500_000_000)),
            ("1.500Gbit", bits(1_500_000_000)),
            ("100m", bits(100_000_000)),
            ("64bit", bits(64)),
            ("linerate", Rate::LINE),
            ("LineRate", Rate::LINE),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "5",
            "Mpps",
            "0pps",
            "0.0G",
            "-1G",
            "1.5pps",
            "1.2.3G",
            ".5G",
            "1.G",
            "5 Mpps",
            "5Tpps",
            "1000000000G",
            "99999999999999999999G",
            "1e3pps",
            "fast",
            "5µpps",
            "٣G",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let error = "fast".parse::<Rate>().unwrap_err().to_string();
        assert!(error.contains("fast") && error.contains("linerate"));
    }

    #[test]
    fn a_minimal_frame_takes_84_bytes_of_wire() {
        assert_eq!(Rate::LINE.cost(60), 84 * 8);
        assert_eq!(frames(1).cost(60), 1);
    }

    proptest! {
        #[test]
        fn a_rate_reads_back_as_written(units in 1..=LARGEST, of_bits: bool) {
            let rate = if of_bits { bits(units) } else { frames(units) };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Rate>();
        }
    }
}
