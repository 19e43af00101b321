//! Memory a device can see: regions, pools, packets, batches and descriptor rings.
//!
//! A network card reads and writes main memory by itself. This crate owns that memory and is
//! one of two crates of the workspace that may hold `unsafe`; everything it hands out is safe.
//!
//! - [`DmaRegion`]: memory that does not move, on hugepages where there are some.
//! - [`DmaMap`], [`Domain`], [`Mapping`]: which addresses ([`Iova`]) a device uses for it.
//! - [`Pool`]: a region cut into buffers; [`Packet`] and [`Batch`]: buffers with a frame in them.
//! - [`RxRing`], [`TxRing`]: the buffers that a device has at the moment, and the way there and
//!   back. A driver says what its descriptors look like: [`RxFormat`], [`TxFormat`].
//! - [`InPlaceRing`]: one ring that is both.
//! - [`DescriptorRing`] and [`Ring`]: the descriptors, and who may touch which.
//! - [`VirtRx`], [`VirtTx`], [`VirtControl`]: the same for virtio devices, over a [`Virtqueue`].
//! - [`Offload`]: what a device is to do, or has done, about a frame.
//!
//! # Who owns a buffer
//!
//! A buffer has one owner at any time: its pool, a batch, a packet, or a ring. The handles can't be
//! copied or made from a number, so use after free, double send and aliasing between two packets
//! can't be written in safe code.
//!
//! # What is assumed of the device
//!
//! The processor's view of a buffer (`&mut [u8]`) exists only while the buffer is not lent. A
//! device that writes a buffer after it said it was done, or an address it was never given,
//! changes bytes under the program's feet; no software can prevent that without an IOMMU. The
//! bytes are plain `u8`, for which every value is valid, and no length, index or pointer is ever
//! kept in memory that a device can write, so such a device corrupts frames and nothing else
//! as long as an IOMMU confines it to the regions mapped for it.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_lossless,
        reason = "tests count in small numbers"
    )
)]

mod batch;
mod claim;
mod depot;
mod descriptor_ring;
mod domain;
mod error;
mod in_place_ring;
mod iova;
mod lanes;
mod offload;
mod packet;
mod pool;
mod region;
mod ring;
mod rx_ring;
mod segments;
#[cfg(test)]
mod tests;
mod translation;
mod tx_ring;
mod virtqueue;

pub use batch::{Batch, PushError};
pub use descriptor_ring::DescriptorRing;
pub use domain::{DmaMap, Domain, Layout, Mapping};
pub use error::DmaError;
pub use in_place_ring::{InPlaceFormat, InPlaceRing, Turned, Verdict};
pub use iova::Iova;
pub use lanes::Lanes;
pub use offload::{Checksum, Cut, Offload, Segmentation};
pub use packet::{Packet, PacketMut, PacketRef};
pub use pool::{Pool, PoolConfig};
pub use region::{DmaRegion, Pages};
pub use ring::{Ring, Word};
pub use rx_ring::{RxFormat, RxRing};
pub use segments::Segments;
pub use tx_ring::{Part, Sent, TxFormat, TxRing};
pub use virtqueue::{
    Packed, Piece, QueueFault, QueueFeatures, QueueMemory, QueueParts, QueuePlan, Received,
    RxHeaders, Split, TxHeaders, Used, VirtControl, VirtRx, VirtTx, Virtqueue,
};
