//! The control queue: filters, steering, announcements.

use std::net::Ipv4Addr;

use barewire_bus::Bar;
use barewire_sim::violation::Rule;
use barewire_sim::virtio::VirtioConfig;
use barewire_spec::virtio::header::Header;
use barewire_spec::virtio::{control, feature, net};

use super::program::{DEVICE, Program, Queue, config};
use super::wire_script::{OWN, frame};

const CONTROL: u64 = feature::NET_MAC
    | feature::NET_STATUS
    | feature::NET_CTRL_VQ
    | feature::NET_CTRL_RX
    | feature::NET_CTRL_RX_EXTRA
    | feature::NET_CTRL_VLAN
    | feature::NET_CTRL_MAC_ADDR
    | feature::NET_GUEST_ANNOUNCE;

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GROUP: [u8; 6] = [1, 0, 0x5E, 0, 0, 1];

/// A device with one pair and its control queue.
fn single(features: u64) -> (Program, Queue, Queue) {
    let program = Program::negotiated(config(features));
    let rx = program.queue(0, 16);
    program.queue(1, 16);
    let control = program.queue(2, 16);
    program.driver_ok();
    (program, rx, control)
}

/// Whether a frame reaches the driver.
fn passes(program: &Program, rx: &mut Queue, sent: &[u8]) -> bool {
    program.give(rx, 0, 1526);
    program.wire.send(sent);
    program.run();
    if rx.take().is_some() {
        return true;
    }
    // something that passes takes the buffer again
    program.wire.send(&frame(OWN, 60, 0));
    program.run();
    assert!(rx.take().is_some());
    false
}

#[test]
fn receive_modes_do_what_they_say() {
    for features in [
        CONTROL,
        CONTROL | feature::RING_PACKED,
        CONTROL | feature::RING_PACKED | feature::IN_ORDER,
    ] {
        let (program, mut rx, mut control) = single(features);
        let mut set = |command, on: u8| {
            let answer = program.command(&mut control, control::RX, command, &[on]);
            assert_eq!(answer, control::OK);
        };
        let mut all =
            || [OTHER, GROUP, [0xFF; 6]].map(|to| passes(&program, &mut rx, &frame(to, 60, 0)));
        assert_eq!(all(), [true; 3]);
        set(control::RX_PROMISC, 0);
        assert_eq!(all(), [false, false, true]);
        set(control::RX_ALLMULTI, 1);
        assert_eq!(all(), [false, true, true]);
        set(control::RX_ALLUNI, 1);
        assert_eq!(all(), [true, true, true]);
        set(control::RX_NOBCAST, 1);
        set(control::RX_NOMULTI, 1);
        assert_eq!(all(), [true, false, false]);
        set(control::RX_PROMISC, 1);
        assert_eq!(all(), [true; 3]);
        program.assert_clean();
    }
}

#[test]
fn addresses_and_vlans_are_filtered() {
    let (program, mut rx, mut control) = single(CONTROL);
    program.command(&mut control, control::RX, control::RX_PROMISC, &[0]);
    let tables = [&1u32.to_le_bytes()[..], &OTHER, &1u32.to_le_bytes(), &GROUP].concat();
    let answer = program.command(&mut control, control::MAC, control::MAC_TABLE_SET, &tables);
    assert_eq!(answer, control::OK);
    for to in [OTHER, GROUP] {
        assert!(passes(&program, &mut rx, &frame(to, 60, 0)));
    }
    let mut tagged = frame(OWN, 60, 0);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert!(!passes(&program, &mut rx, &tagged));
    let vlan = 5u16.to_le_bytes();
    program.command(&mut control, control::VLAN, control::VLAN_ADD, &vlan);
    assert!(passes(&program, &mut rx, &tagged));
    program.command(&mut control, control::VLAN, control::VLAN_DEL, &vlan);
    assert!(!passes(&program, &mut rx, &tagged));

    program.command(
        &mut control,
        control::MAC,
        control::MAC_ADDR_SET,
        &[2, 9, 9, 9, 9, 9],
    );
    let mac = [0, 1, 2, 3, 4, 5].map(|at| program.bar.read8(DEVICE + at));
    assert_eq!(mac, [2, 9, 9, 9, 9, 9]);
    assert!(passes(&program, &mut rx, &frame(mac, 60, 0)));
    program.assert_clean();
}

#[test]
fn commands_that_are_forbidden() {
    type Case = (u8, u8, &'static [u8], &'static str);
    let cases: &[Case] = &[
        (9, 0, &[], "5.1.6.5"),
        (control::RX, 6, &[1], "5.1.6.5"),
        (control::RX, control::RX_PROMISC, &[2], "5.1.6.5.1.2"),
        (control::RX, control::RX_PROMISC, &[], "5.1.6.5.1.2"),
        (
            control::MAC,
            control::MAC_TABLE_SET,
            &[9, 0, 0, 0],
            "5.1.6.5.2.2",
        ),
        (
            control::MAC,
            control::MAC_TABLE_SET,
            &[0xFF; 8],
            "5.1.6.5.2.2",
        ),
        (control::MAC, control::MAC_ADDR_SET, &[1], "5.1.6.5.2.2"),
        (control::VLAN, control::VLAN_ADD, &[0, 0x10], "5.1.6.5.3"),
        (control::ANNOUNCE, 1, &[], "5.1.6.5"),
        (
            control::MQ,
            control::MQ_VQ_PAIRS_SET,
            &[1, 0],
            "5.1.6.5.6.1",
        ),
        (control::GUEST_OFFLOADS, 0, &[0; 8], "5.1.6.5.8.2"),
    ];
    for (class, command, data, section) in cases {
        let (program, _, mut control) = single(CONTROL);
        let answer = program.command(&mut control, *class, *command, data);
        assert_eq!(answer, control::ERR);
        let found = &program.nic.violations()[0];
        assert_eq!(found.section, format!("virtio 1.2 §{section}"), "{found}");
        assert_eq!(program.nic.violation_count(), 1);
        // the device goes on
        assert!(!program.is_ill());
    }
}

