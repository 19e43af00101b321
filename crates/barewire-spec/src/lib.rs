//! The hardware's own words: registers, descriptors, EEPROM and PCI identities of Intel's
//! ixgbe family of 10 Gbit/s controllers, and the structures of virtio network devices.
//!
//! A driver and a model of the device that share this crate cannot disagree by accident. It
//! holds facts only: nothing here reads or writes a device, allocates, or needs an operating
//! system. Sections are those of the Intel 82599 10 GbE Controller Datasheet, revision 3, and
//! of VIRTIO 1.2.
//!
//! ```
//! use barewire_spec::ixgbe::{self, RXDCTL, Rxdctl};
//!
//! // Receive queues above 63 live elsewhere in BAR 0.
//! assert_eq!(RXDCTL.get(63), Some(0x01FE8));
//! assert_eq!(RXDCTL.get(64), Some(0x0D028));
//! assert_eq!(RXDCTL.get(128), None);
//! assert_eq!(Rxdctl::new().with_enable(true).into_bits(), 0x0200_0000);
//!
//! let (register, index) = ixgbe::lookup(0x0D028).expect("a register");
//! assert_eq!((register.name, index), ("RXDCTL", 64));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::doc_markdown,
    reason = "PCIe, IPsec, EtherType and their like are words here, not code"
)]

pub mod ixgbe;
pub mod pci;
pub mod virtio;
