//! Frames through both kinds of rings, and rings that the specification forbids.

use barewire_sim::violation::Rule;
use barewire_sim::virtio::{VirtioConfig, VirtioNic};
use barewire_spec::virtio::header::Header;
use barewire_spec::virtio::{feature, packed, split};

use super::program::{HEADER, Piece, Program, Queue, config};
use super::wire_script::{OWN, frame};

const PLAIN: u64 = feature::NET_MAC | feature::NET_STATUS;
const PACKED: u64 = PLAIN | feature::RING_PACKED;
const MERGED: u64 = feature::NET_MRG_RXBUF;

/// A device with both queues running.
fn running(features: u64) -> (Program, Queue, Queue) {
    with(config(features))
}

fn with(config: VirtioConfig) -> (Program, Queue, Queue) {
    let program = Program::negotiated(config);
    let rx = program.queue(0, 16);
    let tx = program.queue(1, 16);
    program.driver_ok();
    (program, rx, tx)
}

const RINGS: [u64; 6] = [
    PLAIN,
    PLAIN | feature::EVENT_IDX,
    PLAIN | feature::IN_ORDER,
    PACKED,
    PACKED | feature::EVENT_IDX,
    PACKED | feature::IN_ORDER,
];

#[test]
fn frames_go_out_round_and_round() {
    for features in RINGS {
        let (program, _rx, mut tx) = running(features);
        for round in 0..50u8 {
            let sent = frame(OWN, 60 + usize::from(round) * 7, round);
            let id = u16::from(round) % 16;
            program.send(&mut tx, id, Header::default(), &sent);
            assert_eq!(program.wire.taken(), [sent], "{features:#x}");
            let used = tx.take().unwrap();
            assert_eq!((used.id, used.written), (id, 0));
            assert!(tx.take().is_none());
        }
        assert_eq!(program.nic.counters().sent, 50);
        program.assert_clean();
    }
}

#[test]
fn frames_come_in_round_and_round() {
    for features in RINGS {
        for merged in [0, MERGED] {
            let (program, mut rx, _tx) = running(features | merged);
            for round in 0..50u8 {
                let id = u16::from(round) % 16;
                program.give(&mut rx, id, 1526);
                let sent = frame(OWN, 60 + usize::from(round) * 7, round);
                program.wire.send(&sent);
                program.run();
                let used = rx.take().unwrap();
                let length = HEADER + sent.len();
                assert_eq!((used.id, used.written as usize), (id, length));
                let bytes = rx.bytes(id.into(), length);
                assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
                assert_eq!(bytes[12..], sent);
            }
            assert_eq!(program.nic.counters().received, 50);
            program.assert_clean();
        }
    }
}

#[test]
fn a_frame_lies_in_several_buffers_where_that_was_agreed_on() {
    for features in [
        PLAIN | MERGED,
        PACKED | MERGED,
        PACKED | MERGED | feature::EVENT_IDX,
    ] {
        let (program, mut rx, _tx) = running(features);
        let sent = frame(OWN, 1000, 7);
        program.wire.send(&sent);
        for id in 0..3 {
            program.give(&mut rx, id, 300);
            program.run();
            // not before there is room for all of it
            assert!(rx.take().is_none());
        }
        program.give(&mut rx, 3, 300);
        program.run();
        let mut whole = Vec::new();
        for (id, written) in [(0, 300), (1, 300), (2, 300), (3, 112)] {
            let used = rx.take().unwrap();
            assert_eq!((used.id, used.written), (id, written));
            whole.extend(rx.bytes(id.into(), written as usize));
        }
        assert_eq!(whole[10..12], [4, 0]);
        assert_eq!(whole[12..], sent);
        program.assert_clean();
    }
}

