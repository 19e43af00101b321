//! Feature bits: what a device offers and a driver accepts (VIRTIO §2.2).
//!
//! Each is a mask of the 64 bits that are read and written in two halves.

/// The device takes frames with a partial checksum (VIRTIO §5.1.3).
pub const NET_CSUM: u64 = 1 << 0;
/// The driver takes frames with a partial checksum.
pub const NET_GUEST_CSUM: u64 = 1 << 1;
/// The driver may change its receive offloads while it runs.
pub const NET_CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
/// The device tells the largest MTU.
pub const NET_MTU: u64 = 1 << 3;
/// The device has a MAC address.
pub const NET_MAC: u64 = 1 << 5;
/// The driver takes TCP segments over IPv4 joined to large ones.
pub const NET_GUEST_TSO4: u64 = 1 << 7;
/// The driver takes TCP segments over IPv6 joined to large ones.
pub const NET_GUEST_TSO6: u64 = 1 << 8;
/// The driver takes large segments with explicit congestion notification.
pub const NET_GUEST_ECN: u64 = 1 << 9;
/// The driver takes UDP datagrams joined from fragments.
pub const NET_GUEST_UFO: u64 = 1 << 10;
/// The device cuts TCP over IPv4 into segments.
pub const NET_HOST_TSO4: u64 = 1 << 11;
/// The device cuts TCP over IPv6 into segments.
pub const NET_HOST_TSO6: u64 = 1 << 12;
/// The device cuts segments with explicit congestion notification.
pub const NET_HOST_ECN: u64 = 1 << 13;
/// The device cuts UDP datagrams into fragments.
pub const NET_HOST_UFO: u64 = 1 << 14;
/// A frame may lie in several receive buffers.
pub const NET_MRG_RXBUF: u64 = 1 << 15;
/// The device tells the state of its link.
pub const NET_STATUS: u64 = 1 << 16;
/// There is a control queue.
pub const NET_CTRL_VQ: u64 = 1 << 17;
/// The control queue sets receive modes.
pub const NET_CTRL_RX: u64 = 1 << 18;
/// The control queue filters VLANs.
pub const NET_CTRL_VLAN: u64 = 1 << 19;
/// The control queue has the receive modes beyond promiscuous and all-multicast.
pub const NET_CTRL_RX_EXTRA: u64 = 1 << 20;
/// The driver can send gratuitous packets when asked.
pub const NET_GUEST_ANNOUNCE: u64 = 1 << 21;
/// There are several pairs of queues, and the device steers.
pub const NET_MQ: u64 = 1 << 22;
/// The control queue sets the MAC address.
pub const NET_CTRL_MAC_ADDR: u64 = 1 << 23;
/// The driver takes UDP datagrams over IPv4 joined to large ones (VIRTIO 1.3).
pub const NET_GUEST_USO4: u64 = 1 << 54;
/// The driver takes UDP datagrams over IPv6 joined to large ones (VIRTIO 1.3).
pub const NET_GUEST_USO6: u64 = 1 << 55;
/// The device cuts large UDP datagrams into small ones.
pub const NET_HOST_USO: u64 = 1 << 56;
/// The device reports a hash with each frame.
pub const NET_HASH_REPORT: u64 = 1 << 57;
/// The driver gives exact header lengths.
pub const NET_GUEST_HDRLEN: u64 = 1 << 59;
/// The device spreads frames by a Toeplitz hash that the driver sets up.
pub const NET_RSS: u64 = 1 << 60;
/// The device tells speed and duplex.
pub const NET_SPEED_DUPLEX: u64 = 1 << 63;

