//! Receive-side scaling: the Toeplitz hash and which fields it covers (82599 §7.1.2.8).

use barewire_spec::ixgbe::Mrqc;

use crate::packet::{Headers, Network, Toeplitz, Transport};

/// The RSS type of a write-back (82599 §7.1.6.2).
mod rss_type {
    pub(super) const NONE: u8 = 0;
    pub(super) const IPV4_TCP: u8 = 1;
    pub(super) const IPV4: u8 = 2;
    pub(super) const IPV6_TCP: u8 = 3;
    pub(super) const IPV6: u8 = 5;
    pub(super) const IPV4_UDP: u8 = 7;
    pub(super) const IPV6_UDP: u8 = 8;
}

/// A hash and what it was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) value: u32,
    /// The type for the write-back; 0 if no hash was made.
    pub(crate) kind: u8,
}

/// The hash of a frame, made of the fields that `fields` selects.
#[inline]
pub(crate) fn hash(toeplitz: &Toeplitz, fields: Mrqc, frame: &[u8], headers: &Headers) -> Hash {
    let (addresses, with_tcp, with_udp, alone) = match headers.network {
        Network::None => return Hash::default(),
        Network::V4 => (12..20, fields.tcp_ipv4(), fields.udp_ipv4(), fields.ipv4()),
        Network::V6 => (8..40, fields.tcp_ipv6(), fields.udp_ipv6(), fields.ipv6()),
    };
    let v4 = headers.network == Network::V4;
    let l3 = usize::from(headers.l3);
    let Some(addresses) = frame.get(l3 + addresses.start..l3 + addresses.end) else {
        return Hash::default();
    };
    let l4 = usize::from(headers.l4);
    let kind = match headers.transport {
        Transport::Tcp if with_tcp && v4 => rss_type::IPV4_TCP,
        Transport::Tcp if with_tcp => rss_type::IPV6_TCP,
        Transport::Udp if with_udp && v4 => rss_type::IPV4_UDP,
        Transport::Udp if with_udp => rss_type::IPV6_UDP,
        _ if alone && v4 => rss_type::IPV4,
        _ if alone => rss_type::IPV6,
        _ => rss_type::NONE,
    };
    let ports = match kind {
        rss_type::NONE => return Hash::default(),
        rss_type::IPV4 | rss_type::IPV6 => &[],
        _ => frame.get(l4..l4 + 4).unwrap_or_default(),
    };
    Hash {
        value: toeplitz.hash(addresses, ports),
        kind,
    }
}
