//! Receive: segments of a TCP connection become one packet.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod nic_rig;

use barewire_spec::ixgbe::descriptor::rx::{Info, Status};
use barewire_spec::ixgbe::*;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use nic_rig::*;
use proptest::prelude::*;

fn segment(port: u16, sequence: u32, payload: &[u8], v4: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN);
    let builder = if v4 {
        builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
    } else {
        builder.ipv6([3; 16], [4; 16], 64)
    };
    builder
        .tcp(port, 80, sequence, 900)
        .ack(sequence / 2)
        .options(&[
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::Timestamp(sequence, 7),
        ])
        .unwrap()
        .write(&mut bytes, payload)
        .unwrap();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn ready(maxdesc: u8, strip: bool) -> (Rig, Ring) {
    let rig = rig();
    rig.init();
    rig.write(
        &RSCCTL,
        0,
        Rscctl::new()
            .with_rscen(true)
            .with_maxdesc(maxdesc)
            .into_bits(),
    );
    rig.write(&RXDCTL, 0, Rxdctl::new().with_vme(strip).into_bits());
    let ring = rig.rx_queue(0, 256, one_buffer());
    rig.start_receiving();
    (rig, ring)
}

/// A packet as a driver puts it together from a chain of descriptors.
#[derive(Debug)]
struct Chained {
    bytes: Vec<u8>,
    descriptors: usize,
    packets: u32,
    status: Status,
}

/// Takes all packets, following NEXTP where RSCCNT is not 0, as drivers do.
fn take_all(rig: &Rig, ring: &mut Ring) -> Vec<Chained> {
    let mut begun: Vec<Option<Chained>> = (0..ring.count).map(|_| None).collect();
    let mut done = Vec::new();
    loop {
        let at = ring.next;
        let [info, status] = ring.get(at);
        let (info, status) = (Info::from_bits(info), Status::from_bits(status));
        if !status.dd() {
            break;
        }
        let mut packet = begun[at].take().unwrap_or(Chained {
            bytes: Vec::new(),
            descriptors: 0,
            packets: 0,
            status,
        });
        packet.bytes.extend(ring.bytes(at, status.pkt_len().into()));
        packet.descriptors += 1;
        packet.packets += u32::from(info.rsccnt());
        packet.status = status;
        ring.put(at, [ring.buffer(at), 0]);
        ring.next = (at + 1) % ring.count;
        if status.eop() {
            done.push(packet);
        } else {
            let next = if info.rsccnt() > 0 {
                usize::from(status.nextp())
            } else {
                ring.next
            };
            assert!(begun[next].is_none());
            begun[next] = Some(packet);
        }
        rig.write(&RDT, 0, at as u32);
    }
    assert!(begun.iter().all(Option::is_none), "every chain ends");
    done
}

/// Checks lengths and the IPv4 checksum with somebody else's parser; returns port, sequence
/// number and payload.
fn parse(packet: &Chained) -> (u16, u32, Vec<u8>) {
    let sliced = SlicedPacket::from_ethernet(&packet.bytes).unwrap();
    if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
    }
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        panic!("{sliced:?}");
    };
    (
        tcp.source_port(),
        tcp.sequence_number(),
        tcp.payload().to_vec(),
    )
}

#[test]
fn segments_in_order_are_one_packet() {
    for v4 in [true, false] {
        let (rig, mut ring) = ready(3, false);
        let payload: Vec<u8> = (0..5000u32).map(|at| (at * 3) as u8).collect();
        for (at, part) in payload.chunks(1000).enumerate() {
            rig.wire.send(&segment(7, 100 + at as u32 * 1000, part, v4));
        }
        rig.run();
        let packets = take_all(&rig, &mut ring);
        assert_eq!(packets.len(), 1);
        assert_eq!(parse(&packets[0]), (7, 100, payload));
        assert_eq!(packets[0].descriptors, 3);
        assert!(packets[0].packets >= 5);
        assert!(packets[0].status.l4i() && !packets[0].status.l4e());
        let header = &packets[0].bytes[if v4 { 34 } else { 54 }..];
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(word(8), 4100 / 2, "the last acknowledgement");
        assert_eq!(word(24), 4100, "the last time stamp");
        assert_eq!(rig.read(&QPRC, 0), 5, "frames are counted as they came");
        rig.assert_clean();
    }
}

