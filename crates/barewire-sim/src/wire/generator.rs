//! The source of test frames.

use super::pace::Gate;
use super::test_frame::Writer;
use super::{Pattern, Rate, Source, SourceControl, Train, widen};
use crate::time::Nanos;

/// Sends the frames of a [`Pattern`], flow after flow, each with its own sequence numbers.
///
/// Closed-loop by default: it offers a frame whenever the NIC has room, so that nothing need be
/// lost. With a [`Rate`] it is open-loop, as a real wire: frames come when they are due, and what
/// the NIC cannot take is the NIC's to drop.
#[derive(Debug)]
pub struct Generator {
    writer: Writer,
    flows: u16,
    lengths: Vec<u16>,
    flow: u16,
    sequence: u64,
    next_length: usize,
    remaining: u64,
    gate: Gate,
    control: SourceControl,
}

impl Generator {
    /// A closed-loop generator without end.
    pub fn new(pattern: &Pattern) -> Self {
        Self {
            writer: Writer::new(pattern, pattern.size.longest()),
            flows: pattern.flows.get(),
            lengths: pattern.size.cycle(),
            flow: 0,
            sequence: 0,
            next_length: 0,
            remaining: u64::MAX,
            gate: Gate::default(),
            control: SourceControl::default(),
        }
    }

    /// Open-loop at `rate`. The clock starts with the first pull.
    ///
    /// If the NIC does not pull for longer than a millisecond, the frames due before that are never
    /// sent, as no wire can send the past; the time is counted in
    /// [`SourceCounters::forfeited_nanos`](super::SourceCounters::forfeited_nanos).
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.gate.pace(rate);
        self
    }

    /// Begins when the NIC has room for the first time: not before somebody receives.
    #[must_use]
    pub fn from_first_room(mut self) -> Self {
        self.gate.wait();
        self
    }

    /// Ends after `frames` frames.
    #[must_use]
    pub const fn limit(mut self, frames: u64) -> Self {
        self.remaining = frames;
        self
    }

    /// The handle that stops the generator and reads its counters.
    pub fn control(&self) -> SourceControl {
        self.control.clone()
    }
}

impl Generator {
    /// Length, flow and number of the next frame, which is sent now.
    #[inline]
    fn next(&mut self) -> (u16, u16, u64) {
        let next = (self.lengths[self.next_length], self.flow, self.sequence);
        self.remaining -= 1;
        self.next_length += 1;
        if self.next_length == self.lengths.len() {
            self.next_length = 0;
        }
        self.flow += 1;
        if self.flow == self.flows {
            self.flow = 0;
            self.sequence += 1;
        }
        next
    }

    /// As many frames as there is room for, at once.
    #[inline]
    fn fill(&mut self, room: usize, train: &mut Train) {
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let most = room.saturating_sub(train.len()).min(most);
        if let [length] = self.lengths[..]
            && self.flows == 1
        {
            let frames = (self.writer).add_many(length, self.flow, self.sequence, most, train);
            self.sequence += widen(frames);
            self.remaining -= widen(frames);
            let counters = self.control.counters();
            counters.count_offered(frames, frames * usize::from(length));
            return;
        }
        let (mut frames, mut bytes) = (0, 0);
        while frames < most && !train.is_full() {
            let (length, flow, sequence) = self.next();
            self.writer.add(length, flow, sequence, train);
            frames += 1;
            bytes += usize::from(length);
        }
        self.control.counters().count_offered(frames, bytes);
    }
}

