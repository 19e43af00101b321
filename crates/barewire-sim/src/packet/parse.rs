//! What the receive parser finds in a frame (82599 §7.1.6.2, §7.1.11).

/// `EtherType` of IPv4.
const IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
const IPV6: u16 = 0x86DD;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// IPv6 extension headers that may be skipped: hop-by-hop, routing, destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AH: u8 = 51;

/// The `EtherType`s of VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) vlan: u16,
    /// That of an outer tag, where frames have one.
    pub(crate) outer: Option<u16>,
}

impl Tags {
    /// One tag, with the usual type.
    pub(crate) const fn usual() -> Self {
        Self {
            vlan: 0x8100,
            outer: None,
        }
    }
}

/// The packet type field of a write-back, before its shift (82599 §7.1.6.2).
pub(crate) mod packet_type {
    pub(crate) const IPV4: u16 = 0x001;
    pub(crate) const IPV4_OPTIONS: u16 = 0x003;
    pub(crate) const IPV6: u16 = 0x004;
    pub(crate) const IPV6_EXTENSIONS: u16 = 0x00C;
    pub(crate) const TCP: u16 = 0x010;
    pub(crate) const UDP: u16 = 0x020;
    pub(crate) const SCTP: u16 = 0x040;
    pub(crate) const ESP: u16 = 0x100;
    pub(crate) const AH: u16 = 0x200;
    /// An `EtherType` filter matched; its number is in the lowest bits.
    pub(crate) const L2: u16 = 0x800;
}

/// Which network layer a frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Network {
    #[default]
    None,
    V4,
    V6,
}

/// Which transport layer a frame has. None in all fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    #[default]
    None,
    Tcp,
    Udp,
    Sctp,
}

/// The headers of one frame.
#[allow(clippy::struct_excessive_bools)] // facts that do not exclude each other
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// The VLAN tag, if the frame has one.
    pub(crate) vlan: Option<u16>,
    /// There is an outer tag as well.
    pub(crate) outer: bool,
    pub(crate) network: Network,
    pub(crate) transport: Transport,
    /// Where the network header starts.
    pub(crate) l3: u16,
    /// Bytes of an IPv4 header.
    pub(crate) l3_length: u16,
    /// Where the transport header starts, if there is one.
    pub(crate) l4: u16,
    /// Where the network packet ends: the rest of the frame is padding.
    pub(crate) end: u16,
    /// Bits of [`packet_type`].
    pub(crate) kind: u16,
    /// The transport header is behind extension headers.
    pub(crate) extended: bool,
    /// It is a piece of a packet.
    pub(crate) fragment: bool,
    /// It has tags, or is a fragment, or no IP packet.
    pub(crate) odd: bool,
}

impl Headers {
    /// Bytes of all tags.
    #[inline]
    pub(crate) fn tags(&self) -> usize {
        4 * (usize::from(self.vlan.is_some()) + usize::from(self.outer))
    }
}

#[inline]
fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