#[test]
fn a_packet_may_lie_in_several_pieces() {
    for features in RINGS {
        let (program, mut rx, mut tx) = running(features);
        let sent = frame(OWN, 200, 3);
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&sent);
        tx.fill(0, &bytes);
        let at = tx.buffer(0);
        tx.add(
            0,
            &[
                Piece(at, 5, false),
                Piece(at + 5, 100, false),
                Piece(at + 105, 107, false),
            ],
        );
        program.notify(&tx);
        program.run();
        assert_eq!(
            program.wire.taken(),
            std::slice::from_ref(&sent),
            "{features:#x}"
        );
        assert_eq!(tx.take().unwrap().id, 0);

        let at = rx.buffer(0);
        rx.add(0, &[Piece(at, 12, true), Piece(at + 12, 1514, true)]);
        program.notify(&rx);
        program.wire.send(&sent);
        program.run();
        assert_eq!(rx.take().unwrap().written, 212);
        assert_eq!(rx.bytes(0, 212)[12..], sent);
        program.assert_clean();
    }
}

#[test]
fn an_indirect_table_is_followed() {
    for features in [PLAIN, PACKED].map(|features| features | feature::INDIRECT_DESC) {
        let (program, _rx, mut tx) = running(features);
        let sent = frame(OWN, 100, 9);
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&sent);
        tx.fill(0, &bytes);
        let mut table = Vec::new();
        for (index, (offset, length)) in [(0, 12), (12, 100)].into_iter().enumerate() {
            let address = tx.buffer(0) + offset;
            let words = if features & feature::RING_PACKED == 0 {
                let flags = if index == 0 { split::NEXT } else { 0 };
                let next = 1;
                split::Descriptor {
                    address,
                    length,
                    flags,
                    next,
                }
                .into_words()
            } else {
                packed::Descriptor {
                    address,
                    length,
                    id: 0,
                    flags: 0,
                }
                .into_words()
            };
            table.extend(words.map(u64::to_le_bytes).concat());
        }
        tx.fill(1, &table);
        let (address, length) = (tx.buffer(1), 32);
        if features & feature::RING_PACKED == 0 {
            let flags = split::INDIRECT;
            tx.descriptor(
                4,
                split::Descriptor {
                    address,
                    length,
                    flags,
                    next: 0,
                },
            );
            tx.expose(4);
        } else {
            let flags = packed::INDIRECT | tx.available_flags();
            tx.packed_descriptor(
                0,
                packed::Descriptor {
                    address,
                    length,
                    id: 4,
                    flags,
                },
            );
        }
        program.notify(&tx);
        program.run();
        assert_eq!(program.wire.taken(), [sent]);
        program.assert_clean();
    }
}

#[test]
fn a_device_need_not_keep_the_order() {
    for features in [PLAIN, PACKED] {
        let (program, mut rx, mut tx) = with(VirtioConfig {
            shuffled: true,
            ..config(features)
        });
        for id in 0..4 {
            let at = rx.buffer(id);
            rx.add(id as u16, &[Piece(at, 1526, true)]);
        }
        program.notify(&rx);
        for tag in 0..4 {
            program.wire.send(&frame(OWN, 60, tag));
        }
        program.run();
        let order: Vec<_> = std::iter::from_fn(|| rx.take())
            .map(|used| used.id)
            .collect();
        assert_eq!(order, [1, 0, 3, 2]);
        for (id, tag) in [(1, 0), (0, 1), (3, 2), (2, 3)] {
            assert_eq!(rx.bytes(id, 72)[12..], frame(OWN, 60, tag));
        }
        for tag in 0..4 {
            let mut bytes = vec![0; 12];
            bytes.extend(frame(OWN, 60, tag));
            tx.fill(tag.into(), &bytes);
            let at = tx.buffer(tag.into());
            tx.add(tag.into(), &[Piece(at, 72, false)]);
        }
        program.notify(&tx);
        program.run();
        let order: Vec<_> = std::iter::from_fn(|| tx.take())
            .map(|used| used.id)
            .collect();
        assert_eq!(order, [1, 0, 3, 2]);
        // what is sent keeps its order nevertheless
        let sent: Vec<_> = (0..4).map(|tag| frame(OWN, 60, tag)).collect();
        assert_eq!(program.wire.taken(), sent);
        program.assert_clean();
    }
}

