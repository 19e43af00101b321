//! What the driver asks for with a packet: checksums and segmentation (VIRTIO §5.1.6.2).

use barewire_spec::virtio::feature;
use barewire_spec::virtio::header::{
    DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Header, NEEDS_CSUM,
};

use super::features::Agreed;
use crate::packet::checksum::internet;
use crate::packet::{CutError, FlagMasks, Headers, Network, Segments, Transport};
use crate::violation::{Refusal, Rule, refusal};

const RULES: &str = "virtio 1.2 §5.1.6.2.1";
const fn frame(why: &'static str) -> Refusal {
    refusal(Rule::Frame, why, RULES)
}

const NO_CSUM: Refusal = frame("flags without the feature CSUM");
const NOT_THE_DRIVERS: Refusal = frame("DATA_VALID or RSC_INFO, which are the device's");
const UNKNOWN_FLAGS: Refusal = refusal(
    Rule::ReservedBit,
    "flags of the header that do not exist",
    "virtio 1.2 §5.1.6",
);
const BUFFERS: Refusal = frame("num_buffers is not 0");
const NO_GSO: Refusal = frame("gso_type without the feature it needs");
const NO_ECN: Refusal = frame("GSO_ECN without the feature HOST_ECN");
const GSO_WITHOUT_CSUM: Refusal = frame("gso_type without NEEDS_CSUM");
const GSO_SIZE: Refusal = frame("gso_type with a gso_size of 0");
const CSUM_OUTSIDE: Refusal = frame("csum_start and csum_offset lead out of the packet");
const NOT_THAT: Refusal = frame("gso_type does not fit the packet");
const HEADER_LENGTH: Refusal =
    frame("hdr_len is not that of the headers though GUEST_HDRLEN was agreed on");
const HEADERS: Refusal =
    frame("a packet to be cut whose headers do not end in it, or without payload");
const TOO_LONG: Refusal = frame("a segment above 64 KiB");

const FIN: u16 = 0x01;
const PSH: u16 = 0x08;
const CWR: u16 = 0x80;
/// FIN and PSH belong to the last segment, CWR to the first.
const MASKS: FlagMasks = FlagMasks {
    first: 0xFFF & !(FIN | PSH),
    middle: 0xFFF & !(FIN | PSH | CWR),
    last: 0xFFF & !CWR,
};

/// What spoils a packet, and the value at fault.
pub(super) type Spoiled = (Refusal, u64);

/// Checks a header by itself.
pub(super) fn check(header: &Header, agreed: Agreed) -> Result<(), Spoiled> {
    let Header {
        flags,
        gso_type,
        gso_size,
        num_buffers,
        ..
    } = *header;
    let with = |refusal, value: u64| Err((refusal, value));
    if flags & !7 != 0 {
        return with(UNKNOWN_FLAGS, flags.into());
    }
    if flags & (DATA_VALID | 4) != 0 {
        return with(NOT_THE_DRIVERS, flags.into());
    }
    if flags != 0 && !agreed.has(feature::NET_CSUM) {
        return with(NO_CSUM, flags.into());
    }
    if num_buffers != 0 {
        return with(BUFFERS, num_buffers.into());
    }
    if gso_type == GSO_NONE {
        return Ok(());
    }
    let needs = match gso_type & !GSO_ECN {
        GSO_TCPV4 => feature::NET_HOST_TSO4,
        GSO_TCPV6 => feature::NET_HOST_TSO6,
        GSO_UDP_L4 => feature::NET_HOST_USO,
        _ => return with(NO_GSO, gso_type.into()),
    };
    if !agreed.has(needs) {
        return with(NO_GSO, gso_type.into());
    }
    if gso_type & GSO_ECN != 0 && !agreed.has(feature::NET_HOST_ECN) {
        return with(NO_ECN, gso_type.into());
    }
    if flags & NEEDS_CSUM == 0 {
        return with(GSO_WITHOUT_CSUM, gso_type.into());
    }
    if gso_size == 0 {
        return with(GSO_SIZE, 0);
    }
    Ok(())
}

/// Finishes the checksum that the driver has begun.
pub(super) fn finish_checksum(header: &Header, frame: &mut [u8]) -> Result<(), Spoiled> {
    let start = usize::from(header.csum_start);
    let outside = (CSUM_OUTSIDE, u64::from(header.csum_start));
    let sum = internet(frame.get(start..).ok_or(outside)?, 0);
    put(frame, start + usize::from(header.csum_offset), sum).ok_or(outside)
}

