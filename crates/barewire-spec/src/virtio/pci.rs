//! Virtio over PCI (VIRTIO §4.1).

/// Vendor ID of all virtio devices.
pub const VENDOR: u16 = 0x1AF4;
/// Device ID of a network device with a legacy interface too (§4.1.2.1).
pub const DEVICE_NET_TRANSITIONAL: u16 = 0x1000;
/// Device ID of a network device without one: 0x1040 and the device's type, 1.
pub const DEVICE_NET: u16 = 0x1041;
/// The first revision without legacy interface.
pub const REVISION_MODERN: u8 = 1;

/// A vendor-specific capability that says where a structure lies (§4.1.4). Offsets are in bytes
/// from the capability's first.
pub mod capability {
    /// Length of the capability, 8 bits.
    pub const LENGTH: u16 = 2;
    /// Which structure, 8 bits; see the other constants.
    pub const TYPE: u16 = 3;
    /// Which base address register, 8 bits: 0 to 5.
    pub const BAR: u16 = 4;
    /// Offset in the window, 32 bits.
    pub const OFFSET: u16 = 8;
    /// Bytes of the structure, 32 bits.
    pub const SIZE: u16 = 12;
    /// In a [`NOTIFY`] capability: bytes between two queues' places, 32 bits.
    pub const NOTIFY_MULTIPLIER: u16 = 16;

    /// Bytes of a capability; a [`NOTIFY`] or [`CONFIG_ACCESS`] one has four more.
    pub const BYTES: u8 = 16;

    /// [`TYPE`]: the common configuration.
    pub const COMMON: u8 = 1;
    /// [`TYPE`]: where queues are notified.
    pub const NOTIFY: u8 = 2;
    /// [`TYPE`]: the interrupt status.
    pub const ISR: u8 = 3;
    /// [`TYPE`]: the device's own configuration.
    pub const DEVICE: u8 = 4;
    /// [`TYPE`]: access to windows through configuration space.
    pub const CONFIG_ACCESS: u8 = 5;
}

/// The common configuration (§4.1.4.3): offsets in bytes; fields are accessed in their own width.
pub mod common {
    /// Which half of the device's features [`DEVICE_FEATURE`] shows, 32 bits.
    pub const DEVICE_FEATURE_SELECT: u32 = 0x00;
    /// Half of the features the device offers, 32 bits.
    pub const DEVICE_FEATURE: u32 = 0x04;
    /// Which half of the driver's features [`DRIVER_FEATURE`] is, 32 bits.
    pub const DRIVER_FEATURE_SELECT: u32 = 0x08;
    /// Half of the features the driver accepts, 32 bits.
    pub const DRIVER_FEATURE: u32 = 0x0C;
    /// Vector of configuration changes, 16 bits.
    pub const CONFIG_VECTOR: u32 = 0x10;
    /// How many queues the device has, 16 bits.
    pub const NUM_QUEUES: u32 = 0x12;
    /// Device status, 8 bits.
    pub const STATUS: u32 = 0x14;
    /// Changes whenever the configuration does, 8 bits.
    pub const CONFIG_GENERATION: u32 = 0x15;
    /// Which queue the fields below are about, 16 bits.
    pub const QUEUE_SELECT: u32 = 0x16;
    /// Descriptors of the queue, 16 bits; 0 if there is no such queue.
    pub const QUEUE_SIZE: u32 = 0x18;
    /// Vector of the queue, 16 bits.
    pub const QUEUE_VECTOR: u32 = 0x1A;
    /// 1 once the queue runs, 16 bits.
    pub const QUEUE_ENABLE: u32 = 0x1C;
    /// Where the queue is notified, in units of the multiplier, 16 bits.
    pub const QUEUE_NOTIFY_OFF: u32 = 0x1E;
    /// Address of the descriptors, 64 bits in two halves.
    pub const QUEUE_DESC: u32 = 0x20;
    /// Address of what the driver writes, 64 bits in two halves.
    pub const QUEUE_DRIVER: u32 = 0x28;
    /// Address of what the device writes, 64 bits in two halves.
    pub const QUEUE_DEVICE: u32 = 0x30;
    /// What a notification carries besides the queue, 16 bits.
    pub const QUEUE_NOTIFY_DATA: u32 = 0x38;
    /// Resets the queue, 16 bits.
    pub const QUEUE_RESET: u32 = 0x3A;

    /// Bytes of the part that every device has.
    pub const BYTES: u32 = 0x38;
    /// Bytes with [`QUEUE_NOTIFY_DATA`] and [`QUEUE_RESET`].
    pub const BYTES_WITH_RESET: u32 = 0x3C;
}

/// Bits of the interrupt status, which is cleared when it is read (§4.1.4.5).
pub mod isr {
    /// A queue has used buffers.
    pub const QUEUE: u8 = 1;
    /// The configuration has changed.
    pub const CONFIG: u8 = 2;
}
