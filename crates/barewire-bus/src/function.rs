//! One function of a PCI device.

use std::sync::Arc;

use barewire_dma::DmaMap;

use crate::{Bar, BusError, Interrupts};

/// A PCI function that a driver can open: its name, its configuration space, its registers and
/// the memory it may see.
///
/// Dropping it gives the device back to whoever had it before.
pub trait PciFunction: Send + Sync + 'static {
    /// How its registers are reached.
    type Bar: Bar;

    /// The name for people: a PCI address, a socket's path, `sim`.
    fn name(&self) -> &str;

    /// Reads 32 bits of configuration space. `offset` is a multiple of 4 below 4096.
    ///
    /// # Errors
    /// [`BusError`] when the device can't be reached.
    fn config_read32(&self, offset: u16) -> Result<u32, BusError>;

    /// Writes 32 bits of configuration space. `offset` is a multiple of 4 below 4096.
    ///
    /// # Errors
    /// [`BusError`] when the device can't be reached.
    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError>;

    /// Maps the memory window of base address register `index`, 0 to 5.
    ///
    /// # Errors
    /// [`BusError::NoBar`] where the device has no such window.
    fn bar(&self, index: u8) -> Result<Self::Bar, BusError>;

    /// The device's view of memory.
    fn dma(&self) -> Arc<dyn DmaMap>;

    /// Whether an IOMMU of the machine stands between the device and memory, so that the addresses
    /// that [`dma`](Self::dma) gives mean nothing without it.
    fn is_translated(&self) -> bool {
        false
    }

    /// Turns message-signalled interrupts on: MSI-X with `vectors` vectors, or MSI with one where
    /// the device has no MSI-X. All vectors are set up in one step, before the device is told of
    /// any. They are off again when the value is dropped, and can then be asked for anew.
    ///
    /// # Errors
    /// [`BusError::NoInterrupts`] where a program can't have this device's interrupts, or not so
    /// many, with the remedy.
    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        let _ = vectors;
        Err(BusError::NoInterrupts {
            device: self.name().to_owned(),
            reason: "there is no way to them: poll".to_owned(),
        })
    }

    /// Whether the system has asked for the device to be given back, because it is about to be
    /// unplugged or bound to another driver. It waits until that is done.
    fn is_wanted_back(&self) -> bool {
        false
    }
}

impl<F: PciFunction + ?Sized> PciFunction for Box<F> {
    type Bar = F::Bar;

    fn name(&self) -> &str {
        (**self).name()
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        (**self).config_read32(offset)
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        (**self).config_write32(offset, value)
    }

    fn bar(&self, index: u8) -> Result<Self::Bar, BusError> {
        (**self).bar(index)
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        (**self).dma()
    }

    fn is_translated(&self) -> bool {
        (**self).is_translated()
    }

    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        (**self).interrupts(vectors)
    }

    fn is_wanted_back(&self) -> bool {
        (**self).is_wanted_back()
    }
}
