//! Devices that run on a thread, against the real clock.
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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barewire_sim::device::Device;
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::{Hand, Runner};
use barewire_sim::violation::Rule;
use barewire_sim::wire::cable;
use barewire_spec::ixgbe::*;
use nic_rig::*;

#[test]
fn frames_go_through_a_running_device() {
    let rig = rig();
    let runner = Runner::start(vec![rig.nic.clone()]).unwrap();
    rig.init();
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    let mut tx = rig.tx_queue(0, 64);
    rig.start_receiving();
    let sent: Vec<_> = (0..200u8)
        .map(|tag| frame(OWN, 60 + usize::from(tag), tag))
        .collect();
    sent.iter().for_each(|frame| rig.wire.send(frame));
    let mut received = Vec::new();
    // Bounded by work, not by time: a device that loses a frame fails the test in the end.
    for _ in 0..100_000 {
        while let Some(frame) = rig.take(&mut rx, 0) {
            rig.post(&mut tx, 0, &frame.bytes);
            received.push(frame.bytes);
        }
        if received.len() == sent.len() && runner.idle() {
            break;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    runner.stop();
    assert_eq!(received, sent);
    assert_eq!(rig.wire.taken(), sent);
    assert_eq!(rig.read(&GPRC, 0), 200);
    assert_eq!(rig.read(&GPTC, 0), 200);
    rig.assert_clean();
}

#[test]
fn a_bad_tail_is_noticed_by_a_running_device_too() {
    let rig = rig();
    let runner = Runner::start(vec![rig.nic.clone()]).unwrap();
    rig.init();
    rig.write(&TDT, 9, 1);
    rig.read(&STATUS, 0);
    assert_eq!(
        rig.nic.violation_count(),
        1,
        "an access comes after the tail before it"
    );
    drop(runner);
    rig.assert_violation(barewire_sim::violation::Rule::Tail, "TDT[9]");
}

/// A running device that only hands step, each in one direction.
fn by_hand() -> (Rig, Runner, Hand) {
    let wire = Script::default();
    let nic = Nic::new(NicConfig::default(), wire.divisible());
    let rig = Rig::over(nic.clone(), wire);
    let runner = Runner::start(vec![nic.clone()]).unwrap();
    rig.init();
    runner.relieve(true);
    let device: Arc<dyn Device> = Arc::new(nic);
    (rig, runner, Hand::new(Some(&device), Some(&device)))
}

#[test]
fn two_hands_move_frames_both_ways_while_others_look() {
    let (rig, runner, hand) = by_hand();
    let mut rx = rig.rx_queue(0, 64, one_buffer());
    let mut tx = rig.tx_queue(0, 64);
    rig.start_receiving();
    let sent: Vec<_> = (0..2_000)
        .map(|number| frame(OWN, 60 + number % 200, number as u8))
        .collect();
    sent.iter().for_each(|frame| rig.wire.send(frame));
    let over = AtomicBool::new(false);
    let (mut received, mut counted) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        for step in [Hand::receive, Hand::send] {
            let (hand, over) = (hand.clone(), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if !step(&hand) {
                        std::thread::yield_now();
                    }
                }
            });
        }
        // Bounded by work, not by time: a device that loses a frame fails the test in the end.
        for turn in 0..1_000_000 {
            while let Some(frame) = rig.take(&mut rx, 0) {
                rig.post(&mut tx, 0, &frame.bytes);
                received.push(frame.bytes);
                // the transmit ring is no larger
                while rig.read(&TDH, 0) as usize != tx.next {
                    std::thread::yield_now();
                }
            }
            if turn % 16 == 0 {
                counted += rig.read(&GPTC, 0);
            }
            if received.len() == sent.len() && runner.idle() {
                break;
            }
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
    });
    counted += rig.read(&GPTC, 0);
    assert_eq!(received, sent);
    assert_eq!(rig.wire.taken(), sent);
    assert_eq!(counted, 2_000);
    assert_eq!(rig.read(&GPRC, 0), 2_000);
    drop(runner);
    rig.assert_clean();
}

#[test]
fn a_hand_notices_what_a_whole_device_would() {
    let broken = |act: &dyn Fn(&Rig, &mut Ring, &mut Ring)| {
        let (rig, runner, hand) = by_hand();
        let mut rx = rig.rx_queue(0, 64, one_buffer());
        let mut tx = rig.tx_queue(0, 64);
        rig.start_receiving();
        // From here on the device is stepped by halves.
        for _ in 0..10_000 {
            if rig.nic.link().up {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        (0..8).for_each(|_| {
            hand.receive();
            hand.send();
        });
        act(&rig, &mut rx, &mut tx);
        (0..8).for_each(|_| {
            hand.receive();
            hand.send();
        });
        drop(runner);
        rig
    };
    let rig = broken(&|rig, _, _| rig.write(&RDT, 0, 64));
    rig.assert_violation(Rule::Tail, "RDT[0]");
    let rig = broken(&|rig, _, _| rig.write(&TDT, 5, 1));
    rig.assert_violation(Rule::Tail, "TDT[5]");
    let rig = broken(&|rig, rx, _| {
        rx.put(0, [rx.buffer(0), 1]);
        rig.wire.send(&frame(OWN, 60, 1));
    });
    rig.assert_violation(Rule::Descriptor, "receive descriptor of queue 0");
    let rig = broken(&|rig, _, tx| {
        let data = descriptor::tx::Data::whole_packet(60).with_rs(true);
        rig.post_words(tx, 0, [0x10, data.into_bits()]);
    });
    rig.assert_violation(Rule::Unmapped, "transmit DMA of queue 0");
    let rig = broken(&|rig, _, tx| {
        let data = descriptor::tx::Data::whole_packet(60).with_paylen(61);
        rig.post_words(tx, 0, [tx.buffer(0), data.into_bits()]);
    });
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");
}

#[test]
fn two_devices_on_a_cable_see_each_other() {
    let (left, right) = cable();
    let config = |mac: u8| NicConfig {
        mac: [2, 0, 0, 0, 0, mac],
        ..NicConfig::default()
    };
    let left = Rig::over(Nic::new(config(1), left), Script::default());
    let right = Rig::over(Nic::new(config(2), right), Script::default());
    left.init();
    right.init();
    let mut tx = left.tx_queue(0, 64);
    let mut rx = right.rx_queue(0, 64, one_buffer());
    right.start_receiving();
    let sent = frame([2, 0, 0, 0, 0, 2], 80, 4);
    left.post(&mut tx, 0, &sent);
    left.run();
    right.run();
    assert_eq!(right.take(&mut rx, 0).unwrap().bytes, sent);
    left.assert_clean();
    right.assert_clean();
}
