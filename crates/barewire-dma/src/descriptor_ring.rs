//! The driver's side of a ring: which descriptors are its own, and which are the device's.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::claim::Claim;
use crate::{DmaError, Iova, Mapping, Ring};

/// The memory of a ring, mapped for a device, and who has which part of it.
///
/// Descriptors are lent to the device in order and taken back in order. Positions are
/// free-running, as in [`Ring`]: `oldest` is the first that the device has, `next` the first that
/// it has not. Those from `next` on are the driver's, until the ring comes round to `oldest`.
///
/// # Plain memory and shared memory
///
/// The driver fills its own descriptors as plain memory, with the widest moves that the processor
/// has. A descriptor becomes the device's when the tail register is moved past it, which is a
/// release, and becomes the driver's again when its done bit, or that of a later one, was seen with
/// an acquire. Between the two the driver looks at it through atomics only. So no access of the one
/// side meets a plain access of the other; `tests/loom.rs` tries all orders. A device that does not
/// keep to this writes descriptors that the driver is filling. What the driver filled it never acts
/// on, so such a device can spoil what it will be told itself, and nothing else.
#[derive(Debug)]
#[repr(C)] // what the data path uses comes first, in as few cache lines as can be
pub struct DescriptorRing {
    descriptors: NonNull<[u64; 2]>,
    /// What the driver keeps with each descriptor: the buffer behind it. As many as descriptors.
    buffers: Box<[u32]>,
    /// Number of descriptors less one, where that number is a power of two.
    mask: usize,
    oldest: usize,
    next: usize,
    iova: Iova,
    /// Keeps the descriptors to this ring.
    _memory: Claim,
    /// Keeps them visible to the device.
    mapping: Arc<Mapping>,
}

// SAFETY: `descriptors` is the address of memory that the claim, which may be sent to any thread,
// gives to this ring alone.
unsafe impl Send for DescriptorRing {}

impl DescriptorRing {
    /// Bytes of a descriptor.
    pub const DESCRIPTOR: usize = 16;

    /// A ring of `count` descriptors at `offset` bytes into a mapped region.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `count` is a power of two from 32 to 65,536 and `offset` a
    /// multiple of 128, as the ixgbe family asks; [`DmaError::OutOfBounds`] or
    /// [`DmaError::Scattered`] if the region does not hold the ring in one piece;
    /// [`DmaError::Claimed`] if a pool or another ring is there.
    pub fn new(mapping: Arc<Mapping>, offset: usize, count: usize) -> Result<Self, DmaError> {
        if !count.is_power_of_two() || !(32..=1 << 16).contains(&count) {
            return Err(DmaError::Range {
                what: "ring size",
                value: count,
                allowed: "a power of two from 32 to 65,536",
            });
        }
        if !offset.is_multiple_of(128) {
            return Err(DmaError::Range {
                what: "ring offset",
                value: offset,
                allowed: "multiples of 128",
            });
        }
        let bytes = count * Self::DESCRIPTOR;
        let iova = mapping.iova(offset, bytes)?;
        let memory = Claim::new(mapping.region(), offset, bytes)?;
        Ok(Self {
            descriptors: memory.first().cast(),
            buffers: vec![0; count].into(),
            mask: count - 1,
            oldest: 0,
            next: 0,
            iova,
            _memory: memory,
            mapping,
        })
    }

    /// Where the device finds the first descriptor.
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// Number of descriptors.
    #[inline]
    pub fn count(&self) -> usize {
        self.mask + 1
    }

    /// Bytes of the ring, as a length register wants to know it.
    pub fn bytes(&self) -> u32 {
        u32::try_from(self.count() * Self::DESCRIPTOR).unwrap_or(u32::MAX) // `new` bounds it
    }

    /// What a tail register is to say for the descriptor at `position`.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a ring has at most 65,536 descriptors
    pub fn index(&self, position: usize) -> u32 {
        (position & self.mask) as u32
    }

    /// The first descriptor that the device has.
    #[inline]
    pub(crate) fn oldest(&self) -> usize {
        self.oldest
    }

    /// The first descriptor that the device has not.
    #[inline]
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// How many descriptors the device has.
    #[inline]
    pub(crate) fn lent(&self) -> usize {
        self.next.wrapping_sub(self.oldest)
    }

