//! Receive: filters, lengths, buffers, hashing, drops.
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

use barewire_sim::nic::{Device, NicConfig};
use barewire_spec::ixgbe::descriptor::rx::rss_type;
use barewire_spec::ixgbe::*;
use nic_rig::*;

const GROUP: [u8; 6] = [0x01, 0x00, 0x5E, 0x12, 0x34, 0x56];
const OTHER: [u8; 6] = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

fn ready(prepare: impl FnOnce(&Rig)) -> (Rig, Ring) {
    let rig = rig();
    rig.init();
    prepare(&rig);
    let ring = rig.rx_queue(0, 64, one_buffer());
    rig.start_receiving();
    (rig, ring)
}

fn arrives(rig: &Rig, ring: &mut Ring, bytes: &[u8]) -> Option<Received> {
    rig.wire.send(bytes);
    rig.run();
    rig.take(ring, 0)
}

fn filters(fctrl: Fctrl) -> impl FnOnce(&Rig) {
    move |rig| rig.write(&FCTRL, 0, fctrl.into_bits())
}

#[test]
fn addresses_are_filtered() {
    let cases = [
        (Fctrl::new(), [true, false, false, false]),
        (Fctrl::new().with_bam(true), [true, false, true, false]),
        (Fctrl::new().with_upe(true), [true, true, false, false]),
        (Fctrl::new().with_mpe(true), [true, false, true, true]),
    ];
    for (fctrl, expected) in cases {
        let (rig, mut ring) = ready(filters(fctrl));
        let got = [OWN, OTHER, [0xFF; 6], GROUP]
            .map(|to| arrives(&rig, &mut ring, &frame(to, 60, 0)).is_some());
        assert_eq!(got, expected, "{fctrl:?}");
        let accepted = u32::try_from(expected.iter().filter(|yes| **yes).count()).unwrap();
        assert_eq!(rig.read(&GPRC, 0), accepted);
        assert_eq!(rig.read(&TPR, 0), 4);
        assert_eq!(rig.read(&PRC64, 0), 4);
        rig.assert_clean();
    }
}

#[test]
fn the_multicast_table_is_indexed_by_four_different_parts_of_the_address() {
    for (mo, index) in [(0u8, 0x563), (1, 0xAC6), (2, 0x58D), (3, 0x634)] {
        let (rig, mut ring) = ready(|rig| {
            rig.write(&MTA, index / 32, 1 << (index % 32));
            let control = Mcstctrl::new().with_mfe(true).with_mo(mo);
            rig.write(&MCSTCTRL, 0, control.into_bits());
        });
        assert!(
            arrives(&rig, &mut ring, &frame(GROUP, 60, 0)).is_some(),
            "{mo}"
        );
        let mut other = GROUP;
        other[5] ^= 0x04;
        assert!(arrives(&rig, &mut ring, &frame(other, 60, 0)).is_none());
        assert_eq!(rig.read(&MPRC, 0), 1);
        rig.assert_clean();
    }
}

#[test]
fn an_address_without_its_valid_bit_is_none() {
    let (rig, mut ring) = ready(|rig| {
        rig.write(
            &RAL,
            5,
            u32::from_le_bytes([OTHER[0], OTHER[1], OTHER[2], OTHER[3]]),
        );
        rig.write(&RAH, 5, u32::from(u16::from_le_bytes([OTHER[4], OTHER[5]])));
    });
    assert!(arrives(&rig, &mut ring, &frame(OTHER, 60, 0)).is_none());
    let high = rig.read(&RAH, 5) | 1 << 31;
    rig.write(&RAH, 5, high);
    let received = arrives(&rig, &mut ring, &frame(OTHER, 60, 0)).unwrap();
    assert!(!received.status.pif());
    rig.assert_clean();
}

fn tagged(tag: u16, length: usize) -> Vec<u8> {
    let mut bytes = frame(OWN, length, 3);
    let [high, low] = tag.to_be_bytes();
    bytes.splice(12..12, [0x81, 0x00, high, low]);
    bytes
}

