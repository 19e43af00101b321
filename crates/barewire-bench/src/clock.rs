//! The processor's time-stamp counter.

use std::sync::atomic::{Ordering, fence};

use anyhow::{Result, bail};

/// Reads the counter as the C subjects do: when all instructions before have been carried out, and
/// before any memory access behind is made.
#[derive(Debug)]
pub(crate) struct Clock(());

impl Clock {
    /// The counter.
    ///
    /// # Errors
    /// On a processor of another kind.
    pub(crate) fn new() -> Result<Self> {
        if cfg!(target_arch = "x86_64") {
            Ok(Self(()))
        } else {
            bail!("cycles are counted on x86-64 only");
        }
    }

    /// The counter's reading.
    #[inline]
    #[allow(clippy::unused_self)] // to have one is to be on a processor with a counter
    pub(crate) fn now(&self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        let reading = safe_arch::read_timestamp_counter_p(&mut 0);
        #[cfg(not(target_arch = "x86_64"))]
        let reading = 0;
        fence(Ordering::SeqCst);
        reading
    }
}
