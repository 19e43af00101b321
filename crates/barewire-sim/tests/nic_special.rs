//! What drivers and tests ask for beyond plain frames: loopback, header split, outer tags, fragments,
//! pause frames, time stamps, bad frames.
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
use barewire_spec::ixgbe::descriptor::tx::Data;
use barewire_spec::ixgbe::*;
use etherparse::PacketBuilder;
use nic_rig::*;

fn udp(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1, 2)
        .write(&mut bytes, &vec![5; payload])
        .unwrap();
    bytes
}

fn change(rig: &Rig, register: &Register, bits: u32) {
    let value = rig.read(register, 0) | bits;
    rig.write(register, 0, value);
}

#[test]
fn what_is_sent_comes_back_through_the_mac() {
    for device in [Device::I82599, Device::X540] {
        let rig = Rig::new(NicConfig {
            device,
            ..NicConfig::default()
        });
        rig.init();
        let mut tx = rig.tx_queue(0, 64);
        let mut rx = rig.rx_queue(0, 64, one_buffer());
        rig.start_receiving();
        rig.nic.set_cable(false);
        change(
            &rig,
            &HLREG0,
            Hlreg0::from_bits(0).with_lpbk(true).into_bits(),
        );
        rig.post(&mut tx, 0, &frame(OWN, 200, 4));
        rig.run();
        assert!(rig.take(&mut rx, 0).is_none(), "the link is not forced up");
        if device == Device::I82599 {
            change(&rig, &AUTOC, Autoc::new().with_flu(true).into_bits());
        } else {
            change(&rig, &MACC, Macc::new().with_flu(true).into_bits());
        }
        rig.run();
        let received = rig.take(&mut rx, 0).expect("looped back");
        assert_eq!(received.bytes, frame(OWN, 200, 4));
        assert!(rig.wire.taken().is_empty());
        assert_eq!((rig.read(&GPTC, 0), rig.read(&GPRC, 0)), (1, 1));
        rig.assert_clean();
    }
}

/// A receive queue whose descriptors have header buffers behind the packet buffers.
fn split_queue(rig: &Rig, srrctl: Srrctl, psrtype: Psrtype) -> Ring {
    rig.write(&PSRTYPE, 0, psrtype.into_bits());
    let ring = rig.rx_queue(0, 64, srrctl);
    for index in 0..ring.count {
        ring.put(index, [ring.buffer(index), ring.buffer(index) + 1024]);
    }
    rig.start_receiving();
    ring
}

#[test]
fn headers_go_to_buffers_of_their_own() {
    let all = Psrtype::new().with_udp(true).with_ipv4(true).with_l2(true);
    let split = desctype::ADVANCED_HEADER_SPLIT;
    let always = desctype::ADVANCED_ALWAYS_HEADER;
    let raw = frame(OWN, 300, 7);
    // Format, kinds, frame; bytes in the header buffer, SPH, HDR_LEN, HBO.
    let cases = [
        (split, all, udp(200), 42, true, 42, false),
        (split, all.with_udp(false), udp(200), 34, true, 34, false),
        (split, all, raw.clone(), 14, true, 14, false),
        (split, all.with_l2(false), raw.clone(), 0, false, 0, false),
        (always, all.with_l2(false), raw, 64, false, 64, false),
        (always, all, udp(20), 62, true, 62, false),
        (always, all, udp(200), 42, true, 42, false),
    ];
    for (format, kinds, sent, in_header, sph, length, hbo) in cases {
        let rig = rig();
        rig.init();
        let srrctl = one_buffer()
            .with_bsizepacket(1)
            .with_desctype(format)
            .with_bsizeheader(1);
        let mut ring = split_queue(&rig, srrctl, kinds);
        rig.wire.send(&sent);
        rig.run();
        let header = ring.bytes(0, 1024 + in_header)[1024..].to_vec();
        let received = rig.take(&mut ring, 0).unwrap();
        assert_eq!([header, received.bytes].concat(), sent);
        assert_eq!(received.info.sph(), sph);
        assert_eq!(received.info.hdr_len(), length);
        assert_eq!(received.status.hbo(), hbo);
        rig.assert_clean();
    }
}

