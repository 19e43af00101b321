//! What the device puts into a frame on its way out: a VLAN tag and checksums (82599 §7.2.5).

use barewire_spec::ixgbe::descriptor::tx::l4t;

use super::checksum::internet;
use super::queue::Packet;
use super::refusal::{Refusal, refusal};
use crate::violation::Rule;

const SECTION: &str = "82599 §7.2.5";
const OUTSIDE: Refusal = refusal(Rule::Descriptor, "headers end outside the packet", SECTION);
const NOT_IPV4: Refusal = refusal(
    Rule::Descriptor,
    "IXSM for a packet that is not IPv4",
    SECTION,
);
const SCTP: Refusal = refusal(Rule::NotImplemented, "SCTP checksum", SECTION);
const RESERVED: Refusal = refusal(Rule::Descriptor, "L4T is reserved", SECTION);

/// Fills in what the packet asks for; returns its new length.
pub(super) fn apply(frame: &mut [u8], packet: &Packet) -> Result<usize, Refusal> {
    let length = packet.bytes;
    let bytes = frame.get_mut(..length).ok_or(OUTSIDE)?;
    let context = packet.context;
    let l3 = context.mac_length;
    let l4 = l3 + context.ip_length;
    // The transport checksum first: where UDP lies in IPv4 neither covers the other.
    if packet.l4_checksum {
        let at = match context.l4_type {
            l4t::TCP => 16,
            l4t::UDP => 6,
            l4t::SCTP => return Err(SCTP),
            _ => return Err(RESERVED),
        };
        let segment = bytes.get_mut(l4..).ok_or(OUTSIDE)?;
        // The field holds the sum of the pseudo header, so that the sum of all is right.
        let mut checksum = internet(segment);
        if context.l4_type == l4t::UDP && checksum == 0 {
            checksum = u16::MAX;
        }
        put(segment, at, checksum)?;
    }
    if packet.ip_checksum {
        if !context.ipv4 {
            return Err(NOT_IPV4);
        }
        let header = bytes.get_mut(l3..l4).ok_or(OUTSIDE)?;
        put(header, 10, 0)?;
        let checksum = internet(header);
        put(header, 10, checksum)?;
    }
    let Some(tag) = packet.tag else {
        return Ok(length);
    };
    let tagged = frame.get_mut(..length + 4).ok_or(OUTSIDE)?;
    if length < 12 {
        return Err(OUTSIDE);
    }
    tagged.copy_within(12..length, 16);
    let [high, low] = tag.to_be_bytes();
    tagged
        .get_mut(12..16)
        .ok_or(OUTSIDE)?
        .copy_from_slice(&[0x81, 0x00, high, low]);
    Ok(length + 4)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> Result<(), Refusal> {
    bytes
        .get_mut(at..at + 2)
        .ok_or(OUTSIDE)?
        .copy_from_slice(&value.to_be_bytes());
    Ok(())
}
