//! What is told to a device by its control queue.

use barewire::{Error, PortConfig};
use barewire_sim::virtio::VirtioConfig;
use barewire_spec::virtio::feature as f;

use super::lab::{Lab, config, frame};

/// A frame to this address.
fn to(address: [u8; 6], seed: u8) -> Vec<u8> {
    let mut frame = frame(60, seed);
    frame[..6].copy_from_slice(&address);
    frame
}

fn quiet() -> PortConfig {
    PortConfig {
        promiscuous: false,
        all_multicast: false,
        ..config()
    }
}

#[test]
fn frames_for_others_come_only_when_asked_for() {
    for format in [0, f::RING_PACKED] {
        let device = VirtioConfig {
            features: VirtioConfig::default().features | format,
            ..VirtioConfig::default()
        };
        let mut lab = Lab::on(device, &quiet()).unwrap();
        let (own, other) = (lab.port.mac_address(), [2, 9, 9, 9, 9, 9]);
        let (group, second) = ([1, 0, 0x5e, 0, 0, 1], [1, 0, 0x5e, 0, 0, 2]);
        let comes = |lab: &mut Lab, address| {
            lab.wire.send(&to(address, 1));
            !lab.received(0).is_empty()
        };
        let seen = |lab: &mut Lab| [own, [0xff; 6], other, group, second].map(|it| comes(lab, it));
        assert_eq!(seen(&mut lab), [true, true, false, false, false]);
        lab.port.set_promiscuous(true, false).unwrap();
        assert_eq!(seen(&mut lab), [true, true, true, false, false]);
        lab.port.set_promiscuous(false, true).unwrap();
        assert_eq!(seen(&mut lab), [true, true, false, true, true]);
        lab.port.set_promiscuous(true, true).unwrap();
        assert_eq!(seen(&mut lab), [true; 5]);
        lab.port.set_promiscuous(false, false).unwrap();
        lab.port.set_unicast_filter(&[other]).unwrap();
        assert_eq!(seen(&mut lab), [true, true, true, false, false]);
        lab.port.set_multicast_filter(&[group]).unwrap();
        assert_eq!(seen(&mut lab), [true, true, true, true, false]);
        lab.port.set_unicast_filter(&[]).unwrap();
        lab.port.set_mac_address(other).unwrap();
        assert_eq!(seen(&mut lab), [false, true, true, true, false]);
        assert_eq!(lab.port.mac_address(), other);
    }
}

#[test]
fn addresses_that_cannot_be_are_refused_before_the_device_is_asked() {
    let mut lab = Lab::new(&quiet());
    let before = lab.nic.counters().commands;
    for error in [
        lab.port.set_mac_address([0; 6]).unwrap_err(),
        lab.port.set_mac_address([1, 2, 3, 4, 5, 6]).unwrap_err(),
        lab.port.set_unicast_filter(&[[0; 6]]).unwrap_err(),
        lab.port.set_multicast_filter(&[[2; 6]]).unwrap_err(),
        lab.port.set_unicast_filter(&[[2; 6]; 257]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
    assert_eq!(lab.nic.counters().commands, before);
}

#[test]
fn only_the_vlans_that_were_asked_for_come() {
    let tagged = |vlan: u16| {
        let mut frame = frame(64, 5);
        let [high, low] = vlan.to_be_bytes();
        frame[12..16].copy_from_slice(&[0x81, 0, high, low]);
        frame
    };
    for (vlans, expected) in [
        (None, [true; 4]),
        (Some(vec![7, 4095]), [true, true, false, true]),
    ] {
        let config = PortConfig { vlans, ..config() };
        let mut lab = Lab::new(&config);
        let frames = [frame(60, 1), tagged(7), tagged(8), tagged(4095)];
        let come = frames.map(|frame| {
            lab.wire.send(&frame);
            !lab.received(0).is_empty()
        });
        assert_eq!(come, expected);
    }
}

#[test]
fn a_device_without_control_queue_works_and_says_what_it_cannot() {
    let device = VirtioConfig {
        features: f::VERSION_1 | f::NET_MAC,
        ..VirtioConfig::default()
    };
    let mut lab = Lab::on(device, &config()).unwrap();
    lab.wire.send(&frame(60, 1));
    assert_eq!(lab.received(0).len(), 1);
    let error = lab.port.set_promiscuous(true, true).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(lab.port.link().unwrap().up);
}

#[test]
fn the_link_and_the_wish_for_an_announcement_are_seen() {
    let mut lab = Lab::new(&config());
    assert!(lab.port.link().unwrap().up);
    lab.nic.set_cable(false);
    assert!(!lab.port.link().unwrap().up);
    lab.nic.set_cable(true);
    assert!(lab.port.link().unwrap().up);
    assert!(!lab.port.take_announcement());
    lab.nic.ask_for_announcement();
    lab.port.link().unwrap();
    assert!(lab.port.take_announcement());
    lab.port.link().unwrap();
    assert!(!lab.port.take_announcement());
}
