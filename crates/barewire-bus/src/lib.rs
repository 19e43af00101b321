//! How a device is reached: registers, configuration space, DMA mappings and interrupts.
//!
//! A driver is generic over [`Bar`] and [`PciFunction`]; the compiler makes one driver for mapped
//! hardware, one for the software device in the same process, one for a device behind a socket,
//! all from the same text. Whoever reaches a device in another way implements the two traits.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_lossless,
        reason = "tests count in small numbers"
    )
)]

mod address;
mod bar;
mod capabilities;
mod device_bar;
mod error;
mod event;
mod function;
mod host;
mod interrupts;
mod mapped;
mod memlock;
mod physical;
mod sysfs;
mod tap;
mod uio;
mod vfio;
pub mod vfio_user;

pub use address::{ParseAddressError, PciAddress};
pub use bar::Bar;
pub use capabilities::{Capability, capabilities};
pub use device_bar::DeviceBar;
pub use error::BusError;
pub use event::Event;
pub use function::PciFunction;
pub use host::{Backend, Host, HostFunction};
pub use interrupts::{InterruptKind, Interrupts};
pub use mapped::MappedBar;
pub use sysfs::{
    BarInfo, BarKind, Binding, GroupMember, IommuGroup, NetInterface, PciDevice, PcieLink,
};
pub use tap::{Tap, TapError};
