//! Checksums and segmentation, as the driver asks for them and as the device tells of them.

use barewire_sim::violation::Rule;
use barewire_sim::virtio::VirtioConfig;
use barewire_spec::virtio::header::{
    DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Header, NEEDS_CSUM,
};
use barewire_spec::virtio::{control, feature};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::program::{HEADER, Program, Queue, config};
use super::wire_script::{OWN, frame};

const OFFLOADS: u64 = feature::NET_MAC
    | feature::NET_CSUM
    | feature::NET_HOST_TSO4
    | feature::NET_HOST_TSO6
    | feature::NET_HOST_ECN
    | feature::NET_HOST_USO
    | feature::NET_GUEST_CSUM
    | feature::NET_CTRL_VQ
    | feature::NET_CTRL_GUEST_OFFLOADS;

fn running(config: VirtioConfig) -> (Program, Queue, Queue) {
    let program = Program::negotiated(config);
    let rx = program.queue(0, 16);
    let tx = program.queue(1, 16);
    program.driver_ok();
    (program, rx, tx)
}

/// What a packet to be cut looks like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    v6: bool,
    udp: bool,
    payload: usize,
    flags: u8,
}

impl Shape {
    /// The packet with right checksums, where its transport header begins, and where that ends.
    fn packet(self) -> (Vec<u8>, usize, usize) {
        let payload: Vec<u8> = (0..self.payload).map(|at| at as u8).collect();
        let ethernet = PacketBuilder::ethernet2([2; 6], OWN);
        let network = if self.v6 {
            ethernet.ipv6([1; 16], [2; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        if self.udp {
            network.udp(1000, 2000).write(&mut bytes, &payload).unwrap();
        } else {
            let mut tcp = network.tcp(1000, 2000, 0xFFFF_F000, 500).ack(7);
            if self.flags & 1 != 0 {
                tcp = tcp.fin();
            }
            if self.flags & 8 != 0 {
                tcp = tcp.psh();
            }
            if self.flags & 0x80 != 0 {
                tcp = tcp.cwr();
            }
            tcp.write(&mut bytes, &payload).unwrap();
        }
        let l4 = if self.v6 { 54 } else { 34 };
        (bytes, l4, l4 + if self.udp { 8 } else { 20 })
    }

    fn header(self, l4: usize, headers: usize, size: u16) -> Header {
        Header {
            flags: NEEDS_CSUM,
            gso_type: match (self.udp, self.v6) {
                (true, _) => GSO_UDP_L4,
                (false, false) => GSO_TCPV4,
                (false, true) => GSO_TCPV6,
            },
            hdr_len: headers as u16,
            gso_size: size,
            csum_start: l4 as u16,
            csum_offset: if self.udp { 6 } else { 16 },
            num_buffers: 0,
        }
    }
}

/// Checks that all checksums of a packet are right.
fn assert_sums(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let net = packet.net.unwrap();
    match (&net, packet.transport.unwrap()) {
        (etherparse::NetSlice::Ipv4(ip), transport) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let sum = tcp.calc_checksum_ipv4(ip.source, ip.destination);
                    assert_eq!(sum.unwrap(), tcp.checksum());
                }
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    let sum = header.calc_checksum_ipv4(&ip, udp.payload());
                    assert_eq!(sum.unwrap(), header.checksum);
                }
                other => panic!("{other:?}"),
            }
        }
        (etherparse::NetSlice::Ipv6(ip), transport) => {
            let ip = ip.header().to_header();
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let sum = tcp.calc_checksum_ipv6(ip.source, ip.destination);
                    assert_eq!(sum.unwrap(), tcp.checksum());
                }
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    let sum = header.calc_checksum_ipv6(&ip, udp.payload());
                    assert_eq!(sum.unwrap(), header.checksum);
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_are_whole_packets(
        v6 in any::<bool>(),
        udp in any::<bool>(),
        payload in 1usize..1400,
        size in 100u16..1000,
        flags in any::<u8>(),
    ) {
        let shape = Shape { v6, udp, payload, flags };
        let (program, _rx, mut tx) = running(config(OFFLOADS));
        let (packet, l4, headers) = shape.packet();
        program.send(&mut tx, 0, shape.header(l4, headers, size), &packet);
        program.assert_clean();
        let segments = program.wire.taken();
        prop_assert_eq!(segments.len(), payload.div_ceil(usize::from(size)));
        let mut whole = Vec::new();
        for (number, segment) in segments.iter().enumerate() {
            assert_sums(segment);
            let sliced = SlicedPacket::from_ethernet(segment).unwrap();
            match sliced.transport.unwrap() {
                TransportSlice::Tcp(tcp) => {
                    let last = number + 1 == segments.len();
                    let start = 0xFFFF_F000u32.wrapping_add((number * usize::from(size)) as u32);
                    prop_assert_eq!(tcp.sequence_number(), start);
                    prop_assert_eq!(tcp.fin(), last && flags & 1 != 0);
                    prop_assert_eq!(tcp.psh(), last && flags & 8 != 0);
                    prop_assert_eq!(tcp.cwr(), number == 0 && flags & 0x80 != 0);
                    whole.extend_from_slice(tcp.payload());
                }
                TransportSlice::Udp(udp) => whole.extend_from_slice(udp.payload()),
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(&whole[..], &packet[headers..]);
    }
}

#[test]
fn a_partial_checksum_is_finished() {
    let (program, _rx, mut tx) = running(config(OFFLOADS));
    let shape = Shape {
        v6: false,
        udp: true,
        payload: 101,
        flags: 0,
    };
    let (packet, l4, _) = shape.packet();
    let mut partial = packet.clone();
    // the sum of the pseudo header alone
    let mut sum: u32 = [0x0A00u32, 1, 0x0A00, 2, 17, 109].iter().sum();
    sum = (sum & 0xFFFF) + (sum >> 16);
    partial[l4 + 6..l4 + 8].copy_from_slice(&(sum as u16).to_be_bytes());
    let header = Header {
        flags: NEEDS_CSUM,
        gso_type: GSO_NONE,
        csum_start: l4 as u16,
        csum_offset: 6,
        ..Header::default()
    };
    program.send(&mut tx, 0, header, &partial);
    assert_eq!(program.wire.taken(), [packet]);
    program.assert_clean();
}

#[test]
#[allow(clippy::too_many_lines)] // a list
fn headers_that_are_forbidden() {
    let sound = Shape {
        v6: false,
        udp: false,
        payload: 900,
        flags: 0,
    };
    let (packet, l4, headers) = sound.packet();
    let good = sound.header(l4, headers, 300);
    let few = feature::NET_MAC;
    let with = OFFLOADS | feature::NET_GUEST_HDRLEN;
    let cases = [
        (
            few,
            Header {
                flags: NEEDS_CSUM,
                ..Header::default()
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header {
                flags: DATA_VALID,
                ..Header::default()
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header {
                flags: 0x20,
                ..Header::default()
            },
            Rule::ReservedBit,
            "5.1.6",
        ),
        (
            few,
            Header {
                num_buffers: 1,
                ..Header::default()
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (feature::NET_CSUM, good, Rule::Frame, "5.1.6.2.1"),
        (
            OFFLOADS & !feature::NET_HOST_ECN,
            Header {
                gso_type: GSO_TCPV4 | GSO_ECN,
                ..good
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header { flags: 0, ..good },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header {
                gso_size: 0,
                ..good
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header {
                gso_type: GSO_TCPV6,
                ..good
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header {
                csum_start: 20,
                ..good
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            with,
            Header {
                hdr_len: 53,
                ..good
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
        (
            OFFLOADS,
            Header {
                gso_type: GSO_NONE,
                csum_start: 2000,
                ..good
            },
            Rule::Frame,
            "5.1.6.2.1",
        ),
    ];
    for (features, header, rule, section) in cases {
        let (program, _rx, mut tx) = running(config(features));
        program.send(&mut tx, 0, header, &packet);
        program.assert_violation(rule, "packet of queue 1", section);
        assert!(program.wire.taken().is_empty(), "{header:?}");
        // the buffer comes back and the device goes on
        assert!(tx.take().is_some() && !program.is_ill());
    }
}

#[test]
fn packets_longer_than_the_mtu_are_refused() {
    let small = VirtioConfig {
        mtu: 1000,
        ..config(feature::NET_MTU)
    };
    let (program, mut rx, mut tx) = running(small);
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 1018, 0));
    assert_eq!(program.wire.taken().len(), 1);
    program.send(&mut tx, 1, Header::default(), &frame(OWN, 1019, 0));
    program.assert_violation(Rule::Frame, "packet of queue 1", "5.1.4.2");
    // none longer is passed on to the driver
    program.give(&mut rx, 0, 1526);
    program.wire.send(&frame(OWN, 1019, 0));
    program.run();
    assert!(rx.take().is_none());
    assert_eq!(program.nic.counters().oversize, 1);
}

#[test]
fn short_frames_are_padded_and_nothing_shorter_is_one() {
    let (program, _rx, mut tx) = running(config(feature::NET_MAC));
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 20, 7));
    let mut padded = frame(OWN, 20, 7);
    padded.resize(60, 0);
    assert_eq!(program.wire.taken(), [padded]);
    program.assert_clean();
    program.send(&mut tx, 1, Header::default(), &frame(OWN, 13, 7));
    program.assert_violation(Rule::Frame, "packet of queue 1", "5.1.6.2");
}

#[test]
fn checksums_that_are_right_are_said_to_be() {
    let (program, mut rx, _tx) = running(config(OFFLOADS));
    let mut control = program.queue(2, 16);
    let shape = Shape {
        v6: true,
        udp: false,
        payload: 100,
        flags: 0,
    };
    let (packet, ..) = shape.packet();
    let mut wrong = packet.clone();
    wrong[100] ^= 1;
    let mut flags = |sent: &[u8]| {
        program.give(&mut rx, 0, 1526);
        program.wire.send(sent);
        program.run();
        rx.take().unwrap();
        assert_eq!(rx.bytes(0, HEADER + sent.len())[HEADER..], *sent);
        rx.bytes(0, 1)[0]
    };
    assert_eq!(flags(&packet), DATA_VALID);
    assert_eq!(flags(&wrong), 0);
    assert_eq!(flags(&frame(OWN, 60, 0)), 0);
    let class = control::GUEST_OFFLOADS;
    let answer = program.command(&mut control, class, control::GUEST_OFFLOADS_SET, &[0; 8]);
    assert_eq!(answer, control::OK);
    assert_eq!(flags(&packet), 0);
    program.assert_clean();
}