#[test]
fn a_header_that_is_too_long_for_its_buffer_says_so() {
    let mut sent = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN)
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut sent, &[6; 100])
        .unwrap();
    let rig = rig();
    rig.init();
    let srrctl = one_buffer()
        .with_bsizepacket(1)
        .with_desctype(desctype::ADVANCED_HEADER_SPLIT)
        .with_bsizeheader(1);
    let mut ring = split_queue(&rig, srrctl, Psrtype::new().with_tcp(true));
    rig.wire.send(&sent);
    rig.run();
    let received = rig.take(&mut ring, 0).unwrap();
    assert_eq!(received.bytes, sent);
    assert!(received.status.hbo() && received.info.sph());
    assert_eq!(received.info.hdr_len(), 74);
    rig.assert_clean();
}

#[test]
fn two_tags() {
    let rig = rig();
    rig.init();
    change(
        &rig,
        &CTRL_EXT,
        CtrlExt::new().with_extended_vlan(true).into_bits(),
    );
    change(
        &rig,
        &DMATXCTL,
        Dmatxctl::from_bits(0).with_gdv(true).into_bits(),
    );
    rig.write(&EXVET, 0, 0x88A8_0000);
    rig.write(&RXDCTL, 0, Rxdctl::new().with_vme(true).into_bits());
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    rig.start_receiving();
    let mut sent = udp(100);
    sent.splice(12..12, [0x88, 0xA8, 0, 3, 0x81, 0, 0, 4]);
    rig.wire.send(&sent);
    rig.run();
    let received = rig.take(&mut rx, 0).unwrap();
    assert!(received.status.vext() && received.status.vp() && received.status.l4i());
    assert_eq!(received.status.vlan(), 4);
    let mut expected = udp(100);
    expected.splice(12..12, [0x88, 0xA8, 0, 3]);
    assert_eq!(received.bytes, expected);

    // The inner tag goes behind the outer one.
    let mut tx = rig.tx_queue(0, 64);
    let context = descriptor::tx::AdvancedContext {
        headers: descriptor::tx::ContextHeaders::new()
            .with_maclen(18)
            .with_vlan(4),
        commands: descriptor::tx::ContextCommands::new(),
    };
    rig.post_words(&mut tx, 0, context.into_words());
    tx.fill(tx.next, &expected);
    let data = Data::whole_packet(expected.len() as u16)
        .with_vle(true)
        .with_rs(true);
    let address = tx.buffer(tx.next);
    rig.post_words(&mut tx, 0, [address, data.into_bits()]);
    rig.run();
    assert_eq!(rig.wire.taken(), [sent]);
    rig.assert_clean();
}

#[test]
fn fragments_tell_their_number_and_sum() {
    let rig = rig();
    rig.init();
    rig.write(&RXCSUM, 0, Rxcsum::new().with_ippcse(true).into_bits());
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    rig.start_receiving();
    let mut sent = udp(64);
    sent[18..22].copy_from_slice(&[0xAB, 0xCD, 0x20, 0x00]);
    rig.wire.send(&sent);
    rig.run();
    let received = rig.take(&mut rx, 0).unwrap();
    let sum: u32 = sent[34..]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    assert_eq!(received.info.rss_hash(), 0xABCD | sum << 16);
    assert!(received.status.udpv() && received.status.udpcs() && !received.status.l4i());
    rig.assert_clean();
}

#[test]
fn sctp_is_checked() {
    let rig = rig();
    rig.init();
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    rig.start_receiving();
    let mut sent = udp(40);
    sent[23] = 132;
    sent[24..26].fill(0);
    let sum: u32 = sent[14..34]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
    sent[24..26].copy_from_slice(&sum.to_be_bytes());
    sent[42..46].fill(0);
    let mut crc = u32::MAX;
    for byte in &sent[34..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82F6_3B78
            } else {
                crc >> 1
            };
        }
    }
    sent[42..46].copy_from_slice(&(!crc).to_le_bytes());
    for wrong in [false, true] {
        sent[60] ^= u8::from(wrong);
        rig.wire.send(&sent);
        rig.run();
        let status = rig.take(&mut rx, 0).unwrap().status;
        assert!(status.l4i() && status.ipcs() && !status.ipe());
        assert_eq!(status.l4e(), wrong);
    }
    assert_eq!(rig.read(&XEC, 0), 1);
    rig.assert_clean();
}