#[test]
fn only_what_may_be_coalesced_is() {
    let base = || segment(7, 1000, &[1; 500], true);
    let next = || segment(7, 1500, &[2; 500], true);
    let flags = |mut frame: Vec<u8>, bit: u8| {
        frame[47] |= bit;
        // The checksum covers the flag.
        let sum = u16::from_be_bytes([frame[50], frame[51]]);
        let sum = !sum as u32 + u32::from(bit);
        let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let mut wrong = next();
    wrong[80] ^= 1;
    let cases = [
        (next(), 1, "the next segment"),
        (flags(next(), 0x08), 1, "PSH"),
        (flags(next(), 0x01), 2, "FIN"),
        (flags(next(), 0x20), 2, "URG"),
        (segment(7, 1501, &[2; 500], true), 2, "a gap"),
        (segment(8, 1500, &[2; 500], true), 2, "another connection"),
        (segment(7, 1500, &[], true), 2, "an acknowledgement only"),
        (wrong, 2, "a wrong checksum"),
    ];
    for (second, packets, what) in cases {
        let (rig, mut ring) = ready(3, false);
        rig.wire.send(&base());
        rig.wire.send(&second);
        rig.run();
        assert_eq!(take_all(&rig, &mut ring).len(), packets, "{what}");
        rig.assert_clean();
    }
}

#[test]
fn a_packet_that_stays_alone_looks_like_any_other() {
    let (rig, mut ring) = ready(3, false);
    let sent = segment(7, 1, &[9; 1000], true);
    rig.wire.send(&sent);
    rig.run();
    let received = rig.take(&mut ring, 0).unwrap();
    assert_eq!(received.bytes, sent);
    assert_eq!(received.info.rsccnt(), 0);
    assert!(received.status.eop());
    rig.assert_clean();
}

#[test]
fn tags_are_stripped_from_coalesced_packets() {
    let (rig, mut ring) = ready(3, true);
    for (at, tag) in [(0u32, 5u8), (1, 5)] {
        let mut frame = segment(7, at * 300, &[at as u8; 300], true);
        frame.splice(12..12, [0x81, 0, 0, tag]);
        rig.wire.send(&frame);
    }
    rig.run();
    let packets = take_all(&rig, &mut ring);
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].status.vlan(), 5);
    assert_eq!(parse(&packets[0]).2.len(), 600);
    rig.assert_clean();
}

#[test]
fn a_queue_without_descriptors_holds_frames_up_and_loses_none() {
    let rig = rig();
    rig.init();
    rig.write(
        &RSCCTL,
        0,
        Rscctl::new().with_rscen(true).with_maxdesc(3).into_bits(),
    );
    let mut ring = rig.rx_queue(0, 8, one_buffer());
    rig.start_receiving();
    rig.wire.insist();
    let mut payload = Vec::new();
    for at in 0..40u32 {
        let part = vec![at as u8; 1400];
        rig.wire.send(&segment(7, at * 1400, &part, true));
        payload.extend(part);
    }
    let mut got = Vec::new();
    for _ in 0..200 {
        rig.run();
        for packet in take_all(&rig, &mut ring) {
            let (_, sequence, part) = parse(&packet);
            assert_eq!(sequence as usize, got.len());
            got.extend(part);
        }
    }
    assert_eq!(got, payload);
    rig.assert_clean();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes in which order: each connection's bytes arrive as they were sent.
    #[test]
    fn no_byte_is_lost_or_moved(
        frames in proptest::collection::vec((0u16..4, 0usize..1400, any::<bool>()), 1..120),
        maxdesc in 0u8..4,
    ) {
        let (rig, mut ring) = ready(maxdesc, false);
        let mut sent = vec![Vec::new(); 4];
        for (number, (port, length, skip)) in frames.into_iter().enumerate() {
            let stream = &mut sent[usize::from(port)];
            if skip {
                // A hole in the sequence.
                stream.extend([0xEE; 3]);
            }
            let part = vec![number as u8; length];
            rig.wire.send(&segment(port, stream.len() as u32, &part, true));
            stream.extend(part);
        }
        let mut got = vec![Vec::new(); 4];
        for _ in 0..40 {
            rig.run();
            for packet in take_all(&rig, &mut ring) {
                let (port, sequence, part) = parse(&packet);
                let stream: &mut Vec<u8> = &mut got[usize::from(port)];
                prop_assert!(sequence as usize >= stream.len());
                stream.resize(sequence as usize, 0xEE);
                stream.extend(part);
            }
        }
        for (got, sent) in got.iter().zip(&sent) {
            prop_assert_eq!(got, &sent[..got.len()]);
            prop_assert!(sent[got.len()..].iter().all(|byte| *byte == 0xEE));
        }
        rig.assert_clean();
    }
}
