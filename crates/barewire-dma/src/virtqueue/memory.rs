//! The memory of one queue.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{QueueFeatures, QueueParts, Virtqueue};
use crate::claim::Claim;
use crate::{DmaError, Iova, Mapping};

/// Alignment of a queue: that of the legacy interface, which counts in pages (VIRTIO §2.7.2), and
/// more than any other needs.
const PAGE: usize = 4096;

/// How a queue is laid out, before there is memory for it.
#[derive(Clone, Copy, Debug)]
pub struct QueuePlan<Q> {
    size: u16,
    features: QueueFeatures,
    parts: QueueParts,
    /// Bytes behind the queue for each of its descriptors.
    slot: usize,
    format: PhantomData<Q>,
}

impl<Q: Virtqueue> QueuePlan<Q> {
    /// A queue of `size` descriptors, with `slot` bytes for each one behind it, for headers or
    /// tables: a multiple of 16.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `size` is a power of two from 2 to 32,768.
    pub(super) fn new(size: u16, features: QueueFeatures, slot: usize) -> Result<Self, DmaError> {
        if !size.is_power_of_two() || size < 2 {
            return Err(DmaError::Range {
                what: "queue size",
                value: usize::from(size),
                allowed: "a power of two from 2 to 32,768",
            });
        }
        Ok(Self {
            size,
            features,
            parts: Q::parts(size, features),
            slot,
            format: PhantomData,
        })
    }

    fn slots(&self) -> usize {
        self.parts.bytes.next_multiple_of(64)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.slots() + self.slot * usize::from(self.size)
    }

    /// What its place is to be a multiple of.
    pub fn alignment(&self) -> usize {
        PAGE
    }

    /// What was negotiated.
    pub fn features(&self) -> QueueFeatures {
        self.features
    }

    /// Takes the memory at `offset` of a region, which nobody has used since it was allocated.
    ///
    /// # Errors
    /// [`DmaError::Range`] where it is not [aligned](Self::alignment); [`DmaError::OutOfBounds`] or
    /// [`DmaError::Scattered`] if the region does not hold it in one piece; [`DmaError::Claimed`] if
    /// a pool or another ring is there.
    pub(super) fn start(
        self,
        mapping: Arc<Mapping>,
        offset: usize,
    ) -> Result<(Q, QueueMemory), DmaError> {
        if !offset.is_multiple_of(PAGE) {
            return Err(DmaError::Range {
                what: "queue offset",
                value: offset,
                allowed: "multiples of 4,096",
            });
        }
        let bytes = self.bytes();
        let memory = QueueMemory {
            iova: mapping.iova(offset, bytes)?,
            claim: Claim::new(mapping.region(), offset, bytes)?,
            first: offset / 8,
            count: bytes / 8,
            parts: self.parts,
            slots: self.slots(),
            slot: self.slot,
            size: self.size,
            _mapping: mapping,
        };
        let queue = Q::new(memory.words(), self.size, self.features);
        Ok((queue, memory))
    }
}

/// The memory of one queue, mapped for its device.
#[derive(Debug)]
pub struct QueueMemory {
    iova: Iova,
    /// Keeps pools and rings that use plain memory away.
    claim: Claim,
    /// Of the region's words.
    first: usize,
    count: usize,
    parts: QueueParts,
    /// First byte of the slots.
    slots: usize,
    /// Bytes of a slot.
    slot: usize,
    size: u16,
    /// Keeps it visible to the device.
    _mapping: Arc<Mapping>,
}

impl QueueMemory {
    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where the device finds descriptors, what the driver writes, and what it writes itself.
    pub fn addresses(&self) -> [Iova; 3] {
        let at = |offset: usize| {
            let offset = u64::try_from(offset).unwrap_or(0);
            self.iova.checked_add(offset).unwrap_or(self.iova)
        };
        [self.iova, at(self.parts.driver), at(self.parts.device)]
    }

    /// The queue as both sides see it.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        let region = self.claim.region().words();
        region
            .get(self.first..self.first + self.count)
            .unwrap_or_default()
    }

    /// The first word of slot `n`.
    #[inline]
    pub(super) fn slot(&self, n: u16) -> usize {
        (self.slots + usize::from(n) * self.slot) / 8
    }

    /// Where the device finds a word.
    #[inline]
    pub(super) fn address(&self, word: usize) -> u64 {
        let offset = u64::try_from(word * 8).unwrap_or(0);
        self.iova.get().wrapping_add(offset)
    }
}
