//! Which frames a port lets in.

use barewire::PortConfig;

use super::lab::{Lab, config, frame};

const OTHER: [u8; 6] = [2, 9, 9, 9, 9, 9];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfb];
const OTHER_GROUP: [u8; 6] = [1, 0, 0x5e, 0x7f, 0x33, 0x44];

fn to(address: [u8; 6]) -> Vec<u8> {
    let mut frame = frame(60, 0);
    frame[..6].copy_from_slice(&address);
    frame
}

fn closed() -> PortConfig {
    PortConfig {
        promiscuous: false,
        all_multicast: false,
        ..config()
    }
}

/// Which of these addresses get through.
fn passes(lab: &mut Lab, addresses: &[[u8; 6]]) -> Vec<bool> {
    addresses
        .iter()
        .map(|address| {
            lab.wire.send(&to(*address));
            !lab.received(0).is_empty()
        })
        .collect()
}

#[test]
fn by_default_ones_own_address_and_broadcast() {
    let mut lab = Lab::new(&closed());
    let own = lab.port.mac_address();
    let seen = passes(&mut lab, &[own, [0xff; 6], OTHER, GROUP]);
    assert_eq!(seen, [true, true, false, false]);
}

#[test]
fn promiscuous_modes_are_switched_while_running() {
    let mut lab = Lab::new(&closed());
    for (unicast, multicast) in [(true, false), (false, true), (true, true), (false, false)] {
        lab.port.set_promiscuous(unicast, multicast).unwrap();
        assert_eq!(
            passes(&mut lab, &[OTHER, GROUP, [0xff; 6]]),
            [unicast, multicast, true]
        );
    }
}

#[test]
fn the_address_can_be_changed_and_stays_valid() {
    let mut lab = Lab::new(&closed());
    let old = lab.port.mac_address();
    lab.port.set_mac_address(OTHER).unwrap();
    assert_eq!(lab.port.mac_address(), OTHER);
    assert_eq!(passes(&mut lab, &[OTHER, old]), [true, false]);
    for bad in [[0; 6], GROUP, [0xff; 6]] {
        assert!(lab.port.set_mac_address(bad).is_err());
    }
}

#[test]
fn more_unicast_addresses_are_compared_and_replaced() {
    let mut lab = Lab::new(&closed());
    let many: Vec<_> = (0..127).map(|n| [2, 1, 1, 1, 1, n]).collect();
    lab.port.set_unicast_filter(&many).unwrap();
    assert_eq!(
        passes(&mut lab, &[many[0], many[126], OTHER]),
        [true, true, false]
    );
    lab.port.set_unicast_filter(&[OTHER]).unwrap();
    assert_eq!(
        passes(&mut lab, &[many[0], many[126], OTHER]),
        [false, false, true]
    );
    let too_many: Vec<_> = (0..128).map(|n| [2, 1, 1, 1, 1, n]).collect();
    assert!(lab.port.set_unicast_filter(&too_many).is_err());
    assert!(lab.port.set_unicast_filter(&[GROUP]).is_err());
}

#[test]
fn multicast_groups_are_let_through_by_hash() {
    let mut lab = Lab::new(&closed());
    lab.port.set_multicast_filter(&[GROUP]).unwrap();
    assert_eq!(passes(&mut lab, &[GROUP, OTHER_GROUP]), [true, false]);
    lab.port.set_multicast_filter(&[]).unwrap();
    assert_eq!(passes(&mut lab, &[GROUP, OTHER_GROUP]), [false, false]);
    assert!(lab.port.set_multicast_filter(&[OTHER]).is_err());
}
