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

use super::{BLOCK, Block, MIN_FRAME, Pattern, Train, widen};

/// The byte a forwarding program touches: the last of the destination MAC address.
pub(super) const TOUCHED: usize = 5;
/// Bytes covered by the check.
const CHECKED: usize = 56;
const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: std::ops::Range<usize> = 14..34;
pub(super) const MAGIC: [u8; 2] = [0xba, 0x5e];

/// The checked bytes as words, the first byte lowest. A frame is put together in registers and
/// stored at once: storing field by field and reading back for the check would stall on every word.
type Words = [u64; CHECKED / 8];

/// The first 60 bytes of a test frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    words: Words,
    check: u32,
}

impl Head {
    #[inline]
    pub(super) fn read(bytes: &[u8; MIN_FRAME]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut head = Self {
            words: [0; CHECKED / 8],
            check: u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]),
        };
        for (word, bytes) in head.words.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        head
    }

    fn flow(&self) -> u16 {
        let [.., high, low] = self.words[5].to_le_bytes();
        u16::from_be_bytes([high, low])
    }

    /// True if the frame says that it is a test frame.
    pub(super) fn has_magic(&self) -> bool {
        let [_, _, high, low, ..] = self.words[5].to_le_bytes();
        [high, low] == MAGIC
    }

    /// What the frame says of itself.
    pub(super) fn fields(&self) -> Fields {
        let [_, _, _, _, stream_high, stream_low, ..] = self.words[5].to_le_bytes();
        let [length_high, length_low, ..] = self.words[2].to_le_bytes();
        Fields {
            intact: self.has_magic() && self.check == Lanes::over(&self.words).check(),
            stream: u16::from_be_bytes([stream_high, stream_low]),
            flow: self.flow(),
            sequence: u64::from_be_bytes(self.words[6].to_le_bytes()),
            length: usize::from(u16::from_be_bytes([length_high, length_low])) + ETHERNET_HEADER,
        }
    }
}