#[test]
fn nothing_happens_without_a_notification() {
    let (program, _rx, mut tx) = running(PLAIN);
    let bytes = [vec![0; 12], frame(OWN, 60, 0)].concat();
    tx.fill(0, &bytes);
    let at = tx.buffer(0);
    tx.add(0, &[Piece(at, 72, false)]);
    program.run();
    assert!(program.wire.taken().is_empty());
    program.notify(&tx);
    program.run();
    assert_eq!(program.wire.taken().len(), 1);
}

#[test]
fn the_device_asks_for_the_notification_it_wants() {
    // split, with and without event index: after all is done the device asks again
    for features in [PLAIN, PLAIN | feature::EVENT_IDX] {
        let (program, _rx, mut tx) = running(features);
        for tag in 0..3 {
            program.send(&mut tx, tag, Header::default(), &frame(OWN, 60, 0));
        }
        if features & feature::EVENT_IDX == 0 {
            assert_eq!(tx.device_area() & 0xFFFF, 0);
        } else {
            assert_eq!(tx.avail_event(), 3);
        }
    }
    let (program, _rx, mut tx) = running(PACKED | feature::EVENT_IDX);
    for tag in 0..3 {
        program.send(&mut tx, tag, Header::default(), &frame(OWN, 60, 0));
    }
    assert_eq!(tx.device_area(), 3 | 1 << 15 | 2 << 16);
}

/// Sends `count` frames with the driver's wishes as they are; how many interrupts that made.
fn interrupts(program: &Program, tx: &mut Queue, count: u16) -> u64 {
    let before = program.nic.counters().interrupts;
    for tag in 0..count {
        program.send(tx, tag, Header::default(), &frame(OWN, 60, 0));
        tx.take().unwrap();
    }
    program.nic.counters().interrupts - before
}

#[test]
fn interrupts_come_when_they_are_wanted() {
    let (program, _rx, mut tx) = running(PLAIN);
    assert_eq!(interrupts(&program, &mut tx, 3), 3);
    tx.set_flags(split::NO_INTERRUPT);
    assert_eq!(interrupts(&program, &mut tx, 3), 0);

    let (program, _rx, mut tx) = running(PLAIN | feature::EVENT_IDX);
    tx.set_used_event(2);
    assert_eq!(interrupts(&program, &mut tx, 6), 1);
    assert_eq!(interrupts(&program, &mut tx, 6), 0);

    let (program, _rx, mut tx) = running(PACKED | feature::EVENT_IDX);
    tx.driver_area(0);
    assert_eq!(interrupts(&program, &mut tx, 3), 3);
    tx.driver_area(1 << 16);
    assert_eq!(interrupts(&program, &mut tx, 3), 0);
    // the descriptor at 9, in this round
    tx.driver_area(2 << 16 | 1 << 15 | 9);
    assert_eq!(interrupts(&program, &mut tx, 6), 1);
    // the descriptor at 2, in the next
    tx.driver_area(2 << 16 | 2);
    assert_eq!(interrupts(&program, &mut tx, 6), 0);
    assert_eq!(interrupts(&program, &mut tx, 4), 1);
    program.assert_clean();
}

fn piece(address: u64, length: u32, flags: u16, next: u16) -> split::Descriptor {
    split::Descriptor {
        address,
        length,
        flags,
        next,
    }
}

