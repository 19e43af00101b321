//! Initialization, negotiation, registers and interrupts.

use std::sync::{Arc, Mutex};

use barewire_bus::{Bar, PciFunction};
use barewire_sim::nic::Signal;
use barewire_sim::violation::Rule;
use barewire_sim::virtio::VirtioConfig;
use barewire_spec::virtio::header::Header;
use barewire_spec::virtio::pci::{common, isr};
use barewire_spec::virtio::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET};
use barewire_spec::virtio::{NO_VECTOR, feature, net};

use super::program::{COMMON, DEVICE, ISR, NOTIFY, Program, config};
use super::wire_script::{OWN, frame};

const PLAIN: u64 = feature::NET_MAC | feature::NET_STATUS;

#[test]
fn everything_that_is_offered_can_be_accepted() {
    let program = Program::negotiated(VirtioConfig {
        queue_pairs: 2,
        ..config(VirtioConfig::ALL_FEATURES)
    });
    assert_eq!(program.features, VirtioConfig::ALL_FEATURES);
    assert_eq!(program.nic.agreed_features(), program.features);
    assert_eq!(program.bar.read16(COMMON + common::NUM_QUEUES), 5);
    program.assert_clean();
}

#[test]
fn the_usual_device_has_what_drivers_expect() {
    let program = Program::negotiated(VirtioConfig::default());
    let mac = [0, 1, 2, 3, 4, 5].map(|at| program.bar.read8(DEVICE + at));
    assert_eq!(mac, OWN);
    assert_eq!(program.bar.read16(DEVICE + net::STATUS), net::LINK_UP);
    assert_eq!(program.bar.read16(DEVICE + net::MTU), 9000);
    assert_eq!(program.bar.read32(DEVICE + net::SPEED), 10_000);
    program.assert_clean();
}

#[test]
fn features_that_make_no_sense_are_not_taken() {
    let cases = [
        (feature::VERSION_1 | feature::NET_GUEST_UFO, "2.2.1"),
        (feature::NET_MAC, "6.1"),
        (feature::VERSION_1 | feature::NET_HOST_TSO4, "2.2.1"),
    ];
    for (features, section) in cases {
        let program = Program::new(VirtioConfig::default());
        program.reset();
        program.status(ACKNOWLEDGE);
        program.status(ACKNOWLEDGE | DRIVER);
        program.write_features(features);
        program.status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        let status = program.bar.read8(COMMON + common::STATUS);
        assert_eq!(status, ACKNOWLEDGE | DRIVER);
        program.assert_violation(Rule::ForbiddenValue, "driver_feature", section);
    }
}

#[test]
fn steps_that_are_left_out_are_noticed() {
    type Steps = fn(&Program);
    let cases: &[(Steps, Rule, &str, &str)] = &[
        (
            |program| program.status(DRIVER),
            Rule::ForbiddenState,
            "device_status",
            "3.1.1",
        ),
        (
            |program| {
                program.status(ACKNOWLEDGE | DRIVER);
                program.status(ACKNOWLEDGE);
            },
            Rule::ForbiddenValue,
            "device_status",
            "2.1.1",
        ),
        (
            |program| {
                program.status(ACKNOWLEDGE | DRIVER);
                program.status(ACKNOWLEDGE | DRIVER | DRIVER_OK);
            },
            Rule::ForbiddenState,
            "device_status",
            "3.1.1",
        ),
        (
            |program| {
                program.status(ACKNOWLEDGE | DRIVER);
                program.write_features(feature::VERSION_1);
                program.status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
                // not read back
                program.driver_ok();
            },
            Rule::ForbiddenState,
            "device_status",
            "3.1.1",
        ),
        (
            |program| {
                program.status(ACKNOWLEDGE | DRIVER);
                program.write_features(feature::VERSION_1);
                program.status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
                program.bar.write32(COMMON + common::DRIVER_FEATURE, 1);
            },
            Rule::ForbiddenState,
            "driver_feature",
            "3.1.1",
        ),
        (
            |program| program.status(ACKNOWLEDGE | 0x10),
            Rule::ReservedBit,
            "device_status",
            "2.1",
        ),
    ];
    for (steps, rule, what, section) in cases {
        let program = Program::new(VirtioConfig::default());
        program.reset();
        steps(&program);
        program.assert_violation(*rule, what, section);
    }
}

#[test]
fn a_reset_takes_time_and_must_be_awaited() {
    let program = Program::negotiated(config(PLAIN));
    program.status(0);
    assert_ne!(program.bar.read8(COMMON + common::STATUS), 0);
    program.status(ACKNOWLEDGE);
    program.assert_violation(Rule::DuringReset, "device_status", "4.1.4.3.2");
    program.reset();
    assert_eq!(program.nic.agreed_features(), 0);
    program.select(0);
    assert_eq!(program.bar.read16(COMMON + common::QUEUE_ENABLE), 0);
}

