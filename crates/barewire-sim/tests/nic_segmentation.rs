//! Transmit: packets that are cut into segments, checked by a parser of others.
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

use barewire_sim::nic::NicConfig;
use barewire_sim::violation::Rule;
use barewire_spec::ixgbe::descriptor::tx::{
    AdvancedContext, ContextCommands, ContextHeaders, Data, LegacyData, l4t,
};
use barewire_spec::ixgbe::*;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanSlice};
use nic_rig::*;
use proptest::prelude::*;

/// A packet as software hands it over: the checksum field holds the sum of the pseudo header
/// without the length.
struct Large {
    bytes: Vec<u8>,
    mac: usize,
    ip: usize,
    l4: usize,
    v4: bool,
    tcp: bool,
    payload: Vec<u8>,
}

const FIN_PSH_CWR: u8 = 0x01 | 0x08 | 0x80;

fn large(v4: bool, tcp: bool, tagged: bool, payload: Vec<u8>) -> Large {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN);
    let mut bytes = Vec::new();
    macro_rules! build {
        ($builder:expr) => {{
            let builder = if v4 {
                $builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            } else {
                $builder.ipv6([0x20; 16], [0x21; 16], 64)
            };
            if tcp {
                builder
                    .tcp(5001, 5002, 0xFFFF_FF00, 1024)
                    .ack(77)
                    .psh()
                    .fin()
                    .cwr()
                    .write(&mut bytes, &payload)
                    .unwrap();
            } else {
                builder.udp(5001, 5002).write(&mut bytes, &payload).unwrap();
            }
        }};
    }
    if tagged {
        build!(builder.single_vlan(5.try_into().unwrap()));
    } else {
        build!(builder);
    }
    let mac = if tagged { 18 } else { 14 };
    let ip = if v4 { 20 } else { 40 };
    let l4 = if tcp { 20 } else { 8 };
    let start = mac + ip;
    let mut pseudo = if v4 {
        bytes[mac + 2..mac + 4].fill(0);
        bytes[mac + 10..mac + 12].fill(0);
        bytes[mac + 4..mac + 6].copy_from_slice(&0xFFFEu16.to_be_bytes());
        bytes[mac + 12..mac + 20].to_vec()
    } else {
        bytes[mac + 4..mac + 6].fill(0);
        bytes[mac + 8..mac + 40].to_vec()
    };
    pseudo.extend_from_slice(&[0, if tcp { 6 } else { 17 }]);
    let at = start + if tcp { 16 } else { 6 };
    bytes[at..at + 2].copy_from_slice(&ones(&pseudo).to_be_bytes());
    Large {
        bytes,
        mac,
        ip,
        l4,
        v4,
        tcp,
        payload,
    }
}

fn ones(bytes: &[u8]) -> u16 {
    let mut total: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while total > 0xFFFF {
        total = (total >> 16) + (total & 0xFFFF);
    }
    total as u16
}

fn context(large: &Large, mss: usize) -> AdvancedContext {
    AdvancedContext {
        headers: ContextHeaders::new()
            .with_maclen(large.mac as u8)
            .with_iplen(large.ip as u16)
            .with_vlan(0x0123),
        commands: ContextCommands::new()
            .with_ipv4(large.v4)
            .with_l4t(if large.tcp { l4t::TCP } else { l4t::UDP })
            .with_l4len(large.l4 as u8)
            .with_mss(mss as u16),
    }
}

fn ready() -> (Rig, Ring) {
    let rig = rig();
    rig.init();
    let ring = rig.tx_queue(0, 512);
    (rig, ring)
}

/// Hands a packet over in pieces; the tail moves once.
fn send(
    rig: &Rig,
    ring: &mut Ring,
    large: &Large,
    mss: usize,
    piece: usize,
    change: impl Fn(Data) -> Data,
) {
    ring.put(ring.next, context(large, mss).into_words());
    ring.next = (ring.next + 1) % ring.count;
    let payload = large.bytes.len() - large.mac - large.ip - large.l4;
    let count = large.bytes.len().div_ceil(piece);
    for (at, bytes) in large.bytes.chunks(piece).enumerate() {
        let last = at + 1 == count;
        ring.fill(ring.next, bytes);
        let data = Data::new()
            .with_dtalen(bytes.len() as u16)
            .with_ifcs(true)
            .with_tse(true)
            .with_txsm(true)
            .with_ixsm(large.v4)
            .with_paylen(payload as u32)
            .with_eop(last)
            .with_rs(last);
        ring.put(
            ring.next,
            [ring.buffer(ring.next), change(data).into_bits()],
        );
        ring.next = (ring.next + 1) % ring.count;
    }
    rig.write(&TDT, 0, ring.next as u32);
    rig.run();
}

