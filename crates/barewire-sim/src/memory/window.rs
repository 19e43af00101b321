//! Reading and writing a mapping that was looked up once for many accesses.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::{BLOCK, Block, widen};

/// The mapping that was hit last, looked up for a burst of accesses.
#[derive(Clone, Copy, Default)]
pub(crate) struct Window<'a> {
    start: u64,
    words: &'a [AtomicU64],
}

impl<'a> Window<'a> {
    /// The words at `start`.
    #[inline]
    pub(crate) fn new(start: u64, words: &'a [AtomicU64]) -> Self {
        Self { start, words }
    }

    /// The `count` words at `iova`, if one begins there and all are in the mapping.
    #[inline]
    fn words(&self, iova: u64, count: usize) -> Option<&'a [AtomicU64]> {
        let offset = iova.wrapping_sub(self.start);
        if !offset.is_multiple_of(8) {
            return None;
        }
        let first = usize::try_from(offset / 8).ok()?;
        self.words.get(first..)?.get(..count)
    }

    /// The block of words at `iova`, if one begins there and all of it is in the mapping.
    #[inline]
    fn block(&self, iova: u64) -> Option<&'a [AtomicU64; BLOCK / 8]> {
        let offset = iova.wrapping_sub(self.start);
        if !offset.is_multiple_of(8) {
            return None;
        }
        let first = usize::try_from(offset / 8).ok()?;
        self.words.get(first..)?.first_chunk()
    }

    /// Reads the block at `iova`; false as in [`read`](Self::read).
    #[inline]
    pub(crate) fn read_block(&self, iova: u64, into: &mut Block) -> bool {
        let Some(words) = self.block(iova) else {
            return false;
        };
        for (bytes, word) in into.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        true
    }

    /// Writes the first `length` bytes of `from`, at least 57, at `iova`, where a buffer of at least
    /// a block begins. False as in [`write`](Self::write).
    #[inline]
    pub(crate) fn write_most(&self, iova: u64, from: &Block, length: usize) -> bool {
        let Some(words) = self.block(iova) else {
            return false;
        };
        let [whole @ .., last] = words;
        let ([bytes @ .., last_bytes], _) = from.as_chunks::<8>() else {
            return false;
        };
        for (word, bytes) in whole.iter().zip(bytes) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        // What is behind the frame in its last word stays as it is.
        let new = u64::MAX >> (8 * (BLOCK.wrapping_sub(length) % 8));
        let old = u64::from_le(last.load(Ordering::Relaxed));
        let word = u64::from_le_bytes(*last_bytes);
        last.store((old & !new | word & new).to_le(), Ordering::Relaxed);
        true
    }

    /// Reads `count` bytes at `iova` to the beginning of `into`, whose rest is then unspecified.
    /// False if that can't be done here: `Iommu::read` can, or knows why not.
    #[inline]
    pub(crate) fn read(&self, iova: u64, into: &mut [u8], count: usize) -> bool {
        // Whole blocks are cheap, and what is read too much is thrown away.
        let blocks = count.div_ceil(BLOCK);
        let Some(words) = self.words(iova, blocks * (BLOCK / 8)) else {
            return false;
        };
        let Some(into) = into.get_mut(..blocks * BLOCK) else {
            return false;
        };
        read_blocks(words, into);
        true
    }

    /// Writes `from` at `iova`, where a buffer of `buffer` bytes begins. False if that can't be
    /// done here: `Iommu::write` can, or knows why not.
    #[inline]
    pub(crate) fn write(&self, iova: u64, from: &[u8], buffer: usize) -> bool {
        // The word that the last bytes are in may be written as a whole if all of it belongs to
        // the buffer: until the descriptor is written back, the buffer is the device's.
        let count = from.len().div_ceil(8);
        if count > buffer / 8 {
            return false;
        }
        let Some(words) = self.words(iova, count) else {
            return false;
        };
        write_words(words, from);
        true
    }
}

/// Reads whole blocks: as many as fit both.
#[inline]
fn read_blocks(words: &[AtomicU64], into: &mut [u8]) {
    let (from, _) = words.as_chunks::<{ BLOCK / 8 }>();
    let (to, _) = into.as_chunks_mut::<BLOCK>();
    for (block, words) in to.iter_mut().zip(from) {
        for (bytes, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
    }
}

/// Writes bytes from the first word on. The bytes behind them up to the end of a word are written
/// too, with what they were.
#[inline]
fn write_words(words: &[AtomicU64], from: &[u8]) {
    let store = |words: &[AtomicU64], bytes: &[[u8; 8]]| {
        for (word, bytes) in words.iter().zip(bytes) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    };
    let (whole, rest) = from.as_chunks::<8>();
    // Four at a time: that is half of the shortest frame.
    let (fours, few) = whole.as_chunks::<4>();
    let (word_fours, _) = words.as_chunks::<4>();
    for (words, bytes) in word_fours.iter().zip(fours) {
        store(words, bytes);
    }
    store(words.get(fours.len() * 4..).unwrap_or_default(), few);
    if rest.is_empty() {
        return;
    }
    if let Some(word) = words.get(whole.len()) {
        let bits = widen(rest.len()) * 8;
        let new = match from.last_chunk::<8>() {
            // The last bytes of all, with those shifted out that are written already.
            Some(last) => u64::from_le_bytes(*last) >> (64 - bits),
            None => rest
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let old = u64::from_le(word.load(Ordering::Relaxed));
        let kept = old & (u64::MAX << bits);
        word.store((kept | new).to_le(), Ordering::Relaxed);
    }
}
