//! Tail registers, written by drivers while the device runs, without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Queues in each direction.
pub(crate) const QUEUES: usize = 128;

/// Which way a queue goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Transmit,
}

/// The tails of one direction that were written and not yet seen by the device. The alignment keeps
/// the directions, which may be two threads', in different cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Bells {
    /// One bit a queue: its tail was written. The bit is set after the tail, so whoever sees the
    /// bit sees the tail and all that was written before it.
    rung: [AtomicU64; QUEUES / 64],
    tails: [AtomicU32; QUEUES],
}

impl Bells {
    fn new() -> Self {
        Self {
            rung: [const { AtomicU64::new(0) }; QUEUES / 64],
            tails: [const { AtomicU32::new(0) }; QUEUES],
        }
    }

    #[inline]
    fn ring(&self, queue: usize, tail: u32) {
        let (Some(cell), Some(word)) = (self.tails.get(queue), self.rung.get(queue / 64)) else {
            return;
        };
        cell.store(tail, Ordering::Release);
        word.fetch_or(1 << (queue % 64), Ordering::Release);
    }

    #[inline]
    fn take(&self, mut act: impl FnMut(usize, u32)) {
        for (index, word) in self.rung.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                let queue = index * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                act(queue, self.tails[queue].load(Ordering::Acquire));
            }
        }
    }
}

/// The tails of all queues.
#[derive(Debug)]
pub(crate) struct Doorbells {
    receive: Bells,
    transmit: Bells,
}

impl Default for Doorbells {
    fn default() -> Self {
        Self {
            receive: Bells::new(),
            transmit: Bells::new(),
        }
    }
}

impl Doorbells {
    /// Leaves a tail for the device to find.
    #[inline]
    pub(crate) fn ring(&self, direction: Direction, queue: usize, tail: u32) {
        match direction {
            Direction::Receive => self.receive.ring(queue, tail),
            Direction::Transmit => self.transmit.ring(queue, tail),
        }
    }

    /// As [`take`](Self::take), of one direction.
    #[inline]
    pub(crate) fn take_of(&self, direction: Direction, act: impl FnMut(usize, u32)) {
        match direction {
            Direction::Receive => self.receive.take(act),
            Direction::Transmit => self.transmit.take(act),
        }
    }

    /// Hands each tail that was written since the last call to `act`, the latest value only.
    #[inline]
    pub(crate) fn take(&self, mut act: impl FnMut(Direction, usize, u32)) {
        self.receive
            .take(|queue, tail| act(Direction::Receive, queue, tail));
        self.transmit
            .take(|queue, tail| act(Direction::Transmit, queue, tail));
    }
}

/// Which tail register sits at `offset` of BAR 0, if one does (82599 §8.2.3.8.5, §8.2.3.9.9).
#[inline]
pub(crate) fn decode(offset: u32) -> Option<(Direction, usize)> {
    if offset & 0x3F != 0x18 {
        return None;
    }
    let index = |base: u32| ((offset - base) / 0x40) as usize;
    match offset {
        0x1000..0x2000 => Some((Direction::Receive, index(0x1000))),
        0xD000..0xE000 => Some((Direction::Receive, 64 + index(0xD000))),
        0x6000..0x8000 => Some((Direction::Transmit, index(0x6000))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_spec::ixgbe::{RDT, TDT};

    #[test]
    fn every_tail_register_is_found_and_nothing_else() {
        for offset in (0..0x2_0000).step_by(4) {
            let expected = RDT
                .index_of(offset)
                .map(|queue| (Direction::Receive, queue as usize))
                .or(TDT
                    .index_of(offset)
                    .map(|queue| (Direction::Transmit, queue as usize)));
            assert_eq!(decode(offset), expected, "{offset:#x}");
        }
    }

    #[test]
    fn the_latest_tail_is_seen_once() {
        let bells = Doorbells::default();
        bells.ring(Direction::Receive, 127, 3);
        bells.ring(Direction::Receive, 127, 5);
        bells.ring(Direction::Transmit, 0, 9);
        bells.ring(Direction::Transmit, 4000, 9);
        let mut seen = Vec::new();
        bells.take(|direction, queue, tail| seen.push((direction, queue, tail)));
        bells.take(|direction, queue, tail| seen.push((direction, queue, tail)));
        assert_eq!(
            seen,
            [(Direction::Receive, 127, 5), (Direction::Transmit, 0, 9)]
        );
    }
}
