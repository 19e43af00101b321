//! Register accesses that are bounded in time and notice when the device is gone.

use std::time::Duration;

use barewire_bus::Bar;
use barewire_spec::ixgbe::{Register, STATUS};

use crate::Error;

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

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.gone() {
            Err(self.gone_error())
        } else {
            Ok(())
        }
    }

    pub(super) fn gone_error(&self) -> Error {
        Error::Gone {
            device: self.device.clone(),
        }
    }

    /// Waits until `done` says so of a register, looking every `step` for at most `limit`, and
    /// returns its value.
    pub(super) fn wait(
        &self,
        what: &'static str,
        register: &Register,
        index: u32,
        (step, limit): (Duration, Duration),
        done: impl Fn(u32) -> bool,
    ) -> Result<u32, Error> {
        let mut waited = Duration::ZERO;
        loop {
            let value = self.read_at(register, index);
            if value == u32::MAX {
                self.check()?;
            }
            if done(value) {
                return Ok(value);
            }
            if waited >= limit {
                return Err(Error::Timeout {
                    device: self.device.clone(),
                    what,
                    register: register.name,
                    value,
                    millis: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                });
            }
            self.delay(step);
            waited += step;
        }
    }

    pub(super) fn broken(&self, what: impl Into<String>) -> Error {
        Error::Broken {
            device: self.device.clone(),
            what: what.into(),
        }
    }

    pub(super) fn config_error(
        &self,
        what: &'static str,
        value: impl std::fmt::Display,
        allowed: impl Into<String>,
    ) -> Error {
        Error::Config {
            device: self.device.clone(),
            what,
            value: format!("{value}"),
            allowed: allowed.into(),
        }
    }
}

/// Looks every `step` microseconds for at most `limit` milliseconds.
pub(super) const fn patience(step: u64, limit: u64) -> (Duration, Duration) {
    (Duration::from_micros(step), Duration::from_millis(limit))
}
