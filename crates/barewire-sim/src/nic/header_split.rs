//! Headers in buffers of their own (82599 §7.1.10).

use barewire_spec::ixgbe::descriptor::rx::{Info, Status};
use barewire_spec::ixgbe::{Psrtype, Srrctl, desctype};

use crate::packet::{Headers, Network, Transport};

/// Bytes of a unit of `SRRCTL.BSIZEHEADER`.
const UNIT: usize = 64;

/// How a queue divides packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    /// The header buffer is used for packets without a header too.
    always: bool,
    /// Bytes of a header buffer.
    room: usize,
    kinds: Psrtype,
}

/// How one packet is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Division {
    /// Bytes that go to the header buffer.
    pub(super) in_header_buffer: usize,
    /// What the first descriptor's words say of it.
    pub(super) info: u64,
    pub(super) status: u64,
}

impl Split {
    /// What SRRCTL and PSRTYPE ask for.
    pub(super) fn of(srrctl: Srrctl, kinds: Psrtype) -> Option<Self> {
        let always = match srrctl.desctype() {
            desctype::ADVANCED_HEADER_SPLIT => false,
            desctype::ADVANCED_ALWAYS_HEADER => true,
            _ => return None,
        };
        Some(Self {
            always,
            room: usize::from(srrctl.bsizeheader()) * UNIT,
            kinds,
        })
    }

    /// Where the header ends that packets are split after, if this one has such a header.
    fn end(&self, frame: &[u8], headers: &Headers) -> Option<usize> {
        let kinds = self.kinds;
        let l4 = usize::from(headers.l4);
        let l3 = usize::from(headers.l3);
        match headers.transport {
            Transport::Tcp if kinds.tcp() => {
                let offset = frame.get(l4 + 12).map_or(0, |byte| byte >> 4);
                return Some(l4 + usize::from(offset) * 4);
            }
            Transport::Udp if kinds.udp() => return Some(l4 + 8),
            _ => {}
        }
        match headers.network {
            Network::V4 if kinds.ipv4() => Some(l3 + usize::from(headers.l3_length)),
            // Behind extension headers, where they lead to a transport header.
            Network::V6 if kinds.ipv6() && l4 > 0 => Some(l4),
            Network::V6 if kinds.ipv6() => Some(l3 + 40),
            _ if kinds.l2() => Some(l3.max(14)),
            _ => None,
        }
    }

    /// Divides a frame of which `stripped` bytes of its MAC header are not written.
    pub(super) fn divide(&self, frame: &[u8], headers: &Headers, stripped: usize) -> Division {
        let total = frame.len() - stripped;
        let header = self
            .end(frame, headers)
            .map(|end| (end - stripped).min(total));
        let in_header_buffer = match header {
            _ if self.always && total <= self.room => total,
            Some(length) if length <= self.room => length,
            _ if self.always => self.room,
            _ => 0,
        };
        let told = match header {
            _ if self.always && total <= self.room => total,
            Some(length) => length,
            None => in_header_buffer,
        };
        let length = u16::try_from(told).unwrap_or(u16::MAX).min(0x3FF);
        let info = Info::new()
            .with_sph(header.is_some())
            .with_hdr_len(length)
            .into_bits();
        let too_long = header.is_some_and(|length| length > self.room);
        Division {
            in_header_buffer,
            info,
            status: Status::new().with_hbo(too_long).into_bits(),
        }
    }
}
