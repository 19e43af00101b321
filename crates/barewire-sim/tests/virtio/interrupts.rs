//! Waiting for frames.

use std::time::Duration;

use barewire::{Error, PortConfig};
use barewire_sim::virtio::{Interface, VirtioConfig};
use barewire_spec::virtio::feature as f;

use super::lab::{Lab, config, frame};

fn waiting() -> PortConfig {
    PortConfig {
        interrupts: true,
        ..config()
    }
}

#[test]
fn an_armed_queue_is_signalled_once_a_frame_is_there() {
    let usual = VirtioConfig::default().features;
    let now = Some(Duration::ZERO);
    for (interface, features) in [
        (Interface::Modern, usual),
        (Interface::Modern, usual | f::RING_PACKED),
        (Interface::Modern, usual & !f::EVENT_IDX),
        (Interface::Modern, (usual | f::RING_PACKED) & !f::EVENT_IDX),
        (Interface::Transitional, usual & u64::from(u32::MAX)),
    ] {
        let device = VirtioConfig {
            interface,
            features,
            ..VirtioConfig::default()
        };
        let mut lab = Lab::on(device, &waiting()).unwrap();
        for round in 0..70 {
            assert!(!lab.rx[0].wait(now).unwrap(), "{features:#x}");
            lab.wire.send(&frame(60, round));
            lab.settle();
            assert!(lab.rx[0].wait(now).unwrap(), "{features:#x}");
            assert_eq!(lab.received(0).len(), 1);
            // frames that are polled for do not interrupt
            let before = lab.nic.counters().interrupts;
            for _ in 0..3 {
                lab.wire.send(&frame(60, round));
                assert_eq!(lab.received(0).len(), 1);
            }
            assert!(lab.nic.counters().interrupts <= before + 1, "{features:#x}");
        }
    }
}

#[test]
fn a_link_that_changes_is_signalled() {
    let mut lab = Lab::new(&waiting());
    assert_eq!(lab.port.link_change().unwrap(), None);
    lab.nic.set_cable(false);
    lab.settle();
    assert!(!lab.port.link_change().unwrap().unwrap().up);
    assert_eq!(lab.port.link_change().unwrap(), None);
}

#[test]
fn without_interrupts_there_is_nothing_to_wait_for() {
    let mut lab = Lab::new(&config());
    let error = lab.rx[0].wait(None).unwrap_err();
    assert!(matches!(error, Error::NoInterrupts { .. }), "{error}");
    let error = lab.port.link_change().unwrap_err();
    assert!(matches!(error, Error::NoInterrupts { .. }), "{error}");
}

#[test]
fn a_sleeper_wakes_when_the_port_stops() {
    let mut lab = Lab::new(&waiting());
    assert!(lab.rx[0].arm().unwrap());
    lab.port.stop().unwrap();
    assert!(matches!(lab.rx[0].wait(None), Err(Error::Stopped { .. })));
}
