//! What the flow director compares of a packet, and its hash (82599 §7.1.2.7.3 to §7.1.2.7.5).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::Fdircmd;

use super::flow_director::Masks;
use super::registers::Registers;
use crate::packet::{Headers, Network, Transport};

/// The fields of a packet or of a filter, with what is ignored set to 0. Numbers are as people
/// write them: the byte that is sent first is the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// 0 none, 1 UDP, 2 TCP, 3 SCTP; 4 more for IPv6.
    pub(super) flow_type: u8,
    pub(super) vlan: u16,
    pub(super) source: [u32; 4],
    pub(super) destination: [u32; 4],
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) flex: u16,
}

fn word(frame: &[u8], at: usize) -> u16 {
    let bytes = frame.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Four words, or the last of them, from the bytes of an address.
fn address(bytes: &[u8]) -> [u32; 4] {
    let mut words = [0; 4];
    let chunks = bytes.as_chunks::<4>().0;
    for (word, bytes) in words.iter_mut().rev().zip(chunks.iter().rev()) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// Bits of whole bytes: a bit for each byte, that of the first byte lowest.
fn bytes_of(bits: u16) -> [u32; 4] {
    let mut words = [0; 4];
    for (index, word) in words.iter_mut().enumerate() {
        for byte in 0..4 {
            if bits >> (index * 4 + byte) & 1 == 1 {
                *word |= 0xFF00_0000 >> (8 * byte);
            }
        }
    }
    words
}

impl Fields {
    /// The fields of a packet, if it is an IP packet.
    pub(super) fn of(frame: &[u8], headers: &Headers, flex: usize, masks: &Masks) -> Option<Self> {
        let l3 = usize::from(headers.l3);
        let (addresses, six) = match headers.network {
            Network::None => return None,
            Network::V4 => (frame.get(l3 + 12..l3 + 20)?, 0),
            Network::V6 => (frame.get(l3 + 8..l3 + 40)?, 4),
        };
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        let protocol = match headers.transport {
            Transport::None => 0,
            Transport::Udp => 1,
            Transport::Tcp => 2,
            Transport::Sctp => 3,
        };
        let l4 = usize::from(headers.l4);
        let has_ports = protocol != 0;
        let fields = Self {
            flow_type: protocol | six,
            vlan: headers.vlan.unwrap_or(0),
            source: address(source),
            destination: address(destination),
            source_port: if has_ports { word(frame, l4) } else { 0 },
            destination_port: if has_ports { word(frame, l4 + 2) } else { 0 },
            flex: word(frame, flex),
        };
        Some(fields.masked(masks))
    }

    /// The fields that the registers describe a filter by.
    pub(super) fn of_filter(registers: &Registers, command: Fdircmd, masks: &Masks) -> Self {
        // Addresses lie in registers as in packets: the first byte lowest.
        let mut source = [0; 4];
        let mut destination = [0; 4];
        source[3] = registers.of(&spec::FDIRIPSA).swap_bytes();
        if command.ipv6() {
            for (index, word) in (0..3).zip(&mut source) {
                *word = registers.get(&spec::FDIRSIPV6, index).swap_bytes();
            }
        } else {
            destination[3] = registers.of(&spec::FDIRIPDA).swap_bytes();
        }
        let halves = |register| {
            let [a, b, c, d] = registers.of(register).to_le_bytes();
            (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
        };
        let (source_port, destination_port) = halves(&spec::FDIRPORT);
        let (vlan, flex) = halves(&spec::FDIRVLAN);
        let six = if command.ipv6() { 4 } else { 0 };
        let fields = Self {
            flow_type: command.l4type() | six,
            vlan,
            source,
            destination,
            source_port,
            destination_port,
            flex: flex.swap_bytes(),
        };
        fields.masked(masks)
    }

    fn masked(mut self, masks: &Masks) -> Self {
        let ignored = masks.fields;
        // The CFI takes no part.
        let mut vlan = 0xEFFF;
        if ignored.vlanid() {
            vlan &= !0x0FFF;
        }
        if ignored.vlanp() {
            vlan &= !0xE000;
        }
        self.vlan &= vlan;
        let ports = match self.flow_type & 3 {
            2 => masks.ports[0],
            1 => masks.ports[1],
            3 => masks.ports[2],
            _ => 0,
        };
        let [a, b, c, d] = ports.to_le_bytes();
        self.source_port &= !u16::from_le_bytes([a, b]);
        self.destination_port &= !u16::from_le_bytes([c, d]);
        if self.flow_type & 4 == 0 {
            self.source[3] &= !masks.source;
            self.destination[3] &= !masks.destination;
        } else {
            let pairs = [
                (&mut self.source, bytes_of(masks.source_v6)),
                (&mut self.destination, bytes_of(masks.destination_v6)),
            ];
            for (address, mask) in pairs {
                for (word, mask) in address.iter_mut().zip(mask) {
                    *word &= !mask;
                }
            }
            if ignored.dipv6() {
                self.destination = [0; 4];
            }
        }
        if ignored.l4p() {
            self.flow_type &= !3;
        }
        if ignored.l3p() {
            self.flow_type &= !4;
        }
        if ignored.flex() {
            self.flex = 0;
        }
        self
    }
}

/// The hash of the fields with a key (82599 §7.1.2.7.5).
///
/// The fields are a stream of 352 bits, and each bit of the key that is 1 adds 16 bits of the
/// stream, from the key bit's own position on in each of its 32-bit words. Since the words are
/// added anyway, they are added first. Only the stream's first word differs: what it adds below
/// the bit it starts at is the stream's end, which is 0.
pub(super) fn hash(key: u32, fields: &Fields) -> u16 {
    let Fields {
        flow_type,
        vlan,
        source,
        destination,
        source_port,
        destination_port,
        flex,
    } = *fields;
    let first = u32::from(flow_type) << 16 | u32::from(vlan);
    let ports = u32::from(source_port) << 16 | u32::from(destination_port);
    let others = source
        .iter()
        .chain(&destination)
        .fold(ports ^ u32::from(flex) << 16, |all, word| all ^ word);
    let high = others ^ first ^ first >> 16;
    let low_start = others.rotate_left(16);
    let low = low_start ^ first ^ first << 16;
    let mut sum = 0;
    for bit in 0..16 {
        if key >> bit & 1 == 1 {
            sum ^= if bit == 0 { low_start } else { low >> bit };
        }
        if key >> (bit + 16) & 1 == 1 {
            sum ^= high >> bit;
        }
    }
    u16::try_from(sum & 0xFFFF).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use barewire_spec::ixgbe::Fdirm;

    use super::*;

    const HASH_KEY: u32 = 0x3DAD_14E2;
    const SIGNATURE_KEY: u32 = 0x174D_3614;

    fn v4(source: u32, destination: u32) -> Fields {
        Fields {
            source: [0, 0, 0, source],
            destination: [0, 0, 0, destination],
            ..Fields::default()
        }
    }

    /// What drivers in the field compute for the same flows and keys.
    #[test]
    fn known_hashes() {
        let cases = [
            (
                Fields {
                    flow_type: 2,
                    source_port: 5001,
                    destination_port: 40_000,
                    flex: 0x0800,
                    ..v4(0x0A00_0001, 0x0A00_0002)
                },
                0x732C_68F8u32,
            ),
            (
                Fields {
                    flow_type: 2,
                    vlan: 100,
                    source_port: 80,
                    destination_port: 51_234,
                    flex: 0x8100,
                    ..v4(0xC0A8_0164, 0xC0A8_0165)
                },
                0x1FC5_47BA,
            ),
            (
                Fields {
                    flow_type: 6,
                    source: [0x2001_0DB8, 0, 0, 1],
                    destination: [0x2001_0DB8, 0, 0xFF, 2],
                    source_port: 443,
                    destination_port: 33_000,
                    flex: 0x86DD,
                    ..Fields::default()
                },
                0x490D_51BA,
            ),
            (
                Fields {
                    flow_type: 1,
                    vlan: 0xE005,
                    source_port: 0xFFFF,
                    destination_port: 1,
                    flex: 0x8100,
                    ..v4(0x0102_0304, 0xF1F2_F3F4)
                },
                0x469B_77AB,
            ),
        ];
        for (fields, known) in cases {
            let found = u32::from(hash(SIGNATURE_KEY, &fields) & 0x7FFF) << 16
                | u32::from(hash(HASH_KEY, &fields) & 0x7FFF);
            assert_eq!(found, known, "{fields:?}");
        }
    }

    #[test]
    fn what_is_masked_makes_no_difference() {
        let masks = Masks {
            fields: Fdirm::new().with_vlanid(true).with_flex(true),
            source: 0x0000_00FF,
            ports: [0xFFFF_0000, 0, 0],
            ..Masks::default()
        };
        let base = Fields {
            flow_type: 2,
            source_port: 7,
            ..v4(0x0A00_0001, 0x0A00_0002)
        };
        let same = Fields {
            vlan: 77,
            flex: 5,
            destination_port: 9,
            ..v4(0x0A00_00FE, 0x0A00_0002)
        };
        let same = Fields {
            flow_type: 2,
            source_port: 7,
            ..same
        };
        assert_eq!(base.masked(&masks), same.masked(&masks));
        let other = Fields {
            source_port: 8,
            ..base
        };
        assert_ne!(base.masked(&masks), other.masked(&masks));
        assert_eq!(bytes_of(0x8001), [0xFF00_0000, 0, 0, 0xFF]);
    }
}
