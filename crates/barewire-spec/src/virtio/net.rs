//! The network device's own configuration and its queues (VIRTIO §5.1.2, §5.1.4).

/// MAC address, 6 bytes; with [`NET_MAC`](super::feature::NET_MAC).
pub const MAC: u32 = 0;
/// Status, 16 bits; with [`NET_STATUS`](super::feature::NET_STATUS).
pub const STATUS: u32 = 6;
/// Most pairs of queues, 16 bits; with [`NET_MQ`](super::feature::NET_MQ) or
/// [`NET_RSS`](super::feature::NET_RSS).
pub const MAX_QUEUE_PAIRS: u32 = 8;
/// Largest MTU, 16 bits; with [`NET_MTU`](super::feature::NET_MTU).
pub const MTU: u32 = 10;
/// Speed in Mbit/s, 32 bits, all ones if unknown; with
/// [`NET_SPEED_DUPLEX`](super::feature::NET_SPEED_DUPLEX).
pub const SPEED: u32 = 12;
/// 1 for full duplex, 0 for half, 0xFF if unknown, 8 bits.
pub const DUPLEX: u32 = 16;
/// Longest hash key in bytes, 8 bits; with [`NET_RSS`](super::feature::NET_RSS) or
/// [`NET_HASH_REPORT`](super::feature::NET_HASH_REPORT).
pub const RSS_KEY_MAX: u32 = 17;
/// Most entries of the indirection table, 16 bits; with [`NET_RSS`](super::feature::NET_RSS).
pub const RSS_TABLE_MAX: u32 = 18;
/// What can be hashed, 32 bits: see [`hash`].
pub const HASH_TYPES: u32 = 20;
/// Bytes of the configuration.
pub const CONFIG_BYTES: u32 = 24;

/// Bit of [`STATUS`]: the link is up.
pub const LINK_UP: u16 = 1;
/// Bit of [`STATUS`]: the driver is to announce itself.
pub const ANNOUNCE: u16 = 2;

/// The most pairs of queues any device has (§5.1.6.5.5).
pub const QUEUE_PAIRS_MAX: u16 = 0x8000;

/// Number of the receive queue of pair `pair`, counted from 0 (§5.1.2).
#[must_use]
pub const fn receive_queue(pair: u16) -> u16 {
    pair * 2
}

/// Number of the transmit queue of pair `pair`, counted from 0.
#[must_use]
pub const fn transmit_queue(pair: u16) -> u16 {
    pair * 2 + 1
}

/// Number of the control queue of a device that has `pairs` pairs: [`MAX_QUEUE_PAIRS`] if it
/// steers, else 1.
#[must_use]
pub const fn control_queue(pairs: u16) -> u16 {
    pairs * 2
}

/// What is hashed: bits of [`HASH_TYPES`] (§5.1.6.4.3.1).
pub mod hash {
    /// Addresses of IPv4.
    pub const IPV4: u32 = 1 << 0;
    /// Addresses and ports of TCP over IPv4.
    pub const TCPV4: u32 = 1 << 1;
    /// Addresses and ports of UDP over IPv4.
    pub const UDPV4: u32 = 1 << 2;
    /// Addresses of IPv6.
    pub const IPV6: u32 = 1 << 3;
    /// Addresses and ports of TCP over IPv6.
    pub const TCPV6: u32 = 1 << 4;
    /// Addresses and ports of UDP over IPv6.
    pub const UDPV6: u32 = 1 << 5;
}