/// The flow that a frame says it is of.
#[inline]
pub(super) fn flow_of(head: &[u8; MIN_FRAME]) -> u16 {
    u16::from_be_bytes([head[46], head[47]])
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

/// The check over the first 56 bytes, the touched byte left out, on its way.
///
/// Two lanes take the words in turn; each step is a bijection of its lane, so a changed word cannot
/// be lost on the way, and the multiplications between the steps make the position count. Only
/// where the 64 bits are folded at the end can a difference vanish, one in 2³² times.
#[derive(Clone, Copy, Debug, Default)]
struct Lanes {
    even: u64,
    odd: u64,
}

impl Lanes {
    /// After all words but the last, the sequence number.
    fn before_sequence(words: &Words) -> Self {
        let (mut even, mut odd) = (0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        even = step(even, words[0] & !(0xff << (8 * TOUCHED)));
        odd = step(odd, words[1]);
        even = step(even, words[2]);
        odd = step(odd, words[3]);
        even = step(even, words[4]);
        odd = step(odd, words[5]);
        Self { even, odd }
    }

    #[inline]
    fn sequence(self, word: u64) -> Self {
        Self {
            even: step(self.even, word),
            odd: self.odd,
        }
    }

    fn over(words: &Words) -> Self {
        Self::before_sequence(words).sequence(words[6])
    }

    #[inline]
    fn check(self) -> u32 {
        const MIX: u64 = 0xd6e8_feb8_6659_fd93;
        let mixed = (self.even ^ self.odd.wrapping_mul(MIX).rotate_left(31)).wrapping_mul(MIX);
        let [a, b, c, d, ..] = (mixed ^ (mixed << 32)).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

#[inline]
fn step(lane: u64, word: u64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    (lane ^ word).wrapping_mul(STEP).rotate_left(29)
}

/// What all frames of one flow and length have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prepared {
    /// 0 where nothing is prepared.
    length: u16,
    flow: u16,
    words: Words,
    /// The four bytes behind the first 60.
    next: u32,
    lanes: Lanes,
}

impl Prepared {
    /// For frames of `flow`, `length` bytes long, that go on with `fill`.
    fn new(template: &[u8; MIN_FRAME], length: u16, flow: u16, fill: &[u8]) -> Self {
        let total = length.wrapping_sub(14);
        let mut bytes = *template;
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        bytes[28..30].copy_from_slice(&flow.to_be_bytes());
        bytes[34..36].copy_from_slice(&flow.to_be_bytes());
        bytes[38..40].copy_from_slice(&total.wrapping_sub(20).to_be_bytes());
        bytes[46..48].copy_from_slice(&flow.to_be_bytes());
        let checksum = ipv4_checksum(&bytes[IPV4_HEADER]);
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        let words = Head::read(&bytes).words;
        let mut next = [0; 4];
        next.iter_mut()
            .zip(fill)
            .for_each(|(next, fill)| *next = *fill);
        Self {
            length,
            flow,
            words,
            next: u32::from_le_bytes(next),
            lanes: Lanes::before_sequence(&words),
        }
    }

    /// The first block of frame `sequence`, each word stored once: whoever reads it next waits for
    /// no word that is put together.
    #[inline]
    fn write(&self, sequence: u64, block: &mut Block) {
        let number = u64::from_le_bytes(sequence.to_be_bytes());
        let check = self.lanes.sequence(number).check();
        let last = u64::from(check.swap_bytes()) | u64::from(self.next) << 32;
        let [first @ .., _] = self.words;
        let words = first.into_iter().chain([number, last]);
        for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
    }

    /// True if frame `sequence` begins so.
    #[inline]
    pub(super) fn is(&self, sequence: u64, head: &[u8; MIN_FRAME]) -> bool {
        let number = u64::from_le_bytes(sequence.to_be_bytes());
        let check = self.lanes.sequence(number).check();
        let [first @ .., _] = self.words;
        let words = first.into_iter().chain([number]);
        let (bytes, last) = head.as_chunks::<8>();
        let differences = bytes.iter().zip(words);
        let difference = differences.fold(0, |all, (bytes, word)| {
            all | (u64::from_le_bytes(*bytes) ^ word)
        });
        difference == 0 && last == check.to_be_bytes()
    }
}

/// The checksum of a header whose checksum field is 0 (RFC 1071).
fn ipv4_checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks::<2>().0;
    let mut sum: u32 = words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!sum).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Makes the frames of one pattern.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    template: [u8; MIN_FRAME],
    /// Where frames of a flow and length are prepared: the latest that fell on a place.
    prepared: Vec<Prepared>,
    fill: Vec<u8>,
}

/// Places for prepared frames, at least and at most: powers of two.
const PLACES: std::ops::RangeInclusive<usize> = 64..=4_096;

impl Writer {
    /// For frames of at most `longest` bytes.
    pub(super) fn new(pattern: &Pattern, longest: usize) -> Self {
        let flows = usize::from(pattern.flows.get()).next_power_of_two();
        let places = flows.clamp(*PLACES.start(), *PLACES.end());
        Self {
            template: pattern.template(),
            prepared: vec![Prepared::default(); places],
            fill: fill(longest - MIN_FRAME),
        }
    }

    /// Writes frame `sequence` of `flow`, `length` bytes long: at least [`MIN_FRAME`] and at most
    /// the longest.
    #[inline]
    pub(super) fn write(&mut self, length: u16, flow: u16, sequence: u64, frame: &mut Vec<u8>) {
        let mut block = [0; BLOCK];
        self.prepared(length, flow).write(sequence, &mut block);
        frame.clear();
        frame.extend_from_slice(&block[..MIN_FRAME]);
        if length > 60
            && let Some(fill) = self.fill.get(..usize::from(length) - MIN_FRAME)
        {
            frame.extend_from_slice(fill);
        }
    }

    /// Puts such a frame at the end of a train.
    #[inline(always)]
    #[allow(clippy::inline_always)] // once a frame
    pub(super) fn add(&mut self, length: u16, flow: u16, sequence: u64, train: &mut Train) {
        let bytes = usize::from(length);
        if bytes > BLOCK {
            self.add_long(length, flow, sequence, train);
            return;
        }
        if let Some(block) = train.room_for_short() {
            self.prepared(length, flow).write(sequence, block);
        }
        train.add(bytes);
    }

    #[inline(never)]
    fn add_long(&mut self, length: u16, flow: u16, sequence: u64, train: &mut Train) {
        let bytes = usize::from(length);
        let room = train.room(bytes);
        if let Some(block) = room.first_chunk_mut() {
            self.prepared(length, flow).write(sequence, block);
        }
        let fill = self.fill.get(BLOCK - MIN_FRAME..bytes - MIN_FRAME);
        if let (Some(room), Some(fill)) = (room.get_mut(BLOCK..bytes), fill) {
            room.copy_from_slice(fill);
        }
        train.add(bytes);
    }

    /// Puts up to `most` frames of one flow, from number `sequence` on, at the end of a train that has
    /// room for some; returns how many there was room for.
    pub(super) fn add_many(
        &mut self,
        length: u16,
        flow: u16,
        sequence: u64,
        most: usize,
        train: &mut Train,
    ) -> usize {
        let mut added = 0;
        if usize::from(length) > BLOCK {
            while added < most && !train.is_full() {
                self.add_long(length, flow, sequence + widen(added), train);
                added += 1;
            }
            return added;
        }
        let prepared = self.prepared(length, flow);
        let blocks = train.add_short(most, usize::from(length));
        for (number, block) in (sequence..).zip(&mut *blocks) {
            prepared.write(number, block);
        }
        blocks.len()
    }

    /// What frames of a flow and length begin with, for [`Prepared::is`].
    #[inline]
    pub(super) fn beginning(&mut self, length: u16, flow: u16) -> &Prepared {
        self.prepared(length, flow)
    }

    /// The bytes after the first 60 of a frame that long are right.
    #[inline]
    pub(super) fn is_fill(&self, tail: &[u8]) -> bool {
        tail.is_empty() || self.fill.get(..tail.len()) == Some(tail)
    }

    /// What frames of `flow` and `length` bytes have in common.
    #[inline]
    fn prepared(&mut self, length: u16, flow: u16) -> &Prepared {
        let place = usize::from(flow.wrapping_add(length)) & (self.prepared.len() - 1);
        let prepared = &self.prepared[place];
        if prepared.length != length || prepared.flow != flow {
            self.prepare(place, length, flow);
        }
        &self.prepared[place]
    }

    #[cold]
    fn prepare(&mut self, place: usize, length: u16, flow: u16) {
        self.prepared[place] = Prepared::new(&self.template, length, flow, &self.fill);
    }
}

/// The bytes after the first 60: a fixed pseudo-random sequence, so that no two of its words that
/// could be exchanged are likely to be equal.
fn fill(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(0xba5e).fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Size;
    use proptest::prelude::*;

    fn frame(pattern: &Pattern, length: u16, flow: u16, sequence: u64) -> Vec<u8> {
        let mut frame = vec![0xee; 7];
        Writer::new(pattern, pattern.size.longest()).write(length, flow, sequence, &mut frame);
        frame
    }

    fn fields(frame: &[u8]) -> Fields {
        Head::read(frame.first_chunk().unwrap()).fields()
    }

    #[test]
    fn every_flip_of_a_bit_is_noticed_but_in_the_touched_byte() {
        let good = frame(&Pattern::new(3), 60, 5, 0x0102_0304_0506_0708);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(fields(&bad).intact, bit / 8 == TOUCHED, "bit {bit}");
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
            let fields = fields(&frame);
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
            prop_assert_eq!(fields(&bad).intact, same);
        }
    }
}