#[inline]
fn narrow(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

/// Parses a frame without FCS.
#[inline(always)]
#[allow(clippy::inline_always)] // once a frame: most of what it finds is known when it is compiled
pub(crate) fn parse(frame: &[u8], tags: Tags) -> Headers {
    if let Some(first) = frame.first_chunk::<54>()
        && let Some(headers) = usual(first, frame.len())
        && tags.vlan != IPV4
    {
        return headers;
    }
    any(frame, tags)
}

/// Parses a frame once more, on rare ways.
#[inline(never)]
pub(crate) fn parse_again(frame: &[u8], tags: Tags) -> Headers {
    any(frame, tags)
}

/// Parses an untagged IPv4 packet without options that carries UDP or TCP: nearly all there are.
#[inline(always)]
#[allow(clippy::inline_always)] // see `parse`
fn usual(first: &[u8; 54], length: usize) -> Option<Headers> {
    let [kind, total, fragment] =
        [12, 16, 20].map(|at| u16::from_be_bytes([first[at], first[at + 1]]));
    let end = total.checked_add(14)?;
    if kind != IPV4 || first[14] != 0x45 || fragment & 0x3FFF != 0 || usize::from(end) > length {
        return None;
    }
    let (transport, kind, shortest) = match first[23] {
        UDP => (Transport::Udp, packet_type::UDP, 20 + 8),
        TCP => (Transport::Tcp, packet_type::TCP, 20 + 20),
        _ => return None,
    };
    (total >= shortest).then_some(Headers {
        vlan: None,
        outer: false,
        network: Network::V4,
        transport,
        l3: 14,
        l3_length: 20,
        l4: 34,
        end,
        kind: kind | packet_type::IPV4,
        extended: false,
        fragment: false,
        odd: false,
    })
}

/// Parses any frame.
#[inline(never)]
fn any(frame: &[u8], tags: Tags) -> Headers {
    let mut headers = Headers {
        odd: true,
        ..Headers::default()
    };
    let Some(mut ethertype) = word(frame, 12) else {
        return headers;
    };
    let mut l3 = 14;
    if tags.outer == Some(ethertype) {
        let Some(inner) = word(frame, 16) else {
            return headers;
        };
        headers.outer = true;
        ethertype = inner;
        l3 = 18;
    }
    if ethertype == tags.vlan {
        let Some(inner) = word(frame, l3 + 2) else {
            return headers;
        };
        headers.vlan = word(frame, l3);
        ethertype = inner;
        l3 += 4;
    }
    headers.l3 = narrow(l3);
    match ethertype {
        IPV4 => parse_v4(frame, l3, &mut headers),
        IPV6 => parse_v6(frame, l3, &mut headers),
        _ => {}
    }
    headers.odd = headers.tags() > 0 || headers.fragment || headers.network == Network::None;
    headers
}

fn parse_v4(frame: &[u8], l3: usize, headers: &mut Headers) {
    let Some(header) = frame.get(l3..).and_then(|rest| rest.first_chunk::<20>()) else {
        return;
    };
    let length = usize::from(header[0] & 0xF) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || length < 20 || total < length || frame.len() < l3 + total {
        return;
    }
    headers.network = Network::V4;
    headers.l3_length = narrow(length);
    headers.kind |= if length > 20 {
        packet_type::IPV4_OPTIONS
    } else {
        packet_type::IPV4
    };
    headers.end = narrow(l3 + total);
    headers.fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3FFF != 0;
    if !headers.fragment {
        transport(header[9], l3 + length, headers);
    }
}

fn parse_v6(frame: &[u8], l3: usize, headers: &mut Headers) {
    let Some(header) = frame.get(l3..).and_then(|rest| rest.first_chunk::<40>()) else {
        return;
    };
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = l3 + 40 + payload;
    if header[0] >> 4 != 6 || frame.len() < end {
        return;
    }
    headers.network = Network::V6;
    headers.end = narrow(end);
    let mut next = header[6];
    let mut at = l3 + 40;
    // Each extension header is at least 8 bytes long, so the frame's end bounds the loop.
    while EXTENSIONS.contains(&next) {
        headers.extended = true;
        let Some(extension) = frame.get(at..end).and_then(|rest| rest.first_chunk::<8>()) else {
            headers.kind |= packet_type::IPV6_EXTENSIONS;
            return;
        };
        next = extension[0];
        at += 8 * (usize::from(extension[1]) + 1);
    }
    if next == FRAGMENT {
        headers.extended = true;
        headers.fragment = true;
    }
    headers.kind |= if headers.extended {
        packet_type::IPV6_EXTENSIONS
    } else {
        packet_type::IPV6
    };
    transport(next, at, headers);
}

fn transport(protocol: u8, at: usize, headers: &mut Headers) {
    let (transport, kind, shortest) = match protocol {
        TCP => (Transport::Tcp, packet_type::TCP, 20),
        UDP => (Transport::Udp, packet_type::UDP, 8),
        SCTP => (Transport::Sctp, packet_type::SCTP, 12),
        ESP => {
            headers.kind |= packet_type::ESP;
            return;
        }
        AH => {
            headers.kind |= packet_type::AH;
            return;
        }
        _ => return,
    };
    if at + shortest > usize::from(headers.end) {
        return;
    }
    headers.transport = transport;
    headers.kind |= kind;
    headers.l4 = narrow(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, fragment: u16, l4: usize) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..14].copy_from_slice(&IPV4.to_be_bytes());
        frame.push(0x45);
        frame.push(0);
        frame.extend_from_slice(&u16::try_from(20 + l4).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(&fragment.to_be_bytes());
        frame.extend_from_slice(&[64, protocol, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        frame.resize((34 + l4).max(60), 0);
        frame
    }

    #[test]
    fn ipv4_and_its_transport() {
        let headers = parse(&v4(17, 0, 8), Tags::usual());
        assert_eq!(headers.network, Network::V4);
        assert_eq!(headers.transport, Transport::Udp);
        assert_eq!((headers.l3, headers.l4, headers.end), (14, 34, 42));
        assert_eq!(headers.kind, packet_type::IPV4 | packet_type::UDP);
        assert_eq!(
            parse(&v4(6, 0, 8), Tags::usual()).transport,
            Transport::None
        );
        assert_eq!(
            parse(&v4(6, 0, 20), Tags::usual()).transport,
            Transport::Tcp
        );
        assert_eq!(
            parse(&v4(17, 0x2000, 8), Tags::usual()).transport,
            Transport::None
        );
    }

    #[test]
    fn a_tag_moves_everything() {
        let mut frame = v4(6, 0, 20);
        frame.splice(12..12, [0x81, 0x00, 0xA0, 0x05]);
        let headers = parse(&frame, Tags::usual());
        assert_eq!(headers.vlan, Some(0xA005));
        assert_eq!((headers.l3, headers.l4), (18, 38));
        assert_eq!(
            parse(
                &frame,
                Tags {
                    vlan: 0x88A8,
                    outer: None
                }
            )
            .network,
            Network::None
        );
    }

    #[test]
    fn an_outer_tag_is_skipped_where_frames_have_one() {
        let mut frame = v4(6, 0, 20);
        frame.splice(12..12, [0x81, 0x00, 0, 9]);
        let tags = Tags {
            vlan: 0x8100,
            outer: Some(0x8100),
        };
        let headers = parse(&frame, tags);
        assert_eq!((headers.outer, headers.vlan), (true, None));
        frame.splice(16..16, [0x81, 0x00, 0, 5]);
        let headers = parse(&frame, tags);
        assert_eq!((headers.outer, headers.vlan), (true, Some(5)));
        assert_eq!((headers.l3, headers.tags()), (22, 8));
    }

    #[test]
    fn lies_about_lengths_are_no_packets() {
        for at in 14..40 {
            let mut frame = v4(17, 0, 20);
            frame[at] = 0xFF;
            let headers = parse(&frame, Tags::usual());
            assert!(usize::from(headers.end) <= frame.len());
            assert!(usize::from(headers.l4) <= usize::from(headers.end));
        }
        for length in 0..60 {
            let frame = v4(17, 0, 20);
            parse(&frame[..length], Tags::usual());
        }
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_finds_the_same(
            protocol in proptest::sample::select(vec![1u8, 6, 17, 132]),
            l4 in 0usize..60,
            changes in proptest::collection::vec((12usize..60, proptest::prelude::any::<u8>()), 0..3),
        ) {
            let mut frame = v4(protocol, 0, l4);
            for (at, byte) in changes {
                frame[at] = byte;
            }
            proptest::prop_assert_eq!(parse(&frame, Tags::usual()), any(&frame, Tags::usual()));
        }
    }

    #[test]
    fn ipv6_extensions_are_skipped() {
        let mut frame = vec![0; 14];
        frame[12..14].copy_from_slice(&IPV6.to_be_bytes());
        frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 16, 60, 64]);
        frame.extend_from_slice(&[7; 32]);
        frame.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend_from_slice(&[0, 1, 0, 2, 0, 8, 0, 0]);
        let headers = parse(&frame, Tags::usual());
        assert_eq!(headers.transport, Transport::Udp);
        assert!(headers.extended);
        assert_eq!(headers.l4, 62);
        assert_eq!(
            headers.kind,
            packet_type::IPV6_EXTENSIONS | packet_type::UDP
        );
    }
}
