//! Transmit: packets of several descriptors, reports, padding, offloads, turns.
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

use barewire_sim::violation::Rule;
use barewire_spec::ixgbe::descriptor::tx::{
    AdvancedContext, ContextCommands, ContextHeaders, Data, LegacyData, l4t,
};
use barewire_spec::ixgbe::*;
use nic_rig::*;

fn ready() -> (Rig, Ring) {
    let rig = rig();
    rig.init();
    let ring = rig.tx_queue(0, 64);
    (rig, ring)
}

#[test]
fn short_frames_are_padded_with_zeros() {
    let (rig, mut ring) = ready();
    // What was sent before must not leak into the padding.
    rig.post(&mut ring, 0, &frame(OWN, 200, 0xA0));
    for length in [17, 59, 60, 61] {
        rig.post(&mut ring, 0, &frame(OWN, length, 1));
    }
    rig.run();
    let taken = rig.wire.taken();
    for (length, bytes) in [17, 59, 60, 61].into_iter().zip(&taken[1..]) {
        let mut expected = frame(OWN, length, 1);
        expected.resize(length.max(60), 0);
        assert_eq!(*bytes, expected);
    }
    assert_eq!(rig.read(&PTC64, 0), 3);
    rig.assert_clean();
}

#[test]
fn a_packet_of_three_descriptors_is_one_frame() {
    let (rig, mut ring) = ready();
    let sent = frame(OWN, 300, 5);
    let pieces = [0..50, 50..51, 51..300];
    for (at, piece) in pieces.into_iter().enumerate() {
        ring.fill(at, &sent[piece.clone()]);
        let last = piece.end == sent.len();
        let data = Data::new()
            .with_dtalen(piece.len() as u16)
            .with_ifcs(true)
            .with_paylen(300)
            .with_eop(last)
            .with_rs(last);
        let address = ring.buffer(at);
        rig.post_words(&mut ring, 0, [address, data.into_bits()]);
        rig.run();
        assert_eq!(rig.wire.taken().len(), usize::from(last));
    }
    assert_eq!(ring.get(2)[1], Data::DD);
    assert_ne!(
        ring.get(1)[1] & 0xFFFF_FFFF,
        0,
        "only the last one asked for a report"
    );
    rig.assert_clean();
}

#[test]
fn only_what_asks_is_reported() {
    let (rig, mut ring) = ready();
    for at in 0..4 {
        ring.fill(at, &frame(OWN, 60, 0));
        let data = Data::whole_packet(60).with_rs(at == 3);
        let address = ring.buffer(at);
        rig.post_words(&mut ring, 0, [address, data.into_bits()]);
    }
    rig.run();
    assert_eq!(ring.get(3), [0, Data::DD]);
    for at in 0..3 {
        assert_eq!(ring.get(at)[1] & Data::DD, 0);
    }
    rig.assert_clean();
}

#[test]
fn the_head_is_written_back_instead_where_asked() {
    let rig = rig();
    rig.init();
    let (memory, address) = rig.memory(64);
    rig.write(&TDWBAH, 3, (address >> 32) as u32);
    rig.write(&TDWBAL, 3, (address as u32 + 4) | 1);
    let mut ring = rig.tx_queue(3, 8);
    for expected in [1, 2, 3, 4, 5, 6, 7, 0, 1] {
        let index = rig.post(&mut ring, 3, &frame(OWN, 60, 0));
        rig.run();
        let mut head = [0; 8];
        memory.device_read(0, &mut head).unwrap();
        assert_eq!(head, [0, 0, 0, 0, expected, 0, 0, 0]);
        assert_eq!(ring.get(index)[1] & Data::DD, 0);
    }
    rig.assert_clean();
}

