//! One direction of a faulty wire: what fate does to a frame, and the frames it holds back.

use super::{FaultCounters, Faults, PARTS_PER_MILLION};
use crate::time::Nanos;
use crate::wire::MIN_FRAME;
use fastrand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;

/// Frames one direction holds back at most, whatever the delay.
const MAX_HELD: usize = 65_536;

/// A frame held back to be overtaken goes on after this time even if too few frames follow it.
const HOLD: Nanos = Nanos::from_millis(1);

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) faults: Faults,
    rng: Rng,
    pub(super) counters: Arc<FaultCounters>,
    /// Second copies, due at once.
    echoes: VecDeque<Vec<u8>>,
    /// Delayed frames; the delay is the same for all, so they become due in order.
    delayed: VecDeque<(Nanos, Vec<u8>)>,
    /// Frames to be overtaken; they too are let go in order.
    held: VecDeque<Held>,
    /// Frames that were not held back.
    passed: u64,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Held {
    after: u64,
    expires: Nanos,
    frame: Vec<u8>,
}

impl Lane {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            rng: Rng::with_seed(seed),
            counters: Arc::default(),
            echoes: VecDeque::new(),
            delayed: VecDeque::new(),
            held: VecDeque::new(),
            passed: 0,
            spare: Vec::new(),
        }
    }

    fn hit(&mut self, parts_per_million: u32) -> bool {
        parts_per_million > 0 && self.rng.u32(..PARTS_PER_MILLION) < parts_per_million
    }

    pub(super) fn empty(&self) -> bool {
        self.echoes.is_empty() && self.delayed.is_empty() && self.held.is_empty()
    }

    /// One frame may be held back and leave a second copy.
    pub(super) fn full(&self) -> bool {
        self.echoes.len() + self.delayed.len() + self.held.len() + 2 > MAX_HELD
    }

    fn copy(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        copy
    }

    fn hand_over(&mut self, mut from: Vec<u8>, frame: &mut Vec<u8>) {
        std::mem::swap(&mut from, frame);
        self.spare.push(from);
    }

    /// Does to a frame what fate has in store; true if it goes on now.
    pub(super) fn admit(&mut self, now: Nanos, frame: &mut Vec<u8>) -> bool {
        let faults = self.faults;
        if self.full() || self.hit(faults.drop) {
            self.counters.dropped.add(1);
            return false;
        }
        if self.hit(faults.corrupt) && !frame.is_empty() {
            let byte = self.rng.usize(..frame.len());
            frame[byte] ^= 1 << self.rng.u32(..8);
            self.counters.corrupted.add(1);
        }
        if self.hit(faults.truncate) && frame.len() > 1 {
            let kept = self.rng.usize(1..frame.len());
            frame.truncate(kept);
            frame.resize(kept.max(MIN_FRAME), 0);
            self.counters.truncated.add(1);
        }
        if self.hit(faults.duplicate) {
            let copy = self.copy(frame);
            self.echoes.push_back(copy);
            self.counters.duplicated.add(1);
        }
        if self.hit(faults.delay) {
            let copy = self.copy(frame);
            self.delayed.push_back((now + faults.delay_by, copy));
            self.counters.delayed.add(1);
            return false;
        }
        if self.hit(faults.reorder) {
            let frame = self.copy(frame);
            self.held.push_back(Held {
                after: self.passed + u64::from(faults.reorder_by),
                expires: now + HOLD,
                frame,
            });
            self.counters.reordered.add(1);
            return false;
        }
        self.passed += 1;
        true
    }

    /// Takes a frame whose time or turn has come.
    pub(super) fn take_due(&mut self, now: Nanos, frame: &mut Vec<u8>) -> bool {
        if self.empty() {
            return false;
        }
        if let Some(echo) = self.echoes.pop_front() {
            self.hand_over(echo, frame);
            return true;
        }
        if self.delayed.front().is_some_and(|first| first.0 <= now)
            && let Some((_, delayed)) = self.delayed.pop_front()
        {
            self.hand_over(delayed, frame);
            self.passed += 1;
            return true;
        }
        let overtaken = |first: &Held| first.after <= self.passed || first.expires <= now;
        self.held.front().is_some_and(overtaken) && self.take_overtaken(frame)
    }

    /// Takes the first of the frames to be overtaken, whether it was or not.
    pub(super) fn take_overtaken(&mut self, frame: &mut Vec<u8>) -> bool {
        let Some(first) = self.held.pop_front() else {
            return false;
        };
        self.hand_over(first.frame, frame);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_overtaken_by_so_many() {
        let mut lane = Lane::new(1);
        let mut frame = vec![0];
        lane.faults = Faults::new().reorder(PARTS_PER_MILLION, 2);
        assert!(!lane.admit(Nanos::ZERO, &mut frame));
        lane.faults = Faults::new();
        for byte in [1, 2] {
            assert!(!lane.take_due(Nanos::ZERO, &mut frame));
            assert!(lane.admit(Nanos::ZERO, &mut vec![byte]));
        }
        assert!(lane.take_due(Nanos::ZERO, &mut frame));
        assert_eq!(frame, [0]);
    }
}
