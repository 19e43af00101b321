//! The registers of a device.

use std::sync::Arc;
use std::time::Duration;

/// A base address register's window: the registers of a device, 32 bits each.
///
/// # What an implementation promises
///
/// - Each call is one access to the device, in program order, neither merged nor left out.
/// - **A write is a release**: what the program wrote to DMA memory before it is visible to the
///   device when the write arrives. A driver's tail write relies on it. On x86 a plain store does
///   it; elsewhere it takes a barrier.
/// - A read outside the window, or of a device that is gone, returns all ones; a write there has no
///   effect. Neither panics.
pub trait Bar: Send + Sync + 'static {
    /// Size of the window in bytes.
    fn size(&self) -> u32;

    /// Reads the register at `offset`, a multiple of 4. Registers that clear on read are cleared.
    fn read32(&self, offset: u32) -> u32;

    /// Writes the register at `offset`, a multiple of 4.
    fn write32(&self, offset: u32, value: u32);

    /// Lets at least `duration` of the device's time pass.
    ///
    /// Drivers bound every wait by the sum of their delays, so a software device may let its own
    /// time pass here instead of the world's, and tests of time-outs take no time.
    fn delay(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

impl<B: Bar + ?Sized> Bar for Arc<B> {
    fn size(&self) -> u32 {
        (**self).size()
    }

    #[inline]
    fn read32(&self, offset: u32) -> u32 {
        (**self).read32(offset)
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        (**self).write32(offset, value);
    }

    fn delay(&self, duration: Duration) {
        (**self).delay(duration);
    }
}
