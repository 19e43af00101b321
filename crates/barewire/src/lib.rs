//! Network card drivers in user space, in safe Rust.
//!
//! A [`Port`] is an open network card. Its [`RxQueue`]s and [`TxQueue`]s are values: taken out of
//! the port, sent to threads, polled with no lock. Frames travel in a [`Batch`], in memory that the
//! card reads and writes by itself and that belongs to one owner at any time.
//!
//! A forwarder, as a function of the port it runs on:
//!
//! ```
//! use barewire::{Batch, Error, RxQueue, TxQueue};
//!
//! fn forward(rx: &mut RxQueue, tx: &mut TxQueue, batch: &mut Batch) -> Result<(), Error> {
//!     if batch.is_empty() {
//!         rx.receive(batch)?;
//!         for mut packet in batch.iter_mut() {
//!             if let Some(byte) = packet.bytes_mut().get_mut(5) {
//!                 *byte = byte.wrapping_add(1);
//!             }
//!         }
//!     }
//!     tx.send(batch)?; // what the ring has no room for stays in the batch
//!     Ok(())
//! }
//! ```
//!
//! It does not know whether the card is made of silicon. The crate `barewire-sim` has one made of
//! software, on which programs are tested where there is no card.
//!
//! # How a frame comes and goes
//!
//! wire → device → descriptor ring → [`Batch`] → program, and back. [`ixgbe`] and [`virtio_net`] are
//! the drivers; their submodules follow the order of a device's life. There is no `unsafe` in this
//! crate: memory comes from [`barewire_dma`], registers from [`barewire_bus`].
#![forbid(unsafe_code)]

mod config;
mod device;
mod drivers;
mod error;
mod in_place;
pub mod ixgbe;
mod mac;
mod memory;
mod patience;
mod port;
mod queue;
mod statistics;
pub mod virtio_net;
mod wait;

pub use barewire_bus::{Bar, BusError, Event, PciFunction};
pub use barewire_dma::{
    Batch, Checksum, Cut, DmaError, DmaMap, DmaRegion, Iova, Layout, Offload, Packet, PacketMut,
    PacketRef, Pages, Pool, PoolConfig, Segmentation, Verdict,
};
pub use config::{Offloads, PortConfig, Rss, RssFields};
pub use drivers::driver_for;
pub use error::Error;
pub use in_place::InPlace;
pub use port::{Driver, Port};
pub use queue::{Receive, RxQueue, Transmit, TxQueue};
pub use statistics::{InPlaceCounters, Link, RxCounters, Statistics, TxCounters};
pub use wait::{PATIENCE, WaitMode, Waiter, wait_any};
