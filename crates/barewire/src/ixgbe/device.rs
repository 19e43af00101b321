//! One device, shared by its port and its queues, and stopped when the last of them is dropped.

use std::sync::atomic::{AtomicBool, Ordering};

use barewire_bus::PciFunction;
use barewire_dma::{DmaError, Domain, Lent};
use barewire_spec::ixgbe::{CTRL_EXT, CtrlExt, Register};
use barewire_spec::pci::config;

use super::registers::{Registers, patience};
use super::reset;
use crate::Error;

pub(super) struct Device<P: PciFunction> {
    function: P,
    registers: Registers<P::Bar>,
    domain: Domain,
    stopped: AtomicBool,
}

impl<P: PciFunction> Device<P> {
    pub(super) fn new(function: P, registers: Registers<P::Bar>) -> Self {
        let domain = Domain::new(function.dma());
        Self {
            function,
            registers,
            domain,
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn registers(&self) -> &Registers<P::Bar> {
        &self.registers
    }

    pub(super) fn domain(&self) -> &Domain {
        &self.domain
    }

    pub(super) fn dma_error(&self, source: DmaError) -> Error {
        Error::Dma {
            device: self.registers.device().to_owned(),
            source,
        }
    }

    /// An error once the port was stopped: one load of a flag that nobody writes before.
    #[inline]
    pub(super) fn check_running(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Relaxed) {
            Err(self.stopped_error())
        } else {
            Ok(())
        }
    }

    #[cold]
    fn stopped_error(&self) -> Error {
        Error::Stopped {
            device: self.registers.device().to_owned(),
        }
    }

    /// Lets the device answer on the bus, and read and write memory or not.
    pub(super) fn set_bus_master(&self, on: bool) -> Result<(), Error> {
        // the status register shares the word; its bits are cleared by writing 1, so write 0
        let command = self.function.config_read32(config::COMMAND)? & 0xFFFF;
        let master = u32::from(config::command::BUS_MASTER);
        let command = (command | u32::from(config::command::MEMORY_SPACE)) & !master;
        let command = if on { command | master } else { command };
        Ok(self.function.config_write32(config::COMMAND, command)?)
    }

    /// Gives the buffers of a queue back once the device says that the queue has stopped. If it
    /// does not, it may still use them, and they are abandoned.
    pub(super) fn queue_stopped(
        &self,
        register: &Register,
        index: u32,
        lent: Lent,
        disabled: impl Fn(u32) -> bool,
    ) {
        if self.stopped.load(Ordering::Acquire) {
            return; // the whole device was stopped before
        }
        match self.registers.wait(
            "stopping a queue",
            register,
            index,
            patience(100, 50),
            disabled,
        ) {
            // DMA that was under way ends within 100 µs (§4.6.7.1.2)
            Ok(_) => self.registers.delay(std::time::Duration::from_micros(100)),
            Err(Error::Gone { .. }) => {}
            Err(error) => {
                tracing::error!(%error, buffers = lent.len(), "abandoning the queue's buffers");
                lent.abandon();
            }
        }
    }

    /// No interrupts, no DMA, no driver. Called again it does nothing.
    pub(super) fn stop(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.registers.check().and_then(|()| {
            let reset = reset::reset(&self.registers);
            let ctrl_ext = CtrlExt::from_bits(self.registers.read(&CTRL_EXT));
            self.registers
                .write(&CTRL_EXT, ctrl_ext.with_drv_load(false).into_bits());
            reset
        });
        // what the device itself may refuse, the bus does not
        let bus = self.set_bus_master(false);
        if bus.is_ok() || matches!(result, Ok(()) | Err(Error::Gone { .. })) {
            self.stopped.store(true, Ordering::Release);
        }
        result.and(bus)
    }
}

impl<P: PciFunction> Drop for Device<P> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the device did not stop in order");
        }
    }
}
