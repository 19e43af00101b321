//! A wire that misbehaves, the same way for the same seed.

mod lane;

use super::{Counter, Wire};
use crate::time::Nanos;
use lane::Lane;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Probabilities are given in parts of this: 1,000,000 is always, 0 is never.
pub const PARTS_PER_MILLION: u32 = 1_000_000;

/// Frames looked at in one pull: with a fault that takes every frame a pull must still end.
const ATTEMPTS: usize = 32;

/// What goes wrong in one direction, and how often. Probabilities are in parts per million; larger
/// ones count as always. Each frame meets each fault on its own, in the order of the methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    drop: u32,
    corrupt: u32,
    truncate: u32,
    duplicate: u32,
    delay: u32,
    delay_by: Nanos,
    reorder: u32,
    reorder_by: u16,
}

impl Faults {
    /// A direction without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Frames vanish.
    #[must_use]
    pub const fn drop(mut self, parts_per_million: u32) -> Self {
        self.drop = parts_per_million;
        self
    }

    /// One bit of the frame is flipped.
    #[must_use]
    pub const fn corrupt(mut self, parts_per_million: u32) -> Self {
        self.corrupt = parts_per_million;
        self
    }

    /// The end of the frame is cut off, at least one byte. What is then shorter than
    /// [`MIN_FRAME`](super::MIN_FRAME) is padded with zeros, as every sender must.
    #[must_use]
    pub const fn truncate(mut self, parts_per_million: u32) -> Self {
        self.truncate = parts_per_million;
        self
    }

    /// The frame arrives twice.
    #[must_use]
    pub const fn duplicate(mut self, parts_per_million: u32) -> Self {
        self.duplicate = parts_per_million;
        self
    }

    /// The frame arrives `by` nanoseconds late. Those not delayed overtake it; with a probability
    /// of [`PARTS_PER_MILLION`] all are late and none overtakes.
    ///
    /// A direction holds 65,536 frames. Towards the NIC the rest waits in the source; from the NIC
    /// it is dropped.
    #[must_use]
    pub const fn delay(mut self, parts_per_million: u32, by: Nanos) -> Self {
        self.delay = parts_per_million;
        self.delay_by = by;
        self
    }

    /// The frame is overtaken by the next `by` frames, or by as many as come within a millisecond
    /// and before the far end is idle.
    #[must_use]
    pub const fn reorder(mut self, parts_per_million: u32, by: u16) -> Self {
        self.reorder = parts_per_million;
        self.reorder_by = by;
        self
    }
}

/// How often each fault struck in one direction, readable from any thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct FaultCounters {
    /// Frames that vanished.
    pub dropped: Counter,
    /// Frames with a bit flipped.
    pub corrupted: Counter,
    /// Frames cut.
    pub truncated: Counter,
    /// Frames that arrived twice.
    pub duplicated: Counter,
    /// Frames delayed.
    pub delayed: Counter,
    /// Frames held back to be overtaken.
    pub reordered: Counter,
}

/// `W` with faults in between. Without any it behaves as `W`.
///
/// The faults depend on the seed and on the sequence of frames of their direction alone, so a run
/// on a stepped model is repeated exactly by its seed.
#[derive(Debug)]
pub struct Faulty<W> {
    inner: W,
    towards_nic: Lane,
    from_nic: Lane,
    scratch: Vec<u8>,
}

impl<W: Wire> Faulty<W> {
    /// No faults yet.
    pub fn new(inner: W, seed: u64) -> Self {
        Self {
            inner,
            towards_nic: Lane::new(seed),
            // Any other seed will do, so that the directions do not fail in step.
            from_nic: Lane::new(!seed),
            scratch: Vec::new(),
        }
    }

    /// Faults of the frames that the NIC receives.
    #[must_use]
    pub const fn towards_nic(mut self, faults: Faults) -> Self {
        self.towards_nic.faults = faults;
        self
    }

    /// Faults of the frames that the NIC sends.
    #[must_use]
    pub const fn from_nic(mut self, faults: Faults) -> Self {
        self.from_nic.faults = faults;
        self
    }

