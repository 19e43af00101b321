//! Values of options that are not plain numbers. Each refusal says what is allowed.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use barewire::Batch;
use barewire_sim::wire::{Rate, RateError};

/// A rate as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedRate {
    pub(crate) rate: Rate,
    text: String,
}

impl FromStr for AskedRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        Ok(Self {
            rate: text.parse()?,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for AskedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Units of time, and the milliseconds of each.
const UNITS: [(&str, f64); 4] = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3)];

/// Longest duration: 365 days.
const LONGEST: f64 = 365.0 * 24.0 * 3600e3;

/// `5`, `5s`, `500ms`, `1.5m`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refusal = || "allowed: seconds, or a number and ms, s, m or h, up to 365 days".to_owned();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, millis) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(refusal)?;
    let number: f64 = number.parse().map_err(|_| refusal())?;
    let millis = number * millis;
    if millis <= 0.0 || millis > LONGEST {
        return Err(refusal());
    }
    Duration::try_from_secs_f64(millis / 1e3).map_err(|_| refusal())
}

fn within(text: &str, range: RangeInclusive<u16>) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| format!("allowed: {} to {}", range.start(), range.end()))
}

/// Frames of a batch.
pub(crate) fn batch(text: &str) -> Result<u16, String> {
    within(text, 1..=u16::try_from(Batch::MOST).unwrap_or(u16::MAX))
}

/// Queues of a port.
pub(crate) fn queues(text: &str) -> Result<u16, String> {
    within(text, 1..=64)
}

/// Descriptors of a ring.
pub(crate) fn ring(text: &str) -> Result<u16, String> {
    within(text, 64..=4096)
        .ok()
        .filter(|ring| ring.is_power_of_two())
        .ok_or_else(|| "allowed: a power of two from 64 to 4096".to_owned())
}

/// Bytes of an IP packet.
pub(crate) fn mtu(text: &str) -> Result<u16, String> {
    within(text, 68..=9710)
}

/// Flows of a generator.
pub(crate) fn flows(text: &str) -> Result<NonZeroU16, String> {
    text.parse()
        .map_err(|_| format!("allowed: 1 to {}", u16::MAX))
}

/// A number of packets.
pub(crate) fn packets(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|packets| *packets > 0)
        .ok_or_else(|| "allowed: a number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_with_and_without_a_unit() {
        for (text, millis) in [
            ("5", 5_000),
            ("5s", 5_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1.5", 1_500),
            ("0.25s", 250),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_that_are_none() {
        for text in [
            "", "s", "-1", "0", "0ms", "5x", "5 s", "1e3", "9999999h", "1.2.3", "nan", ".",
        ] {
            let refusal = duration(text).unwrap_err();
            assert!(refusal.contains("ms, s, m or h"), "{text}: {refusal}");
        }
    }

    #[test]
    fn numbers_at_the_edges_of_their_ranges() {
        assert_eq!((batch("1"), batch("512")), (Ok(1), Ok(512)));
        assert_eq!((queues("1"), queues("64")), (Ok(1), Ok(64)));
        assert_eq!((ring("64"), ring("4096")), (Ok(64), Ok(4096)));
        assert_eq!((mtu("68"), mtu("9710")), (Ok(68), Ok(9710)));
        assert_eq!(packets("1"), Ok(1));
        assert_eq!(flows("65535"), Ok(NonZeroU16::MAX));
    }

    #[test]
    fn numbers_beyond_them_are_refused_with_the_range() {
        for text in ["0", "513", "-1", "65536", "x", ""] {
            assert_eq!(batch(text).unwrap_err(), "allowed: 1 to 512", "{text}");
        }
        for text in ["0", "65"] {
            assert_eq!(queues(text).unwrap_err(), "allowed: 1 to 64");
        }
        for text in ["32", "100", "8192"] {
            assert_eq!(
                ring(text).unwrap_err(),
                "allowed: a power of two from 64 to 4096"
            );
        }
        for text in ["67", "9711"] {
            assert_eq!(mtu(text).unwrap_err(), "allowed: 68 to 9710");
        }
        assert!(flows("0").is_err() && packets("0").is_err());
    }
}
