//! The sink of test frames: is all that was sent here, in order and unharmed?

use super::pattern::MAX_FRAME;
use super::test_frame::{Head, TOUCHED, Writer, flow_of};
use super::train::Frame;
use super::window::{Arrival, Windows};
use super::{MIN_FRAME, Pattern, Sink, SinkCounters, Touch, Train, widen};
use crate::time::Nanos;
use std::iter::Peekable;
use std::sync::Arc;

/// Checks every byte of the frames of one [`Pattern`] and the order within each flow.
///
/// Frames are counted as follows ([`SinkCounters`]):
///
/// - A number above the next one expected opens a gap: the numbers passed over are *lost*. One of
///   them that arrives later is *reordered* and *delivered*, and no longer lost.
/// - A number that was here before is *duplicated*, and not delivered again.
/// - A frame of this pattern with a wrong byte or length is *corrupted*. Its number cannot be
///   trusted, so what it carried is lost as well.
/// - Everything else is *foreign*.
///
/// A frame more than 4,096 numbers late (65,536 where there are at most 16 flows) is *reordered*
/// and stays lost: whether it had been here before is no longer known.
#[derive(Debug)]
pub struct Verifier {
    pattern: Pattern,
    template: [u8; MIN_FRAME],
    /// Makes the frames as they must be here.
    expected: Writer,
    touched: u8,
    windows: Windows,
    counters: Arc<SinkCounters>,
}

impl Verifier {
    /// Expects what a generator of `pattern` sends, after a program that does `touch` to it.
    pub fn new(pattern: &Pattern, touch: Touch) -> Self {
        let mut here = pattern.clone();
        here.destination[TOUCHED] = touch.apply(pattern.destination[TOUCHED]);
        Self {
            pattern: pattern.clone(),
            template: pattern.template(),
            expected: Writer::new(&here, MAX_FRAME),
            touched: here.destination[TOUCHED],
            windows: Windows::new(pattern.flows.get()),
            counters: Arc::default(),
        }
    }

    /// The counters, to be read from any thread.
    pub fn counters(&self) -> Arc<SinkCounters> {
        Arc::clone(&self.counters)
    }

    fn arrived(&mut self, flow: u16, sequence: u64, bytes: usize) {
        let counters = &self.counters;
        match self.windows.record(flow, sequence) {
            Arrival::Newest { skipped } => {
                if skipped > 0 {
                    counters.lost.add(skipped);
                }
            }
            Arrival::Late => {
                counters.reordered.add(1);
                counters.lost.set(counters.lost.get().saturating_sub(1));
            }
            Arrival::Again => {
                counters.duplicated.add(1);
                return;
            }
            Arrival::Forgotten => {
                counters.reordered.add(1);
                return;
            }
        }
        counters.delivered.add(1);
        counters.delivered_bytes.add(widen(bytes));
    }

    /// True if a frame whose check is wrong was once one of ours. One wrong byte can be anywhere,
    /// so several marks are looked at and one of them is enough.
    fn resembles(&self, frame: &[u8]) -> bool {
        let marks = [6..12, 26..28, 30..34, 42..46];
        marks
            .into_iter()
            .any(|mark| frame.get(mark.clone()) == self.template.get(mark))
    }
}

impl Sink for Verifier {
    #[inline]
    fn push(&mut self, _now: Nanos, frame: &[u8]) {
        if frame
            .first_chunk()
            .is_some_and(|head| self.is_next(head, frame))
        {
            self.count(1, frame.len());
        } else {
            self.look_closely(frame);
        }
    }

    fn push_train(&mut self, _now: Nanos, train: &Train) {
        let mut frames = train.frames(0).peekable();
        while let Some(first) = frames.next() {
            self.run(first, &mut frames);
        }
    }
}

impl Verifier {
    /// Counts frames that were the next ones.
    #[inline]
    fn count(&self, frames: usize, bytes: usize) {
        self.counters.delivered.add(widen(frames));
        self.counters.delivered_bytes.add(widen(bytes));
    }

