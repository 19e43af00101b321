//! Register accesses that are bounded in time and notice when the device is gone.

use std::time::Duration;

use barewire_bus::Bar;
use barewire_spec::ixgbe::{Register, STATUS};

use crate::Error;
use crate::patience::Patience;

/// The registers of one device, with its name for errors.
#[derive(Debug)]
pub(super) struct Registers<B> {
    bar: B,
    device: String,
}

impl<B: Bar> Registers<B> {
    pub(super) fn new(bar: B, device: String) -> Self {
        Self { bar, device }
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn read(&self, register: &Register) -> u32 {
        self.bar.read32(register.offset())
    }

    pub(super) fn write(&self, register: &Register, value: u32) {
        self.bar.write32(register.offset(), value);
    }

    pub(super) fn read_at(&self, register: &Register, index: u32) -> u32 {
        self.bar.read32(register.at(index))
    }

    pub(super) fn write_at(&self, register: &Register, index: u32, value: u32) {
        self.bar.write32(register.at(index), value);
    }

    /// Writes a register whose offset was taken beforehand: the data path's way.
    #[inline]
    pub(super) fn write_offset(&self, offset: u32, value: u32) {
        self.bar.write32(offset, value);
    }

    pub(super) fn delay(&self, duration: Duration) {
        self.bar.delay(duration);
    }

    /// Whether every register reads all ones, as when nothing answers on the bus.
    pub(super) fn gone(&self) -> bool {
        self.read(&STATUS) == u32::MAX
    }

    pub(super) fn bar(&self) -> &B {
        &self.bar
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.gone() {
            Err(Error::gone(&self.device))
        } else {
            Ok(())
        }
    }

    /// Waits until `done` says so of a register, and returns its value.
    pub(super) fn wait(
        &self,
        what: &'static str,
        register: &Register,
        index: u32,
        patience: Patience,
        done: impl Fn(u32) -> bool,
    ) -> Result<u32, Error> {
        let mut last = 0;
        let waited = patience.wait(&self.bar, || {
            last = self.read_at(register, index);
            if last == u32::MAX {
                self.check()?;
            }
            Ok(done(last).then_some(last))
        })?;
        waited.ok_or_else(|| Error::Timeout {
            device: self.device.clone(),
            what,
            register: register.name,
            value: last,
            millis: patience.millis(),
        })
    }

    pub(super) fn broken(&self, what: impl Into<String>) -> Error {
        Error::broken(&self.device, what)
    }

    pub(super) fn config_error(
        &self,
        what: &'static str,
        value: impl std::fmt::Display,
        allowed: impl Into<String>,
    ) -> Error {
        Error::config(&self.device, what, value, allowed)
    }
}