#[test]
fn queues_that_are_misplaced_are_refused() {
    type Spoil = fn(&Program);
    let cases: &[(Spoil, Rule, &str, &str)] = &[
        (
            |program| program.bar.write16(COMMON + common::QUEUE_SIZE, 12),
            Rule::ForbiddenValue,
            "queue_size[0]",
            "4.1.4.3.2",
        ),
        (
            |program| program.bar.write16(COMMON + common::QUEUE_SIZE, 512),
            Rule::ForbiddenValue,
            "queue_size[0]",
            "4.1.4.3.2",
        ),
        (
            |program| {
                let at = COMMON + common::QUEUE_DEVICE;
                let low = program.bar.read32(at);
                program.bar.write32(at, low + 2);
                program.bar.write16(COMMON + common::QUEUE_ENABLE, 1);
            },
            Rule::RingGeometry,
            "queue_device[0]",
            "2.7.1",
        ),
        (
            |program| {
                program.bar.write32(COMMON + common::QUEUE_DESC + 4, 0);
                program.bar.write16(COMMON + common::QUEUE_ENABLE, 1);
            },
            Rule::Unmapped,
            "queue_desc[0]",
            "2.7.1",
        ),
        (
            |program| program.bar.write16(COMMON + common::QUEUE_ENABLE, 0),
            Rule::ForbiddenValue,
            "queue_enable[0]",
            "4.1.4.3.2",
        ),
        (
            |program| {
                program.bar.write16(COMMON + common::QUEUE_ENABLE, 1);
                program.bar.write32(COMMON + common::QUEUE_DESC, 0);
            },
            Rule::ForbiddenState,
            "queue_desc[0]",
            "4.1.4.3.2",
        ),
        (
            |program| program.bar.write16(COMMON + common::QUEUE_RESET, 1),
            Rule::ForbiddenState,
            "queue_reset[0]",
            "4.1.4.3.2",
        ),
        (
            |program| program.bar.write16(COMMON + common::QUEUE_VECTOR, 77),
            Rule::ForbiddenValue,
            "queue_msix_vector[0]",
            "4.1.5.1.2.2",
        ),
        (
            |program| program.bar.write16(COMMON + common::NUM_QUEUES, 7),
            Rule::ReadOnly,
            "num_queues",
            "4.1.4.3.2",
        ),
    ];
    for (spoil, rule, what, section) in cases {
        let program = Program::negotiated(config(PLAIN));
        let queue = program.make_queue(0, 16);
        program.place(&queue);
        spoil(&program);
        program.assert_violation(*rule, what, section);
    }
}

#[test]
fn accesses_that_are_forbidden() {
    type Access = fn(&Program);
    let cases: &[(Access, Rule, &str, &str)] = &[
        (
            |program| _ = program.bar.read32(COMMON + common::STATUS),
            Rule::Width,
            "device_status",
            "4.1.3.1",
        ),
        (
            |program| _ = program.bar.read16(COMMON + common::DEVICE_FEATURE),
            Rule::Width,
            "device_feature",
            "4.1.3.1",
        ),
        (
            |program| _ = program.bar.read32(DEVICE),
            Rule::Width,
            "mac",
            "4.1.3.1",
        ),
        (
            |program| _ = program.bar.read16(DEVICE + net::MTU),
            Rule::ForbiddenState,
            "mtu",
            "2.5.1",
        ),
        (
            |program| program.bar.write8(DEVICE, 1),
            Rule::ReadOnly,
            "device configuration",
            "5.1.4",
        ),
        (
            |program| _ = program.bar.read32(0x0800),
            Rule::UndefinedRegister,
            "BAR4+0x800",
            "4.1.4",
        ),
        (
            |program| program.bar.write16(NOTIFY + 4, 0),
            Rule::ForbiddenValue,
            "queue_notify[1]",
            "4.1.5.2",
        ),
        (
            |program| program.bar.write32(NOTIFY, 0),
            Rule::Width,
            "queue_notify",
            "4.1.5.2",
        ),
    ];
    for (access, rule, what, section) in cases {
        let program = Program::negotiated(config(PLAIN));
        program.queue(0, 16);
        program.queue(1, 16);
        program.driver_ok();
        access(&program);
        program.assert_violation(*rule, what, section);
    }
}

#[test]
fn notifications_before_their_time_are_noticed() {
    let program = Program::negotiated(config(PLAIN));
    let queue = program.make_queue(0, 16);
    program.notify(&queue);
    program.assert_violation(Rule::ForbiddenState, "queue_notify[0]", "4.1.5.2");

    let program = Program::negotiated(config(PLAIN));
    let queue = program.queue(0, 16);
    program.notify(&queue);
    program.assert_violation(Rule::ForbiddenState, "queue_notify[0]", "3.1.1");
}

/// Remembers the vectors that fired.
#[derive(Clone, Default)]
struct Vectors(Arc<Mutex<Vec<u16>>>);

impl Signal for Vectors {
    fn signal(&mut self, vector: u16) {
        self.0.lock().unwrap().push(vector);
    }
}