/// Nothing is assumed of how a packet is cut into descriptors; only for the legacy interface, others
/// always may (VIRTIO §6.3).
pub const ANY_LAYOUT: u64 = 1 << 27;
/// A descriptor may point to a table of descriptors (VIRTIO §6).
pub const INDIRECT_DESC: u64 = 1 << 28;
/// Both sides say at which event they want to be told.
pub const EVENT_IDX: u64 = 1 << 29;
/// The device is not a legacy one, or is used as none.
pub const VERSION_1: u64 = 1 << 32;
/// The device reaches memory through an IOMMU, where there is one.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
/// Rings are packed.
pub const RING_PACKED: u64 = 1 << 34;
/// Buffers are used in the order in which they were made available.
pub const IN_ORDER: u64 = 1 << 35;
/// Memory accesses are ordered as the platform's, not as the processors'.
pub const ORDER_PLATFORM: u64 = 1 << 36;
/// A notification carries the position up to which descriptors are available.
pub const NOTIFICATION_DATA: u64 = 1 << 38;
/// A single queue can be reset.
pub const RING_RESET: u64 = 1 << 40;

/// Bits that belong to transports and rings, not to the kind of device.
pub const RESERVED: u64 = ((1 << 50) - 1) & !((1 << 24) - 1);

/// Features that need others to be accepted too (VIRTIO §5.1.3.1): the feature, and what it needs
/// all of.
pub const NET_NEEDS: &[(u64, u64)] = &[
    (NET_GUEST_TSO4, NET_GUEST_CSUM),
    (NET_GUEST_TSO6, NET_GUEST_CSUM),
    (NET_GUEST_UFO, NET_GUEST_CSUM),
    (NET_HOST_TSO4, NET_CSUM),
    (NET_HOST_TSO6, NET_CSUM),
    (NET_HOST_UFO, NET_CSUM),
    (NET_HOST_USO, NET_CSUM),
    (NET_GUEST_USO4, NET_GUEST_CSUM),
    (NET_GUEST_USO6, NET_GUEST_CSUM),
    (NET_CTRL_RX, NET_CTRL_VQ),
    (NET_CTRL_VLAN, NET_CTRL_VQ),
    (NET_GUEST_ANNOUNCE, NET_CTRL_VQ),
    (NET_MQ, NET_CTRL_VQ),
    (NET_CTRL_MAC_ADDR, NET_CTRL_VQ),
    (NET_RSS, NET_CTRL_VQ),
    (NET_HASH_REPORT, NET_CTRL_VQ),
];

/// Features of which at least one other must be accepted too (VIRTIO §5.1.3.1).
pub const NET_NEEDS_ANY: &[(u64, u64)] = &[
    (NET_GUEST_ECN, NET_GUEST_TSO4 | NET_GUEST_TSO6),
    (NET_HOST_ECN, NET_HOST_TSO4 | NET_HOST_TSO6),
];

/// The first of `features` that lacks another one it needs.
#[must_use]
pub fn lacking(features: u64) -> Option<u64> {
    let all = NET_NEEDS
        .iter()
        .find(|(feature, needs)| features & feature != 0 && features & needs != *needs);
    let any = NET_NEEDS_ANY
        .iter()
        .find(|(feature, needs)| features & feature != 0 && features & needs == 0);
    all.or(any).map(|(feature, _)| *feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_without_what_it_needs_is_found() {
        assert_eq!(lacking(0), None);
        assert_eq!(lacking(NET_CSUM | NET_HOST_TSO4 | NET_HOST_ECN), None);
        assert_eq!(lacking(NET_HOST_TSO6), Some(NET_HOST_TSO6));
        assert_eq!(lacking(NET_CSUM | NET_HOST_ECN), Some(NET_HOST_ECN));
        assert_eq!(lacking(NET_MQ | VERSION_1), Some(NET_MQ));
    }

    #[test]
    fn transport_bits_are_told_from_the_devices() {
        for bit in [INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED, RING_RESET] {
            assert_eq!(bit & RESERVED, bit);
        }
        for bit in [NET_CTRL_MAC_ADDR, NET_HASH_REPORT, NET_SPEED_DUPLEX] {
            assert_eq!(bit & RESERVED, 0);
        }
    }
}
