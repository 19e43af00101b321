//! Writing frames into a receive ring's buffers (82599 §7.1.5 to §7.1.10).

use std::sync::atomic::Ordering;

use barewire_spec::ixgbe::descriptor::rx::{LegacyStatus, Status};

use super::filter::Filter;
use super::header_split::Division;
use super::packet_buffer::Arrival;
use super::queue::RxQueue;
use crate::memory::{Descriptor, Fault, Iommu, Window};
use crate::packet::parse_again;

/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// What became of an attempt to write a frame to host memory.
pub(super) enum Delivery {
    Done,
    /// There are not enough descriptors; so many bytes are written.
    Blocked(usize),
    Stopped(Trouble),
}

/// What stops a queue.
#[derive(Clone, Copy)]
pub(super) enum Trouble {
    Fault(Fault),
    /// The second word of a descriptor.
    Refused(u64),
}

impl From<Fault> for Delivery {
    fn from(fault: Fault) -> Self {
        Self::Stopped(Trouble::Fault(fault))
    }
}

/// A descriptor of the device's, and the buffer it gives.
pub(super) struct Taken<'a> {
    pub(super) words: &'a Descriptor,
    pub(super) buffer: u64,
    /// Where the header goes, in rings that split it off.
    pub(super) header: u64,
}

impl Taken<'_> {
    /// Writes the descriptor back and goes on to the next.
    #[inline]
    fn give_back(&self, queue: &mut RxQueue, words: [u64; 2]) {
        write_back(self.words, words);
        queue.ring.advance();
    }
}

/// The words of a descriptor as software wrote it.
#[inline]
pub(super) fn descriptor(words: &Descriptor) -> (u64, u64) {
    let [first, second] = words;
    (
        u64::from_le(first.load(Ordering::Relaxed)),
        u64::from_le(second.load(Ordering::Relaxed)),
    )
}

/// Writes a descriptor back.
#[inline]
pub(super) fn write_back(words: &Descriptor, [low, high]: [u64; 2]) {
    words[0].store(low.to_le(), Ordering::Relaxed);
    // The driver reads this word first: with it, all before it is there.
    words[1].store(high.to_le(), Ordering::Release);
}

/// The queue that a frame goes to, and what is looked up for it.
pub(super) struct Target<'a, 'q> {
    pub(super) queue: &'q mut RxQueue,
    pub(super) filter: &'a Filter,
    pub(super) iommu: &'a Iommu,
    pub(super) descriptors: &'a [Descriptor],
    pub(super) window: &'q mut Window<'a>,
}

impl RxQueue {
    /// The buffer that a descriptor gives, and its second word, if that breaks no rule.
    #[inline]
    fn look(&self, words: &Descriptor) -> (u64, Result<u64, u64>) {
        let (buffer, second) = descriptor(words);
        let refused = self.wants_clean && second & Status::DD != 0;
        (buffer, if refused { Err(second) } else { Ok(second) })
    }
}

impl<'a> Target<'a, '_> {
    /// The descriptor at the head, if there is one and it is as the datasheet wants it.
    pub(super) fn take(&mut self) -> Result<Taken<'a>, Delivery> {
        let queue = &mut *self.queue;
        if !queue.ring.has_work() {
            return Err(Delivery::Blocked(0));
        }
        let words = queue.ring.at_head(self.descriptors, self.iommu)?;
        match queue.look(words) {
            (buffer, Ok(header)) => Ok(Taken {
                words,
                buffer,
                header,
            }),
            (_, Err(second)) => Err(Delivery::Stopped(Trouble::Refused(second))),
        }
    }

    /// Writes a frame that one buffer holds as it is: nearly every frame. Where anything is unusual
    /// nothing happens: [`deliver`](Self::deliver) finds it too, and what to do about it.
    #[inline]
    pub(super) fn deliver_whole(&mut self, frame: &[u8], arrival: &Arrival) -> bool {
        let queue = &mut *self.queue;
        if !queue.plain || !queue.ring.has_work() {
            return false;
        }
        let Some(words) = self.descriptors.get(queue.ring.head as usize) else {
            return false;
        };
        let (buffer, second) = queue.look(words);
        if second.is_err() || !self.window.write(buffer, frame, queue.buffer) {
            return false;
        }
        let words_back = if queue.advanced {
            advanced(arrival, frame.len(), true, None)
        } else {
            [buffer, legacy(arrival, frame.len(), true, None)]
        };
        write_back(words, words_back);
        queue.ring.advance();
        true
    }

    /// Writes what is left of a frame into as many buffers as it takes.
    #[inline(never)]
    pub(super) fn deliver(&mut self, frame: &[u8], arrival: &Arrival, done: usize) -> Delivery {
        let tag = arrival.vlan.filter(|_| self.queue.strip_tag);
        let mut stripped = [0; MOST_BEFORE_TAG];
        let (first, rest) = strip(frame, tag.map(|_| arrival.tag_at()), &mut stripped);
        let total = first.len() + rest.len();
        let mut at = done;
        let mut division = match self.queue.split {
            Some(split) if done == 0 => {
                let headers = parse_again(frame, self.filter.tags);
                split.divide(frame, &headers, frame.len() - total)
            }
            _ => Division::default(),
        };
        loop {
            let taken = match self.take() {
                Ok(taken) => taken,
                Err(Delivery::Blocked(_)) => return Delivery::Blocked(at),
                Err(delivery) => return delivery,
            };
            let queue = &mut *self.queue;
            if division.in_header_buffer > 0 {
                let part = at..at + division.in_header_buffer;
                at = part.end;
                if let Err(fault) = put(queue, self.iommu, taken.header, first, rest, part) {
                    return fault.into();
                }
            }
            let count = queue.buffer.min(total - at);
            if let Err(fault) = put(queue, self.iommu, taken.buffer, first, rest, at..at + count) {
                return fault.into();
            }
            *self.window = self.iommu.window(queue.hint);
            at += count;
            let last = at == total;
            let Division { info, status, .. } = std::mem::take(&mut division);
            let words = if queue.advanced {
                let [low, high] = advanced(arrival, count, last, tag);
                [low | info, high | status]
            } else {
                [taken.buffer, legacy(arrival, count, last, tag)]
            };
            taken.give_back(queue, words);
            if last {
                return Delivery::Done;
            }
        }
    }
}