#[test]
fn tags_are_filtered_and_stripped() {
    let (rig, mut ring) = ready(|rig| {
        rig.write(&VFTA, 3, 1 << 4);
        let vlnctrl = Vlnctrl::from_bits(VLNCTRL.reset).with_vfe(true);
        rig.write(&VLNCTRL, 0, vlnctrl.into_bits());
    });
    assert!(arrives(&rig, &mut ring, &tagged(101, 60)).is_none());
    let kept = arrives(&rig, &mut ring, &tagged(100, 60)).unwrap();
    assert_eq!(kept.bytes, tagged(100, 60));
    assert!(kept.status.vp());
    let rxdctl = Rxdctl::from_bits(rig.read(&RXDCTL, 0)).with_vme(true);
    rig.write(&RXDCTL, 0, rxdctl.into_bits());
    let stripped = arrives(&rig, &mut ring, &tagged(0xA064, 60)).unwrap();
    assert_eq!(stripped.bytes, frame(OWN, 60, 3));
    assert_eq!(stripped.status.vlan(), 0xA064);
    rig.assert_clean();
}

#[test]
fn lengths_are_bounded_on_both_sides() {
    let (rig, mut ring) = ready(|_| {});
    for (length, received) in [(59, false), (60, true), (1514, true), (1515, false)] {
        let got = arrives(&rig, &mut ring, &frame(OWN, length, 0));
        assert_eq!(got.is_some(), received, "{length}");
    }
    assert!(arrives(&rig, &mut ring, &tagged(5, 1514)).is_some());
    assert!(arrives(&rig, &mut ring, &tagged(5, 1515)).is_none());
    assert_eq!(rig.read(&RUC, 0), 1);
    assert_eq!(rig.read(&ROC, 0), 2);
    rig.assert_clean();
}

#[test]
fn a_jumbo_frame_takes_several_buffers() {
    let (rig, mut ring) = ready(|rig| {
        let hlreg0 = Hlreg0::from_bits(rig.read(&HLREG0, 0)).with_jumboen(true);
        rig.write(&HLREG0, 0, hlreg0.into_bits());
        rig.write(&MAXFRS, 0, Maxfrs::new().with_mfs(9728).into_bits());
    });
    for (length, buffers) in [(2048, 1), (2049, 2), (4096, 2), (9724, 5)] {
        let sent = frame(OWN, length, 9);
        let received = arrives(&rig, &mut ring, &sent).unwrap();
        assert_eq!(received.bytes, sent);
        assert_eq!(received.descriptors, buffers);
    }
    assert!(arrives(&rig, &mut ring, &frame(OWN, 9725, 9)).is_none());
    rig.assert_clean();
}

#[test]
fn the_fcs_is_kept_where_both_registers_say_so() {
    let (rig, mut ring) = ready(|rig| {
        let rdrxctl = Rdrxctl::from_bits(rig.read(&RDRXCTL, 0)).with_crcstrip(false);
        rig.write(&RDRXCTL, 0, rdrxctl.into_bits());
        let hlreg0 = Hlreg0::from_bits(rig.read(&HLREG0, 0)).with_rxcrcstrp(false);
        rig.write(&HLREG0, 0, hlreg0.into_bits());
    });
    let mut bytes = OWN.to_vec();
    bytes.resize(60, 0);
    let received = arrives(&rig, &mut ring, &bytes).unwrap();
    assert_eq!(received.bytes.len(), 64);
    assert_eq!(&received.bytes[..60], &bytes);
    assert_eq!(rig.read(&QBRC_L, 0), 64);
    rig.assert_clean();
}

fn udp(source: [u8; 4], from: u16, destination: [u8; 4], to: u16, protocol: u8) -> Vec<u8> {
    let mut bytes = OWN.to_vec();
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 1, 8, 0]);
    bytes.extend_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, protocol, 0, 0]);
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&destination);
    bytes.extend_from_slice(&from.to_be_bytes());
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes.extend_from_slice(&[0, 26]);
    bytes.resize(60, 0);
    bytes
}

const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

