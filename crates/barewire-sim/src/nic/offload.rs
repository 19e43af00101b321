//! What the device puts into a frame on its way out: checksums and a VLAN tag (82599 §7.2.5).

use barewire_spec::ixgbe::descriptor::tx::l4t;

use super::queue::{Insertion, Packet};
use crate::packet::checksum::{crc32c, internet};
use crate::violation::{Refusal, Rule, refusal};

const SECTION: &str = "82599 §7.2.5";
const OUTSIDE: Refusal = refusal(Rule::Descriptor, "headers end outside the packet", SECTION);
const NOT_IPV4: Refusal = refusal(
    Rule::Descriptor,
    "IXSM for a packet that is not IPv4",
    SECTION,
);
const RESERVED: Refusal = refusal(Rule::Descriptor, "L4T is reserved", SECTION);
/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// Fills in what the packet asks for in the first `length` bytes; returns the new length.
///
/// `unseeded` is what the sum in the checksum field of TCP or UDP lacks: the transport layer's
/// length, where software could not know it, or 0.
pub(super) fn apply(
    frame: &mut [u8],
    length: usize,
    packet: &Packet,
    unseeded: u16,
) -> Result<usize, Refusal> {
    let bytes = frame.get_mut(..length).ok_or(OUTSIDE)?;
    let context = packet.context;
    let l3 = context.mac_length;
    let l4 = l3 + context.ip_length;
    // The transport checksum first: where UDP lies in IPv4 neither covers the other.
    if packet.l4_checksum {
        let segment = bytes.get_mut(l4..).ok_or(OUTSIDE)?;
        // The field holds the sum of the pseudo header, so that the sum of all is right.
        match context.l4_type {
            l4t::TCP => {
                let checksum = internet(segment, unseeded);
                put(segment, 16, checksum)?;
            }
            l4t::UDP => {
                let checksum = match internet(segment, unseeded) {
                    0 => u16::MAX,
                    other => other,
                };
                put(segment, 6, checksum)?;
            }
            l4t::SCTP => {
                let field = |segment: &mut [u8], value: [u8; 4]| {
                    let field = segment.get_mut(8..12).ok_or(OUTSIDE)?;
                    field.copy_from_slice(&value);
                    Ok(())
                };
                field(segment, [0; 4])?;
                let checksum = crc32c(segment);
                field(segment, checksum.to_le_bytes())?;
            }
            _ => return Err(RESERVED),
        }
    }
    if packet.ip_checksum {
        if !context.ipv4 {
            return Err(NOT_IPV4);
        }
        // What the field holds is part of the sum, so that software can put in what must cancel
        // out: headers of a tunnel between this one and the transport layer's.
        let header = bytes.get_mut(l3..l4).ok_or(OUTSIDE)?;
        let checksum = internet(header, 0);
        put(header, 10, checksum)?;
    }
    if let Some((start, at)) = packet.plain_checksum {
        let checksum = internet(bytes.get(start..).ok_or(OUTSIDE)?, 0);
        put(bytes, at, checksum)?;
    }
    let Some(tag) = packet.tag else {
        return Ok(length);
    };
    insert(frame, length, tag)
}

/// Inserts a tag.
fn insert(frame: &mut [u8], length: usize, tag: Insertion) -> Result<usize, Refusal> {
    let Insertion { at, kind, tag } = tag;
    if length < at {
        return Err(OUTSIDE);
    }
    let tagged = frame.get_mut(..length + TAG).ok_or(OUTSIDE)?;
    tagged.copy_within(at..length, at + TAG);
    put(tagged, at, kind)?;
    put(tagged, at + 2, tag)?;
    Ok(length + TAG)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> Result<(), Refusal> {
    bytes
        .get_mut(at..at + 2)
        .ok_or(OUTSIDE)?
        .copy_from_slice(&value.to_be_bytes());
    Ok(())
}