#[test]
fn bad_frames_are_stored_where_asked() {
    for sbp in [false, true] {
        let rig = rig();
        rig.init();
        rig.write(&FCTRL, 0, Fctrl::new().with_sbp(sbp).into_bits());
        let mut rx = rig.rx_queue(0, 64, one_buffer());
        rig.start_receiving();
        rig.wire.send(&frame(OWN, 40, 0));
        rig.run();
        let received = rig.take(&mut rx, 0);
        assert_eq!(received.is_some(), sbp);
        assert!(received.is_none_or(|received| received.status.rxe()));
        assert_eq!(rig.read(&RUC, 0), 1);
        rig.assert_clean();
    }
}

fn pause(quanta: u16) -> Vec<u8> {
    let mut bytes = vec![
        0x01, 0x80, 0xC2, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0x08, 0, 1,
    ];
    bytes.extend_from_slice(&quanta.to_be_bytes());
    bytes.resize(60, 0);
    bytes
}

#[test]
fn a_pause_is_obeyed_until_it_ends() {
    let rig = rig();
    rig.init();
    rig.write(
        &MFLCN,
        0,
        Mflcn::new().with_rfce(true).with_dpf(true).into_bits(),
    );
    let mut tx = rig.tx_queue(0, 64);
    rig.start_receiving();
    // 0xFFFF quanta of 51.2 ns are 3.36 ms.
    for (end, millis) in [(Some(pause(0)), 0), (None, 4)] {
        rig.wire.send(&pause(0xFFFF));
        rig.run();
        rig.post(&mut tx, 0, &frame(OWN, 60, 0));
        rig.wait(2);
        assert!(rig.wire.taken().is_empty());
        if let Some(end) = end {
            rig.wire.send(&end);
        }
        rig.wait(millis);
        rig.run();
        assert_eq!(rig.wire.taken().len(), 1);
    }
    assert_eq!(rig.read(&LXOFFRXCNT, 0), 2);
    assert_eq!(rig.read(&LXONRXCNT, 0), 1);
    assert_eq!(rig.read(&GPRC, 0), 0);
    rig.assert_clean();
}

#[test]
fn pauses_of_a_port_that_does_not_obey_are_frames() {
    let rig = rig();
    rig.init();
    rig.write(&FCTRL, 0, Fctrl::new().with_mpe(true).into_bits());
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    let mut tx = rig.tx_queue(0, 64);
    rig.start_receiving();
    rig.wire.send(&pause(0xFFFF));
    rig.run();
    assert_eq!(rig.take(&mut rx, 0).unwrap().bytes, pause(0xFFFF));
    rig.post(&mut tx, 0, &frame(OWN, 60, 0));
    rig.run();
    assert_eq!(rig.wire.taken().len(), 1);
    rig.assert_clean();
}

#[test]
fn the_partner_is_paused_when_the_packet_buffer_fills() {
    let rig = rig();
    rig.init();
    rig.write(&FCCFG, 0, Fccfg::new().with_tfce(1).into_bits());
    rig.write(&FCTTV, 0, 0x1234);
    rig.write(&FCRTV, 0, 0x8000);
    rig.write(
        &FCRTL,
        0,
        Fcrtl::new().with_rtl(32).with_xone(true).into_bits(),
    );
    rig.write(
        &FCRTH,
        0,
        Fcrth::new().with_rth(128).with_fcen(true).into_bits(),
    );
    let mut rx = rig.rx_queue(0, 8, one_buffer());
    rig.start_receiving();
    rig.wire.insist();
    for _ in 0..100 {
        rig.wire.send(&frame(OWN, 60, 0));
    }
    rig.run();
    let sent = rig.wire.taken();
    let mut expected = pause(0x1234);
    expected[6..12].copy_from_slice(&OWN);
    assert_eq!(sent, [expected.clone()]);
    while rig.take(&mut rx, 0).is_some() {
        rig.run();
    }
    expected[16..18].fill(0);
    assert_eq!(rig.wire.taken(), [expected]);
    assert_eq!((rig.read(&LXOFFTXC, 0), rig.read(&LXONTXC, 0)), (1, 1));
    assert_eq!((rig.read(&GPTC, 0), rig.read(&PTC64, 0)), (2, 2));
    rig.assert_clean();
}