fn enable_rss(rig: &Rig, mrqc: Mrqc) {
    for (index, value) in (0..).zip(rss::key_registers(&KEY)) {
        rig.write(&RSSRK, index, value);
    }
    for index in 0..32u32 {
        let entry = |at: u32| ((index * 4 + at) % 16) << (8 * at);
        rig.write(&RETA, index, entry(0) | entry(1) | entry(2) | entry(3));
    }
    rig.write(&RXCSUM, 0, Rxcsum::new().with_pcsd(true).into_bits());
    rig.write(&MRQC, 0, mrqc.with_mrqe(mrqe::RSS).into_bits());
}

#[test]
fn hashes_and_queues_are_those_of_the_verification_suite() {
    let rig = rig();
    rig.init();
    enable_rss(&rig, Mrqc::new().with_ipv4(true).with_tcp_ipv4(true));
    let mut rings: Vec<_> = (0..16)
        .map(|queue| rig.rx_queue(queue, 64, one_buffer()))
        .collect();
    rig.start_receiving();
    let (source, destination) = ([66, 9, 149, 187], [161, 142, 100, 80]);
    for (protocol, hash, kind) in [
        (6, 0x51cc_c178, rss_type::IPV4_TCP),
        (17, 0x323e_8fc2, rss_type::IPV4),
    ] {
        rig.wire
            .send(&udp(source, 2794, destination, 1766, protocol));
        rig.run();
        let queue = hash % 128 % 16;
        let received = rig
            .take(&mut rings[queue as usize], queue)
            .expect("its queue");
        assert_eq!(received.info.rss_hash(), hash);
        assert_eq!(received.info.rss_type(), kind);
        assert_eq!(received.info.packet_type().tcp(), protocol == 6);
        assert!(received.info.packet_type().ipv4());
    }
    rig.assert_clean();
}

#[test]
fn the_table_of_an_x550_has_more_and_wider_entries() {
    let rig = Rig::new(NicConfig {
        device: Device::X550,
        ..NicConfig::default()
    });
    rig.init();
    enable_rss(&rig, Mrqc::new().with_ipv4(true));
    let hash = 0x323e_8fc2u32;
    let entry = hash % 512;
    assert!(entry >= 128);
    let shift = entry % 4 * 8;
    rig.write(&x550::ERETA, (entry - 128) / 4, 33 << shift);
    let mut ring = rig.rx_queue(33, 64, one_buffer());
    rig.start_receiving();
    let (source, destination) = ([66, 9, 149, 187], [161, 142, 100, 80]);
    rig.wire.send(&udp(source, 2794, destination, 1766, 17));
    rig.run();
    let received = rig.take(&mut ring, 33).expect("its queue");
    assert_eq!(received.info.rss_hash(), hash);
    rig.assert_clean();
}

#[test]
fn a_queue_of_an_x540_may_have_a_longest_frame_of_its_own() {
    let rig = Rig::new(NicConfig {
        device: Device::X540,
        ..NicConfig::default()
    });
    rig.init();
    let limit = Rxdctl::new().with_rlpml(200).with_rlpml_en(true);
    rig.write(&RXDCTL, 0, limit.into_bits());
    let mut ring = rig.rx_queue(0, 64, one_buffer());
    rig.start_receiving();
    assert!(arrives(&rig, &mut ring, &frame(OWN, 201, 0)).is_none());
    assert!(arrives(&rig, &mut ring, &frame(OWN, 200, 0)).is_some());
    assert_eq!(rig.read(&QPRDC, 0), 1);
    rig.assert_clean();
}

#[test]
fn a_full_queue_drops_or_holds_up_the_others() {
    for drop in [true, false] {
        let rig = rig();
        rig.init();
        enable_rss(&rig, Mrqc::new().with_udp_ipv4(true));
        let mut rings: Vec<_> = (0..16)
            .map(|queue| rig.rx_queue(queue, 8, one_buffer().with_drop_en(drop)))
            .collect();
        rig.start_receiving();
        rig.wire.insist();
        let first = udp([10, 0, 0, 1], 1, [10, 0, 0, 2], 1, 17);
        // One flow fills its queue; then one of another flow comes.
        for _ in 0..20 {
            rig.wire.send(&first);
        }
        let other = udp([10, 0, 0, 1], 99, [10, 0, 0, 2], 7, 17);
        rig.wire.send(&other);
        rig.run();
        let mut counts = [0; 16];
        for (queue, ring) in rings.iter_mut().enumerate() {
            while rig.take(ring, queue as u32).is_some() {
                counts[queue] += 1;
            }
        }
        let total: usize = counts.iter().sum();
        if drop {
            assert_eq!(total, 8, "7 of the flow and the other one: {counts:?}");
            assert_eq!(rig.read(&QPRDC, 0), 13);
        } else {
            assert_eq!(total, 7, "the other one waits: {counts:?}");
            rig.run();
            rig.run();
            assert_eq!(rig.read(&QPRDC, 0), 0);
        }
        assert_eq!(rig.read(&MPC, 0), 0);
        rig.assert_clean();
    }
}

