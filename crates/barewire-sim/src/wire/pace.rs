//! When the next frame of a paced source is due.

use super::{Rate, SourceCounters};
use crate::time::Nanos;

const BILLION: u128 = 1_000_000_000;

/// How far a paced source may fall behind and still catch up.
const DEFAULT_CATCH_UP: Nanos = Nanos::from_millis(1);

/// Keeps a [`Rate`] exactly.
///
/// It compares the units sent since the start with those due since the start, both in billionths of
/// a unit, so nothing is ever rounded and nothing adds up. If nobody asked for so long that more
/// than the allowed catch-up is due, the excess is given up: a wire cannot send the past.
#[derive(Clone, Debug)]
struct Pacer {
    rate: Rate,
    /// What may be due at once.
    kept: u128,
    start: Option<Nanos>,
    spent: u128,
}

impl Pacer {
    fn new(rate: Rate, catch_up: Nanos) -> Self {
        Self {
            rate,
            kept: earned(rate, catch_up),
            start: None,
            spent: 0,
        }
    }

    /// True if a frame is due; with the nanoseconds that had to be given up.
    fn due(&mut self, now: Nanos) -> (bool, u64) {
        let elapsed = now.since(*self.start.get_or_insert(now));
        let Some(behind) = earned(self.rate, elapsed).checked_sub(self.spent) else {
            return (false, 0);
        };
        let Some(given_up @ 1..) = behind.checked_sub(self.kept) else {
            return (true, 0);
        };
        self.spent += given_up;
        let nanos = given_up / u128::from(self.rate.per_second());
        (true, u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Accounts for a frame of `length` bytes sent.
    fn sent(&mut self, length: usize) {
        let cost = u128::from(self.rate.cost(length)) * BILLION;
        self.spent = self.spent.saturating_add(cost);
    }
}

/// Billionths of a unit that become due in `time`: a nanosecond is a billionth of a second.
fn earned(rate: Rate, time: Nanos) -> u128 {
    u128::from(time.0) * u128::from(rate.per_second())
}

/// When a source may send: on room alone, or when its rate says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    pacer: Option<Pacer>,
    /// Nothing is due before there was room once.
    waits: bool,
}

impl Gate {
    /// From now on open-loop at `rate`.
    pub(super) fn pace(&mut self, rate: Rate) {
        self.pacer = Some(Pacer::new(rate, DEFAULT_CATCH_UP));
    }

    /// From now on closed until there was room once.
    pub(super) fn wait(&mut self) {
        self.waits = true;
    }

    /// Whether frames come at a rate, ready or not.
    pub(super) fn is_paced(&self) -> bool {
        self.pacer.is_some()
    }

    /// True if a frame may be offered at `now`.
    pub(super) fn open(&mut self, now: Nanos, room: bool, counters: &SourceCounters) -> bool {
        self.waits &= !room;
        if self.waits {
            return false;
        }
        let Some(pacer) = &mut self.pacer else {
            return room;
        };
        let (due, given_up) = pacer.due(now);
        if given_up > 0 {
            counters.forfeited_nanos.add(given_up);
        }
        due
    }

    /// Accounts for a frame of `length` bytes offered.
    pub(super) fn offered(&mut self, length: usize, counters: &SourceCounters) {
        if let Some(pacer) = &mut self.pacer {
            pacer.sent(length);
        }
        counters.count_offered(1, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU64;

    fn drain(pacer: &mut Pacer, now: Nanos, length: usize) -> (u64, u64) {
        let (mut frames, mut forfeited) = (0, 0);
        loop {
            let (due, given_up) = pacer.due(now);
            forfeited += given_up;
            if !due {
                return (frames, forfeited);
            }
            pacer.sent(length);
            frames += 1;
        }
    }

    #[test]
    fn a_second_of_line_rate_is_14_88_million_minimal_frames() {
        let mut pacer = Pacer::new(Rate::LINE, Nanos::from_millis(1));
        let mut frames = 0;
        for micros in 0..=1_000_000 {
            let (more, forfeited) = drain(&mut pacer, Nanos::from_micros(micros), 60);
            frames += more;
            assert_eq!(forfeited, 0);
        }
        // The frame under way at the end of the second has begun.
        assert_eq!(frames, 10_000_000_000 / (84 * 8) + 1);
    }

    #[test]
    fn frames_keep_their_distance() {
        let rate = "3pps".parse().unwrap();
        let mut pacer = Pacer::new(rate, Nanos::from_millis(1_000));
        let times: Vec<u64> = (0..2_000_000_000u64)
            .step_by(1_000_000)
            .filter(|&now| {
                let due = pacer.due(Nanos(now)).0;
                if due {
                    pacer.sent(60);
                }
                due
            })
            .map(|now| now / 1_000_000)
            .collect();
        assert_eq!(times, [0, 334, 667, 1000, 1334, 1667]);
    }

    #[test]
    fn a_long_pause_is_caught_up_in_part() {
        let rate = "1Mpps".parse().unwrap();
        let mut pacer = Pacer::new(rate, Nanos::from_millis(1));
        assert_eq!(drain(&mut pacer, Nanos::ZERO, 60), (1, 0));
        let (frames, forfeited) = drain(&mut pacer, Nanos::from_millis(11), 60);
        assert_eq!(frames, 1_001);
        // All but the first frame's and the kept millisecond.
        assert_eq!(forfeited, 9_999_000);
        assert_eq!(drain(&mut pacer, Nanos::from_millis(12), 60), (1_000, 0));
    }

    #[test]
    fn the_end_of_time_is_not_a_panic() {
        let mut pacer = Pacer::new("1000000G".parse().unwrap(), Nanos(u64::MAX));
        assert!(pacer.due(Nanos::ZERO).0);
        pacer.sent(usize::MAX / 16);
        pacer.sent(usize::MAX / 16);
        let _ = pacer.due(Nanos(u64::MAX));
    }

    proptest! {
        /// However the moments fall, what was sent never leaves the ideal line by more than a
        /// frame, unless time had to be given up.
        #[test]
        fn no_drift(
            rate in prop_oneof![
                (1u64..1_000_000).prop_map(|n| Rate::frames(NonZeroU64::new(n).unwrap())),
                (1u64..20_000_000_000).prop_map(|n| Rate::wire_bits(NonZeroU64::new(n).unwrap())),
            ],
            length in 60usize..9_710,
            steps in prop::collection::vec(0u64..100_000, 1..50),
        ) {
            let mut pacer = Pacer::new(rate, Nanos::from_millis(1));
            let (mut now, mut frames) = (0, 0u64);
            for step in steps {
                now += step;
                let (more, forfeited) = drain(&mut pacer, Nanos(now), length);
                prop_assert_eq!(forfeited, 0);
                frames += more;
            }
            prop_assert!(frames >= 1);
            let cost = u128::from(rate.cost(length)) * BILLION;
            prop_assert_eq!(pacer.spent, u128::from(frames) * cost);
            let due = earned(rate, Nanos(now).since(pacer.start.unwrap()));
            prop_assert!(pacer.spent > due);
            prop_assert!(pacer.spent <= due + cost);
        }
    }
}
