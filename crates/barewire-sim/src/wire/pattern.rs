//! What a generator sends: sizes, flows and addresses.

use super::MIN_FRAME;
use super::test_frame::MAGIC;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use thiserror::Error;

/// Bytes of the longest test frame, without FCS.
pub const MAX_FRAME: usize = 9_724;

/// What the program between generator and verifier does to the last byte of the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touch {
    /// Nothing.
    Unchanged,
    /// Adds one, wrapping.
    #[default]
    Incremented,
}

impl Touch {
    /// What `byte` becomes.
    #[must_use]
    pub const fn apply(self, byte: u8) -> u8 {
        match self {
            Self::Unchanged => byte,
            Self::Incremented => byte.wrapping_add(1),
        }
    }
}

/// Lengths of the frames, without FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fixed(u16),
    Imix,
}

/// A frame length outside [`MIN_FRAME`] to [`MAX_FRAME`], or a word that is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("frame size `{text}` must be {MIN_FRAME} to {MAX_FRAME} bytes, without FCS, or imix")]
pub struct SizeError {
    text: String,
}

/// The simple IMIX: of twelve frames seven short, four medium, one long, mixed evenly.
const IMIX: [u16; 12] = [60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590];

impl Size {
    /// Frames of [`MIN_FRAME`] bytes.
    pub const MIN: Self = Self(Kind::Fixed(60));

    /// 60, 590 and 1,514 bytes in the proportion 7 : 4 : 1.
    pub const IMIX: Self = Self(Kind::Imix);

    /// All frames of `bytes` bytes.
    ///
    /// # Errors
    /// If `bytes` is not within [`MIN_FRAME`] and [`MAX_FRAME`].
    pub fn fixed(bytes: usize) -> Result<Self, SizeError> {
        u16::try_from(bytes)
            .ok()
            .filter(|_| (MIN_FRAME..=MAX_FRAME).contains(&bytes))
            .map(|bytes| Self(Kind::Fixed(bytes)))
            .ok_or_else(|| SizeError {
                text: bytes.to_string(),
            })
    }

    /// Bytes of the longest frame.
    pub const fn longest(self) -> usize {
        match self.0 {
            Kind::Fixed(bytes) => bytes as usize,
            Kind::Imix => 1514,
        }
    }

    /// The lengths in the order they are sent, over and over.
    pub(super) fn cycle(self) -> Vec<u16> {
        match self.0 {
            Kind::Fixed(bytes) => vec![bytes],
            Kind::Imix => IMIX.to_vec(),
        }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Self::IMIX);
        }
        let bytes = text.parse().map_err(|_| SizeError {
            text: text.to_owned(),
        })?;
        Self::fixed(bytes)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Fixed(bytes) => write!(f, "{bytes}"),
            Kind::Imix => f.write_str("imix"),
        }
    }
}

/// What a generator sends; given to the verifier too, so that it knows what to expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub(super) stream: u16,
    pub(super) destination: [u8; 6],
    pub(super) source: [u8; 6],
    pub(super) flows: NonZeroU16,
    pub(super) size: Size,
}

impl Pattern {
    /// Frames of [`Size::MIN`] in one flow.
    ///
    /// `stream` tells the generators of a run apart. The addresses are locally administered and
    /// contain it; they match no NIC, so a NIC takes the frames only in promiscuous mode.
    pub const fn new(stream: u16) -> Self {
        let [high, low] = stream.to_be_bytes();
        Self {
            stream,
            destination: [0x02, 0xba, 0x5e, high, low, 0x10],
            source: [0x02, 0xba, 0x5f, high, low, 0x01],
            flows: NonZeroU16::MIN,
            size: Size::MIN,
        }
    }

    /// With frames of this size.
    #[must_use]
    pub const fn size(mut self, size: Size) -> Self {
        self.size = size;
        self
    }

    /// With so many flows, sent in turn. Each has its own source address and source port, so that
    /// RSS spreads them over the queues.
    #[must_use]
    pub const fn flows(mut self, flows: NonZeroU16) -> Self {
        self.flows = flows;
        self
    }

    /// With this destination MAC address.
    #[must_use]
    pub const fn destination(mut self, address: [u8; 6]) -> Self {
        self.destination = address;
        self
    }

    /// With this source MAC address.
    #[must_use]
    pub const fn source(mut self, address: [u8; 6]) -> Self {
        self.source = address;
        self
    }

    /// The first 60 bytes with everything that is the same in all frames; the rest is zero.
    pub(super) fn template(&self) -> [u8; MIN_FRAME] {
        let mut head = [0; MIN_FRAME];
        head[0..6].copy_from_slice(&self.destination);
        head[6..12].copy_from_slice(&self.source);
        head[12..14].copy_from_slice(&[0x08, 0x00]);
        head[14] = 0x45;
        head[22] = 64;
        head[23] = 17;
        head[26..28].copy_from_slice(&[10, 0]);
        let [high, low] = self.stream.to_be_bytes();
        head[30..34].copy_from_slice(&[198, 18, high, low]);
        head[36..38].copy_from_slice(&[0, 9]);
        head[42..44].copy_from_slice(&MAGIC);
        head[44..46].copy_from_slice(&self.stream.to_be_bytes());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!("60".parse(), Ok(Size::MIN));
        assert_eq!("IMIX".parse(), Ok(Size::IMIX));
        assert_eq!(Size::fixed(9_724).unwrap().longest(), 9_724);
        for text in ["59", "9725", "65596", "-60", "", "big"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("60 to 9724"), "{error}");
        }
    }

    #[test]
    fn imix_is_seven_four_one() {
        let count = |bytes| IMIX.iter().filter(|&&size| size == bytes).count();
        assert_eq!((count(60), count(590), count(1514)), (7, 4, 1));
    }
}