/// Writes a checksum; 0 stands for none in UDP, and is the same as all ones elsewhere.
fn put(frame: &mut [u8], at: usize, sum: u16) -> Option<()> {
    let sum = if sum == 0 { u16::MAX } else { sum };
    let field = frame.get_mut(at..)?.first_chunk_mut()?;
    *field = sum.to_be_bytes();
    Some(())
}

/// A packet that is to be cut, and how.
pub(super) struct Cut<'a> {
    segments: Segments<'a>,
}

impl<'a> Cut<'a> {
    /// Finds headers and payload of a packet with a header that was [checked](check).
    pub(super) fn new(
        header: &Header,
        frame: &'a [u8],
        found: &Headers,
        agreed: Agreed,
    ) -> Result<Self, Spoiled> {
        let kind = header.gso_type & !GSO_ECN;
        let fits = match kind {
            GSO_TCPV4 => found.network == Network::V4 && found.transport == Transport::Tcp,
            GSO_TCPV6 => found.network == Network::V6 && found.transport == Transport::Tcp,
            _ => found.transport == Transport::Udp,
        };
        let l4 = usize::from(found.l4);
        if !fits || usize::from(header.csum_start) != l4 {
            return Err((NOT_THAT, header.gso_type.into()));
        }
        let udp = kind == GSO_UDP_L4;
        let l4_bytes = if udp {
            8
        } else {
            let offset = frame.get(l4 + 12).ok_or((HEADERS, 0))? >> 4;
            usize::from(offset).max(5) * 4
        };
        let (headers, payload) = frame.split_at_checked(l4 + l4_bytes).ok_or((HEADERS, 0))?;
        if payload.is_empty() {
            return Err((HEADERS, 0));
        }
        let exact = agreed.has(feature::NET_GUEST_HDRLEN);
        if exact && usize::from(header.hdr_len) != headers.len() {
            return Err((HEADER_LENGTH, header.hdr_len.into()));
        }
        Ok(Self {
            segments: Segments {
                headers,
                payload,
                l3: found.l3.into(),
                l4,
                ipv4: found.network == Network::V4,
                udp,
                size: header.gso_size.into(),
                masks: MASKS,
            },
        })
    }

    pub(super) fn count(&self) -> usize {
        self.segments.count()
    }

    /// Puts a segment with its checksums at the beginning of `into`; returns its length.
    pub(super) fn build(&self, number: usize, into: &mut [u8]) -> Result<usize, Spoiled> {
        let Segments {
            l3, l4, ipv4, udp, ..
        } = self.segments;
        let length = self.segments.build(number, into).map_err(|why| match why {
            CutError::Outside => (HEADERS, 0),
            CutError::TooLong => (TOO_LONG, 0),
        })?;
        let segment = into.get_mut(..length).ok_or((TOO_LONG, 0))?;
        let bytes = u16::try_from(length - l4).map_err(|_| (TOO_LONG, 0))?;
        let field = l4 + if udp { 6 } else { 16 };
        let protocol: u16 = if udp { 17 } else { 6 };
        let addresses = if ipv4 {
            l3 + 12..l3 + 20
        } else {
            l3 + 8..l3 + 40
        };
        // The pseudo header's sum first: addresses, protocol and length of the transport packet.
        let addresses = segment.get(addresses).ok_or((HEADERS, 0))?;
        let pseudo = !internet(addresses, 0);
        let (pseudo, carry) = pseudo.overflowing_add(protocol);
        let (pseudo, more) = pseudo.overflowing_add(bytes);
        let seed = (u32::from(pseudo) + u32::from(carry) + u32::from(more)) % 0xFFFF;
        let seed = u16::try_from(seed).unwrap_or(0);
        if let Some(place) = segment.get_mut(field..field + 2) {
            place.copy_from_slice(&[0, 0]);
        }
        let sum = internet(segment.get(l4..).ok_or((HEADERS, 0))?, seed);
        put(segment, field, sum).ok_or((HEADERS, 0))?;
        if ipv4 {
            if let Some(place) = segment.get_mut(l3 + 10..l3 + 12) {
                place.copy_from_slice(&[0, 0]);
            }
            let sum = internet(segment.get(l3..l4).ok_or((HEADERS, 0))?, 0);
            if let Some(place) = segment.get_mut(l3 + 10..l3 + 12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
        Ok(length)
    }
}
