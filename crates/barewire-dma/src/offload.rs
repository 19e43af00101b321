//! What a device did, or is to do, about the checksums and the length of a frame.
//!
//! It is the same for all drivers and both directions, so that a frame received by one port can be
//! sent by another with what is still to be done. A frame has no such note unless it was received
//! by a port with [offloads](https://docs.kernel.org/networking/segmentation-offloads.html) or a
//! program made one; frames without take the plain path and cost nothing more.

use barewire_spec::virtio::header::{self, Header};

use crate::PacketRef;

/// The note on a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The state of its checksums.
    pub checksum: Checksum,
    /// How it is to be cut when it is sent; or, of a received one, how its segments were before the
    /// device joined them.
    pub segmentation: Option<Segmentation>,
}

/// The state of a frame's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// What they are, nobody has looked. Sent as it is.
    #[default]
    Unknown,
    /// The device has found those of its transport header right. Sent as it is.
    Verified,
    /// That of the transport header is to be finished by whoever sends it on a wire: it is the
    /// Internet checksum of all bytes from `start` on, among them the field itself, which holds the
    /// sum of the pseudo header, not complemented.
    Partial {
        /// Where in the frame the bytes begin.
        start: u16,
        /// Where the field is, from there.
        offset: u16,
    },
}

/// How a frame is to be cut into several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// What it carries.
    pub protocol: Cut,
    /// Payload bytes of each segment, at least 1.
    pub size: u16,
    /// Only the first segment is to have the flag CWR (RFC 3168 §6.1.2).
    pub ecn: bool,
}

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// TCP over IPv4.
    TcpIpv4,
    /// TCP over IPv6.
    TcpIpv6,
    /// UDP, into datagrams.
    Udp,
}

impl Cut {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::TcpIpv4 => 0,
            Self::TcpIpv6 => 1,
            Self::Udp => 2,
        }
    }
}

impl Checksum {
    /// Whether it is to be finished.
    #[must_use]
    pub const fn is_partial(self) -> bool {
        matches!(self, Self::Partial { .. })
    }
}

impl Offload {
    /// Nothing known, nothing to be done.
    pub const NONE: Self = Self {
        checksum: Checksum::Unknown,
        segmentation: None,
    };

    /// Whether it says nothing.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether it can be about a frame of so many bytes.
    #[must_use]
    pub fn fits(self, bytes: u64) -> bool {
        let cut = self.segmentation;
        let whole = cut.is_none_or(|cut| cut.size > 0 && self.checksum.is_partial());
        let inside = match self.checksum {
            Checksum::Partial { start, offset } => {
                u64::from(start) + u64::from(offset) + 2 <= bytes
            }
            _ => true,
        };
        whole && inside
    }

    /// As a word.
    pub(crate) fn into_bits(self) -> u64 {
        let (kind, start, offset) = match self.checksum {
            Checksum::Unknown => (0, 0, 0),
            Checksum::Verified => (1, 0, 0),
            Checksum::Partial { start, offset } => (2, start, offset),
        };
        let (cut, size, ecn) = match self.segmentation {
            None => (0, 0, false),
            Some(cut) => (cut.protocol.index() + 1, cut.size, cut.ecn),
        };
        kind | u64::try_from(cut).unwrap_or(0) << 2
            | u64::from(ecn) << 4
            | u64::from(start) << 16
            | u64::from(offset) << 32
            | u64::from(size) << 48
    }

    #[allow(clippy::cast_possible_truncation)] // each field is cut out of its own bits
    pub(crate) fn from_bits(bits: u64) -> Self {
        let (start, offset) = ((bits >> 16) as u16, (bits >> 32) as u16);
        let protocol = match bits >> 2 & 3 {
            1 => Some(Cut::TcpIpv4),
            2 => Some(Cut::TcpIpv6),
            3 => Some(Cut::Udp),
            _ => None,
        };
        Self {
            checksum: match bits & 3 {
                1 => Checksum::Verified,
                2 => Checksum::Partial { start, offset },
                _ => Checksum::Unknown,
            },
            segmentation: protocol.map(|protocol| Segmentation {
                protocol,
                size: (bits >> 48) as u16,
                ecn: bits >> 4 & 1 != 0,
            }),
        }
    }

