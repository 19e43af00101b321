//! Commands of the control queue (VIRTIO §5.1.6.5): a class, a command, its data, and a byte that
//! the device writes.

/// Answer: done.
pub const OK: u8 = 0;
/// Answer: not done.
pub const ERR: u8 = 1;

/// Class: receive modes (§5.1.6.5.1). The data is one byte, 0 or 1.
pub const RX: u8 = 0;
/// [`RX`]: all frames.
pub const RX_PROMISC: u8 = 0;
/// [`RX`]: all multicast frames.
pub const RX_ALLMULTI: u8 = 1;
/// [`RX`]: all unicast frames.
pub const RX_ALLUNI: u8 = 2;
/// [`RX`]: no multicast frames.
pub const RX_NOMULTI: u8 = 3;
/// [`RX`]: no unicast frames.
pub const RX_NOUNI: u8 = 4;
/// [`RX`]: no broadcast frames.
pub const RX_NOBCAST: u8 = 5;

/// Class: MAC addresses (§5.1.6.5.2).
pub const MAC: u8 = 1;
/// [`MAC`]: two tables, unicast and multicast, each 32 bits of count and so many addresses.
pub const MAC_TABLE_SET: u8 = 0;
/// [`MAC`]: the device's own address, 6 bytes.
pub const MAC_ADDR_SET: u8 = 1;

/// Class: VLAN filter (§5.1.6.5.3). The data is a VLAN identifier, 16 bits.
pub const VLAN: u8 = 2;
/// [`VLAN`]: frames of it are received.
pub const VLAN_ADD: u8 = 0;
/// [`VLAN`]: they are no longer.
pub const VLAN_DEL: u8 = 1;

/// Class: announcement (§5.1.6.5.4).
pub const ANNOUNCE: u8 = 3;
/// [`ANNOUNCE`]: the driver has seen the request.
pub const ANNOUNCE_ACK: u8 = 0;

/// Class: steering (§5.1.6.5.5).
pub const MQ: u8 = 4;
/// [`MQ`]: pairs of queues in use, 16 bits.
pub const MQ_VQ_PAIRS_SET: u8 = 0;
/// [`MQ`]: hash types, indirection table, queues and key (§5.1.6.5.7.1).
pub const MQ_RSS_CONFIG: u8 = 1;
/// [`MQ`]: hash types and key for reported hashes (§5.1.6.5.6.4).
pub const MQ_HASH_CONFIG: u8 = 2;

/// Class: receive offloads (§5.1.6.5.8).
pub const GUEST_OFFLOADS: u8 = 5;
/// [`GUEST_OFFLOADS`]: those in use, 64 feature bits.
pub const GUEST_OFFLOADS_SET: u8 = 0;