fn ipv4(protocol: u8, payload: usize) -> Vec<u8> {
    let mut bytes = frame(OWN, 14, 0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    let total = (20 + payload) as u16;
    bytes.extend_from_slice(&[0x45, 0]);
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&[
        0, 1, 0, 0, 64, protocol, 0xFF, 0xFF, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    bytes.extend((0..payload).map(|at| at as u8));
    bytes
}

fn ones(bytes: &[u8]) -> u16 {
    let mut total: u32 = bytes
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while total > 0xFFFF {
        total = (total >> 16) + (total & 0xFFFF);
    }
    total as u16
}

#[test]
fn checksums_and_tags_are_inserted() {
    let (rig, mut ring) = ready();
    for (protocol, l4, at) in [(6, l4t::TCP, 16), (17, l4t::UDP, 6)] {
        let mut bytes = ipv4(protocol, 47);
        let mut pseudo = bytes[26..34].to_vec();
        pseudo.extend_from_slice(&[0, protocol, 0, 47]);
        bytes[34 + at..36 + at].copy_from_slice(&ones(&pseudo).to_be_bytes());
        let context = AdvancedContext {
            headers: ContextHeaders::new()
                .with_maclen(14)
                .with_iplen(20)
                .with_vlan(0x6123),
            commands: ContextCommands::new()
                .with_ipv4(true)
                .with_l4t(l4)
                .with_idx(1),
        };
        rig.post_words(&mut ring, 0, context.into_words());
        let index = ring.next;
        ring.fill(index, &bytes);
        let data = Data::whole_packet(bytes.len() as u16)
            .with_rs(true)
            .with_idx(1)
            .with_vle(true)
            .with_ixsm(true)
            .with_txsm(true);
        let address = ring.buffer(index);
        rig.post_words(&mut ring, 0, [address, data.into_bits()]);
        rig.run();
        let sent = rig.wire.taken().remove(0);
        assert_eq!(sent[12..16], [0x81, 0, 0x61, 0x23]);
        assert_eq!(sent[..12], bytes[..12]);
        assert_eq!(ones(&sent[18..38]), 0xFFFF, "the IPv4 header");
        pseudo.extend_from_slice(&sent[38..]);
        assert_eq!(ones(&pseudo), 0xFFFF, "protocol {protocol}");
    }
    rig.assert_clean();
}

#[test]
fn legacy_descriptors_work_too() {
    let (rig, mut ring) = ready();
    let sent = frame(OWN, 90, 2);
    ring.fill(0, &sent);
    let data = LegacyData::new()
        .with_length(90)
        .with_eop(true)
        .with_ifcs(true)
        .with_rs(true)
        .with_vle(true)
        .with_vlan(7);
    let address = ring.buffer(0);
    rig.post_words(&mut ring, 0, [address, data.into_bits()]);
    rig.run();
    let taken = rig.wire.taken().remove(0);
    assert_eq!(taken[12..16], [0x81, 0, 0, 7]);
    assert_eq!(taken.len(), 94);
    let [address, status] = ring.get(0);
    assert_eq!(
        address,
        ring.buffer(0),
        "a legacy write-back keeps the address"
    );
    assert!(LegacyData::from_bits(status).dd());
    rig.assert_clean();
}

#[test]
fn queues_take_turns() {
    let rig = rig();
    rig.init();
    let mut rings: Vec<_> = (0..3)
        .map(|queue| (queue * 20, rig.tx_queue(queue * 20, 512)))
        .collect();
    rig.nic.set_cable(false);
    for (queue, ring) in &mut rings {
        for _ in 0..300 {
            let bytes = frame([0xFF; 6], 60, *queue as u8);
            rig.post(ring, *queue, &bytes);
        }
    }
    rig.nic.set_cable(true);
    rig.wait(30);
    rig.run();
    let order: Vec<_> = rig.wire.taken().iter().map(|bytes| bytes[20]).collect();
    assert_eq!(order.len(), 900);
    let first = order[..500]
        .iter()
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(
        first.len(),
        3,
        "every queue had a turn before one was through"
    );
    assert_eq!(rig.read(&GPTC, 0), 900);
    rig.assert_clean();
}

#[test]
fn nothing_leaves_without_a_link() {
    let (rig, mut ring) = ready();
    rig.nic.set_cable(false);
    rig.post(&mut ring, 0, &frame(OWN, 60, 0));
    rig.run();
    assert!(rig.wire.taken().is_empty());
    assert_eq!(rig.read(&TDH, 0), 0);
    rig.nic.set_cable(true);
    rig.wait(30);
    assert_eq!(rig.wire.taken().len(), 1);
    rig.assert_clean();
}

#[test]
fn jumbo_frames_leave_where_allowed() {
    let rig = rig();
    rig.init();
    let hlreg0 = Hlreg0::from_bits(rig.read(&HLREG0, 0)).with_jumboen(true);
    rig.write(&HLREG0, 0, hlreg0.into_bits());
    rig.write(&MAXFRS, 0, Maxfrs::new().with_mfs(9728).into_bits());
    let mut ring = rig.tx_queue(0, 64);
    let sent = frame(OWN, 9724, 5);
    for (at, piece) in sent.chunks(STRIDE).enumerate() {
        ring.fill(at, piece);
        let last = (at + 1) * STRIDE >= sent.len();
        let data = Data::new()
            .with_dtalen(piece.len() as u16)
            .with_ifcs(true)
            .with_paylen(9724)
            .with_eop(last)
            .with_rs(last);
        let address = ring.buffer(at);
        rig.post_words(&mut ring, 0, [address, data.into_bits()]);
    }
    rig.run();
    assert_eq!(rig.wire.taken(), [sent]);
    rig.assert_clean();
}

/// A null descriptor sends nothing, and is reported like any other.
#[test]
fn a_null_descriptor_between_packets_sends_nothing() {
    let (rig, mut ring) = ready();
    let null = LegacyData::whole_packet(0).with_rs(true).into_bits();
    rig.post(&mut ring, 0, &frame(OWN, 60, 1));
    rig.post_words(&mut ring, 0, [0, null]);
    rig.post(&mut ring, 0, &frame(OWN, 60, 2));
    rig.run();
    assert_eq!(rig.wire.taken().len(), 2);
    assert!(LegacyData::from_bits(ring.get(1)[1]).dd());
    rig.assert_clean();
}

#[test]
fn a_null_descriptor_within_a_packet_is_a_violation() {
    let (rig, mut ring) = ready();
    let part = LegacyData::whole_packet(60).with_eop(false).into_bits();
    let null = LegacyData::whole_packet(0).into_bits();
    let bytes = ring.buffer(0);
    rig.post_words(&mut ring, 0, [bytes, part]);
    rig.post_words(&mut ring, 0, [0, null]);
    rig.run();
    assert!(rig.wire.taken().is_empty());
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");
}