    /// How many the driver has.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.count().wrapping_sub(self.lent())
    }

    /// The ring as both sides see it.
    #[inline]
    pub fn shared(&self) -> Ring<'_> {
        Ring::of(self.words())
    }

    /// The descriptors as both sides see them.
    #[inline]
    fn words(&self) -> &[[AtomicU64; 2]] {
        let first = self.descriptors.cast::<[AtomicU64; 2]>().as_ptr();
        // SAFETY: the claim covers `count` descriptors of 16 bytes from `first` on, aligned to 128
        // as `new` checked, and keeps them mapped while `self` is borrowed. They are plain words
        // only where `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts(first, self.count()) }
    }

    /// The second word of the descriptor at `position`: see [`Ring::status`].
    #[inline]
    pub(crate) fn status(&self, position: usize) -> u64 {
        self.shared().status(position)
    }

    /// The second word of the descriptor at `position`, and the buffer behind it.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> (u64, u32) {
        // SAFETY: the mask makes it an index: there are as many buffers as descriptors.
        let buffer = unsafe { *self.buffers.get_unchecked(position & self.mask) };
        (self.status(position), buffer)
    }

    /// How many descriptors there are from the one at `position` to the end of the ring's memory.
    #[inline]
    pub(crate) fn to_end(&self, position: usize) -> usize {
        self.count() - (position & self.mask)
    }

    /// The oldest descriptors that the device has, and the buffers behind them: `most`, or fewer
    /// where the ring's memory ends.
    #[inline]
    pub(crate) fn oldest_run(&self, most: usize) -> (&[[AtomicU64; 2]], &[u32]) {
        let len = most.min(self.to_end(self.oldest));
        // SAFETY: that is as far as the memory goes.
        unsafe { self.oldest_part(len) }
    }

    /// The `len` oldest descriptors that the device has, and the buffers behind them.
    ///
    /// # Safety
    /// `len` is at most [`to_end`](Self::to_end) of `oldest`.
    #[inline]
    pub(crate) unsafe fn oldest_part(&self, len: usize) -> (&[[AtomicU64; 2]], &[u32]) {
        debug_assert!(len <= self.to_end(self.oldest));
        let at = self.oldest & self.mask;
        // SAFETY: the mask makes `at` an index, and `len` is at most what is left from there, says
        // the caller.
        let descriptors = unsafe { self.words().get_unchecked(at..at + len) };
        // SAFETY: the same; there are as many buffers as descriptors.
        (descriptors, unsafe {
            self.buffers.get_unchecked(at..at + len)
        })
    }

    /// The driver's own descriptors from `next` on, and the buffers that will be behind them:
    /// `most`, or fewer where the ring comes round or its memory ends. Words are as the device finds
    /// them, little-endian.
    #[inline]
    pub(crate) fn vacant_run(&mut self, most: usize) -> (&mut [[u64; 2]], &mut [u32]) {
        let len = most.min(self.room()).min(self.to_end(self.next));
        // SAFETY: that is as far as the ring and the memory go.
        unsafe { self.vacant_part(len) }
    }

    /// The driver's own `len` descriptors from `next` on, and the buffers that will be behind them.
    /// Words are as the device finds them, little-endian.
    ///
    /// # Safety
    /// `len` is at most [`room`](Self::room) and [`to_end`](Self::to_end) of `next`.
    #[inline]
    pub(crate) unsafe fn vacant_part(&mut self, len: usize) -> (&mut [[u64; 2]], &mut [u32]) {
        debug_assert!(len <= self.room().min(self.to_end(self.next)));
        let at = self.next & self.mask;
        // SAFETY: `at` is below `count`, and the claim covers `count` descriptors.
        let first = unsafe { self.descriptors.add(at) };
        // SAFETY: `len` is at most what the ring's memory has from `at` on, says the caller. The
        // descriptors are the driver's: `next` and those behind it up to `oldest` were taken back or
        // never lent, so the device neither writes nor reads them (see above), the claim keeps every
        // other ring and pool of this process away, and `&mut self` every other reference of this
        // ring.
        let descriptors = unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), len) };
        // SAFETY: the same index and length; there are as many buffers as descriptors.
        (descriptors, unsafe {
            self.buffers.get_unchecked_mut(at..at + len)
        })
    }

    /// Fills the driver's own descriptor `n` behind `next`, and says which buffer will be behind
    /// it.
    #[inline]
    pub(crate) fn put(&mut self, n: usize, words: [u64; 2], buffer: u32) {
        debug_assert!(n < self.room());
        let at = self.next.wrapping_add(n) & self.mask;
        // SAFETY: the mask makes it an index: there are as many buffers as descriptors.
        let place = unsafe { self.buffers.get_unchecked_mut(at) };
        *place = buffer;
        // SAFETY: as in `vacant_run`.
        let descriptor = unsafe { self.descriptors.add(at) };
        // SAFETY: aligned and mapped, and the driver's own, as in `vacant_run`.
        unsafe { descriptor.write(words.map(u64::to_le)) };
    }

    /// Sets bits in the second word of the driver's own descriptor `n` behind `next`.
    #[inline]
    pub(crate) fn amend(&mut self, n: usize, bits: u64) {
        debug_assert!(n < self.room());
        let at = self.next.wrapping_add(n) & self.mask;
        // SAFETY: as in `vacant_run`.
        let mut descriptor = unsafe { self.descriptors.add(at) };
        // SAFETY: aligned and mapped, and the driver's own, as in `vacant_run`.
        let [_, second] = unsafe { descriptor.as_mut() };
        *second |= bits.to_le();
    }

    /// The device may still use the descriptors because it does not stop: their memory stays
    /// allocated and mapped until the process ends.
    pub(crate) fn abandon(&self) {
        std::mem::forget(Arc::clone(&self.mapping));
    }

    /// The next `count` descriptors, which the driver has, are the device's from now on. It learns
    /// of them from the tail register.
    #[inline]
    pub(crate) fn lend(&mut self, count: usize) {
        debug_assert!(count <= self.room());
        self.next = self.next.wrapping_add(count);
    }

    /// The oldest `count` descriptors, which the device had, are the driver's again, since their
    /// done bits were seen.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) {
        debug_assert!(count <= self.lent());
        self.oldest = self.oldest.wrapping_add(count);
    }
}
