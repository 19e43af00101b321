//! The vfio-user protocol: a PCI device in another process, behind a Unix socket.
//!
//! The client has the driver or the virtual machine, the server has the device. Both speak in
//! messages: a [`Header`], a payload and, beside the bytes, file descriptors. This module knows the
//! messages and how they travel; it does not know what a server's device or a client's memory is.
//!
//! - [`Header`], [`Command`]: what every message begins with.
//! - [`Version`], [`Capabilities`]: the first message each way.
//! - [`MapRequest`], [`UnmapRequest`], [`DmaAccess`]: the client's memory.
//! - [`DeviceInfo`], [`RegionInfo`], [`IrqInfo`], [`SetIrqs`]: what the device has.
//! - [`RegionAccess`], [`RegionWrites`]: its registers.
//! - [`Connection`]: messages over a stream socket, each with its file descriptors.
//!
//! The source is the vfio-user protocol specification, version 0.1 of the protocol, as published
//! with QEMU (docs/interop/vfio-user.rst). Numbers are in the byte order of the host, on which both
//! processes run.
//!
//! # What is assumed of the peer
//!
//! Nothing. Every length is checked against what arrived and against a limit before it is used, no
//! buffer is as large as a peer claims before its bytes are there, and every wait has an end.

mod client;
mod connection;
mod device;
mod dma;
mod error;
mod fields;
mod header;
mod irq;
mod region;
mod version;

pub use client::{RemoteBar, RemoteFunction};
pub use connection::{Connection, Message};
pub use device::{
    DEVICE_FLAG_PCI, DEVICE_FLAG_RESET, DeviceInfo, IRQ_FLAG_AUTOMASKED, IRQ_FLAG_EVENTFD,
    IRQ_FLAG_MASKABLE, IRQ_FLAG_NORESIZE, IrqInfo, REGION_FLAG_CAPS, REGION_FLAG_MMAP,
    REGION_FLAG_READ, REGION_FLAG_WRITE, RegionInfo, SparseArea,
};
pub use dma::{DMA_READABLE, DMA_WRITABLE, DmaAccess, MapRequest, UnmapRequest};
pub use error::{ConnectionError, DecodeError};
pub use header::{Command, Header, Kind};
pub use irq::{IrqAction, IrqData, SetIrqs};
pub use region::{RegionAccess, RegionWrite, RegionWrites};
pub use version::{Capabilities, TwinSocket, Version};

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 16;
/// The most bytes of data that one message of ours carries or asks for, and that we offer to take
/// (`max_data_xfer_size`): what the specification says where nothing is negotiated.
pub const MAX_DATA: usize = 1 << 20;
/// The most bytes of a message with its header. A peer that announces more has lost its way.
pub const MAX_MESSAGE: usize = MAX_DATA + 4096;
/// The most file descriptors of a message that are taken: one for each vector of an 82599.
pub const MAX_FDS: usize = 64;
/// How many file descriptors we say that we take (`max_msg_fds`). QEMU refuses a server that says
/// more.
pub const OFFERED_FDS: u64 = 16;

/// The protocol's major version.
pub const MAJOR: u16 = 0;
/// The newest minor version of [`MAJOR`] that is spoken here.
pub const MINOR: u16 = 1;

/// Numbers of regions and interrupts of a PCI device, as VFIO numbers them.
pub mod pci {
    /// Region of BAR 0; BAR n is this plus n.
    pub const REGION_BAR0: u32 = 0;
    /// Region of BAR 5.
    pub const REGION_BAR5: u32 = 5;
    /// Region of the expansion ROM.
    pub const REGION_ROM: u32 = 6;
    /// Region of configuration space.
    pub const REGION_CONFIG: u32 = 7;
    /// Region of the legacy VGA ranges.
    pub const REGION_VGA: u32 = 8;
    /// How many regions a PCI device has.
    pub const REGIONS: u32 = 9;
    /// Interrupt type `INTx`.
    pub const IRQ_INTX: u32 = 0;
    /// Interrupt type MSI.
    pub const IRQ_MSI: u32 = 1;
    /// Interrupt type MSI-X.
    pub const IRQ_MSIX: u32 = 2;
    /// Interrupt type of error reports.
    pub const IRQ_ERR: u32 = 3;
    /// Interrupt type of requests to give the device back.
    pub const IRQ_REQ: u32 = 4;
    /// How many interrupt types a PCI device has.
    pub const IRQS: u32 = 5;
}
