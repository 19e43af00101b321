//! Which features the device offers, and what was agreed on (VIRTIO §2.2, §5.1.3).

use barewire_spec::virtio::feature as spec;

/// Everything that the device can do through its modern interface.
pub(super) const ALL: u64 = spec::NET_CSUM
    | spec::NET_GUEST_CSUM
    | spec::NET_CTRL_GUEST_OFFLOADS
    | spec::NET_MTU
    | spec::NET_MAC
    | spec::NET_HOST_TSO4
    | spec::NET_HOST_TSO6
    | spec::NET_HOST_ECN
    | spec::NET_HOST_USO
    | spec::NET_MRG_RXBUF
    | spec::NET_STATUS
    | spec::NET_CTRL_VQ
    | spec::NET_CTRL_RX
    | spec::NET_CTRL_VLAN
    | spec::NET_CTRL_RX_EXTRA
    | spec::NET_GUEST_ANNOUNCE
    | spec::NET_MQ
    | spec::NET_CTRL_MAC_ADDR
    | spec::NET_GUEST_HDRLEN
    | spec::NET_RSS
    | spec::NET_SPEED_DUPLEX
    | spec::INDIRECT_DESC
    | spec::EVENT_IDX
    | spec::VERSION_1
    | spec::ACCESS_PLATFORM
    | spec::RING_PACKED
    | spec::IN_ORDER
    | spec::ORDER_PLATFORM
    | spec::RING_RESET;

/// What a device has if nothing is said: all but what changes the rings, so that drivers find what
/// hypervisors usually have.
pub(super) const USUAL: u64 = ALL & !(spec::RING_PACKED | spec::IN_ORDER | spec::NET_RSS);

/// What only the legacy interface offers.
pub(super) const LEGACY_ONLY: u64 = spec::ANY_LAYOUT;

/// What driver and device agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed(pub(super) u64);

impl Agreed {
    #[inline]
    pub(super) const fn has(self, feature: u64) -> bool {
        self.0 & feature != 0
    }

    /// Bytes of the header ahead of each frame (VIRTIO §5.1.6, §5.1.6.1).
    pub(super) const fn header_bytes(self) -> usize {
        if self.has(spec::VERSION_1 | spec::NET_MRG_RXBUF) {
            barewire_spec::virtio::header::BYTES
        } else {
            barewire_spec::virtio::header::BYTES_LEGACY
        }
    }
}

/// The features by name.
const NAMES: &[(u64, &str)] = &[
    (spec::NET_CSUM, "CSUM"),
    (spec::NET_GUEST_CSUM, "GUEST_CSUM"),
    (spec::NET_CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS"),
    (spec::NET_MTU, "MTU"),
    (spec::NET_MAC, "MAC"),
    (spec::NET_GUEST_TSO4, "GUEST_TSO4"),
    (spec::NET_GUEST_TSO6, "GUEST_TSO6"),
    (spec::NET_GUEST_ECN, "GUEST_ECN"),
    (spec::NET_GUEST_UFO, "GUEST_UFO"),
    (spec::NET_HOST_TSO4, "HOST_TSO4"),
    (spec::NET_HOST_TSO6, "HOST_TSO6"),
    (spec::NET_HOST_ECN, "HOST_ECN"),
    (spec::NET_HOST_UFO, "HOST_UFO"),
    (spec::NET_MRG_RXBUF, "MRG_RXBUF"),
    (spec::NET_STATUS, "STATUS"),
    (spec::NET_CTRL_VQ, "CTRL_VQ"),
    (spec::NET_CTRL_RX, "CTRL_RX"),
    (spec::NET_CTRL_VLAN, "CTRL_VLAN"),
    (spec::NET_CTRL_RX_EXTRA, "CTRL_RX_EXTRA"),
    (spec::NET_GUEST_ANNOUNCE, "GUEST_ANNOUNCE"),
    (spec::NET_MQ, "MQ"),
    (spec::NET_CTRL_MAC_ADDR, "CTRL_MAC_ADDR"),
    (spec::ANY_LAYOUT, "ANY_LAYOUT"),
    (spec::INDIRECT_DESC, "INDIRECT_DESC"),
    (spec::EVENT_IDX, "EVENT_IDX"),
    (spec::VERSION_1, "VERSION_1"),
    (spec::ACCESS_PLATFORM, "ACCESS_PLATFORM"),
    (spec::RING_PACKED, "RING_PACKED"),
    (spec::IN_ORDER, "IN_ORDER"),
    (spec::ORDER_PLATFORM, "ORDER_PLATFORM"),
    (spec::NOTIFICATION_DATA, "NOTIFICATION_DATA"),
    (spec::RING_RESET, "RING_RESET"),
    (spec::NET_GUEST_USO4, "GUEST_USO4"),
    (spec::NET_GUEST_USO6, "GUEST_USO6"),
    (spec::NET_HOST_USO, "HOST_USO"),
    (spec::NET_HASH_REPORT, "HASH_REPORT"),
    (spec::NET_GUEST_HDRLEN, "GUEST_HDRLEN"),
    (spec::NET_RSS, "RSS"),
    (spec::NET_SPEED_DUPLEX, "SPEED_DUPLEX"),
];

/// Names of the features in a mask, for people.
pub(super) fn names(features: u64) -> String {
    let mut left = features;
    let mut text = Vec::new();
    for (bit, name) in NAMES {
        if left & bit != 0 {
            text.push((*name).to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        text.push(format!("bits {left:#x}"));
    }
    text.join(", ")
}

/// The feature of this name, in the specification's words without `VIRTIO_F_` or `VIRTIO_NET_F_`.
pub(super) fn named(name: &str) -> Option<u64> {
    let known = NAMES.iter().find(|(_, known)| *known == name);
    known.map(|(bit, _)| *bit)
}