#[test]
fn an_announcement_is_asked_for_until_it_is_acknowledged() {
    let (program, _, mut control) = single(CONTROL);
    let status = || program.bar.read16(DEVICE + net::STATUS);
    assert_eq!(status(), net::LINK_UP);
    let before = program.nic.counters().interrupts;
    program.nic.ask_for_announcement();
    assert_eq!(program.nic.counters().interrupts, before + 1);
    assert_eq!(status(), net::LINK_UP | net::ANNOUNCE);
    program.command(&mut control, control::ANNOUNCE, control::ANNOUNCE_ACK, &[]);
    assert_eq!(status(), net::LINK_UP);
    program.assert_clean();
}

/// An IPv4 packet with UDP.
fn packet(from: u8, to: u8, ports: [u16; 2]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], OWN)
        .ipv4(
            Ipv4Addr::new(10, 0, 0, from).octets(),
            Ipv4Addr::new(10, 0, 0, to).octets(),
            64,
        )
        .udp(ports[0], ports[1]);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[7; 40]).unwrap();
    bytes
}

const SEVERAL: u64 = CONTROL | feature::NET_MQ | feature::NET_RSS;

/// A device with four pairs, all of whose queues run: receive, transmit and control queues.
fn four() -> (Program, Vec<Queue>, Vec<Queue>, Queue) {
    let program = Program::negotiated(VirtioConfig {
        queue_pairs: 4,
        ..config(SEVERAL)
    });
    let rx = (0..4).map(|pair| program.queue(2 * pair, 16)).collect();
    let tx = (0..4).map(|pair| program.queue(2 * pair + 1, 16)).collect();
    let control = program.queue(8, 16);
    program.driver_ok();
    (program, rx, tx, control)
}

/// The receive queue that a frame comes out of.
fn arrives(program: &Program, rx: &mut [Queue], sent: &[u8]) -> usize {
    program.wire.send(sent);
    program.run();
    let mut found = (0..rx.len()).filter(|queue| rx[*queue].take().is_some());
    let queue = found.next().expect("it arrives somewhere");
    assert_eq!(found.next(), None);
    drop(found);
    program.give(&mut rx[queue], 0, 1526);
    queue
}

#[test]
fn what_comes_back_goes_where_it_was_sent() {
    let (program, mut rx, mut tx, mut control) = four();
    for queue in &mut rx {
        program.give(queue, 0, 1526);
    }
    assert_eq!(arrives(&program, &mut rx, &packet(1, 2, [1000, 2000])), 0);
    let answer = program.command(&mut control, control::MQ, control::MQ_VQ_PAIRS_SET, &[4, 0]);
    assert_eq!(answer, control::OK);
    for pair in [3, 1, 2, 0] {
        let out = packet(1, 2, [1000, 2000]);
        program.send(&mut tx[pair], 0, Header::default(), &out);
        tx[pair].take().unwrap();
        let back = packet(2, 1, [2000, 1000]);
        assert_eq!(arrives(&program, &mut rx, &back), pair);
    }
    program.assert_clean();
}

#[test]
fn a_hash_chooses_the_queue() {
    let (program, mut rx, _tx, mut control) = four();
    for queue in &mut rx {
        program.give(queue, 0, 1526);
    }
    let key: [u8; 40] = std::array::from_fn(|at| (at as u8).wrapping_mul(7));
    // all of the table but one entry is queue 3
    let mut data = (net::hash::IPV4 | net::hash::UDPV4).to_le_bytes().to_vec();
    data.extend(1u16.to_le_bytes());
    data.extend(2u16.to_le_bytes());
    data.extend([3u16, 1].map(u16::to_le_bytes).concat());
    data.extend(4u16.to_le_bytes());
    data.push(40);
    data.extend(key);
    let answer = program.command(&mut control, control::MQ, control::MQ_RSS_CONFIG, &data);
    assert_eq!(answer, control::OK);
    let mut seen = [false; 4];
    for port in 0..32 {
        let queue = arrives(&program, &mut rx, &packet(1, 2, [1000 + port, 2000]));
        seen[queue] = true;
    }
    assert_eq!(seen, [false, true, false, true]);
    // no IP: the queue for those
    assert_eq!(arrives(&program, &mut rx, &frame(OWN, 60, 0)), 2);
    program.assert_clean();

    data[0] = 0xFF;
    program.command(&mut control, control::MQ, control::MQ_RSS_CONFIG, &data);
    program.assert_violation(Rule::ForbiddenValue, "control command", "5.1.6.5.7.2");
}

#[test]
fn pairs_are_asked_for_before_they_are_used() {
    let (program, _, mut tx, mut control) = four();
    program.send(&mut tx[2], 0, Header::default(), &frame(OWN, 60, 0));
    program.assert_violation(Rule::ForbiddenState, "queue_notify[5]", "5.1.6.5.6.1");
    let answer = program.command(&mut control, control::MQ, control::MQ_VQ_PAIRS_SET, &[5, 0]);
    assert_eq!(answer, control::ERR);
}