    /// Looks at a frame, and at those behind it as long as they are what must follow it.
    #[inline]
    fn run<'a>(
        &mut self,
        first: Frame<'a>,
        frames: &mut Peekable<impl Iterator<Item = Frame<'a>>>,
    ) {
        let length = first.length;
        let bytes = first.bytes();
        let Some(head) = bytes.first_chunk() else {
            self.look_closely(bytes);
            return;
        };
        if !self.is_next(head, bytes) {
            self.look_closely(bytes);
            return;
        }
        let mut count = 1;
        let flow = flow_of(head);
        // frames without a tail only: they are many, and quickly compared
        if let (Self::SHORTEST, Some(next)) = (length, self.windows.expected(flow)) {
            let prepared = self.expected.beginning(60, flow);
            // the number after the last possible one is never reached
            let last = u64::MAX - 1;
            let mut number = next;
            while number < last
                && frames
                    .next_if(|frame| {
                        let head = frame.first().and_then(|block| block.first_chunk());
                        frame.length == Self::SHORTEST
                            && head.is_some_and(|head| prepared.is(number, head))
                    })
                    .is_some()
            {
                number += 1;
            }
            self.windows.advance_to(flow, number);
            count += number - next;
        }
        self.counters.delivered.add(count);
        self.counters.delivered_bytes.add(count * widen(length));
    }

    const SHORTEST: usize = MIN_FRAME;

    /// True, and the window knows, if the frame is byte for byte the next one of its flow. It begins
    /// with `head`.
    #[inline]
    fn is_next(&mut self, head: &[u8; MIN_FRAME], frame: &[u8]) -> bool {
        let (Some(tail), Ok(length)) = (frame.get(MIN_FRAME..), u16::try_from(frame.len())) else {
            return false;
        };
        let flow = flow_of(head);
        let Some(sequence) = self.windows.expected(flow) else {
            return false;
        };
        self.expected.beginning(length, flow).is(sequence, head)
            && self.expected.is_fill(tail)
            && self.windows.advance(flow)
    }

    /// Finds out what a frame is that was not expected just now.
    #[inline(never)]
    fn look_closely(&mut self, frame: &[u8]) {
        let Some((head, tail)) = frame.split_first_chunk::<MIN_FRAME>() else {
            if self.resembles(frame) {
                self.counters.corrupted.add(1);
            } else {
                self.counters.foreign.add(1);
            }
            return;
        };
        let touched = head[TOUCHED];
        let head = Head::read(head);
        let fields = head.fields();
        let ours = fields.stream == self.pattern.stream && fields.flow < self.pattern.flows.get();
        let exact = fields.length == frame.len()
            && touched == self.touched
            && self.expected.is_fill(tail)
            // The generator never gets there, and the window needs a number after each.
            && fields.sequence != u64::MAX;
        if fields.intact && ours && exact {
            self.arrived(fields.flow, fields.sequence, frame.len());
        } else if (fields.intact && !ours) || !(head.has_magic() || self.resembles(frame)) {
            self.counters.foreign.add(1);
        } else {
            self.counters.corrupted.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Generator, Size, Source, SourceControl, WireTotals};
    use proptest::prelude::*;
    use std::num::NonZeroU16;

    struct Run {
        generator: Generator,
        verifier: Verifier,
        control: SourceControl,
        counters: Arc<SinkCounters>,
    }

    fn run(pattern: &Pattern, touch: Touch) -> Run {
        let generator = Generator::new(pattern);
        let verifier = Verifier::new(pattern, touch);
        Run {
            control: generator.control(),
            counters: verifier.counters(),
            generator,
            verifier,
        }
    }

    impl Run {
        fn next(&mut self) -> Vec<u8> {
            let mut frame = Vec::new();
            assert!(self.generator.pull(Nanos::ZERO, true, &mut frame));
            frame
        }

        fn push(&mut self, frame: &[u8]) {
            self.verifier.push(Nanos::ZERO, frame);
        }

        fn totals(&self) -> WireTotals {
            WireTotals::read(self.control.counters(), &self.counters)
        }
    }

    #[test]
    fn a_clean_run_is_all_delivered() {
        let pattern = Pattern::new(7)
            .size(Size::IMIX)
            .flows(NonZeroU16::new(5).unwrap());
        let mut run = run(&pattern, Touch::Incremented);
        for _ in 0..1_000 {
            let mut frame = run.next();
            frame[5] = frame[5].wrapping_add(1);
            run.push(&frame);
        }
        let expected = WireTotals {
            offered: 1_000,
            delivered: 1_000,
            ..WireTotals::default()
        };
        assert_eq!(run.totals(), expected);
        assert_eq!(run.totals().drained(), expected);
    }

    #[test]
    fn an_incremented_byte_wraps() {
        let pattern = Pattern::new(1).destination([2, 0, 0, 0, 0, 0xff]);
        let mut run = run(&pattern, Touch::Incremented);
        let mut frame = run.next();
        frame[5] = 0;
        run.push(&frame);
        assert_eq!(run.totals().delivered, 1);
    }

    #[test]
    fn a_byte_not_touched_or_touched_twice_is_corruption() {
        for (touch, byte) in [
            (Touch::Incremented, 0),
            (Touch::Incremented, 2),
            (Touch::Unchanged, 1),
        ] {
            let mut run = run(&Pattern::new(1), touch);
            let mut frame = run.next();
            frame[5] += byte;
            run.push(&frame);
            assert_eq!((run.totals().delivered, run.totals().corrupted), (0, 1));
        }
    }

    #[test]
    fn a_late_frame_is_reordered_and_no_longer_lost() {
        let mut run = run(&Pattern::new(1), Touch::Unchanged);
        let frames: Vec<_> = (0..4).map(|_| run.next()).collect();
        run.push(&frames[0]);
        run.push(&frames[3]);
        assert_eq!(run.totals().lost, 2);
        run.push(&frames[1]);
        run.push(&frames[1]);
        let totals = run.totals();
        assert_eq!(
            (totals.lost, totals.reordered, totals.duplicated),
            (1, 1, 1)
        );
        assert_eq!(totals.delivered, 3);
        assert_eq!(totals.drained().lost, 1);
    }

    #[test]
    fn a_train_is_looked_at_frame_by_frame() {
        for size in [Size::IMIX, Size::MIN, Size::fixed(64).unwrap()] {
            let pattern = Pattern::new(1).size(size);
            let mut run = run(&pattern, Touch::Unchanged);
            let frames: Vec<_> = (0..12).map(|_| run.next()).collect();
            let mut train = Train::new();
            for (at, frame) in frames.iter().enumerate() {
                match at {
                    2 => {} // lost
                    4 => train.push(&[&frame[..59], &[0]].concat()),
                    6 => train.push(&frame[..50]),
                    _ => train.push(frame),
                }
            }
            train.push(&[7; 60]);
            train.push(&[]);
            run.verifier.push_train(Nanos::ZERO, &train);
            let totals = run.totals();
            assert_eq!((totals.delivered, totals.lost), (9, 3), "{size}");
            assert_eq!((totals.corrupted, totals.foreign), (2, 2), "{size}");
            // the window has all of them
            for at in [0, 5, 11] {
                run.push(&frames[at]);
            }
            run.push(&frames[2]);
            let totals = run.totals();
            assert_eq!((totals.duplicated, totals.reordered), (3, 1), "{size}");
        }
    }

    #[test]
    fn every_flip_of_a_bit_in_a_train_is_noticed() {
        let pattern = Pattern::new(1);
        let mut run = run(&pattern, Touch::Unchanged);
        let mut train = Train::new();
        for bit in 0..480 {
            let before = run.next();
            let mut bad = run.next();
            bad[bit / 8] ^= 1 << (bit % 8);
            train.begin(64);
            train.push(&before);
            train.push(&bad);
            run.verifier.push_train(Nanos::ZERO, &train);
        }
        let totals = run.totals();
        assert_eq!(totals.delivered, 480);
        assert_eq!(totals.corrupted + totals.foreign, 480);
    }

    #[test]
    fn lengths_must_be_exact() {
        let pattern = Pattern::new(1).size(Size::fixed(100).unwrap());
        let mut run = run(&pattern, Touch::Unchanged);
        let frame = run.next();
        run.push(&frame[..99]);
        run.push(&frame[..60]);
        run.push(&frame[..30]);
        run.push(&[&frame[..], &[0]].concat());
        assert_eq!(run.totals().corrupted, 4);
        assert_eq!(run.totals().delivered, 0);
    }

    #[test]
    fn other_traffic_is_foreign() {
        let mut run = run(&Pattern::new(1), Touch::Unchanged);
        let mut other = Vec::new();
        Generator::new(&Pattern::new(2)).pull(Nanos::ZERO, true, &mut other);
        run.push(&other);
        run.push(&[0xff; 60]);
        run.push(&[]);
        run.push(&vec![0; 20_000]);
        assert_eq!(run.totals().foreign, 4);
        assert_eq!(run.totals().corrupted, 0);
    }

    #[test]
    fn every_flip_of_a_bit_of_a_long_frame_is_corruption() {
        let pattern = Pattern::new(1).size(Size::fixed(200).unwrap());
        let mut run = run(&pattern, Touch::Unchanged);
        let frame = run.next();
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            run.push(&bad);
        }
        assert_eq!(run.totals().corrupted, 200 * 8);
        assert_eq!(run.totals().delivered, 0);
    }

    proptest! {
        /// Whatever subset of the frames arrives, in whatever order and however often.
        #[test]
        fn lost_is_offered_minus_delivered(
            flows in 1u16..5,
            arrivals in prop::collection::vec(0usize..200, 0..400),
        ) {
            let pattern = Pattern::new(1).flows(NonZeroU16::new(flows).unwrap());
            let mut run = run(&pattern, Touch::Unchanged);
            let frames: Vec<_> = (0..200).map(|_| run.next()).collect();
            let mut seen = std::collections::HashSet::new();
            let mut again = 0;
            for at in arrivals {
                run.push(&frames[at]);
                again += u64::from(!seen.insert(at));
            }
            let totals = run.totals();
            prop_assert_eq!(totals.delivered, widen(seen.len()));
            prop_assert_eq!(totals.duplicated, again);
            let missed_before_the_last: u64 = (0..usize::from(flows))
                .map(|flow| {
                    let mine: Vec<_> = seen.iter().filter(|&&at| at % usize::from(flows) == flow).collect();
                    let highest = mine.iter().map(|&&at| at / usize::from(flows) + 1).max();
                    widen(highest.unwrap_or(0) - mine.len())
                })
                .sum();
            prop_assert_eq!(totals.lost, missed_before_the_last);
            prop_assert_eq!(totals.drained().lost, totals.offered - totals.delivered);
        }

        #[test]
        fn no_bytes_panic(frame in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut run = run(&Pattern::new(1), Touch::Unchanged);
            run.push(&frame);
            prop_assert_eq!(run.totals().delivered, 0);
        }
    }
}
