//! What can go wrong on the way to a device.

use std::io;

/// An error on the way to a device. It names the device, what was tried, the cause, and what
/// would help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// There is no such device.
    #[error("there is no PCI device {device}: `barewire devices` lists those there are")]
    NoDevice {
        /// The device's name.
        device: String,
    },
    /// There is no such window.
    #[error("{device} has no memory window BAR{index}")]
    NoBar {
        /// The device's name.
        device: String,
        /// Which window was asked for.
        index: u8,
    },
    /// The device does not answer.
    #[error("{device} does not answer: {reason}")]
    Unreachable {
        /// The device's name.
        device: String,
        /// What was tried and what came of it.
        reason: String,
    },
    /// The device's interrupts can't be had.
    #[error("no interrupts of {device}: {reason}")]
    NoInterrupts {
        /// The device's name.
        device: String,
        /// Why not, and what would help.
        reason: String,
    },
    /// The device is bound to a driver through which a program can't reach it in the way asked for.
    #[error("{device} {state}: {remedy}")]
    WrongDriver {
        /// The device's name.
        device: String,
        /// Which driver has it, if any.
        state: String,
        /// What would help.
        remedy: String,
    },
    /// Other devices of the IOMMU group belong to other drivers, so the group can't be given away.
    #[error("{device} shares IOMMU group {group} with {others}: {remedy}")]
    GroupShared {
        /// The device's name.
        device: String,
        /// The group's number.
        group: u32,
        /// The others and their drivers.
        others: String,
        /// What would help.
        remedy: String,
    },
    /// The operating system refused a step.
    #[error("{device}: cannot {what}: {source}{}{remedy}", if remedy.is_empty() { "" } else { ": " })]
    Refused {
        /// The device's name.
        device: String,
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
        /// What would help; empty where nothing is known.
        remedy: String,
    },
    /// The system wants the device back: it is about to be unplugged or unbound.
    #[error("{device}: the system wants the device back: it is being unplugged or unbound")]
    WantedBack {
        /// The device's name.
        device: String,
    },
}
