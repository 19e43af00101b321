//! Sizes the hardware fixes.

/// Bytes of BAR 0: registers, with room for a flash behind them (82599 §8.1).
pub const BAR0_SIZE: u32 = 0x2_0000;

/// Bytes of BAR 3: the MSI-X table and its pending bits (82599 §9.3.6).
pub const BAR3_SIZE: u32 = 0x4000;

/// Offset of the MSI-X pending bits in BAR 3.
pub const MSIX_PBA_OFFSET: u32 = 0x2000;

/// MSI-X vectors of a port (82599 §7.3.1.3).
pub const MSIX_VECTORS: u32 = 64;

/// Receive queues of a port (82599 §7.1.2).
pub const RX_QUEUES: u32 = 128;

/// Transmit queues of a port (82599 §7.2.1.2).
pub const TX_QUEUES: u32 = 128;

/// Queues the transmit side has while neither pools nor traffic classes are in use
/// (82599 §7.2.1.2.1).
pub const TX_QUEUES_PLAIN: u32 = 64;

/// Queues RSS can spread over: entries of the redirection table have four bits
/// (82599 §7.1.2.8).
pub const RSS_QUEUES: u32 = 16;

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;

/// Ring lengths are multiples of this many descriptors, so of 128 bytes (82599 §7.1.9).
pub const RING_MULTIPLE: u32 = 8;

/// The shortest ring used, in descriptors.
pub const RING_MIN: u32 = 64;

/// The longest ring used, in descriptors. The registers could hold twice this.
pub const RING_MAX: u32 = 4096;

/// Alignment of a ring in bytes (82599 §8.2.3.8.1).
pub const RING_ALIGNMENT: u32 = 128;

/// Receive buffer sizes are multiples of this many bytes (82599 §8.2.3.8.7).
pub const RX_BUFFER_UNIT: u32 = 1024;

/// The largest receive buffer in bytes (82599 §8.2.3.8.7).
pub const RX_BUFFER_MAX: u32 = 16 * RX_BUFFER_UNIT;

/// The largest frame in bytes, FCS included, VLAN tag not (82599 §8.2.3.22.13).
pub const FRAME_MAX: u32 = 9728;

/// The largest frame without [`Hlreg0::jumboen`](super::mac::Hlreg0::jumboen), in bytes, FCS
/// included.
pub const FRAME_MAX_PLAIN: u32 = 1518;

/// The smallest frame on the wire in bytes, FCS included.
pub const FRAME_MIN: u32 = 64;

/// The smallest frame the device pads, in bytes without FCS (82599 §8.2.3.22.8).
pub const TX_FRAME_MIN: u32 = 17;

/// Bytes of the FCS.
pub const FCS_BYTES: u32 = 4;

/// The most bytes one transmit descriptor may point to (82599 §7.2.3.2.4).
pub const TX_BUFFER_MAX: u32 = 15_872;

/// The most data descriptors one packet may take (82599 §7.2.1.1).
pub const TX_DESCRIPTORS_PER_PACKET: u32 = 40;

/// KiB of receive packet buffer of a port (82599 §8.2.3.8.9).
pub const RX_PACKET_BUFFER_KIB: u32 = 512;

/// KiB of transmit packet buffer of a port (82599 §8.2.3.9.13).
pub const TX_PACKET_BUFFER_KIB: u32 = 160;

/// Exact receive addresses (82599 §8.2.3.7.8).
pub const RECEIVE_ADDRESSES: u32 = 128;

/// Five-tuple filters (82599 §7.1.2.6).
pub const FIVE_TUPLE_FILTERS: u32 = 128;

/// Packets that may be coalesced at a time, in all queues together (82599 §7.11).
pub const COALESCED_PACKETS: usize = 32;

/// Traffic classes.
pub const TRAFFIC_CLASSES: u32 = 8;
