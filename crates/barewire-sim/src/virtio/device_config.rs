//! The network device's own configuration (VIRTIO §5.1.4).

use barewire_spec::virtio::{feature, net};

use super::model::Model;
use crate::violation::Rule;

/// Mbit/s.
pub(super) const SPEED: u32 = 10_000;
/// The least MTU (VIRTIO §5.1.4.1).
pub(super) const MTU_LEAST: u16 = 68;
/// Bytes of the longest hash key.
pub(super) const KEY_BYTES: u8 = 40;
/// Entries of the longest indirection table.
pub(super) const TABLE_ENTRIES: u16 = 128;
/// What can be hashed.
pub(super) const HASH_TYPES: u32 = net::hash::IPV4
    | net::hash::TCPV4
    | net::hash::UDPV4
    | net::hash::IPV6
    | net::hash::TCPV6
    | net::hash::UDPV6;

/// A field: offset, bytes of it, bytes of an access to it, and the features of which one must be
/// offered.
struct Field {
    name: &'static str,
    offset: u32,
    bytes: u32,
    width: u32,
    needs: u64,
}

const fn field(name: &'static str, offset: u32, bytes: u32, width: u32, needs: u64) -> Field {
    Field {
        name,
        offset,
        bytes,
        width,
        needs,
    }
}

const HASHES: u64 = feature::NET_RSS | feature::NET_HASH_REPORT;

const FIELDS: &[Field] = &[
    field("mac", net::MAC, 6, 1, feature::NET_MAC),
    field("status", net::STATUS, 2, 2, feature::NET_STATUS),
    field(
        "max_virtqueue_pairs",
        net::MAX_QUEUE_PAIRS,
        2,
        2,
        feature::NET_MQ | feature::NET_RSS,
    ),
    field("mtu", net::MTU, 2, 2, feature::NET_MTU),
    field("speed", net::SPEED, 4, 4, feature::NET_SPEED_DUPLEX),
    field("duplex", net::DUPLEX, 1, 1, feature::NET_SPEED_DUPLEX),
    field("rss_max_key_size", net::RSS_KEY_MAX, 1, 1, HASHES),
    field(
        "rss_max_indirection_table_length",
        net::RSS_TABLE_MAX,
        2,
        2,
        feature::NET_RSS,
    ),
    field("supported_hash_types", net::HASH_TYPES, 4, 4, HASHES),
];

impl Model {
    fn configuration(&self) -> [u8; net::CONFIG_BYTES as usize] {
        let mut bytes = [0; net::CONFIG_BYTES as usize];
        let mut put = |offset: u32, value: &[u8]| {
            let place = bytes.iter_mut().skip(offset as usize);
            for (to, from) in place.zip(value) {
                *to = *from;
            }
        };
        let has = |features: u64| self.offered & features != 0;
        if has(feature::NET_MAC) {
            put(net::MAC, &self.filter.mac);
        }
        if has(feature::NET_STATUS) {
            put(net::STATUS, &self.network_status().to_le_bytes());
        }
        if has(feature::NET_MQ | feature::NET_RSS) {
            put(net::MAX_QUEUE_PAIRS, &self.config.queue_pairs.to_le_bytes());
        }
        if has(feature::NET_MTU) {
            put(net::MTU, &self.config.mtu.to_le_bytes());
        }
        if has(feature::NET_SPEED_DUPLEX) {
            put(net::SPEED, &SPEED.to_le_bytes());
            put(net::DUPLEX, &[1]);
        }
        if has(HASHES) {
            put(net::RSS_KEY_MAX, &[KEY_BYTES]);
            put(net::HASH_TYPES, &HASH_TYPES.to_le_bytes());
        }
        if has(feature::NET_RSS) {
            put(net::RSS_TABLE_MAX, &TABLE_ENTRIES.to_le_bytes());
        }
        bytes
    }

    /// Reads `width` bytes of the configuration: 1, 2 or 4.
    pub(super) fn read_configuration(&mut self, offset: u32, width: u32) -> u32 {
        self.check_configuration("read", offset, width);
        if std::mem::take(&mut self.changed) {
            self.generation = self.generation.wrapping_add(1);
        }
        let bytes = self.configuration();
        let mut value = [0; 4];
        let from = bytes.iter().skip(offset as usize).take(width as usize);
        for (to, from) in value.iter_mut().zip(from) {
            *to = *from;
        }
        u32::from_le_bytes(value)
    }

    /// The driver writes to the configuration. Only a legacy driver may, and only the MAC address
    /// (VIRTIO §5.1.6.5.2.3).
    pub(super) fn write_configuration(&mut self, offset: u32, width: u32, value: u32) {
        let end = offset.saturating_add(width);
        if self.legacy && end <= net::MAC + 6 && !self.agreed.has(feature::NET_CTRL_MAC_ADDR) {
            let place = self.filter.mac.iter_mut().skip(offset as usize);
            for (to, from) in place.zip(value.to_le_bytes()).take(width as usize) {
                *to = from;
            }
            return;
        }
        self.violate(
            Rule::ReadOnly,
            || format!("device configuration {offset:#x}"),
            value.into(),
            String::new,
            "virtio 1.2 §5.1.4",
        );
    }

    /// Whether a field is accessed as it should be, and is there at all.
    fn check_configuration(&mut self, access: &'static str, offset: u32, width: u32) {
        let end = offset.saturating_add(width);
        let touched = |field: &&Field| offset < field.offset + field.bytes && end > field.offset;
        let Some(first) = FIELDS.iter().find(touched) else {
            if self.legacy {
                return;
            }
            self.violate(
                Rule::UndefinedRegister,
                || format!("{access} of device configuration {offset:#x}"),
                0,
                String::new,
                "virtio 1.2 §5.1.4",
            );
            return;
        };
        // The legacy interface takes any width (VIRTIO §4.1.4.10).
        let aligned = offset
            .checked_sub(first.offset)
            .is_some_and(|within| within.is_multiple_of(first.width));
        if !self.legacy && (width != first.width || !aligned) {
            self.violate(
                Rule::Width,
                || format!("{access} of {}", first.name),
                width.into(),
                || format!("the field has {} bits", first.width * 8),
                "virtio 1.2 §4.1.3.1",
            );
        }
        if self.offered & first.needs == 0 && !self.legacy {
            self.violate(
                Rule::ForbiddenState,
                || format!("{access} of {}", first.name),
                offset.into(),
                || "the feature it belongs to is not offered".into(),
                "virtio 1.2 §2.5.1",
            );
        }
    }
}
