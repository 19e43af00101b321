//! A descriptor ring: what driver and device tell each other about buffers, in shared memory.
//!
//! The hand-over has two directions, each with one release and one acquire:
//!
//! - The driver writes descriptors and then the tail register. The write to the register is the
//!   release (the trait `Bar` of `barewire-bus` promises it), the device's fetch the acquire.
//! - The device writes a frame, then the first word of the descriptor, then the second, which holds
//!   the done bit. That store is the release, [`Ring::status`] the acquire.
//!
//! On x86 both are plain moves. On a weaker processor they are what keeps a driver from reading a
//! frame that has not arrived yet. `tests/loom.rs` tries every interleaving of the two sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{DmaError, Iova, Mapping};

/// A word of shared memory: [`AtomicU64`], or a model checker's stand-in for it.
pub trait Word {
    /// Reads the word.
    fn load(&self, ordering: Ordering) -> u64;
    /// Writes the word.
    fn store(&self, value: u64, ordering: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, ordering: Ordering) -> u64 {
        AtomicU64::load(self, ordering)
    }

    #[inline]
    fn store(&self, value: u64, ordering: Ordering) {
        AtomicU64::store(self, value, ordering);
    }
}

/// The descriptors of a ring, 16 bytes each, as both sides see them. Words are little-endian in
/// memory and native here.
///
/// Positions are free-running: a ring of 512 takes 512 for 0, so that they never need wrapping.
#[derive(Debug)]
pub struct Ring<'m, W = AtomicU64> {
    descriptors: &'m [[W; 2]],
}

impl<W> Clone for Ring<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Ring<'_, W> {}

impl<'m, W: Word> Ring<'m, W> {
    /// A ring over `words`, two a descriptor; `None` unless the number of descriptors is a power
    /// of two.
    #[inline]
    pub fn new(words: &'m [W]) -> Option<Self> {
        let (descriptors, rest) = words.as_chunks::<2>();
        (descriptors.len().is_power_of_two() && rest.is_empty()).then_some(Self { descriptors })
    }

    #[inline]
    fn at(self, position: usize) -> &'m [W; 2] {
        // the mask makes the bounds check go away
        &self.descriptors[position & (self.descriptors.len() - 1)]
    }

    /// Writes a descriptor that the device does not own yet. It is not visible until the tail
    /// moves.
    #[inline]
    pub fn write(self, position: usize, [first, second]: [u64; 2]) {
        let descriptor = self.at(position);
        descriptor[0].store(first.to_le(), Ordering::Relaxed);
        descriptor[1].store(second.to_le(), Ordering::Relaxed);
    }

    /// The second word, which holds the device's done bit. What the device wrote before it is
    /// visible after this call.
    #[inline]
    pub fn status(self, position: usize) -> u64 {
        u64::from_le(self.at(position)[1].load(Ordering::Acquire))
    }

    /// The second word of a descriptor whose done bit, or that of a later one, was seen already.
    #[inline]
    pub fn second(self, position: usize) -> u64 {
        u64::from_le(self.at(position)[1].load(Ordering::Relaxed))
    }

    /// The first word of a descriptor whose done bit was seen.
    #[inline]
    pub fn first(self, position: usize) -> u64 {
        u64::from_le(self.at(position)[0].load(Ordering::Relaxed))
    }

    /// The device's side: both words of a descriptor that the tail made visible.
    #[inline]
    pub fn fetch(self, position: usize) -> [u64; 2] {
        [self.first(position), self.second(position)]
    }

    /// The device's side: hands a descriptor back, the word with the done bit last.
    #[inline]
    pub fn write_back(self, position: usize, [first, second]: [u64; 2]) {
        let descriptor = self.at(position);
        descriptor[0].store(first.to_le(), Ordering::Relaxed);
        descriptor[1].store(second.to_le(), Ordering::Release);
    }
}

/// The memory of a ring, mapped for a device.
#[derive(Debug)]
pub struct DescriptorRing {
    mapping: Arc<Mapping>,
    first_word: usize,
    count: usize,
    iova: Iova,
}

impl DescriptorRing {
    /// Bytes of a descriptor.
    pub const DESCRIPTOR: usize = 16;

    /// A ring of `count` descriptors at `offset` bytes into a mapped region.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `count` is a power of two and `offset` a multiple of 128, as the
    /// ixgbe family asks; [`DmaError::OutOfBounds`] or [`DmaError::Scattered`] if the region does
    /// not hold the ring in one piece.
    pub fn new(mapping: Arc<Mapping>, offset: usize, count: usize) -> Result<Self, DmaError> {
        if !count.is_power_of_two() || count > 1 << 16 {
            return Err(DmaError::Range {
                what: "ring size",
                value: count,
                allowed: "a power of two up to 65,536",
            });
        }
        if !offset.is_multiple_of(128) {
            return Err(DmaError::Range {
                what: "ring offset",
                value: offset,
                allowed: "multiples of 128",
            });
        }
        let iova = mapping.iova(offset, count * Self::DESCRIPTOR)?;
        Ok(Self {
            mapping,
            first_word: offset / 8,
            count,
            iova,
        })
    }

    /// Where the device finds the first descriptor.
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// Number of descriptors.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The descriptors.
    #[inline]
    pub fn view(&self) -> Ring<'_> {
        // `new` checked the range and the count
        let words =
            &self.mapping.region().words()[self.first_word..self.first_word + 2 * self.count];
        Ring {
            descriptors: words.as_chunks::<2>().0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_wrap_and_words_keep_their_places() {
        let words: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
        let ring = Ring::new(&words).unwrap();
        ring.write(8 + 3, [1, 2]);
        assert_eq!(ring.fetch(3), [1, 2]);
        ring.write_back(3, [5, 6]);
        assert_eq!((ring.status(3), ring.first(19)), (6, 5));
    }

    #[test]
    fn a_ring_is_a_power_of_two() {
        let words: Vec<AtomicU64> = (0..12).map(|_| AtomicU64::new(0)).collect();
        assert!(Ring::new(&words).is_none());
        assert!(Ring::new(&words[..0]).is_none());
        assert!(Ring::new(&words[..3]).is_none());
        assert!(Ring::new(&words[..8]).is_some());
    }
}
