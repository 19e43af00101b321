//! What can go wrong with a port.

use barewire_bus::BusError;
use barewire_dma::DmaError;

/// An error of a port or queue. It names the device, what was tried and the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No driver knows this device.
    #[error("{device}: no driver for PCI device {vendor:04x}:{id:04x}: barewire drives {known}")]
    NotSupported {
        /// The device's name.
        device: String,
        /// Its PCI vendor ID.
        vendor: u16,
        /// Its PCI device ID.
        id: u16,
        /// What would be supported.
        known: &'static str,
    },
    /// A configuration the device can't have.
    #[error("{device}: {what} of {value}: {allowed}")]
    Config {
        /// The device's name.
        device: String,
        /// Which setting.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The device did not do in time what the datasheet says it does.
    #[error("{device}: {what} did not happen within {millis} ms ({register} is {value:#010x})")]
    Timeout {
        /// The device's name.
        device: String,
        /// What was waited for.
        what: &'static str,
        /// The register that was watched.
        register: &'static str,
        /// Its last value.
        value: u32,
        /// How long the wait was, in milliseconds of the device's time.
        millis: u64,
    },
    /// The device reads all ones: it was unplugged, lost power, or its driver was taken away.
    #[error("{device}: the device is gone: its registers read all ones")]
    Gone {
        /// The device's name.
        device: String,
    },
    /// The port was stopped, and its queues with it.
    #[error("{device}: the port was stopped: open it again")]
    Stopped {
        /// The device's name.
        device: String,
    },
    /// The device says something that can't be.
    #[error("{device}: {what}")]
    Broken {
        /// The device's name.
        device: String,
        /// What it said.
        what: String,
    },
    /// Memory for the device.
    #[error("{}{source}", whose(device, source))]
    Dma {
        /// The device's name.
        device: String,
        /// The cause.
        source: DmaError,
    },
    /// The port was opened without interrupts, so nothing can be waited for.
    #[error("{device}: nothing to wait for: the port was opened without interrupts")]
    NoInterrupts {
        /// The device's name.
        device: String,
    },
    /// The operating system could not make or wait for an event.
    #[error("cannot wait for events: {0}")]
    Wait(std::io::Error),
    /// The way to the device.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Error {
    pub(crate) fn config(
        device: &str,
        what: &'static str,
        value: impl std::fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Config {
            device: device.to_owned(),
            what,
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    pub(crate) fn gone(device: &str) -> Self {
        Self::Gone {
            device: device.to_owned(),
        }
    }

    pub(crate) fn broken(device: &str, what: impl Into<String>) -> Self {
        Self::Broken {
            device: device.to_owned(),
            what: what.into(),
        }
    }

    #[cold]
    pub(crate) fn stopped(device: &str) -> Self {
        Self::Stopped {
            device: device.to_owned(),
        }
    }

    /// Makes an error of a device's memory one of a port.
    pub(crate) fn dma(device: &str) -> impl Fn(DmaError) -> Self {
        move |source| Self::Dma {
            device: device.to_owned(),
            source,
        }
    }
}

/// The device's name before an error that does not say it itself.
fn whose(device: &str, source: &DmaError) -> String {
    match source {
        DmaError::Map { .. } => String::new(),
        _ => format!("{device}: "),
    }
}