impl Vectors {
    fn taken(&self) -> Vec<u16> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn interrupts_use_the_vectors_they_are_given() {
    let program = Program::negotiated(config(PLAIN));
    let interrupts = program.function.interrupts(4).unwrap();
    let vectors = Vectors::default();
    program.nic.connect_interrupts(vectors.clone());
    program.bar.write16(COMMON + common::CONFIG_VECTOR, 3);
    assert_eq!(program.bar.read16(COMMON + common::CONFIG_VECTOR), 3);
    let mut rx = program.queue(0, 16);
    let tx = program.make_queue(1, 16);
    program.place(&tx);
    program.bar.write16(COMMON + common::QUEUE_VECTOR, 2);
    program.bar.write16(COMMON + common::QUEUE_ENABLE, 1);
    let mut tx = tx;
    program.driver_ok();
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    assert_eq!(vectors.taken(), [2]);
    // the receive queue has none
    program.select(0);
    assert_eq!(program.bar.read16(COMMON + common::QUEUE_VECTOR), NO_VECTOR);
    program.give(&mut rx, 0, 1526);
    program.wire.send(&frame(OWN, 60, 0));
    program.run();
    assert!(rx.take().is_some());
    assert_eq!(vectors.taken(), [0u16; 0]);
    let before = program.bar.read8(COMMON + common::CONFIG_GENERATION);
    program.nic.set_cable(false);
    assert_eq!(vectors.taken(), [3]);
    assert_eq!(program.bar.read16(DEVICE + net::STATUS), 0);
    assert_ne!(
        program.bar.read8(COMMON + common::CONFIG_GENERATION),
        before
    );
    assert_eq!(program.bar.read8(ISR), 0);
    program.assert_clean();
    drop(interrupts);

    // without MSI-X the status says why
    program.nic.connect_interrupts(vectors.clone());
    program.nic.set_cable(true);
    program.send(&mut tx, 1, Header::default(), &frame(OWN, 60, 0));
    assert_eq!(vectors.taken(), [0, 0]);
    assert_eq!(program.bar.read8(ISR), isr::QUEUE | isr::CONFIG);
    assert_eq!(program.bar.read8(ISR), 0);
    program.assert_clean();
}

#[test]
fn masked_vectors_wait() {
    let program = Program::negotiated(config(PLAIN));
    let _interrupts = program.function.interrupts(2).unwrap();
    let vectors = Vectors::default();
    program.nic.connect_interrupts(vectors.clone());
    program.bar.write16(COMMON + common::CONFIG_VECTOR, 1);
    program.queue(0, 16);
    program.driver_ok();
    let table = program.function.bar(1).unwrap();
    table.write32(16 + 12, 1);
    program.nic.set_cable(false);
    assert_eq!(vectors.taken(), [0u16; 0]);
    assert_eq!(table.read32(0x800), 1 << 1);
    table.write32(16 + 12, 0);
    assert_eq!(vectors.taken(), [1]);
    assert_eq!(table.read32(0x800), 0);
}

#[test]
fn a_device_that_fails_says_so() {
    let program = Program::negotiated(config(PLAIN));
    let mut tx = program.queue(1, 16);
    program.driver_ok();
    program.nic.fail();
    let status = program.bar.read8(COMMON + common::STATUS);
    assert_ne!(status & NEEDS_RESET, 0);
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    assert!(program.wire.taken().is_empty());
    program.reset();
    assert_eq!(program.bar.read8(COMMON + common::STATUS), 0);
    program.assert_clean();
}

#[test]
fn a_queue_is_reset_alone() {
    let program = Program::negotiated(config(PLAIN | feature::RING_RESET));
    let mut tx = program.queue(1, 16);
    program.driver_ok();
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    program.select(1);
    program.bar.write16(COMMON + common::QUEUE_RESET, 1);
    assert_eq!(program.bar.read16(COMMON + common::QUEUE_RESET), 0);
    assert_eq!(program.bar.read16(COMMON + common::QUEUE_ENABLE), 0);
    let mut tx = program.queue(1, 8);
    program.send(&mut tx, 0, Header::default(), &frame(OWN, 60, 0));
    assert_eq!(program.wire.taken().len(), 2);
    program.assert_clean();
}

#[test]
fn registers_can_be_reached_through_the_configuration_space() {
    let program = Program::new(VirtioConfig::default());
    let find = |kind: u8| {
        let mut at = program.function.config_read32(0x34).unwrap() as u8;
        while at != 0 {
            let [id, next, _, found] = program
                .function
                .config_read32(at.into())
                .unwrap()
                .to_le_bytes();
            if id == 9 && found == kind {
                return u16::from(at);
            }
            at = next;
        }
        panic!("no capability {kind}");
    };
    let at = find(5);
    let write = |offset: u16, value: u32| {
        program.function.config_write32(at + offset, value).unwrap();
    };
    write(4, 4);
    write(8, DEVICE);
    write(12, 1);
    let value = program.function.config_read32(at + 16).unwrap();
    assert_eq!(value & 0xFF, u32::from(OWN[0]));
    write(8, COMMON + common::STATUS);
    write(16, u32::from(ACKNOWLEDGE));
    assert_eq!(program.bar.read8(COMMON + common::STATUS), ACKNOWLEDGE);
    program.assert_clean();
}
