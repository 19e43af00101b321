//! A descriptor ring: what driver and device tell each other about buffers, in shared memory.
//!
//! The hand-over has two directions, each with one release and one acquire:
//!
//! - The driver fills descriptors, as plain memory, and then writes the tail register. The write to
//!   the register is the release (the trait `Bar` of `barewire-bus` promises it), the device's fetch
//!   the acquire.
//! - The device writes a frame, then the first word of the descriptor, then the second, which holds
//!   the done bit. That store is the release, [`Ring::status`] the acquire.
//!
//! On x86 both are plain moves. On a weaker processor they are what keeps a driver from reading a
//! frame that has not arrived yet. `tests/loom.rs` tries every interleaving of the two sides.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A word of shared memory: [`AtomicU64`], or a model checker's stand-in for it.
pub trait Word {
    /// Reads the word.
    fn load(&self, ordering: Ordering) -> u64;
    /// Writes the word.
    fn store(&self, value: u64, ordering: Ordering);
    /// A barrier: what was written to any word before it is written before any word is read after
    /// it.
    fn full_fence() {
        fence(Ordering::SeqCst);
    }
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

    /// A ring of these descriptors, which are as many as a power of two.
    #[inline]
    pub(crate) fn of(descriptors: &'m [[W; 2]]) -> Self {
        debug_assert!(descriptors.len().is_power_of_two());
        Self { descriptors }
    }

    #[inline]
    fn at(self, position: usize) -> &'m [W; 2] {
        let index = position & (self.descriptors.len() - 1);
        // SAFETY: the number of descriptors is a power of two, so that less one it is a mask of
        // exactly the indices below it.
        unsafe { self.descriptors.get_unchecked(index) }
    }

    /// The second word, which holds the device's done bit. What the device wrote before it is
    /// visible after this call.
    #[inline]
    pub fn status(self, position: usize) -> u64 {
        Self::status_of(self.at(position))
    }

    /// As [`status`](Self::status), of a descriptor at hand.
    #[inline]
    pub(crate) fn status_of([_, second]: &[W; 2]) -> u64 {
        u64::from_le(second.load(Ordering::Acquire))
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

    /// The driver's side of a ring that is sent from in place: writes the second word of a
    /// descriptor whose done bit was seen. It is not visible until the tail moves.
    #[inline]
    pub fn answer([_, second]: &[W; 2], word: u64) {
        second.store(word.to_le(), Ordering::Relaxed);
    }

    /// As [`answer`](Self::answer), the first word.
    #[inline]
    pub fn answer_first([first, _]: &[W; 2], word: u64) {
        first.store(word.to_le(), Ordering::Relaxed);
    }

    /// As [`answer`](Self::answer), of the descriptor at a position that the driver has.
    #[inline]
    pub fn answer_at(self, position: usize, word: u64) {
        Self::answer(self.at(position), word);
    }

    /// As [`answer_first`](Self::answer_first), of the descriptor at a position that the driver has.
    #[inline]
    pub fn answer_first_at(self, position: usize, word: u64) {
        Self::answer_first(self.at(position), word);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_wrap_and_words_keep_their_places() {
        let words: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
        let ring = Ring::new(&words).unwrap();
        ring.write_back(8 + 3, [1, 2]);
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
