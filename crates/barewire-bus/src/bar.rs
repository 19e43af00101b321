//! The registers of a device.

use std::sync::Arc;
use std::time::Duration;

/// A base address register's window: the registers of a device.
///
/// # What an implementation promises
///
/// - Each call is one access to the device, in program order, neither merged nor left out.
/// - **A write is a release**: what the program wrote to DMA memory before it is visible to the
///   device when the write arrives. A driver's tail write relies on it. On x86 a plain store does
///   it; elsewhere it takes a barrier.
/// - A read outside the window, or of a device that is gone, returns all ones; a write there has no
///   effect. Neither panics. An offset that is no multiple of the access's size is outside.
///
/// # Registers of 8 and 16 bits
///
/// All registers of the ixgbe family have 32 bits, and what the narrow accesses do where an
/// implementation does not say otherwise is what such a device does: a narrow read takes its part
/// of a read of the whole register, side effects included, and a narrow write is none.
/// A narrow write is never made of a wide one, because writing back a neighbour's value is an
/// access to the neighbour. So an implementation for devices with registers of 8 and 16 bits
/// (virtio) provides all four.
pub trait Bar: Send + Sync + 'static {
    /// Size of the window in bytes.
    fn size(&self) -> u32;

    /// Reads the register at `offset`, a multiple of 4. Registers that clear on read are cleared.
    fn read32(&self, offset: u32) -> u32;

    /// Writes the register at `offset`, a multiple of 4.
    fn write32(&self, offset: u32, value: u32);

    /// Reads the 16-bit register at `offset`, a multiple of 2.
    fn read16(&self, offset: u32) -> u16 {
        let bytes = self.read32(offset & !3).to_le_bytes();
        match offset % 4 {
            0 => u16::from_le_bytes([bytes[0], bytes[1]]),
            2 => u16::from_le_bytes([bytes[2], bytes[3]]),
            _ => u16::MAX,
        }
    }

    /// Writes the 16-bit register at `offset`, a multiple of 2.
    fn write16(&self, offset: u32, value: u16) {
        let _ = (offset, value);
    }

    /// Reads the 8-bit register at `offset`.
    fn read8(&self, offset: u32) -> u8 {
        let [byte, ..] = (self.read32(offset & !3) >> (offset % 4 * 8)).to_le_bytes();
        byte
    }

    /// Writes the 8-bit register at `offset`.
    fn write8(&self, offset: u32, value: u8) {
        let _ = (offset, value);
    }

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

    #[inline]
    fn read16(&self, offset: u32) -> u16 {
        (**self).read16(offset)
    }

    #[inline]
    fn write16(&self, offset: u32, value: u16) {
        (**self).write16(offset, value);
    }

    #[inline]
    fn read8(&self, offset: u32) -> u8 {
        (**self).read8(offset)
    }

    #[inline]
    fn write8(&self, offset: u32, value: u8) {
        (**self).write8(offset, value);
    }

    fn delay(&self, duration: Duration) {
        (**self).delay(duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A device with one register of 32 bits, which counts its accesses.
    #[derive(Default)]
    struct Counting {
        reads: AtomicU32,
        writes: AtomicU32,
    }

    impl Bar for Counting {
        fn size(&self) -> u32 {
            4
        }
        fn read32(&self, offset: u32) -> u32 {
            assert_eq!(offset, 0);
            self.reads.fetch_add(1, Ordering::Relaxed);
            0x4433_2211
        }
        fn write32(&self, _: u32, _: u32) {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_narrow_read_is_part_of_one_wide_read() {
        let bar = Arc::new(Counting::default());
        assert_eq!(
            [0, 1, 2, 3].map(|at| bar.read8(at)),
            [0x11, 0x22, 0x33, 0x44]
        );
        assert_eq!([0, 2].map(|at| bar.read16(at)), [0x2211, 0x4433]);
        assert_eq!([1, 3].map(|at| bar.read16(at)), [u16::MAX; 2]);
        assert_eq!(bar.reads.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_narrow_write_never_touches_the_neighbours() {
        let bar = Counting::default();
        bar.write8(1, 0xFF);
        bar.write16(2, 0xFFFF);
        assert_eq!(bar.reads.load(Ordering::Relaxed), 0);
        assert_eq!(bar.writes.load(Ordering::Relaxed), 0);
    }
}