/// The most bytes there are before a tag that is stripped.
pub(super) const MOST_BEFORE_TAG: usize = 16;

/// A frame without the tag at `at`, in two pieces, of which the first is kept in `before`.
pub(super) fn strip<'f>(
    frame: &'f [u8],
    at: Option<usize>,
    before: &'f mut [u8; MOST_BEFORE_TAG],
) -> (&'f [u8], &'f [u8]) {
    let whole = (&frame[..0], frame);
    let Some((at, pieces)) = at.and_then(|at| Some((at, frame.split_at_checked(at)?))) else {
        return whole;
    };
    let (addresses, rest) = pieces;
    match (before.get_mut(..at), rest.get(TAG..)) {
        (Some(before), Some(rest)) => {
            before.copy_from_slice(addresses);
            (before, rest)
        }
        _ => whole,
    }
}

/// Writes a part of a frame that consists of two pieces.
#[inline]
pub(super) fn put(
    queue: &mut RxQueue,
    iommu: &Iommu,
    buffer: u64,
    first: &[u8],
    rest: &[u8],
    part: std::ops::Range<usize>,
) -> Result<(), Fault> {
    let split = first.len();
    if part.start >= split {
        let piece = rest.get(part.start - split..part.end - split);
        let piece = piece.unwrap_or_default();
        return iommu.write(&mut queue.hint, buffer, piece, queue.buffer);
    }
    let head = first
        .get(part.start..part.end.min(split))
        .unwrap_or_default();
    iommu.write(&mut queue.hint, buffer, head, head.len())?;
    let piece = rest
        .get(..part.end.saturating_sub(split))
        .unwrap_or_default();
    let behind = buffer.wrapping_add(crate::wire::widen(head.len()));
    iommu.write(&mut queue.hint, behind, piece, piece.len())
}

/// The two words of an advanced write-back (82599 §7.1.6.2).
#[inline]
pub(super) fn advanced(arrival: &Arrival, count: usize, last: bool, tag: Option<u16>) -> [u64; 2] {
    let length = (crate::wire::widen(count) & 0xFFFF) << 32;
    if !last {
        return [0, Status::DD | length];
    }
    let tag = u64::from(tag.unwrap_or(0)) << 48;
    [arrival.info, arrival.status | length | tag]
}

/// The second word of a legacy write-back (82599 §7.1.5).
fn legacy(arrival: &Arrival, count: usize, last: bool, tag: Option<u16>) -> u64 {
    let length = u16::try_from(count).unwrap_or(u16::MAX);
    let status = LegacyStatus::new().with_dd(true).with_length(length);
    if !last {
        return status.into_bits();
    }
    let found = Status::from_bits(arrival.status);
    status
        .with_eop(true)
        .with_vp(found.vp())
        .with_udpcs(found.udpcs())
        .with_l4cs(found.l4i())
        .with_ipcs(found.ipcs())
        .with_pif(found.pif())
        .with_tcpe(found.l4e())
        .with_ipe(found.ipe())
        .with_vlan(tag.unwrap_or(0))
        .into_bits()
}
