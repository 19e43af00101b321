//! Offsets and bits of the PCI configuration space (PCI Local Bus 3.0 §6, PCI Express Base
//! 2.0 §7; 82599 §9.3 for where the 82599 has its capabilities). Offsets are in bytes.

/// Vendor ID, 16 bits.
pub const VENDOR_ID: u16 = 0x00;
/// Device ID, 16 bits.
pub const DEVICE_ID: u16 = 0x02;
/// Command, 16 bits; see [`command`].
pub const COMMAND: u16 = 0x04;
/// Status, 16 bits; see [`status`].
pub const STATUS: u16 = 0x06;
/// Revision, 8 bits.
pub const REVISION_ID: u16 = 0x08;
/// Class code, 24 bits.
pub const CLASS_CODE: u16 = 0x09;
/// Cache line size, 8 bits.
pub const CACHE_LINE_SIZE: u16 = 0x0C;
/// Latency timer, 8 bits.
pub const LATENCY_TIMER: u16 = 0x0D;
/// Header type, 8 bits; bit 7 says there are several functions.
pub const HEADER_TYPE: u16 = 0x0E;
/// Built-in self test, 8 bits.
pub const BIST: u16 = 0x0F;
/// First of six base address registers, 32 bits each.
pub const BAR0: u16 = 0x10;
/// Subsystem vendor ID, 16 bits.
pub const SUBSYSTEM_VENDOR_ID: u16 = 0x2C;
/// Subsystem ID, 16 bits.
pub const SUBSYSTEM_ID: u16 = 0x2E;
/// Expansion ROM base address, 32 bits.
pub const EXPANSION_ROM: u16 = 0x30;
/// Offset of the first capability, 8 bits.
pub const CAPABILITIES: u16 = 0x34;
/// Interrupt line, 8 bits.
pub const INTERRUPT_LINE: u16 = 0x3C;
/// Interrupt pin, 8 bits.
pub const INTERRUPT_PIN: u16 = 0x3D;
/// Offset of the first extended capability.
pub const EXTENDED_CAPABILITIES: u16 = 0x100;
/// Bytes of the configuration space of a PCI Express function.
pub const SIZE: u16 = 0x1000;

/// Class code of an Ethernet controller: network, Ethernet, no programming interface.
pub const CLASS_ETHERNET: u32 = 0x02_0000;

/// Bits of [`COMMAND`].
pub mod command {
    /// I/O space is decoded.
    pub const IO_SPACE: u16 = 1 << 0;
    /// Memory space is decoded.
    pub const MEMORY_SPACE: u16 = 1 << 1;
    /// The device may start requests: DMA and message-signalled interrupts.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// Parity errors are reported.
    pub const PARITY_ERROR: u16 = 1 << 6;
    /// System errors are reported.
    pub const SERR: u16 = 1 << 8;
    /// The interrupt pin is off.
    pub const INTERRUPT_DISABLE: u16 = 1 << 10;
}

/// Bits of [`STATUS`].
pub mod status {
    /// The interrupt pin is asserted.
    pub const INTERRUPT: u16 = 1 << 3;
    /// There is a list of capabilities.
    pub const CAPABILITIES_LIST: u16 = 1 << 4;
}

/// Bits of a base address register.
pub mod bar {
    /// It is I/O space.
    pub const IO: u32 = 1 << 0;
    /// It is the first half of a 64-bit address.
    pub const MEMORY_64: u32 = 0b10 << 1;
    /// Reads have no side effects.
    pub const PREFETCHABLE: u32 = 1 << 3;
    /// Where the address starts.
    pub const MEMORY_MASK: u32 = !0xF;
}

/// Capability IDs.
pub mod capability {
    /// Power management.
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// Vital product data.
    pub const VPD: u8 = 0x03;
    /// Message-signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// Vendor-specific.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const PCI_EXPRESS: u8 = 0x10;
    /// Message-signalled interrupts with a table in a BAR.
    pub const MSIX: u8 = 0x11;
}

/// Extended capability IDs.
pub mod extended_capability {
    /// Advanced error reporting.
    pub const AER: u16 = 0x0001;
    /// Device serial number.
    pub const SERIAL_NUMBER: u16 = 0x0003;
    /// Alternative routing-ID interpretation.
    pub const ARI: u16 = 0x000E;
    /// Single-root I/O virtualization.
    pub const SRIOV: u16 = 0x0010;
    /// Access control services.
    pub const ACS: u16 = 0x000D;
}

/// Offsets in the power management capability.
pub mod power_management {
    /// Capabilities, 16 bits.
    pub const CAPABILITIES: u16 = 2;
    /// Control and status, 16 bits: the power state in bits 1:0.
    pub const CONTROL: u16 = 4;
    /// Control: the bits that hold the power state.
    pub const STATE: u32 = 0b11;
    /// Control: the power state in which only the configuration space answers.
    pub const D3_HOT: u32 = 0b11;
}

