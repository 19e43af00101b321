//! The model's clock.

use std::fmt;
use std::ops::Add;
use std::time::Instant;

/// Nanoseconds of the model's time since it was made.
///
/// The clock belongs to the model: a test that steps it decides how fast time passes, so a run
/// gives the same result on a fast and on a slow machine. It starts at zero, never goes backwards,
/// and its 64 bits last for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The moment the model was made.
    pub const ZERO: Self = Self(0);

    /// `count` microseconds; the largest value that fits if there are more.
    pub const fn from_micros(count: u64) -> Self {
        Self(count.saturating_mul(1_000))
    }

    /// `count` milliseconds; the largest value that fits if there are more.
    pub const fn from_millis(count: u64) -> Self {
        Self(count.saturating_mul(1_000_000))
    }

    /// The nanoseconds that passed since `earlier`, zero if `earlier` is not in the past.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Self;

    /// Saturates: a moment past the end of the clock is the end of the clock.
    fn add(self, later: Self) -> Self {
        Self(self.0.saturating_add(later.0))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.0)
    }
}

/// Where a device's time comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// Accesses, delays and steps.
    Stepped,
    /// The real clock, from this moment on, when the device's time was that.
    Real(Instant, Nanos),
}

impl Clock {
    /// The real clock from now on.
    pub(crate) fn real(now: Nanos) -> Self {
        Self::Real(Instant::now(), now)
    }

    pub(crate) fn is_stepped(self) -> bool {
        matches!(self, Self::Stepped)
    }

    /// The time after `now`: `amount` later, or what the real clock says.
    pub(crate) fn after(self, now: Nanos, amount: Nanos) -> Nanos {
        match self {
            Self::Stepped => now + amount,
            Self::Real(start, base) => {
                let passed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                base + Nanos(passed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_sums_saturate() {
        assert_eq!(Nanos(5).since(Nanos(7)), Nanos::ZERO);
        assert_eq!(Nanos(7).since(Nanos(5)), Nanos(2));
        assert_eq!(Nanos(u64::MAX) + Nanos(1), Nanos(u64::MAX));
        assert_eq!(Nanos::from_millis(u64::MAX), Nanos(u64::MAX));
        assert_eq!(Nanos::from_micros(3), Nanos(3_000));
    }
}
