//! A packet program and its tests, as a user would write them: no card, no root, no hugepages.
//!
//! The program lets IPv4 through and drops the rest. `docs/testing-your-program.md` walks through
//! this file.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use barewire::{Batch, Error, Port, PortConfig, RxQueue, TxQueue};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::wire::{Duplex, Faults, Faulty, Generator, Pattern, Touch, Verifier, Wire};

/// The program: ten lines, unaware of what its ports are made of.
fn ipv4_only(rx: &mut RxQueue, tx: &mut TxQueue, batch: &mut Batch) -> Result<usize, Error> {
    rx.receive(batch)?;
    batch.retain(|packet| packet.bytes().get(12..14) == Some(&[0x08, 0x00]));
    tx.send(batch)
}

/// Runs the program on a software card plugged into `wire` until nothing moves any more.
fn run(wire: impl Wire + 'static) -> Nic {
    let nic = Nic::new(NicConfig::default(), wire);
    let config = PortConfig {
        promiscuous: true,
        ..PortConfig::default()
    };
    let mut port = Port::open(nic.function(), &config).unwrap();
    let (mut rx, mut tx) = (port.take_rx(0).unwrap(), port.take_tx(0).unwrap());
    port.wait_for_link(Duration::from_secs(5)).unwrap();
    let mut batch = Batch::new(32);
    let mut quiet = 0;
    while quiet < 10 {
        let moved = nic.step();
        let sent = ipv4_only(&mut rx, &mut tx, &mut batch).unwrap();
        quiet = if moved || sent > 0 { 0 } else { quiet + 1 };
    }
    nic
}

#[test]
fn ipv4_passes_in_order() {
    let pattern = Pattern::new(1);
    let generator = Generator::new(&pattern).limit(10_000);
    let verifier = Verifier::new(&pattern, Touch::Unchanged);
    let seen = verifier.counters();
    let nic = run(Duplex::new(generator, verifier));
    assert_eq!(seen.delivered.get(), 10_000);
    assert_eq!(
        seen.lost.get() + seen.reordered.get() + seen.corrupted.get(),
        0
    );
    assert_eq!(nic.violations(), []);
}

#[test]
fn a_bad_wire_loses_frames_but_the_program_survives() {
    let pattern = Pattern::new(1);
    let generator = Generator::new(&pattern).limit(10_000);
    let verifier = Verifier::new(&pattern, Touch::Unchanged);
    let seen = verifier.counters();
    // one frame in a hundred is dropped, doubled, damaged; some overtake others
    let faults = Faults::new()
        .drop(10_000)
        .duplicate(10_000)
        .corrupt(10_000)
        .reorder(1_000, 3);
    let wire = Faulty::new(Duplex::new(generator, verifier), 42).towards_nic(faults);
    let happened = wire.towards_nic_counters();
    let nic = run(wire);
    assert!(happened.dropped.get() > 0 && happened.duplicated.get() > 0);
    assert!(seen.delivered.get() > 9_000 && seen.delivered.get() < 10_000);
    assert_eq!(nic.violations(), []);
}
