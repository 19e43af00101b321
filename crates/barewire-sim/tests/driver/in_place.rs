//! Forwarding in the ring itself.

use barewire::{Error, InPlace, Port, PortConfig, Verdict};
use barewire_sim::nic::{Nic, NicConfig};

use super::lab::{Lab, Script, config, frame};

fn in_place(lab: &mut Lab) -> InPlace {
    InPlace::new(lab.rx.remove(0), lab.tx.remove(0)).unwrap()
}

fn touch(frame: &mut [u8]) -> Verdict {
    frame[5] = frame[5].wrapping_add(1);
    Verdict::Send
}

/// Forwards until nothing comes any more.
fn drain(lab: &Lab, queue: &mut InPlace, most: usize, each: fn(&mut [u8]) -> Verdict) {
    let mut quiet = 0;
    while quiet < 3 {
        lab.settle();
        let turned = queue.forward(most, each).unwrap();
        assert!(turned <= most);
        quiet = if turned == 0 { quiet + 1 } else { 0 };
    }
    lab.settle();
}

#[test]
fn frames_leave_from_where_they_came_changed_and_in_order() {
    for ring in [64, 512] {
        for most in [1, 5, 32, 100, 1000] {
            let mut lab = Lab::new(&PortConfig {
                rx_ring: ring,
                tx_ring: ring,
                ..config()
            });
            let mut queue = in_place(&mut lab);
            let mut frames: Vec<_> = (0..700u32)
                .map(|n| frame(60 + n as usize % 1455, n as u8))
                .collect();
            for frame in &frames {
                lab.wire.send(frame);
            }
            drain(&lab, &mut queue, most, touch);
            for frame in &mut frames {
                touch(frame);
            }
            assert!(lab.wire.taken() == frames, "ring {ring}, {most} a turn");
            assert_eq!(queue.counters().forwarded, 700);
        }
    }
}

#[test]
fn frames_that_the_program_drops_leave_no_gap() {
    let mut lab = Lab::new(&PortConfig {
        rx_ring: 64,
        ..config()
    });
    let mut queue = in_place(&mut lab);
    for n in 0..=255 {
        lab.wire.send(&frame(60, n));
    }
    drain(&lab, &mut queue, 32, |frame| {
        if frame[5].is_multiple_of(3) {
            Verdict::Drop
        } else {
            Verdict::Send
        }
    });
    let sent: Vec<_> = lab.wire.taken().iter().map(|frame| frame[5]).collect();
    let expected: Vec<_> = (0..=255).filter(|n: &u8| !n.is_multiple_of(3)).collect();
    assert_eq!(sent, expected);
    let counters = queue.counters();
    assert_eq!((counters.forwarded, counters.dropped), (170, 86));
}

#[test]
fn frames_larger_than_a_buffer_are_dropped_whole_and_counted() {
    let mut lab = Lab::new(&PortConfig {
        mtu: 9000,
        ..config()
    });
    let mut queue = in_place(&mut lab);
    for n in 0..90 {
        let len = [60, 2048, 2049, 9000, 1514][usize::from(n) % 5];
        lab.wire.send(&frame(len, n));
    }
    drain(&lab, &mut queue, 7, |_| Verdict::Send);
    let sent: Vec<_> = lab.wire.taken().iter().map(Vec::len).collect();
    assert_eq!(sent, [60, 2048, 1514].repeat(18));
    let counters = queue.counters();
    assert_eq!((counters.forwarded, counters.malformed), (54, 36));
}

/// Two devices find the same memory at addresses of their own.
#[test]
fn a_frame_crosses_from_one_port_to_another() {
    let mut from = Lab::new(&config());
    // what is mapped before shifts the addresses of the second device
    let mut to = Lab::new(&PortConfig {
        rx_queues: 3,
        tx_queues: 2,
        ..config()
    });
    let mut queue = InPlace::new(from.rx.remove(0), to.tx.remove(1)).unwrap();
    for round in 0..4 {
        for n in 0..=255 {
            from.wire.send(&frame(60, n));
        }
        for _ in 0..100 {
            from.settle();
            queue.forward(16, touch).unwrap();
            to.settle();
        }
        let sent: Vec<_> = to.wire.taken().iter().map(|frame| frame[5]).collect();
        let expected: Vec<_> = (1..=255).chain([0]).collect();
        assert_eq!(sent, expected, "round {round}");
    }
    assert!(from.wire.taken().is_empty());
}

#[test]
fn a_slow_transmitter_holds_the_receiver_up_and_nothing_is_lost() {
    let mut lab = Lab::new(&PortConfig {
        rx_ring: 64,
        ..config()
    });
    let mut queue = in_place(&mut lab);
    for n in 0..200 {
        lab.wire.send(&frame(60, n));
    }
    // one step of the device at a time
    for _ in 0..2000 {
        lab.nic.step();
        queue.forward(64, |_| Verdict::Send).unwrap();
    }
    lab.settle();
    let sent: Vec<_> = lab.wire.taken().iter().map(|frame| frame[5]).collect();
    assert_eq!(sent, (0..200).collect::<Vec<_>>());
    assert_eq!(lab.port.statistics().unwrap().rx_dropped, 0);
}

#[test]
fn a_panicking_program_loses_no_frame() {
    let mut lab = Lab::new(&config());
    let mut queue = in_place(&mut lab);
    for n in 0..10 {
        lab.wire.send(&frame(60, n));
    }
    lab.settle();
    let mut seen = 0;
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        queue.forward(32, |_| {
            seen += 1;
            assert!(seen < 5, "on purpose");
            Verdict::Send
        })
    }));
    assert!(result.is_err());
    drain(&lab, &mut queue, 32, |_| Verdict::Send);
    let sent: Vec<_> = lab.wire.taken().iter().map(|frame| frame[5]).collect();
    assert_eq!(sent, (0..10).collect::<Vec<_>>());
}

#[test]
fn it_stops_with_its_port_and_gives_everything_back() {
    let nic = Nic::new(NicConfig::default(), Script::default());
    for stop_first in [true, false] {
        let mut port = Port::open(nic.function(), &config()).unwrap();
        let (rx, tx) = (port.take_rx(0).unwrap(), port.take_tx(0).unwrap());
        let pool = rx.pool().clone();
        let mut queue = InPlace::new(rx, tx).unwrap();
        assert_eq!(pool.free(), pool.buffers(), "the queues' own buffers");
        if stop_first {
            port.stop().unwrap();
            let stopped = queue.forward(32, |_| Verdict::Send);
            assert!(matches!(stopped, Err(Error::Stopped { .. })));
        }
        drop((queue, port));
        let violations = nic.violations();
        assert!(violations.is_empty(), "{violations:?}");
    }
}
