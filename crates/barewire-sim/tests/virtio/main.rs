//! The driver for virtio network devices on the strict one made of software. A violation fails the
//! test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::cast_possible_truncation)]

mod control;
mod interrupts;
mod lab;
mod offloads;
#[path = "../port_lab/mod.rs"]
mod port_lab;
mod traffic;
mod trouble;