impl Source for Generator {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        if self.idle() || !self.gate.open(now, room, self.control.counters()) {
            return false;
        }
        let (length, flow, sequence) = self.next();
        self.writer.write(length, flow, sequence, frame);
        let length = usize::from(length);
        self.gate.offered(length, self.control.counters());
        true
    }

    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        if self.idle() {
            return;
        }
        if !self.gate.is_paced() {
            if self
                .gate
                .open(now, train.len() < room, self.control.counters())
            {
                self.fill(room, train);
            }
            return;
        }
        while self.remaining > 0
            && !train.is_full()
            && (self.gate).open(now, train.len() < room, self.control.counters())
        {
            let (length, flow, sequence) = self.next();
            self.writer.add(length, flow, sequence, train);
            let length = usize::from(length);
            self.gate.offered(length, self.control.counters());
        }
    }

    fn idle(&self) -> bool {
        self.remaining == 0 || self.control.stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_frame::Head;
    use super::*;
    use crate::wire::Size;
    use std::num::NonZeroU16;

    fn collect(generator: &mut Generator, now: Nanos, room: bool) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        while frames.len() < 1_000 && generator.pull(now, room, &mut frame) {
            frames.push(frame.clone());
        }
        frames
    }

    #[test]
    fn flows_take_turns_and_count_for_themselves() {
        let pattern = Pattern::new(1).flows(NonZeroU16::new(3).unwrap());
        let mut generator = Generator::new(&pattern).limit(7);
        let seen: Vec<_> = collect(&mut generator, Nanos::ZERO, true)
            .iter()
            .map(|frame| Head::read(frame.first_chunk().unwrap()).fields())
            .map(|fields| (fields.flow, fields.sequence))
            .collect();
        assert_eq!(
            seen,
            [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]
        );
        assert!(generator.idle());
        assert_eq!(generator.control().counters().offered.get(), 7);
        assert_eq!(generator.control().counters().offered_bytes.get(), 420);
    }

    #[test]
    fn a_train_has_the_frames_that_would_have_come_singly() {
        for (size, flows, rate) in [
            (Size::MIN, 1, None),
            (Size::MIN, 3, None),
            (Size::fixed(61).unwrap(), 1, None),
            (Size::fixed(63).unwrap(), 1, None),
            (Size::fixed(64).unwrap(), 1, None),
            (Size::fixed(65).unwrap(), 1, None),
            (Size::fixed(200).unwrap(), 1, Some("1Mpps")),
            (Size::IMIX, 3, Some("1Mpps")),
        ] {
            let pattern = Pattern::new(1)
                .size(size)
                .flows(NonZeroU16::new(flows).unwrap());
            let generator = || {
                let generator = Generator::new(&pattern).limit(30);
                match rate {
                    Some(rate) => generator.rate(rate.parse().unwrap()),
                    None => generator,
                }
            };
            let (mut singly, mut together) = (generator(), generator());
            let mut train = Train::new();
            for (now, room) in [(0, 5), (1, 0), (9, 7), (900, 64)] {
                let now = Nanos::from_micros(now);
                train.begin(usize::MAX);
                together.pull_train(now, room, &mut train);
                let mut frame = Vec::new();
                for (at, of_train) in train.iter().enumerate() {
                    assert!(singly.pull(now, at < room, &mut frame));
                    assert_eq!(of_train, frame);
                }
                assert!(!singly.pull(now, train.len() < room, &mut frame));
            }
            assert_eq!(together.control().counters().offered.get(), 30);
            assert_eq!(singly.idle(), together.idle());
        }
    }

    #[test]
    fn an_open_loop_may_wait_until_somebody_receives() {
        let pattern = Pattern::new(1);
        let rate = "1Mpps".parse().unwrap();
        let mut open = Generator::new(&pattern).rate(rate).from_first_room();
        assert!(collect(&mut open, Nanos::ZERO, false).is_empty());
        assert!(collect(&mut open, Nanos::from_millis(5), false).is_empty());
        // its clock starts with the first room, and then it asks no more
        let begin = Nanos::from_millis(9);
        assert_eq!(collect(&mut open, begin, true).len(), 1);
        let soon = Nanos(begin.0 + 10_000);
        assert_eq!(collect(&mut open, soon, false).len(), 10);
        assert_eq!(open.control().counters().forfeited_nanos.get(), 0);
    }

    #[test]
    fn a_closed_loop_waits_for_room_and_an_open_one_does_not() {
        let pattern = Pattern::new(1);
        let mut closed = Generator::new(&pattern);
        assert!(collect(&mut closed, Nanos::ZERO, false).is_empty());
        assert!(!closed.idle());
        let mut open = Generator::new(&pattern).rate("1Mpps".parse().unwrap());
        assert_eq!(collect(&mut open, Nanos::ZERO, false).len(), 1);
        assert_eq!(collect(&mut open, Nanos::from_micros(10), false).len(), 10);
        let late = collect(&mut open, Nanos::from_millis(5), false).len();
        assert_eq!(late, 1_000);
        assert!(open.control().counters().forfeited_nanos.get() > 3_900_000);
    }

    #[test]
    fn a_stopped_generator_is_idle() {
        let mut generator = Generator::new(&Pattern::new(1));
        assert_eq!(collect(&mut generator, Nanos::ZERO, true).len(), 1_000);
        generator.control().stop();
        assert!(collect(&mut generator, Nanos::ZERO, true).is_empty());
        assert!(generator.idle());
    }

    #[test]
    fn imix_lengths_come_in_proportion() {
        let mut generator = Generator::new(&Pattern::new(1).size(Size::IMIX)).limit(24);
        let frames = collect(&mut generator, Nanos::ZERO, true);
        let bytes: usize = frames.iter().map(Vec::len).sum();
        assert_eq!(bytes, 2 * (7 * 60 + 4 * 590 + 1514));
    }
}
