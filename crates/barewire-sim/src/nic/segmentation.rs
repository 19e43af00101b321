//! Cutting a packet into segments: TCP and UDP segmentation (82599 §7.2.4).

use barewire_spec::ixgbe::descriptor::tx::l4t;

use super::offload;
use super::queue::{Context, Packet};
use super::refusal::{Refusal, refusal};
use crate::violation::Rule;

const SECTION: &str = "82599 §7.2.4";
const MSS: Refusal = refusal(Rule::Descriptor, "TSE with an MSS of 0", SECTION);
const TRANSPORT: Refusal = refusal(Rule::Descriptor, "TSE for neither TCP nor UDP", SECTION);
const HEADERS: Refusal = refusal(
    Rule::Descriptor,
    "TSE with headers that are too short",
    SECTION,
);
const L4_CHECKSUM: Refusal = refusal(Rule::Descriptor, "TSE without TXSM", "82599 §7.2.3.2.4");
const IP_CHECKSUM: Refusal = refusal(
    Rule::Descriptor,
    "TSE of IPv4 without IXSM",
    "82599 §7.2.3.2.4",
);
const SNAP: Refusal = refusal(Rule::NotImplemented, "segmentation behind SNAP", SECTION);
const NO_PAYLOAD: Refusal = refusal(Rule::Descriptor, "TSE without payload", SECTION);
const OUTSIDE: Refusal = refusal(Rule::Descriptor, "headers end outside the packet", SECTION);
const TOO_LONG: Refusal = refusal(Rule::Frame, "a segment above 64 KiB", SECTION);

/// Which TCP flags stay in the segments of a packet: masks of the twelve bits behind the data
/// offset (82599 §8.2.3.9.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FlagMasks {
    pub(super) first: u16,
    pub(super) middle: u16,
    pub(super) last: u16,
}

/// Why a packet can't be cut, if it can't.
pub(super) fn forbidden(packet: &Packet) -> Option<Refusal> {
    let context = &packet.context;
    let shortest_l4 = match context.l4_type {
        l4t::TCP => 20,
        l4t::UDP => 8,
        _ => return Some(TRANSPORT),
    };
    let shortest_ip = if context.ipv4 { 20 } else { 40 };
    if context.mss == 0 {
        Some(MSS)
    } else if context.mac_length < 14
        || context.ip_length < shortest_ip
        || context.l4_length < shortest_l4
    {
        Some(HEADERS)
    } else if !packet.l4_checksum {
        Some(L4_CHECKSUM)
    } else if context.ipv4 && !packet.ip_checksum {
        Some(IP_CHECKSUM)
    } else if context.snap {
        Some(SNAP)
    } else {
        None
    }
}

/// A packet that is to be cut.
pub(super) struct Segmentation<'a> {
    packet: &'a Packet,
    headers: &'a [u8],
    payload: &'a [u8],
    masks: FlagMasks,
}

impl<'a> Segmentation<'a> {
    /// Finds headers and payload in the `bytes` of a packet that is not [`forbidden`].
    pub(super) fn new(
        packet: &'a Packet,
        bytes: &'a [u8],
        masks: FlagMasks,
    ) -> Result<Self, Refusal> {
        let (headers, payload) = bytes
            .split_at_checked(packet.context.headers())
            .ok_or(OUTSIDE)?;
        if payload.is_empty() {
            return Err(NO_PAYLOAD);
        }
        Ok(Self {
            packet,
            headers,
            payload,
            masks,
        })
    }

    /// How many segments there are.
    pub(super) fn count(&self) -> usize {
        self.payload.len().div_ceil(self.packet.context.mss.max(1))
    }

    /// Puts a segment, finished but for padding, at the beginning of `into`; returns its length.
    pub(super) fn build(&self, number: usize, into: &mut [u8]) -> Result<usize, Refusal> {
        let Context {
            mac_length: l3,
            ip_length,
            l4_type,
            ipv4,
            mss,
            ..
        } = self.packet.context;
        let l4 = l3 + ip_length;
        let start = number * mss;
        let end = (start + mss).min(self.payload.len());
        let payload = self.payload.get(start..end).ok_or(OUTSIDE)?;
        let length = self.headers.len() + payload.len();
        let segment = into.get_mut(..length).ok_or(TOO_LONG)?;
        let (head, rest) = segment.split_at_mut(self.headers.len());
        head.copy_from_slice(self.headers);
        rest.copy_from_slice(payload);

        let step = u16::try_from(number & 0xFFFF).unwrap_or(0);
        let all = narrow(length - l3)?;
        if ipv4 {
            put(segment, l3 + 2, all)?;
            let id = get(segment, l3 + 4)?.wrapping_add(step);
            put(segment, l3 + 4, id)?;
        } else {
            put(segment, l3 + 4, all.saturating_sub(40))?;
        }
        let l4_bytes = narrow(length - l4)?;
        if l4_type == l4t::UDP {
            put(segment, l4 + 4, l4_bytes)?;
        } else {
            self.tcp(segment, l4, start, end)?;
        }
        offload::apply(into, length, self.packet, l4_bytes)
    }

    /// The sequence number, and the flags that belong into this segment.
    fn tcp(&self, segment: &mut [u8], l4: usize, start: usize, end: usize) -> Result<(), Refusal> {
        let sequence = segment.get_mut(l4 + 4..).and_then(<[u8]>::first_chunk_mut);
        let sequence: &mut [u8; 4] = sequence.ok_or(OUTSIDE)?;
        let offset = u32::try_from(start).unwrap_or(0);
        *sequence = u32::from_be_bytes(*sequence)
            .wrapping_add(offset)
            .to_be_bytes();
        let mask = match (start == 0, end == self.payload.len()) {
            // The only segment has all that the packet had.
            (true, true) => return Ok(()),
            (true, false) => self.masks.first,
            (false, false) => self.masks.middle,
            (false, true) => self.masks.last,
        };
        let flags = get(segment, l4 + 12)? & (mask | 0xF000);
        put(segment, l4 + 12, flags)
    }
}

fn narrow(length: usize) -> Result<u16, Refusal> {
    u16::try_from(length).map_err(|_| TOO_LONG)
}

fn get(bytes: &[u8], at: usize) -> Result<u16, Refusal> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map(|field| u16::from_be_bytes(*field)).ok_or(OUTSIDE)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> Result<(), Refusal> {
    let field = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    *field.ok_or(OUTSIDE)? = value.to_be_bytes();
    Ok(())
}