#[test]
fn totals_are_cleared_by_no_read() {
    let rig = rig();
    rig.init();
    let mut tx = rig.tx_queue(5, 64);
    rig.write(&TQSM, 1, 0x0000_0300);
    for _ in 0..3 {
        rig.post(&mut tx, 5, &frame(OWN, 100, 0));
        rig.run();
        assert_eq!(rig.read(&QPTC, 3), 1);
    }
    let total = |register: &'static Register, index| {
        let totals = rig.nic.register_totals();
        let found = totals
            .iter()
            .find(|total| std::ptr::eq(total.register, register) && total.index == index);
        found.unwrap().value
    };
    assert_eq!(total(&GPTC, 0), 3);
    assert_eq!(total(&QPTC, 3), 3);
    assert_eq!(total(&QPTC, 0), 0);
    assert_eq!(total(&GOTCL, 0), 3 * 104);
    rig.assert_clean();
}

#[test]
fn frames_of_the_time_protocol_are_stamped() {
    let rig = rig();
    rig.init();
    let filter = Etqf::new()
        .with_etype(0x88F7)
        .with_filter_enable(true)
        .with_time_stamp_1588(true);
    rig.write(&ETQF, 3, filter.into_bits());
    let control = Tsyncrxctl::new()
        .with_en(true)
        .with_kind(tsync_type::EVENT_V2);
    rig.write(&TSYNCRXCTL, 0, control.into_bits());
    rig.write(&TSYNCTXCTL, 0, Tsynctxctl::new().with_en(true).into_bits());
    rig.write(&SYSTIML, 0, 77);
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    let mut tx = rig.tx_queue(0, 64);
    rig.start_receiving();
    let mut message = frame(OWN, 60, 0);
    message[12..14].copy_from_slice(&[0x88, 0xF7]);
    message[44..46].copy_from_slice(&[0x12, 0x34]);
    // General messages get no stamp, the first event does, the second finds one kept.
    for (kind, stamped) in [(8, false), (0, true), (1, false)] {
        message[14] = kind;
        rig.wire.send(&message);
        rig.run();
        assert_eq!(rig.take(&mut rx, 0).unwrap().status.ts(), stamped, "{kind}");
    }
    assert!(Tsyncrxctl::from_bits(rig.read(&TSYNCRXCTL, 0)).rxtt());
    assert_eq!(rig.read(&RXSATRH, 0) >> 16, 0x1234);
    assert!(rig.read(&RXSTMPL, 0) >= 77);
    rig.read(&RXSTMPH, 0);
    assert!(!Tsyncrxctl::from_bits(rig.read(&TSYNCRXCTL, 0)).rxtt());

    tx.fill(tx.next, &message);
    let data = Data::whole_packet(60)
        .with_rs(true)
        .with_time_stamp_1588(true);
    let address = tx.buffer(tx.next);
    rig.post_words(&mut tx, 0, [address, data.into_bits()]);
    rig.run();
    assert!(Tsynctxctl::from_bits(rig.read(&TSYNCTXCTL, 0)).txtt());
    assert!(rig.read(&TXSTMPL, 0) >= 77);
    rig.read(&TXSTMPH, 0);
    assert!(!Tsynctxctl::from_bits(rig.read(&TSYNCTXCTL, 0)).txtt());
    rig.assert_clean();
}
