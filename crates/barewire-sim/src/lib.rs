//! Network cards made of software: a strict 82599 and a strict virtio device, the wire between
//! ports, traffic and faults.
//!
//! With this crate as a dev-dependency a packet program is tested where there is no card, root or
//! hugepages. The driver on top is the real one; it does not know that the card is software.
//!
//! ```
//! use std::time::Duration;
//! use barewire::{Batch, Port, PortConfig};
//! use barewire_sim::nic::{Nic, NicConfig};
//! use barewire_sim::wire::{Duplex, Generator, Pattern, Touch, Verifier};
//!
//! // a wire with a traffic generator and a verifier at its far end
//! let pattern = Pattern::new(1);
//! let generator = Generator::new(&pattern).limit(1000);
//! let verifier = Verifier::new(&pattern, Touch::Unchanged);
//! let seen = verifier.counters();
//! let nic = Nic::new(NicConfig::default(), Duplex::new(generator, verifier));
//!
//! // the real driver on it
//! let config = PortConfig { promiscuous: true, ..PortConfig::default() };
//! let mut port = Port::open(nic.function(), &config)?;
//! port.wait_for_link(Duration::from_secs(5))?;
//! let mut rx = port.take_rx(0).expect("one receive queue");
//! let mut tx = port.take_tx(0).expect("one transmit queue");
//!
//! // the program: send everything back
//! let mut batch = Batch::new(32);
//! while seen.delivered.get() < 1000 {
//!     nic.step();
//!     rx.receive(&mut batch)?;
//!     tx.send(&mut batch)?;
//! }
//! assert_eq!(seen.lost.get() + seen.corrupted.get(), 0);
//! assert!(nic.violations().is_empty());
//! # Ok::<(), barewire::Error>(())
//! ```
//!
//! - [`nic`]: the card. It does what the datasheet says and nothing else; what a driver does
//!   against the datasheet is a [`violation`].
//! - [`virtio`]: a virtio network device, as strict, with the clauses of its specification.
//! - [`wire`]: what the card's port is plugged into: a cable to another card, a generator and a
//!   verifier, a capture, a loopback, with faults in between.
//! - [`serve`]: cards for virtual machines and drivers in other processes, over vfio-user.
//! - [`runner`]: a thread that runs cards at full speed. Without it a test steps them, and the same
//!   steps have the same result every time.
#![forbid(unsafe_code)]

pub mod device;
mod exceptions;
mod handle;
mod memory;
pub mod nic;
mod packet;
mod pci;
pub mod runner;
pub mod serve;
pub mod time;
mod trace;
pub mod violation;
pub mod virtio;
pub mod wire;
