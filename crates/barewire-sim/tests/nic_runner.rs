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

use std::time::Duration;

use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::Runner;
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