/// Offsets in the MSI capability with 64-bit addresses, and bits of its control word.
pub mod msi {
    /// Control, 16 bits.
    pub const CONTROL: u16 = 2;
    /// Message address, 64 bits.
    pub const ADDRESS: u16 = 4;
    /// Message data, 16 bits.
    pub const DATA: u16 = 12;
    /// Control: messages are sent.
    pub const ENABLE: u16 = 1 << 0;
    /// Control: addresses have 64 bits.
    pub const ADDRESS_64: u16 = 1 << 7;
    /// Control: vectors can be masked.
    pub const MASKABLE: u16 = 1 << 8;
}

/// Offsets in the MSI-X capability, bits of its control word, and the table's layout.
pub mod msix {
    /// Control, 16 bits: the table's length less one in bits 10:0.
    pub const CONTROL: u16 = 2;
    /// Table: offset, with the BAR in bits 2:0; 32 bits.
    pub const TABLE: u16 = 4;
    /// Pending bits: offset, with the BAR in bits 2:0; 32 bits.
    pub const PBA: u16 = 8;
    /// Control: bits that hold the table's length less one.
    pub const TABLE_SIZE_MASK: u16 = 0x07FF;
    /// Control: all vectors are masked.
    pub const FUNCTION_MASK: u16 = 1 << 14;
    /// Control: messages are sent.
    pub const ENABLE: u16 = 1 << 15;
    /// Bytes of an entry: address (64 bits), data (32 bits), control (32 bits).
    pub const ENTRY_BYTES: u32 = 16;
    /// Entry's control: the vector is masked.
    pub const ENTRY_MASKED: u32 = 1 << 0;
    /// BAR in [`TABLE`] and [`PBA`].
    pub const BAR_MASK: u32 = 0x7;
}

/// Offsets in the PCI Express capability, and some bits.
pub mod express {
    /// Capabilities, 16 bits.
    pub const CAPABILITIES: u16 = 0x02;
    /// Device capabilities, 32 bits.
    pub const DEVICE_CAPABILITIES: u16 = 0x04;
    /// Device control, 16 bits.
    pub const DEVICE_CONTROL: u16 = 0x08;
    /// Device status, 16 bits.
    pub const DEVICE_STATUS: u16 = 0x0A;
    /// Link capabilities, 32 bits.
    pub const LINK_CAPABILITIES: u16 = 0x0C;
    /// Link control, 16 bits.
    pub const LINK_CONTROL: u16 = 0x10;
    /// Link status, 16 bits: speed in bits 3:0, width in bits 9:4.
    pub const LINK_STATUS: u16 = 0x12;
    /// Device control 2, 16 bits.
    pub const DEVICE_CONTROL_2: u16 = 0x28;
    /// Device capabilities: the function can be reset alone.
    pub const DEVICE_CAPABILITIES_FLR: u32 = 1 << 28;
    /// Device control: resets the function.
    pub const DEVICE_CONTROL_FLR: u16 = 1 << 15;
    /// Device status: requests of the device have not been answered yet.
    pub const DEVICE_STATUS_TRANSACTIONS_PENDING: u16 = 1 << 5;
}

/// Where the 82599 has its capabilities (82599 §9.3.2).
pub mod i82599 {
    /// Power management.
    pub const POWER_MANAGEMENT: u16 = 0x40;
    /// MSI.
    pub const MSI: u16 = 0x50;
    /// MSI-X.
    pub const MSIX: u16 = 0x70;
    /// PCI Express.
    pub const PCI_EXPRESS: u16 = 0xA0;
    /// Vital product data.
    pub const VPD: u16 = 0xE0;
    /// Advanced error reporting.
    pub const AER: u16 = 0x100;
    /// Serial number.
    pub const SERIAL_NUMBER: u16 = 0x140;
    /// Alternative routing-ID interpretation.
    pub const ARI: u16 = 0x150;
    /// Virtual functions.
    pub const SRIOV: u16 = 0x160;
    /// The BAR with the MSI-X table.
    pub const MSIX_BAR: u8 = 3;
}

/// The fields of a PCI Express extended capability's header: ID, and offset of the next.
///
/// ```
/// use barewire_spec::pci::config::{self, extended_capability};
///
/// let (id, next) = config::split_extended_header(0x1401_0001);
/// assert_eq!((id, next), (extended_capability::AER, 0x140));
/// ```
#[must_use]
pub const fn split_extended_header(header: u32) -> (u16, u16) {
    let [id_low, id_high, version_and_next, next_high] = header.to_le_bytes();
    let upper = u16::from_le_bytes([version_and_next, next_high]);
    (u16::from_le_bytes([id_low, id_high]), upper >> 4)
}
