//! The legacy interface of a transitional device: BAR 0, usually I/O ports (VIRTIO §4.1.4.10).
//!
//! Fields are in the byte order of the driver's processor.

/// Features the device offers, 32 bits.
pub const DEVICE_FEATURES: u32 = 0x00;
/// Features the driver accepts, 32 bits.
pub const DRIVER_FEATURES: u32 = 0x04;
/// Address of the selected queue in pages of [`PAGE`] bytes, 32 bits; 0 stops it.
pub const QUEUE_ADDRESS: u32 = 0x08;
/// Descriptors of the selected queue, 16 bits; the device decides.
pub const QUEUE_SIZE: u32 = 0x0C;
/// Which queue is selected, 16 bits.
pub const QUEUE_SELECT: u32 = 0x0E;
/// A queue's number written here notifies it, 16 bits.
pub const QUEUE_NOTIFY: u32 = 0x10;
/// Device status, 8 bits.
pub const STATUS: u32 = 0x12;
/// Interrupt status, 8 bits, cleared when read.
pub const ISR: u32 = 0x13;
/// Vector of configuration changes, 16 bits; only while MSI-X is enabled.
pub const CONFIG_VECTOR: u32 = 0x14;
/// Vector of the selected queue, 16 bits; only while MSI-X is enabled.
pub const QUEUE_VECTOR: u32 = 0x16;
/// Where the device's own configuration starts while MSI-X is off.
pub const DEVICE_CONFIG: u32 = 0x14;
/// Where it starts while MSI-X is on.
pub const DEVICE_CONFIG_MSIX: u32 = 0x18;

/// Bytes of a page: unit of addresses and alignment of the used ring (§2.7.2).
pub const PAGE: u32 = 4096;