/// Checks one segment with somebody else's parser and checksums; returns its payload.
fn check(frame: &[u8], large: &Large, number: usize, offset: usize, tag: Option<u16>) -> Vec<u8> {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let found = match sliced.vlan() {
        Some(VlanSlice::SingleVlan(vlan)) => Some(vlan.vlan_identifier().value()),
        _ => None,
    };
    assert_eq!(found, tag);
    let last = |payload: &[u8]| offset + payload.len() == large.payload.len();
    match (sliced.net.unwrap(), sliced.transport.unwrap()) {
        (NetSlice::Ipv4(ip), transport) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(header.identification, 0xFFFEu16.wrapping_add(number as u16));
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let expected = tcp.calc_checksum_ipv4(header.source, header.destination);
                    assert_eq!(tcp.checksum(), expected.unwrap());
                    tcp_fields(&tcp, offset, last(tcp.payload()));
                    tcp.payload().to_vec()
                }
                TransportSlice::Udp(udp) => {
                    let expected = udp.to_header().calc_checksum_ipv4_raw(
                        header.source,
                        header.destination,
                        udp.payload(),
                    );
                    assert_eq!(udp.checksum(), expected.unwrap());
                    udp.payload().to_vec()
                }
                other => panic!("{other:?}"),
            }
        }
        (NetSlice::Ipv6(ip), transport) => {
            let header = ip.header().to_header();
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let expected = tcp.calc_checksum_ipv6(header.source, header.destination);
                    assert_eq!(tcp.checksum(), expected.unwrap());
                    tcp_fields(&tcp, offset, last(tcp.payload()));
                    tcp.payload().to_vec()
                }
                TransportSlice::Udp(udp) => {
                    let expected = udp.to_header().calc_checksum_ipv6_raw(
                        header.source,
                        header.destination,
                        udp.payload(),
                    );
                    assert_eq!(udp.checksum(), expected.unwrap());
                    udp.payload().to_vec()
                }
                other => panic!("{other:?}"),
            }
        }
        (other, _) => panic!("{other:?}"),
    }
}

fn tcp_fields(tcp: &etherparse::TcpSlice<'_>, offset: usize, last: bool) {
    assert_eq!(
        tcp.sequence_number(),
        0xFFFF_FF00u32.wrapping_add(offset as u32)
    );
    assert_eq!(tcp.acknowledgment_number(), 77);
    let first = offset == 0;
    assert_eq!(tcp.fin(), last, "FIN is for the last segment");
    assert_eq!(tcp.psh(), last, "PSH is for the last segment");
    assert_eq!(tcp.cwr(), !last || first, "CWR is not for the last segment");
    assert!(tcp.ack());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_are_what_others_take_for_packets(
        v4: bool,
        tcp: bool,
        tagged: bool,
        insert: bool,
        length in 1usize..6000,
        mss in 64usize..1300,
        piece in 60usize..2000,
    ) {
        let insert = insert && !tagged;
        let payload = (0..length).map(|at| (at * 7 + at / 256) as u8).collect();
        let large = large(v4, tcp, tagged, payload);
        let (rig, mut ring) = ready();
        send(&rig, &mut ring, &large, mss, piece, |data| data.with_vle(insert));
        let frames = rig.wire.taken();
        prop_assert_eq!(frames.len(), length.div_ceil(mss));
        let tag = match (tagged, insert) {
            (true, _) => Some(5),
            (_, true) => Some(0x123),
            _ => None,
        };
        let mut all = Vec::new();
        for (number, frame) in frames.iter().enumerate() {
            let part = check(frame, &large, number, all.len(), tag);
            prop_assert!(part.len() == mss || number + 1 == frames.len());
            all.extend(part);
        }
        prop_assert_eq!(all, large.payload);
        let sent = u32::try_from(frames.len()).unwrap();
        prop_assert_eq!(rig.read(&GPTC, 0), sent);
        prop_assert_eq!(rig.read(&QPTC, 0), sent);
        rig.assert_clean();
    }
}

#[test]
fn a_quarter_megabyte_at_once() {
    let payload: Vec<u8> = (0..0x3_FFFFusize).map(|at| (at * 31 / 8) as u8).collect();
    let mut bytes = large(true, true, false, payload[..100].to_vec());
    bytes.bytes.extend_from_slice(&payload[100..]);
    bytes.payload = payload;
    let (rig, mut ring) = ready();
    send(&rig, &mut ring, &bytes, 1448, 2000, |data| data);
    rig.run();
    let mut all = Vec::new();
    for (number, frame) in rig.wire.taken().iter().enumerate() {
        all.extend(check(frame, &bytes, number, all.len(), None));
    }
    assert_eq!(all, bytes.payload);
    rig.assert_clean();
}

#[test]
fn a_buffer_of_16_kib_is_an_exception_of_linux() {
    let large = large(
        true,
        true,
        false,
        (0..20_000usize).map(|at| at as u8).collect(),
    );
    for tolerate in [true, false] {
        let rig = Rig::new(NicConfig {
            tolerate,
            ..NicConfig::default()
        });
        rig.init();
        let mut ring = rig.tx_queue(0, 16);
        send(&rig, &mut ring, &large, 1448, 16_384, |data| data);
        if tolerate {
            let mut all = Vec::new();
            for (number, frame) in rig.wire.taken().iter().enumerate() {
                all.extend(check(frame, &large, number, all.len(), None));
            }
            assert_eq!(all, large.payload);
            rig.assert_clean();
            assert_eq!(rig.nic.exceptions()[0].count, 1);
        } else {
            assert!(rig.wire.taken().is_empty());
            rig.assert_violation(Rule::Frame, "transmit descriptor of queue 0");
        }
    }
}

