//! Waiting for a device, with an end.

use std::time::Duration;

use barewire_bus::Bar;

use crate::{Error, Link};

/// How often to look, and for how long, in the device's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) step: Duration,
    pub(crate) limit: Duration,
}

impl Patience {
    /// Every `step` microseconds for at most `limit` milliseconds.
    pub(crate) const fn new(step: u64, limit: u64) -> Self {
        Self {
            step: Duration::from_micros(step),
            limit: Duration::from_millis(limit),
        }
    }

    /// Waits until `look` returns something, and returns that, or `None` when the time was over.
    pub(crate) fn wait<T>(
        self,
        bar: &impl Bar,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if waited >= self.limit {
                return Ok(None);
            }
            bar.delay(self.step);
            waited += self.step;
        }
    }

    /// Its limit for people, in milliseconds.
    pub(crate) fn millis(self) -> u64 {
        u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The link as soon as it is up, or as it is after `limit`.
pub(crate) fn link_up(
    bar: &impl Bar,
    limit: Duration,
    mut link: impl FnMut() -> Result<Link, Error>,
) -> Result<Link, Error> {
    let patience = Patience {
        step: Duration::from_millis(1),
        limit,
    };
    let up = patience.wait(bar, || link().map(|link| link.up.then_some(link)))?;
    up.map_or_else(link, Ok)
}

/// Empty polls between two looks whether the device is still there: rare enough to cost nothing,
/// often enough to notice within a second.
const LONG: u32 = 1 << 20;

/// How long nothing has come from a device.
#[derive(Debug, Default)]
pub(crate) struct Silence(u32);

impl Silence {
    /// Once more nothing: whether it is time to look after the device.
    #[inline]
    pub(crate) fn goes_on(&mut self) -> bool {
        self.0 += 1;
        let long = self.0 >= LONG;
        if long {
            self.0 = 0;
        }
        long
    }
}