    /// Counts the faults of the frames that the NIC receives.
    pub fn towards_nic_counters(&self) -> Arc<FaultCounters> {
        Arc::clone(&self.towards_nic.counters)
    }

    /// Counts the faults of the frames that the NIC sends.
    pub fn from_nic_counters(&self) -> Arc<FaultCounters> {
        Arc::clone(&self.from_nic.counters)
    }

    /// Hands on what is due of the frames that the NIC sent.
    fn release(&mut self, now: Nanos) {
        while self.from_nic.take_due(now, &mut self.scratch) {
            self.inner.push(now, &self.scratch);
        }
    }
}

impl<W: Wire> Wire for Faulty<W> {
    /// A frame that was held back waits for room, also with an open-loop source.
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.release(now);
        for _ in 0..ATTEMPTS {
            if room && self.towards_nic.take_due(now, frame) {
                return true;
            }
            if self.towards_nic.full() {
                return false;
            }
            if !self.inner.pull(now, room, frame) {
                return room && self.inner.idle() && self.towards_nic.take_overtaken(frame);
            }
            if self.towards_nic.admit(now, frame) {
                return true;
            }
        }
        false
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        if self.from_nic.faults == Faults::default() {
            self.inner.push(now, frame);
            return;
        }
        self.release(now);
        self.scratch.clear();
        self.scratch.extend_from_slice(frame);
        if self.from_nic.admit(now, &mut self.scratch) {
            self.inner.push(now, &self.scratch);
        }
        self.release(now);
    }

    fn idle(&self) -> bool {
        self.inner.idle() && self.towards_nic.empty() && self.from_nic.empty()
    }

    /// None while a frame is held back: it falls due with time.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        let held = !self.towards_nic.empty() || !self.from_nic.empty();
        self.inner.readiness().filter(|_| !held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        Discard, Duplex, Generator, MIN_FRAME, Pattern, Silence, Sink, Size, Touch, Verifier,
    };

    #[derive(Default)]
    struct Collect(Arc<parking_lot::Mutex<Vec<Vec<u8>>>>);

    impl Sink for Collect {
        fn push(&mut self, _now: Nanos, frame: &[u8]) {
            self.0.lock().push(frame.to_vec());
        }
    }

    fn number(frame: &[u8]) -> u64 {
        u64::from_be_bytes(frame[48..56].try_into().unwrap())
    }

    /// Pulls until the wire is idle, a microsecond a frame.
    fn pull_all(wire: &mut impl Wire) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        for micros in 0..1_000_000 {
            if wire.pull(Nanos::from_micros(micros), true, &mut frame) {
                frames.push(frame.clone());
            } else if wire.idle() {
                return frames;
            }
        }
        panic!("never idle");
    }

    fn source(frames: u64) -> Duplex<Generator, Discard> {
        let pattern = Pattern::new(1).size(Size::fixed(100).unwrap());
        Duplex::new(Generator::new(&pattern).limit(frames), Discard::new())
    }

    #[test]
    fn without_faults_nothing_changes() {
        let frames = pull_all(&mut Faulty::new(source(100), 1));
        assert!(frames.iter().map(|frame| number(frame)).eq(0..100));
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let faults = Faults::new()
            .drop(50_000)
            .corrupt(50_000)
            .truncate(50_000)
            .duplicate(50_000)
            .delay(50_000, Nanos::from_micros(7))
            .reorder(50_000, 3);
        let run = |seed| pull_all(&mut Faulty::new(source(2_000), seed).towards_nic(faults));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn each_fault_is_counted_and_seen_by_the_verifier() {
        let pattern = Pattern::new(1).size(Size::fixed(100).unwrap());
        let faults = Faults::new()
            .drop(20_000)
            .corrupt(20_000)
            .duplicate(20_000)
            .reorder(20_000, 2);
        let mut wire = Faulty::new(source(10_000), 42).towards_nic(faults);
        let counters = wire.towards_nic_counters();
        let mut verifier = Verifier::new(&pattern, Touch::Unchanged);
        for frame in pull_all(&mut wire) {
            verifier.push(Nanos::ZERO, &frame);
        }
        let seen = verifier.counters();
        let struck = [
            &counters.dropped,
            &counters.corrupted,
            &counters.duplicated,
            &counters.reordered,
        ];
        assert!(
            struck
                .iter()
                .all(|counter| (100..400).contains(&counter.get()))
        );
        assert_eq!(
            seen.delivered.get()
                + seen.duplicated.get()
                + seen.corrupted.get()
                + seen.foreign.get(),
            10_000 - counters.dropped.get() + counters.duplicated.get()
        );
        assert!(seen.reordered.get() > 100);
        assert!(seen.lost.get() >= counters.dropped.get() && seen.corrupted.get() > 100);
    }

    #[test]
    fn with_nothing_to_overtake_it_a_frame_still_arrives() {
        let mut wire =
            Faulty::new(source(1), 1).towards_nic(Faults::new().reorder(PARTS_PER_MILLION, 2));
        assert_eq!(pull_all(&mut wire).len(), 1);
    }

    #[test]
    fn a_delay_of_all_keeps_the_order() {
        let delay = Nanos::from_micros(50);
        let faults = Faults::new().delay(PARTS_PER_MILLION, delay);
        let mut wire = Faulty::new(source(100), 1).towards_nic(faults);
        let mut frame = Vec::new();
        assert!(!wire.pull(Nanos::ZERO, true, &mut frame));
        assert!(!wire.pull(Nanos::from_micros(49), true, &mut frame));
        assert!(wire.pull(delay, true, &mut frame));
        assert_eq!(number(&frame), 0);
        let rest = pull_all(&mut wire);
        assert!(rest.iter().map(|frame| number(frame)).eq(1..100));
    }

    #[test]
    fn truncated_frames_are_legal_and_not_the_same() {
        let faults = Faults::new().truncate(PARTS_PER_MILLION);
        for frame in pull_all(&mut Faulty::new(source(500), 9).towards_nic(faults)) {
            assert!((MIN_FRAME..100).contains(&frame.len()));
        }
    }

    #[test]
    fn a_wire_that_drops_everything_still_answers() {
        let endless = Generator::new(&Pattern::new(1));
        let faults = Faults::new().drop(PARTS_PER_MILLION);
        let mut wire = Faulty::new(Duplex::new(endless, Discard::new()), 1).towards_nic(faults);
        assert!(!wire.pull(Nanos::ZERO, true, &mut Vec::new()));
        assert!(!wire.idle());
        assert!(wire.towards_nic_counters().dropped.get() > 0);
    }

    #[test]
    fn the_way_from_the_nic_has_its_own_faults() {
        let sink = Collect::default();
        let seen = Arc::clone(&sink.0);
        let faults = Faults::new()
            .delay(PARTS_PER_MILLION, Nanos(10))
            .duplicate(PARTS_PER_MILLION);
        let mut wire = Faulty::new(Duplex::new(Silence, sink), 1).from_nic(faults);
        wire.push(Nanos::ZERO, &[1; 60]);
        assert_eq!(seen.lock().len(), 1);
        assert!(!wire.idle());
        wire.pull(Nanos(10), true, &mut Vec::new());
        assert_eq!(*seen.lock(), [[1; 60], [1; 60]]);
        assert!(wire.idle());
        assert_eq!(wire.from_nic_counters().delayed.get(), 1);
        assert_eq!(wire.towards_nic_counters().delayed.get(), 0);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let sink = Discard::new();
        let forever = Faults::new().delay(PARTS_PER_MILLION, Nanos(u64::MAX));
        let mut wire = Faulty::new(Duplex::new(Silence, sink), 1).from_nic(forever);
        for _ in 0..70_000 {
            wire.push(Nanos::ZERO, &[0; 60]);
        }
        let counters = wire.from_nic_counters();
        assert!(counters.delayed.get() <= 65_536);
        assert_eq!(counters.delayed.get() + counters.dropped.get(), 70_000);
    }
}