#[test]
fn what_can_not_be_cut_is_refused() {
    type Change = fn(Data) -> Data;
    let cases: [(usize, Change, &str); 5] = [
        (0, |data| data, "MSS"),
        (500, |data| data.with_txsm(false), "TXSM"),
        (500, |data| data.with_ixsm(false), "IXSM"),
        (1600, |data| data, "MAXFRS"),
        (500, |data| data.with_paylen(data.paylen() - 1), "PAYLEN"),
    ];
    for (mss, change, why) in cases {
        let (rig, mut ring) = ready();
        let large = large(true, true, false, vec![7; 1900]);
        send(&rig, &mut ring, &large, mss, 4000, change);
        assert!(rig.wire.taken().is_empty(), "{why}");
        let violations = rig.nic.violations();
        assert_eq!(violations.len(), 1, "{why}: {violations:?}");
        assert!(violations[0].state.contains(why), "{}", violations[0]);
        assert_ne!(violations[0].rule, Rule::NotImplemented);
        // The queue goes on.
        rig.post(&mut ring, 0, &frame(OWN, 60, 1));
        rig.run();
        assert_eq!(rig.wire.taken().len(), 1);
    }
}

#[test]
fn the_flags_that_stay_are_what_the_registers_say() {
    let (rig, mut ring) = ready();
    rig.write(&DTXTCPFLGL, 0, 0x0FFF_0010);
    rig.write(&DTXTCPFLGH, 0, 0x0000_0011);
    let large = large(true, true, false, vec![7; 1500]);
    send(&rig, &mut ring, &large, 500, 4000, |data| data);
    let flags: Vec<_> = rig.wire.taken().iter().map(|frame| frame[47]).collect();
    assert_eq!(flags, [0x10, 0x10 | FIN_PSH_CWR, 0x11]);
    rig.assert_clean();
}

#[test]
fn a_header_between_two_is_cancelled_out_by_what_software_put_in() {
    // An outer IPv4 header, then eight bytes of a tunnel's that take part in the sum.
    let (rig, mut ring) = ready();
    let mut large = large(true, true, false, vec![7; 700]);
    let tunnel = [1u8, 2, 3, 4, 5, 6, 7, 8];
    large.bytes.splice(34..34, tunnel);
    large.ip = 28;
    let seed = !ones(&tunnel);
    large.bytes[24..26].copy_from_slice(&seed.to_be_bytes());
    send(&rig, &mut ring, &large, 500, 4000, |data| data);
    for frame in rig.wire.taken() {
        assert_eq!(ones(&frame[14..34]), 0xFFFF);
        let total = u16::from_be_bytes([frame[16], frame[17]]);
        assert_eq!(usize::from(total), frame.len() - 14);
    }
    rig.assert_clean();
}

#[test]
fn sctp_and_plain_checksums() {
    let (rig, mut ring) = ready();
    let mut bytes = frame(OWN, 14, 0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes.extend_from_slice(&[
        0x45, 0, 0, 52, 0, 1, 0, 0, 64, 132, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    bytes.extend((0..32).map(|at| at as u8));
    let context = AdvancedContext {
        headers: ContextHeaders::new().with_maclen(14).with_iplen(20),
        commands: ContextCommands::new().with_ipv4(true).with_l4t(l4t::SCTP),
    };
    rig.post_words(&mut ring, 0, context.into_words());
    ring.fill(ring.next, &bytes);
    let data = Data::whole_packet(bytes.len() as u16)
        .with_rs(true)
        .with_txsm(true)
        .with_cc(true);
    let address = ring.buffer(ring.next);
    rig.post_words(&mut ring, 0, [address, data.into_bits()]);
    rig.run();
    let sent = rig.wire.taken().remove(0);
    let mut expected = bytes[34..].to_vec();
    expected[8..12].fill(0);
    assert_eq!(sent[42..46], crc32c(&expected).to_le_bytes());

    // The checksum of a legacy descriptor covers the packet from CSS on.
    let mut plain = frame(OWN, 80, 3);
    plain[40..42].fill(0);
    ring.fill(ring.next, &plain);
    let data = LegacyData::new()
        .with_length(80)
        .with_eop(true)
        .with_ifcs(true)
        .with_ic(true)
        .with_css(20)
        .with_cso(40)
        .with_rs(true);
    let address = ring.buffer(ring.next);
    rig.post_words(&mut ring, 0, [address, data.into_bits()]);
    rig.run();
    let sent = rig.wire.taken().remove(0);
    assert_eq!(ones(&sent[20..]), 0xFFFF);
    assert_eq!(sent[..40], plain[..40]);
    rig.assert_clean();
}

/// Bit by bit, as the RFC writes it down.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82F6_3B78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