    /// What a virtio header says (VIRTIO §5.1.6.4); `None` where it makes no sense.
    pub(crate) fn from_header(header: Header) -> Option<Self> {
        let checksum = if header.flags & header::NEEDS_CSUM != 0 {
            Checksum::Partial {
                start: header.csum_start,
                offset: header.csum_offset,
            }
        } else if header.flags & header::DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::Unknown
        };
        let protocol = match header.gso_type & !header::GSO_ECN {
            header::GSO_NONE => None,
            header::GSO_TCPV4 => Some(Cut::TcpIpv4),
            header::GSO_TCPV6 => Some(Cut::TcpIpv6),
            header::GSO_UDP_L4 => Some(Cut::Udp),
            _ => return None,
        };
        Some(Self {
            checksum,
            segmentation: protocol.map(|protocol| Segmentation {
                protocol,
                size: header.gso_size,
                ecn: header.gso_type & header::GSO_ECN != 0,
            }),
        })
    }

    /// The virtio header that asks for it (VIRTIO §5.1.6.2).
    pub(crate) fn to_header(self, frame: &PacketRef<'_>) -> Header {
        let mut header = Header::default();
        if let Checksum::Partial { start, offset } = self.checksum {
            header.flags = header::NEEDS_CSUM;
            header.csum_start = start;
            header.csum_offset = offset;
        }
        if let Some(cut) = self.segmentation {
            let kind = match cut.protocol {
                Cut::TcpIpv4 => header::GSO_TCPV4,
                Cut::TcpIpv6 => header::GSO_TCPV6,
                Cut::Udp => header::GSO_UDP_L4,
            };
            header.gso_type = kind | if cut.ecn { header::GSO_ECN } else { 0 };
            header.gso_size = cut.size;
            let transport = if cut.protocol == Cut::Udp {
                8
            } else {
                // the data offset of TCP, in words of 4 bytes
                let at = usize::from(header.csum_start) + 12;
                let words = frame.bytes().get(at).map_or(5, |byte| byte >> 4);
                u16::from(words) * 4
            };
            header.hdr_len = header.csum_start.saturating_add(transport);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pages, Pool, PoolConfig};
    use proptest::prelude::*;

    fn any_offload() -> impl Strategy<Value = Offload> {
        let checksum = prop_oneof![
            Just(Checksum::Unknown),
            Just(Checksum::Verified),
            any::<(u16, u16)>().prop_map(|(start, offset)| Checksum::Partial { start, offset }),
        ];
        let protocol = prop_oneof![Just(Cut::TcpIpv4), Just(Cut::TcpIpv6), Just(Cut::Udp)];
        let cut = (protocol, any::<u16>(), any::<bool>());
        let cut = cut.prop_map(|(protocol, size, ecn)| Segmentation {
            protocol,
            size,
            ecn,
        });
        (checksum, proptest::option::of(cut)).prop_map(|(checksum, segmentation)| Offload {
            checksum,
            segmentation,
        })
    }

    fn pool() -> Pool {
        Pool::new(PoolConfig {
            buffers: 8,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        })
        .unwrap()
    }

    proptest! {
        #[test]
        fn a_note_survives_the_pool_and_goes_with_the_buffer(offload in any_offload()) {
            prop_assert_eq!(Offload::from_bits(offload.into_bits()), offload);
            let pool = pool();
            let mut packet = pool.packet(&[7; 60]).unwrap();
            prop_assert!(packet.as_ref().offload().is_none());
            prop_assert_eq!(packet.as_mut().set_offload(offload), offload.fits(60).then_some(()));
            let kept = if offload.fits(60) { offload } else { Offload::NONE };
            prop_assert_eq!(packet.as_ref().offload(), kept);
            prop_assert_eq!(packet.len(), 60);
            prop_assert_eq!(packet.as_ref().segments().len(), 1);
            packet.as_mut().append(4).unwrap();
            prop_assert_eq!(packet.as_ref().offload(), kept);
            drop(packet);
            prop_assert_eq!(pool.free(), 8);
            for _ in 0..8 {
                prop_assert!(pool.packet(&[7; 60]).unwrap().as_ref().offload().is_none());
            }
        }

        #[test]
        fn a_checksum_is_finished_as_by_hand(
            bytes in proptest::collection::vec(any::<u8>(), 20..200),
            start in 0u16..10,
            offset in 0u16..9,
        ) {
            let pool = pool();
            let mut packet = pool.packet(&bytes).unwrap();
            let partial = Offload { checksum: Checksum::Partial { start, offset }, segmentation: None };
            packet.as_mut().set_offload(partial).unwrap();
            prop_assert!(packet.as_mut().finish_checksum());
            prop_assert!(packet.as_ref().offload().is_none());
            let mut expected = bytes.clone();
            let mut sum = 0u32;
            for pair in bytes[usize::from(start)..].chunks(2) {
                sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            }
            while sum >> 16 != 0 {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            let field = usize::from(start + offset);
            let mut value = !u16::try_from(sum).unwrap();
            if value == 0 && offset == 6 {
                value = 0xffff;
            }
            expected[field..field + 2].copy_from_slice(&value.to_be_bytes());
            prop_assert_eq!(packet.bytes(), &expected[..]);
        }
    }

    #[test]
    fn a_header_says_what_was_asked_for_and_back() {
        let mut bytes = [0; 60];
        bytes[34 + 12] = 0x80;
        let mut packet = pool().packet(&bytes).unwrap();
        let offload = Offload {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            segmentation: Some(Segmentation {
                protocol: Cut::TcpIpv4,
                size: 1448,
                ecn: true,
            }),
        };
        packet.as_mut().set_offload(offload).unwrap();
        let header = offload.to_header(&packet.as_ref());
        assert_eq!(header.hdr_len, 34 + 32);
        assert_eq!(Offload::from_header(header), Some(offload));
        let unknown = Header {
            gso_type: 7,
            ..header
        };
        assert_eq!(Offload::from_header(unknown), None);
    }
}