#[test]
#[allow(clippy::too_many_lines)] // a list
fn split_rings_that_are_forbidden() {
    use split::{INDIRECT, NEXT, WRITE};
    type Spoil = fn(&mut Queue);
    let cases: &[(Spoil, u64, Rule, &str)] = &[
        (|tx| tx.expose(16), 0, Rule::Descriptor, "2.7.6"),
        (|tx| tx.set_index(17), 0, Rule::Descriptor, "2.7.6.1"),
        (
            |tx| {
                tx.descriptor(0, piece(tx.buffer(0), 72, NEXT, 16));
                tx.expose(0);
            },
            0,
            Rule::Descriptor,
            "2.7.5",
        ),
        (
            |tx| {
                tx.descriptor(0, piece(tx.buffer(0), 72, NEXT, 1));
                tx.descriptor(1, piece(tx.buffer(0), 72, NEXT, 0));
                tx.expose(0);
            },
            0,
            Rule::Descriptor,
            "2.7.5.3.1",
        ),
        (
            |tx| {
                tx.descriptor(0, piece(tx.buffer(0), 72, NEXT | WRITE, 1));
                tx.descriptor(1, piece(tx.buffer(0), 72, 0, 0));
                tx.expose(0);
            },
            0,
            Rule::Descriptor,
            "2.7.4.2",
        ),
        (
            |tx| {
                tx.descriptor(0, piece(tx.buffer(0), 32, INDIRECT, 0));
                tx.expose(0);
            },
            0,
            Rule::Descriptor,
            "2.7.5.3.1",
        ),
        (
            |tx| {
                tx.descriptor(0, piece(tx.buffer(0), 32, INDIRECT | NEXT, 1));
                tx.expose(0);
            },
            feature::INDIRECT_DESC,
            Rule::Descriptor,
            "2.7.5.3.1",
        ),
        (
            |tx| {
                tx.descriptor(0, piece(tx.buffer(0), 24, INDIRECT, 0));
                tx.expose(0);
            },
            feature::INDIRECT_DESC,
            Rule::Descriptor,
            "2.7.5.3",
        ),
        (
            |tx| {
                let inner = piece(tx.buffer(1), 16, INDIRECT, 0).into_words();
                tx.fill(0, &inner.map(u64::to_le_bytes).concat());
                tx.descriptor(0, piece(tx.buffer(0), 16, INDIRECT, 0));
                tx.expose(0);
            },
            feature::INDIRECT_DESC,
            Rule::Descriptor,
            "2.7.5.3.1",
        ),
        (
            |tx| {
                let four_gib = piece(tx.buffer(0), u32::MAX, NEXT, 1);
                tx.descriptor(0, four_gib);
                tx.descriptor(1, piece(tx.buffer(0), 2, 0, 0));
                tx.expose(0);
            },
            0,
            Rule::Descriptor,
            "2.7.5.2",
        ),
        (
            |tx| {
                tx.descriptor(0, piece(0xDEAD_0000, 72, 0, 0));
                tx.expose(0);
            },
            0,
            Rule::Unmapped,
            "2.7.1",
        ),
    ];
    for (number, (spoil, features, rule, section)) in cases.iter().enumerate() {
        let (program, _rx, mut tx) = running(PLAIN | features);
        spoil(&mut tx);
        program.notify(&tx);
        program.run();
        println!("case {number}");
        program.assert_violation(*rule, "queue 1", section);
        assert!(program.is_ill());
        assert!(program.wire.taken().is_empty());
        // a reset cures it
        program.reset();
        assert!(!program.is_ill());
    }
}

