//! Cutting a packet into segments: TCP and UDP segmentation (82599 §7.2.4).

use barewire_spec::ixgbe::descriptor::tx::l4t;

use super::offload;
use super::queue::Packet;
use crate::packet::{CutError, FlagMasks, Segments};
use crate::violation::{Refusal, Rule, refusal};

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
    segments: Segments<'a>,
}

impl<'a> Segmentation<'a> {
    /// Finds headers and payload in the `bytes` of a packet that is not [`forbidden`].
    pub(super) fn new(
        packet: &'a Packet,
        bytes: &'a [u8],
        masks: FlagMasks,
    ) -> Result<Self, Refusal> {
        let context = &packet.context;
        let (headers, payload) = bytes.split_at_checked(context.headers()).ok_or(OUTSIDE)?;
        if payload.is_empty() {
            return Err(NO_PAYLOAD);
        }
        let segments = Segments {
            headers,
            payload,
            l3: context.mac_length,
            l4: context.mac_length + context.ip_length,
            ipv4: context.ipv4,
            udp: context.l4_type == l4t::UDP,
            size: context.mss,
            masks,
        };
        Ok(Self { packet, segments })
    }

    /// How many segments there are.
    pub(super) fn count(&self) -> usize {
        self.segments.count()
    }

    /// Puts a segment, finished but for padding, at the beginning of `into`; returns its length.
    pub(super) fn build(&self, number: usize, into: &mut [u8]) -> Result<usize, Refusal> {
        let length = self.segments.build(number, into).map_err(|why| match why {
            CutError::Outside => OUTSIDE,
            CutError::TooLong => TOO_LONG,
        })?;
        let l4_bytes = length.saturating_sub(self.segments.l4);
        let l4_bytes = u16::try_from(l4_bytes).map_err(|_| TOO_LONG)?;
        offload::apply(into, length, self.packet, l4_bytes)
    }
}
