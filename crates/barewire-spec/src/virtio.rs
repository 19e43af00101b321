//! Virtio devices, and the network device among them.
//!
//! Clauses are those of *Virtual I/O Device (VIRTIO) Version 1.2*. All fields of a device that is
//! not a legacy one are little-endian.

pub mod control;
pub mod feature;
pub mod header;
pub mod legacy;
pub mod net;
pub mod packed;
pub mod pci;
pub mod split;

/// Bits of the device status (VIRTIO §2.1). A driver sets them in this order; writing 0 resets the
/// device.
pub mod status {
    /// The driver has found the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready: queues run.
    pub const DRIVER_OK: u8 = 4;
    /// The driver has said which features it wants. The bit stays set if the device agrees.
    pub const FEATURES_OK: u8 = 8;
    /// The device has met an error it can't leave without a reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
}

/// Vector number that stands for none (VIRTIO §4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xFFFF;

/// The most descriptors a split ring has (VIRTIO §2.7): a power of two. A packed ring has any
/// number up to it (§2.8).
pub const QUEUE_SIZE_MAX: u16 = 32_768;
