//! The test frame: what a generator sends and a verifier recognises.
//!
//! | bytes | content |
//! |---|---|
//! | 0–13 | Ethernet: destination, source, type 0x0800 |
//! | 14–33 | IPv4 without options, UDP, with its header checksum; the low 16 bits of the source address are the flow |
//! | 34–41 | UDP: source port is the flow, destination port 9 (discard), checksum 0 (none, RFC 768) |
//! | 42–43 | magic |
//! | 44–45 | stream: which generator |
//! | 46–47 | flow |
//! | 48–55 | sequence number within the flow, from 0 |
//! | 56–59 | check over bytes 0–55 except byte 5 |
//! | 60– | fill, the same in every frame |
//!
//! Numbers are big-endian. Byte 5, the last of the destination address, is what a forwarding
//! program touches, so the check leaves it out and the verifier compares it with what it must be.

use super::MIN_FRAME;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use thiserror::Error;

/// Bytes of the longest test frame, without FCS.
pub const MAX_FRAME: usize = 9_724;

/// The byte a forwarding program touches: the last of the destination MAC address.
pub(super) const TOUCHED: usize = 5;
/// Bytes covered by the check.
const CHECKED: usize = 56;
const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const MAGIC: [u8; 2] = [0xba, 0x5e];

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

/// The checked bytes as big-endian words. A frame is put together in registers and stored at once:
/// storing field by field and reading back for the check would stall on every word.
type Words = [u64; CHECKED / 8];

fn words(head: &[u8; MIN_FRAME]) -> Words {
    let mut words = [0; CHECKED / 8];
    for (word, bytes) in words.iter_mut().zip(head.as_chunks().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    words
}

/// Writes test frames of one pattern.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    template: Words,
    /// Sum of the IPv4 header's 16-bit words but for length and flow.
    header_sum: u32,
    fill: Vec<u8>,
}

impl Writer {
    pub(super) fn new(pattern: &Pattern) -> Self {
        let template = pattern.template();
        let header = &template[ETHERNET_HEADER..ETHERNET_HEADER + IPV4_HEADER];
        let header_sum = header
            .as_chunks::<2>()
            .0
            .iter()
            .map(|word| u32::from(u16::from_be_bytes(*word)))
            .sum();
        Self {
            template: words(&template),
            header_sum,
            fill: fill(pattern.size.longest() - MIN_FRAME),
        }
    }

    /// Writes frame `sequence` of `flow`, `length` bytes long: at least [`MIN_FRAME`] and at most
    /// the pattern's longest.
    #[inline]
    pub(super) fn write(&self, length: u16, flow: u16, sequence: u64, frame: &mut Vec<u8>) {
        let total = length.wrapping_sub(14);
        let flow_bits = u64::from(flow);
        let mut words = self.template;
        words[2] |= u64::from(total) << 48;
        words[3] |= u64::from(self.checksum(total, flow)) << 48 | flow_bits << 16;
        words[4] |= flow_bits << 32 | u64::from(total.wrapping_sub(20));
        words[5] |= flow_bits;
        words[6] = sequence;
        let mut head = [0; MIN_FRAME];
        let (checked, check_field) = head.split_at_mut(CHECKED);
        for (bytes, word) in checked.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
        check_field.copy_from_slice(&check(&words).to_be_bytes());
        frame.clear();
        frame.extend_from_slice(&head);
        if length > 60
            && let Some(fill) = self.fill.get(..usize::from(length) - MIN_FRAME)
        {
            frame.extend_from_slice(fill);
        }
    }

