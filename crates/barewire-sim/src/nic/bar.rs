//! The device as seen from the bus: registers, configuration space and the memory it may reach.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use barewire_bus::{Bar, BusError, Interrupts, PciFunction};
use barewire_dma::DmaMap;
use barewire_spec::pci::config;

use super::doorbell::decode;
use super::{BAR0_BYTES, Shared, events};
use crate::handle::Core;

/// The registers of a software 82599.
///
/// Tail registers cost a store while the device runs on a thread; everything else takes the
/// device's lock for the moment of the access.
#[derive(Clone)]
pub struct NicBar {
    shared: Arc<Shared>,
}

impl fmt::Debug for NicBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NicBar")
            .field("device", &self.shared.name)
            .finish()
    }
}

impl Bar for NicBar {
    fn size(&self) -> u32 {
        BAR0_BYTES
    }

    fn read32(&self, offset: u32) -> u32 {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.read(offset)
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        if let Some((direction, queue)) = decode(offset)
            && !self.shared.is_stepped()
        {
            self.shared.doorbells.ring(direction, queue, value);
            return;
        }
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.write(offset, value);
    }

    fn delay(&self, duration: Duration) {
        self.shared.delay(duration);
    }
}

/// A software 82599 as a PCI function.
pub struct NicFunction {
    shared: Arc<Shared>,
}

impl NicFunction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Lets `duration` of the device's time pass, with the device at work.
    pub fn run_for(&self, duration: Duration) {
        self.shared.run_for(duration);
    }
}

impl fmt::Debug for NicFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NicFunction")
            .field("device", &self.shared.name)
            .finish()
    }
}

impl PciFunction for NicFunction {
    type Bar = NicBar;

    fn name(&self) -> &str {
        &self.shared.name
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let model = self.shared.access();
        Ok(if model.removed {
            u32::MAX
        } else {
            model.pci.read(offset)
        })
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        let mut model = self.shared.access();
        model.absorb(&self.shared.doorbells);
        model.config_write(offset, value);
        Ok(())
    }

    fn bar(&self, index: u8) -> Result<Self::Bar, BusError> {
        if index != 0 {
            return Err(BusError::NoBar {
                device: self.shared.name.clone(),
                index,
            });
        }
        Ok(NicBar {
            shared: Arc::clone(&self.shared),
        })
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        self.shared.dma()
    }

    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        events::connect(&self.shared, vectors)
    }
}

impl super::Model {
    /// Writes configuration space; a function-level reset is the whole device's.
    pub(super) fn config_write(&mut self, offset: u16, value: u32) {
        if let Some(trace) = &mut self.trace {
            trace.config(self.now, offset, value);
        }
        if self.removed {
            return;
        }
        let control = config::i82599::PCI_EXPRESS + config::express::DEVICE_CONTROL;
        if offset & !3 == control && value & u32::from(config::express::DEVICE_CONTROL_FLR) != 0 {
            self.function_reset();
            return;
        }
        let was_asleep = self.pci.is_asleep();
        self.pci.write(offset, value);
        if was_asleep && !self.pci.is_asleep() {
            self.wake();
        }
        self.decode_port();
        if self.pci.is_master() {
            self.master_reported = false;
        }
    }
}
