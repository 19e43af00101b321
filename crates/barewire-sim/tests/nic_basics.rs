//! A program initialises the device, receives and sends, as the datasheet says.
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

use barewire_spec::ixgbe::*;
use nic_rig::*;

#[test]
fn a_frame_comes_in() {
    let rig = rig();
    rig.init();
    let mut ring = rig.rx_queue(0, 64, one_buffer());
    rig.start_receiving();
    let sent = frame(OWN, 60, 1);
    rig.wire.send(&sent);
    rig.run();
    let received = rig.take(&mut ring, 0).expect("a frame");
    assert_eq!(received.bytes, sent);
    assert!(received.status.eop());
    assert!(rig.take(&mut ring, 0).is_none());
    assert_eq!(rig.read(&GPRC, 0), 1);
    assert_eq!(rig.read(&GORCL, 0), 64);
    assert_eq!(rig.read(&GORCH, 0), 0);
    rig.assert_clean();
}

#[test]
fn a_frame_goes_out() {
    let rig = rig();
    rig.init();
    let mut ring = rig.tx_queue(0, 64);
    let sent = frame([0xFF; 6], 100, 7);
    let index = rig.post(&mut ring, 0, &sent);
    rig.run();
    assert_eq!(rig.wire.taken(), [sent]);
    assert_eq!(ring.get(index), [0, 1 << 32]);
    assert_eq!(rig.read(&TDH, 0), 1);
    assert_eq!(rig.read(&GPTC, 0), 1);
    assert_eq!(rig.read(&BPTC, 0), 1);
    rig.assert_clean();
}

#[test]
fn rings_wrap_on_every_queue() {
    for queue in [0, 1, 15, 63] {
        let rig = rig();
        rig.init();
        let mut ring = rig.tx_queue(queue, 8);
        let sent: Vec<_> = (0..50)
            .map(|tag| frame(OWN, 60 + usize::from(tag), tag))
            .collect();
        for frame in &sent {
            rig.post(&mut ring, queue, frame);
            rig.run();
        }
        assert_eq!(rig.wire.taken(), sent);
        rig.assert_clean();
    }
}

#[test]
fn many_frames_wait_for_descriptors_and_none_is_lost() {
    let rig = rig();
    rig.init();
    let mut ring = rig.rx_queue(0, 8, one_buffer());
    rig.start_receiving();
    let sent: Vec<_> = (0..200)
        .map(|tag| frame(OWN, 60 + usize::from(tag), tag))
        .collect();
    sent.iter().for_each(|frame| rig.wire.send(frame));
    let mut received = Vec::new();
    for _ in 0..300 {
        rig.run();
        while let Some(frame) = rig.take(&mut ring, 0) {
            received.push(frame.bytes);
        }
    }
    assert_eq!(received, sent);
    assert_eq!(rig.read(&MPC, 0), 0);
    assert!(rig.nic.is_idle());
    rig.assert_clean();
}