#[test]
fn a_full_packet_buffer_misses_frames() {
    let rig = Rig::new(NicConfig {
        rx_packet_buffer: 1024,
        ..NicConfig::default()
    });
    rig.init();
    let _ring = rig.rx_queue(0, 8, one_buffer());
    rig.start_receiving();
    rig.wire.insist();
    (0..40).for_each(|tag| rig.wire.send(&frame(OWN, 60, tag)));
    rig.run();
    // 7 in descriptors, 16 in the buffer.
    assert_eq!(rig.read(&MPC, 0), 40 - 7 - 16);
    let causes = Eicr::from_bits(rig.read(&EICR, 0));
    assert!(causes.rx_miss());
    rig.assert_clean();
}

#[test]
fn wrong_checksums_are_told() {
    let (rig, mut ring) = ready(|_| {});
    let mut bytes = udp([10, 0, 0, 1], 5, [10, 0, 0, 2], 6, 17);
    let received = arrives(&rig, &mut ring, &bytes).unwrap();
    assert!(received.status.ipcs() && received.status.ipe());
    assert!(!received.status.l4i(), "a UDP packet without checksum");
    bytes[24..26].copy_from_slice(&[0x66, 0xBD]);
    bytes[40] = 1;
    let received = arrives(&rig, &mut ring, &bytes).unwrap();
    assert!(received.status.ipcs() && !received.status.ipe());
    assert!(received.status.l4i() && received.status.l4e());
    assert_eq!(rig.read(&XEC, 0), 2);
    rig.assert_clean();
}

#[test]
fn legacy_descriptors_work_too() {
    let rig = rig();
    rig.init();
    let srrctl = one_buffer().with_desctype(desctype::LEGACY);
    let ring = rig.rx_queue(0, 64, srrctl);
    rig.start_receiving();
    let sent = frame(OWN, 77, 4);
    rig.wire.send(&sent);
    rig.run();
    let [address, status] = ring.get(0);
    let status = descriptor::rx::LegacyStatus::from_bits(status);
    assert_eq!(address, ring.buffer(0));
    assert!(status.dd() && status.eop());
    assert_eq!(ring.bytes(0, status.length().into()), sent);
    rig.assert_clean();
}

#[test]
fn queues_count_where_they_are_mapped() {
    let (rig, mut ring) = ready(|rig| rig.write(&RQSMR, 0, 0x0000_0007));
    arrives(&rig, &mut ring, &frame(OWN, 100, 0)).unwrap();
    assert_eq!(rig.read(&QPRC, 7), 1);
    assert_eq!(rig.read(&QPRC, 0), 0);
    assert_eq!(rig.read(&QBRC_L, 7), 104);
    assert_eq!(rig.read(&QBRC_H, 7), 0);
    rig.assert_clean();
}

#[test]
fn nothing_comes_in_before_the_receive_path_runs_or_without_a_link() {
    let rig = rig();
    rig.init();
    let mut ring = rig.rx_queue(0, 64, one_buffer());
    rig.wire.send(&frame(OWN, 60, 0));
    rig.run();
    assert!(rig.take(&mut ring, 0).is_none());
    assert_eq!(rig.wire.waiting(), 1, "a closed loop waits");
    rig.start_receiving();
    rig.nic.set_cable(false);
    rig.run();
    assert_eq!(rig.wire.waiting(), 1);
    rig.nic.set_cable(true);
    rig.wait(30);
    assert!(rig.take(&mut ring, 0).is_some());
    rig.assert_clean();
}