#[test]
fn packed_rings_that_are_forbidden() {
    use packed::{INDIRECT, NEXT, WRITE};
    fn put(tx: &mut Queue, address: u64, length: u32, id: u16, flags: u16) {
        let flags = flags | tx.available_flags();
        let at = tx.position();
        tx.packed_descriptor(
            at,
            packed::Descriptor {
                address,
                length,
                id,
                flags,
            },
        );
        tx.step(1);
    }
    type Spoil = fn(&mut Queue);
    let cases: &[(Spoil, u64, &str)] = &[
        // the rest of the list is not available
        (|tx| put(tx, tx.buffer(0), 72, 0, NEXT), 0, "2.8.17"),
        (
            |tx| {
                // in reverse, so that the list is seen whole
                let flags = tx.available_flags();
                let address = tx.buffer(0);
                let last = packed::Descriptor {
                    address,
                    length: 72,
                    id: 0,
                    flags,
                };
                tx.packed_descriptor(1, last);
                put(tx, address, 72, 0, NEXT | WRITE);
            },
            0,
            "2.8.17",
        ),
        (|tx| put(tx, tx.buffer(0), 32, 0, INDIRECT), 0, "2.8.19"),
        (
            |tx| put(tx, tx.buffer(0), 32, 0, INDIRECT | NEXT),
            feature::INDIRECT_DESC,
            "2.8.19",
        ),
        (
            |tx| put(tx, tx.buffer(0), 17 * 16, 0, INDIRECT),
            feature::INDIRECT_DESC,
            "2.8.17",
        ),
        (
            |tx| {
                let inner = packed::Descriptor {
                    address: tx.buffer(1),
                    length: 72,
                    id: 0,
                    flags: NEXT,
                };
                tx.fill(0, &inner.into_words().map(u64::to_le_bytes).concat());
                put(tx, tx.buffer(0), 16, 0, INDIRECT);
            },
            feature::INDIRECT_DESC,
            "2.8.19",
        ),
    ];
    for (number, (spoil, features, section)) in cases.iter().enumerate() {
        let (program, _rx, mut tx) = running(PACKED | features);
        spoil(&mut tx);
        program.notify(&tx);
        program.run();
        println!("case {number}");
        program.assert_violation(Rule::Descriptor, "queue 1", section);
        assert!(program.is_ill());
    }
}

#[test]
fn a_buffer_that_the_device_has_is_not_given_again() {
    for (features, section) in [(PLAIN, "2.7.13"), (PACKED, "2.8.21.1")] {
        let (program, mut rx, _tx) = running(features | MERGED);
        // Both are found for one frame.
        program.give(&mut rx, 0, 40);
        program.give(&mut rx, 0, 40);
        program.wire.send(&frame(OWN, 60, 0));
        program.run();
        program.assert_violation(Rule::Descriptor, "queue 0", section);
        assert!(program.is_ill());
    }
}

#[test]
fn descriptors_out_of_order_are_noticed_where_order_was_agreed_on() {
    let (program, _rx, mut tx) = running(PLAIN | feature::IN_ORDER);
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    program.send(&mut tx, 5, Header::default(), &frame(OWN, 60, 0));
    assert_eq!(program.wire.taken().len(), 2);
    program.assert_violation(Rule::Descriptor, "queue 1", "2.7.5.2");
}

#[test]
fn receive_buffers_that_are_forbidden() {
    // too small for the header
    let (program, mut rx, _tx) = running(PLAIN | MERGED);
    program.give(&mut rx, 0, 8);
    program.give(&mut rx, 1, 1526);
    program.wire.send(&frame(OWN, 60, 0));
    program.run();
    program.assert_violation(Rule::Descriptor, "queue 0", "5.1.6.3.1");

    // too small for the frame
    let (program, mut rx, _tx) = running(PLAIN);
    program.give(&mut rx, 0, 60);
    program.wire.send(&frame(OWN, 60, 0));
    program.run();
    program.assert_violation(Rule::Descriptor, "queue 0", "5.1.6.3.1");
    assert_eq!(program.nic.counters().oversize, 1);

    // not writable
    let (program, mut rx, _tx) = running(PLAIN);
    let at = rx.buffer(0);
    rx.add(0, &[Piece(at, 1526, false)]);
    program.notify(&rx);
    program.wire.send(&frame(OWN, 60, 0));
    program.run();
    program.assert_violation(Rule::Descriptor, "queue 0", "5.1.6.3");
}

#[test]
fn without_bus_mastering_nothing_is_read() {
    use barewire_bus::PciFunction;
    let (program, _rx, mut tx) = running(PLAIN);
    program.function.config_write32(4, 3).unwrap();
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    let violations = program.nic.violations();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].rule, Rule::NotBusMaster);
    assert!(program.wire.taken().is_empty());
}

#[test]
fn an_unplugged_device_is_silent() {
    let (program, _rx, mut tx) = running(PLAIN);
    let nic: &VirtioNic = &program.nic;
    nic.unplug();
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    assert!(program.wire.taken().is_empty());
    assert_eq!(barewire_bus::Bar::read8(&program.bar, 20), 0xFF);
    program.assert_clean();
}
