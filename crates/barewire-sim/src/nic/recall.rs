//! What was found out about a frame, remembered for the frames that begin alike.
//!
//! Most traffic is frames of a few flows. Where all that the device decides about a frame follows
//! from its length and its first bytes, the answer for the last such frame is the answer for the
//! next: it need not be parsed, filtered, hashed and summed again.

use super::packet_buffer::Arrival;
use crate::packet::{Headers, Network, Transport};
use crate::wire::{BLOCK, Block};

/// Bytes that are compared: Ethernet, IPv4 without options, both ports, and the UDP length.
const HEAD: usize = 40;
/// Of the word behind them the UDP checksum, which must be 0, "none": any other depends on the
/// payload.
const CHECKSUM: u64 = 0xFFFF;
/// The shortest frame that has all of these.
const SHORTEST: usize = HEAD + 2;
/// Frames remembered at a time, one a place: far more than a usual test has flows, so that two seldom
/// fall on one.
const PLACES: usize = 2_048;

type Head = [u64; HEAD / 8];

/// What was found out about frames of one length that begin with one head.
#[derive(Clone, Copy, Debug)]
struct Memory {
    head: Head,
    /// That of no frame where nothing is remembered.
    length: usize,
    arrival: Arrival,
}

impl Memory {
    /// Whether it is about frames that begin so and have this length. No frame is remembered that is
    /// shorter than what is compared.
    #[inline]
    fn is_of(&self, head: &Head, length: usize) -> bool {
        let words = self.head.iter().zip(head);
        let difference = words.fold(0, |all, (one, other)| all | (one ^ other));
        difference == 0 && self.length == length
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            head: Head::default(),
            length: usize::MAX,
            arrival: Arrival::default(),
        }
    }
}

/// Answers by the beginnings of frames. It must be [cleared](Recall::clear) whenever a register
/// changes that an answer follows from.
#[derive(Debug)]
pub(super) struct Recall {
    memories: Vec<Memory>,
    empty: bool,
}

/// The first bytes as words, and whether the checksum is what it must be.
#[inline]
fn head_of(block: &Block) -> (Head, bool) {
    let (words, _) = block.as_chunks::<8>();
    let [words @ .., next, _, _] = words else {
        return (Head::default(), false);
    };
    let mut head = Head::default();
    for (word, bytes) in head.iter_mut().zip(words) {
        *word = u64::from_le_bytes(*bytes);
    }
    (head, u64::from_le_bytes(*next) & CHECKSUM == 0)
}

/// Where a frame is remembered. Flows differ in their addresses and ports, which the last two words
/// have most of.
#[inline]
fn place(head: &Head) -> usize {
    let mixed = (head[3] ^ head[4].rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 53).unwrap_or(0) % PLACES
}

impl Recall {
    pub(super) fn new() -> Self {
        Self {
            memories: vec![Memory::default(); PLACES],
            empty: true,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        if !self.empty {
            self.memories.fill(Memory::default());
            self.empty = true;
        }
    }

    /// What was found out about a frame of the same length that began alike. Given the first block
    /// of a frame, and its length.
    #[inline]
    pub(super) fn find(&self, block: &Block, length: usize) -> Option<&Arrival> {
        self.find_near(block, length, &mut 0)
    }

    /// The same for a frame behind others: `latest` is where the last one was found, and looked at
    /// first.
    #[inline]
    pub(super) fn find_near(
        &self,
        block: &Block,
        length: usize,
        latest: &mut usize,
    ) -> Option<&Arrival> {
        let (head, unsummed) = head_of(block);
        if let Some(memory) = self.memories.get(*latest)
            && memory.is_of(&head, length)
        {
            return unsummed.then_some(&memory.arrival);
        }
        *latest = place(&head);
        let memory = self.memories.get(*latest)?;
        (memory.is_of(&head, length) && unsummed).then_some(&memory.arrival)
    }

    /// Remembers what was found out about a frame, if it holds for all that begin alike.
    ///
    /// Multicast frames, tags, fragments and whatever has a checksum over its payload are left out.
    #[inline(never)]
    pub(super) fn keep(&mut self, frame: &[u8], headers: &Headers, arrival: &Arrival) {
        let follows = headers.network == Network::V4
            && headers.l3 == 14
            && headers.l3_length == 20
            && headers.transport == Transport::Udp
            && !headers.fragment
            && frame.first().is_some_and(|byte| byte & 1 == 0);
        let mut block = [0; BLOCK];
        for (byte, of) in block.iter_mut().zip(frame) {
            *byte = *of;
        }
        let (head, unsummed) = head_of(&block);
        if follows && unsummed && frame.len() >= SHORTEST {
            self.empty = false;
            self.memories[place(&head)] = Memory {
                head,
                length: frame.len(),
                arrival: *arrival,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Tags, parse};

    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[0] = 2;
        frame[12] = 8;
        frame[14] = 0x45;
        frame[17] = 46;
        frame[22..24].copy_from_slice(&[64, 17]);
        frame[39] = 26;
        frame
    }

    fn find<'a>(recall: &'a Recall, frame: &[u8]) -> Option<&'a Arrival> {
        let mut block = [0; BLOCK];
        block[..frame.len()].copy_from_slice(frame);
        recall.find(&block, frame.len())
    }

    fn kept(frame: &[u8]) -> Recall {
        let mut recall = Recall::new();
        let arrival = Arrival {
            queue: 7,
            ..Arrival::default()
        };
        recall.keep(frame, &parse(frame, Tags::usual()), &arrival);
        recall
    }

    #[test]
    fn a_frame_that_begins_alike_is_recalled_until_it_is_forgotten() {
        let mut other = frame();
        other[42..].fill(9);
        let mut recall = kept(&frame());
        assert_eq!(find(&recall, &other).map(|arrival| arrival.queue), Some(7));
        recall.clear();
        assert!(find(&recall, &other).is_none());
    }

    #[test]
    fn any_other_byte_or_length_is_another_frame() {
        let recall = kept(&frame());
        for at in 0..SHORTEST {
            let mut other = frame();
            other[at] ^= 0x10;
            assert!(find(&recall, &other).is_none(), "byte {at}");
        }
        assert!(find(&recall, &frame()[..59]).is_none());
        assert!(find(&recall, &frame()[..41]).is_none());
        assert!(find(&recall, &[]).is_none());
    }

    #[test]
    fn what_does_not_follow_from_the_beginning_is_not_kept() {
        let changes: [(usize, u8); 6] = [
            (0, 1),     // multicast
            (12, 0x81), // VLAN
            (14, 0x46), // options
            (20, 0x20), // a fragment
            (23, 6),    // TCP
            (41, 1),    // a checksum
        ];
        for (at, value) in changes {
            let mut frame = frame();
            frame[at] = value;
            assert!(find(&kept(&frame), &frame).is_none(), "byte {at}");
        }
    }
}
