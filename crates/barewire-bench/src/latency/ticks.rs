//! A clock that is quick to read: the time-stamp counter, or the system's where there is none.

use std::time::{Duration, Instant};

/// Turns readings into nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    #[cfg(not(target_arch = "x86_64"))]
    start: Instant,
    /// Ticks per nanosecond, times 2²⁴.
    rate: u64,
}

impl Ticks {
    /// Compares the counter with the system's clock for a moment.
    pub(crate) fn calibrated() -> Self {
        let mut ticks = Self {
            #[cfg(not(target_arch = "x86_64"))]
            start: Instant::now(),
            rate: 1 << 24,
        };
        let (begin, from) = (ticks.now(), Instant::now());
        while from.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let passed = u128::from(ticks.now() - begin) << 24;
        let nanos = from.elapsed().as_nanos().max(1);
        ticks.rate = u64::try_from(passed / nanos).unwrap_or(1 << 24).max(1);
        ticks
    }

    /// The reading now.
    #[inline]
    #[allow(clippy::unused_self)] // used where there is no counter
    pub(crate) fn now(self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        let reading = safe_arch::read_timestamp_counter();
        #[cfg(not(target_arch = "x86_64"))]
        let reading = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        reading
    }

    /// Nanoseconds of so many ticks; those of ticks far beyond an hour are wrong.
    #[inline]
    pub(crate) fn nanos(self, ticks: u64) -> u64 {
        u64::try_from((u128::from(ticks) << 24) / u128::from(self.rate)).unwrap_or(u64::MAX)
    }

    /// Ticks of a nanosecond, times 2²⁴.
    pub(crate) fn rate(self) -> u64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_nanoseconds_are_in_proportion() {
        let mut ticks = Ticks::calibrated();
        ticks.rate = 2 << 24;
        assert_eq!((ticks.nanos(0), ticks.nanos(2000)), (0, 1000));
    }
}
