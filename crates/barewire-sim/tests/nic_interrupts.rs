//! Interrupts: from causes to messages, with masks, automatic clearing and moderation.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod nic_rig;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use barewire_bus::Bar;
use barewire_sim::nic::Signal;
use barewire_spec::ixgbe::*;
use nic_rig::*;

/// Keeps the vectors that fired.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u16>>>);

impl Signal for Heard {
    fn signal(&mut self, vector: u16) {
        self.0.lock().unwrap().push(vector);
    }
}

impl Heard {
    fn take(&self) -> Vec<u16> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn connected() -> (Rig, Heard) {
    let rig = rig();
    let heard = Heard::default();
    rig.nic.connect_interrupts(heard.clone());
    rig.init();
    rig.read(&EICR, 0);
    heard.take();
    (rig, heard)
}

/// MSI-X: queue causes clear and mask themselves, as a driver that polls after an interrupt asks.
fn msix(rig: &Rig) {
    let gpie = Gpie::new()
        .with_multiple_msix(true)
        .with_ocd(true)
        .with_eiame(true)
        .with_pba_support(true);
    rig.write(&GPIE, 0, gpie.into_bits());
    rig.write(&EIAC, 0, 0xFFFF);
    for half in 0..2 {
        rig.write(&EIAM_EX, half, u32::MAX);
    }
}

fn settle(rig: &Rig) {
    rig.nic.run_for(Duration::from_micros(5));
}

#[test]
fn one_vector_fires_once_until_its_cause_is_read() {
    let (rig, heard) = connected();
    rig.write(&EICS, 0, 1);
    assert!(heard.take().is_empty(), "nothing is enabled");
    rig.write(&EIMS, 0, 3);
    assert_eq!(
        heard.take(),
        [0],
        "a cause that is set when its mask is lifted"
    );
    settle(&rig);
    rig.write(&EICS, 0, 1);
    assert!(heard.take().is_empty(), "it is still set");
    assert!(rig.nic.interrupt_line());
    rig.write(&EICS, 0, 2);
    assert_eq!(heard.take(), [0], "another cause");
    assert_eq!(rig.read(&EICR, 0), 3);
    assert!(!rig.nic.interrupt_line());
    rig.write(&EIMC, 0, 1);
    rig.write(&EICS, 0, 1);
    assert!(heard.take().is_empty());
    rig.assert_clean();
}

#[test]
fn reading_causes_masks_what_eiam_says() {
    let (rig, heard) = connected();
    rig.write(&EIAM, 0, 0xFFFF);
    rig.write(&EIMS, 0, 0x0010_0001);
    rig.write(&EICS, 0, 1);
    assert_eq!(heard.take(), [0]);
    rig.read(&EICR, 0);
    assert_eq!(rig.read(&EIMS, 0), 0x0010_0000);
    rig.write(&EICS, 0, 1);
    assert!(heard.take().is_empty());
    rig.write(&EIMS, 0, 1);
    assert_eq!(heard.take(), [0]);
    rig.assert_clean();
}

#[test]
fn a_vector_masks_and_clears_itself_and_others_do_not() {
    let (rig, heard) = connected();
    msix(&rig);
    rig.write(&EIMS_EX, 0, 0x0000_0002);
    rig.write(&EIMS_EX, 1, 0x0000_0001);
    rig.write(&EICS, 0, 2);
    assert_eq!(heard.take(), [1]);
    assert_eq!(rig.read(&EIMS_EX, 0), 0, "EIAM_EX");
    assert_eq!(rig.read(&EICR, 0) & 0xFFFF, 0, "EIAC");
    rig.write(&EICS, 0, 2);
    assert!(heard.take().is_empty(), "masked");
    rig.write(&EIMS_EX, 0, 2);
    assert_eq!(heard.take(), [1]);
    rig.write(&EICS_EX, 1, 1);
    assert_eq!(heard.take(), [32], "a vector that EICR has no bit for");
    rig.write(&EICS_EX, 1, 1);
    rig.write(&EIMS_EX, 1, 1);
    assert_eq!(heard.take(), [32], "its cause was cleared by its message");
    rig.assert_clean();
}

#[test]
fn other_causes_go_where_ivar_misc_says() {
    let (rig, heard) = connected();
    msix(&rig);
    rig.write(&IVAR_MISC, 0, 0x0000_8500);
    let lsc = Eicr::new().with_lsc(true).into_bits();
    rig.write(&EIMS, 0, lsc);
    rig.nic.set_cable(false);
    settle(&rig);
    assert_eq!(heard.take(), [5]);
    assert_ne!(rig.read(&EIMS, 0) & lsc, 0, "EIAM_EX is about queues");
    rig.nic.set_cable(true);
    rig.wait(40);
    assert!(heard.take().is_empty(), "the cause is still set");
    rig.write(&EICR, 0, lsc);
    rig.nic.set_cable(false);
    settle(&rig);
    assert_eq!(heard.take(), [5]);
    rig.assert_clean();
}

#[test]
fn a_received_frame_interrupts_its_queues_vector() {
    let (rig, heard) = connected();
    msix(&rig);
    let ivar = Ivar::new().with_int_alloc_0(20).with_int_alloc_val_0(true);
    rig.write(&IVAR, 0, ivar.into_bits());
    rig.write(&EIMS_EX, 0, 1 << 20);
    let _ring = rig.rx_queue(0, 64, Srrctl::new().with_bsizepacket(2).with_desctype(1));
    rig.start_receiving();
    rig.wire.send(&frame(OWN, 60, 0));
    rig.wire.send(&frame(OWN, 60, 1));
    rig.run();
    assert_eq!(heard.take(), [20]);
    rig.assert_clean();
}

#[test]
fn moderation_keeps_messages_apart_in_device_time() {
    let (rig, heard) = connected();
    msix(&rig);
    rig.write(&GPIE, 0, rig.read(&GPIE, 0) & !(1 << 30));
    // 50 units of 2 µs.
    rig.write(&EITR, 3, Eitr::new().with_itr_interval(50).into_bits());
    rig.write(&EIMS_EX, 0, 8);
    rig.write(&EICS, 0, 8);
    assert_eq!(heard.take(), [3], "the first one goes at once");
    rig.write(&EICS, 0, 8);
    rig.nic.run_for(Duration::from_micros(80));
    assert!(heard.take().is_empty());
    assert_eq!(rig.nic.read_vectors(0x2000), 8, "it is pending");
    rig.nic.run_for(Duration::from_micros(25));
    assert_eq!(heard.take(), [3]);
    assert_eq!(rig.nic.read_vectors(0x2000), 0);
    // A write that does not spare the counter ends the interval.
    rig.write(&EICS, 0, 8);
    assert!(heard.take().is_empty());
    let spare = Eitr::new().with_itr_interval(50).with_cnt_wdis(true);
    rig.write(&EITR, 3, spare.into_bits());
    assert!(heard.take().is_empty());
    assert_eq!(rig.read(&EITR, 3) >> 31, 0);
    rig.write(&EITR, 3, Eitr::new().with_itr_interval(50).into_bits());
    assert_eq!(heard.take(), [3]);
    // EIMEN lets software's causes go at once.
    rig.write(&EICS, 0, 8);
    assert!(heard.take().is_empty());
    // Which masks itself too, EIAME being 0.
    rig.write(&EICR, 0, 8);
    rig.write(&EIMS_EX, 0, 8);
    let gpie = Gpie::from_bits(rig.read(&GPIE, 0)).with_eimen(true);
    rig.write(&GPIE, 0, gpie.into_bits());
    rig.write(&EICS, 0, 8);
    assert_eq!(heard.take(), [3]);
    rig.assert_clean();
}

#[test]
fn a_masked_entry_of_the_table_waits() {
    let (rig, heard) = connected();
    msix(&rig);
    rig.write(&EIMS_EX, 0, 6);
    for word in 0..4 {
        rig.nic.write_vectors(0x10 + word * 4, 0);
    }
    rig.write(&EICS, 0, 6);
    assert_eq!(
        heard.take(),
        [1],
        "vector 2 is masked as it was at the beginning"
    );
    assert_eq!(rig.nic.read_vectors(0x2000), 4);
    rig.nic.write_vectors(0x2C, 0);
    assert_eq!(heard.take(), [2]);
    rig.assert_clean();
}

#[test]
fn the_tcp_timer_fires_and_loops() {
    let (rig, heard) = connected();
    rig.write(&EIMS, 0, Eicr::new().with_tcp_timer(true).into_bits());
    let timer = Tcptimer::new()
        .with_duration(2)
        .with_count_enable(true)
        .with_kick_start(true)
        .with_loops(true);
    rig.write(&TCPTIMER, 0, timer.into_bits());
    rig.bar.delay(Duration::from_micros(1_900));
    assert!(heard.take().is_empty());
    rig.bar.delay(Duration::from_micros(200));
    assert_eq!(heard.take(), [0]);
    assert!(Eicr::from_bits(rig.read(&EICR, 0)).tcp_timer());
    rig.wait(2);
    assert_eq!(heard.take(), [0]);
    rig.write(
        &TCPTIMER,
        0,
        timer.with_kick_start(false).with_finish(true).into_bits(),
    );
    rig.read(&EICR, 0);
    rig.wait(10);
    assert!(heard.take().is_empty());
    rig.assert_clean();
}

#[test]
fn a_reset_disables_all() {
    let (rig, heard) = connected();
    rig.write(&EIMS, 0, 0x0010_0001);
    rig.write(&CTRL, 0, Ctrl::new().with_rst(true).into_bits());
    rig.wait(40);
    assert!(heard.take().is_empty(), "the link came up");
    assert_eq!(rig.read(&EIMS, 0), 0);
    assert!(rig.nic.link().up);
    rig.assert_clean();
}