    /// The IPv4 header checksum (RFC 1071): only length and flow differ between frames, so their
    /// words are added to a sum made once.
    fn checksum(&self, total: u16, flow: u16) -> u16 {
        let sum = self.header_sum + u32::from(total) + u32::from(flow);
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        let [_, _, high, low] = (!folded).to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// The fields of a test frame that a verifier looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) intact: bool,
    pub(super) stream: u16,
    pub(super) flow: u16,
    pub(super) sequence: u64,
    /// Bytes of the frame as its IPv4 header says.
    pub(super) length: usize,
}

impl Fields {
    #[inline]
    pub(super) fn read(head: &[u8; MIN_FRAME]) -> Self {
        let words = words(head);
        let stored = u32::from_be_bytes([head[56], head[57], head[58], head[59]]);
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        Self {
            intact: has_magic(head) && stored == check(&words),
            stream: half(44),
            flow: half(46),
            sequence: words[6],
            length: usize::from(half(16)) + ETHERNET_HEADER,
        }
    }
}

/// True if the frame says that it is a test frame.
pub(super) fn has_magic(head: &[u8; MIN_FRAME]) -> bool {
    head[42..44] == MAGIC
}

/// A 32-bit check over the first 56 bytes, the touched byte left out.
///
/// Two lanes take the words in turn; each step is a bijection of its lane, so a changed word cannot
/// be lost on the way, and the multiplications between the steps make the position count. Only
/// where the 64 bits are folded at the end can a difference vanish, one in 2³² times.
#[inline]
fn check(words: &Words) -> u32 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    const MIX: u64 = 0xd6e8_feb8_6659_fd93;
    let step = |lane: u64, word: u64| (lane ^ word).wrapping_mul(STEP).rotate_left(29);
    let (mut even, mut odd) = (0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    even = step(even, words[0] & !(0xff << (56 - 8 * TOUCHED)));
    odd = step(odd, words[1]);
    even = step(even, words[2]);
    odd = step(odd, words[3]);
    even = step(even, words[4]);
    odd = step(odd, words[5]);
    even = step(even, words[6]);
    let mixed = (even ^ odd.wrapping_mul(MIX).rotate_left(31)).wrapping_mul(MIX);
    let [a, b, c, d, ..] = (mixed ^ (mixed << 32)).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The bytes after the first 60: a fixed pseudo-random sequence, so that no two of its words that
/// could be exchanged are likely to be equal.
pub(super) fn fill(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(0xba5e).fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(pattern: &Pattern, length: u16, flow: u16, sequence: u64) -> Vec<u8> {
        let mut frame = vec![0xee; 7];
        Writer::new(pattern).write(length, flow, sequence, &mut frame);
        frame
    }

    fn head(frame: &[u8]) -> &[u8; MIN_FRAME] {
        frame.first_chunk().unwrap()
    }

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

    #[test]
    fn every_flip_of_a_bit_is_noticed_but_in_the_touched_byte() {
        let good = frame(&Pattern::new(3), 60, 5, 0x0102_0304_0506_0708);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Fields::read(head(&bad)).intact,
                bit / 8 == TOUCHED,
                "bit {bit}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_ipv4_header_is_valid(length in 60u16..=9_724, flow: u16, sequence: u64, stream: u16) {
            let pattern = Pattern::new(stream).size(Size::fixed(usize::from(length)).unwrap());
            let frame = frame(&pattern, length, flow, sequence);
            prop_assert_eq!(frame.len(), usize::from(length));
            let sum: u32 = frame[14..34]
                .chunks(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            prop_assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
            let fields = Fields::read(head(&frame));
            prop_assert!(fields.intact);
            prop_assert_eq!(fields.length, frame.len());
            prop_assert_eq!((fields.stream, fields.flow, fields.sequence), (stream, flow, sequence));
        }

        #[test]
        fn exchanged_words_are_noticed(flow: u16, sequence: u64, a in 0usize..7, b in 0usize..7) {
            let good = frame(&Pattern::new(1), 60, flow, sequence);
            let mut bad = good.clone();
            for byte in 0..8 {
                bad.swap(a * 8 + byte, b * 8 + byte);
            }
            bad[TOUCHED] = good[TOUCHED];
            let same = bad == good;
            prop_assert_eq!(Fields::read(head(&bad)).intact, same);
        }
    }
}
