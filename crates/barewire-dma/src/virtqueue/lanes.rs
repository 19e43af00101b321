//! Fields of 16 and 32 bits in a queue's memory, which is reached by words of 64.
//!
//! A word with several fields has one writer, the driver or the device. Its writer may therefore
//! write it as a whole, and the other side sees each field change only when it does.

use std::sync::atomic::Ordering;

use crate::Word;

/// The word at `index`, in the processor's byte order; 0 outside, where no caller looks.
#[inline]
pub(super) fn load<W: Word>(words: &[W], index: usize, ordering: Ordering) -> u64 {
    words
        .get(index)
        .map_or(0, |word| u64::from_le(word.load(ordering)))
}

#[inline]
pub(super) fn store<W: Word>(words: &[W], index: usize, value: u64, ordering: Ordering) {
    if let Some(word) = words.get(index) {
        word.store(value.to_le(), ordering);
    }
}

/// A word, in the processor's byte order.
#[inline]
pub(super) fn get<W: Word>(word: &W) -> u64 {
    u64::from_le(word.load(Ordering::Relaxed))
}

#[inline]
pub(super) fn put<W: Word>(word: &W, value: u64) {
    word.store(value.to_le(), Ordering::Relaxed);
}

/// Writes 16 bits at a byte offset, a multiple of 2, of a word that only the driver writes.
#[inline]
pub(super) fn put16<W: Word>(words: &[W], offset: usize, value: u16, ordering: Ordering) {
    let shift = offset % 8 * 8;
    let rest = load(words, offset / 8, Ordering::Relaxed) & !(0xffff << shift);
    store(
        words,
        offset / 8,
        rest | u64::from(value) << shift,
        ordering,
    );
}

/// Reads 16 bits at a byte offset, a multiple of 2.
#[inline]
pub(super) fn get16<W: Word>(words: &[W], offset: usize, ordering: Ordering) -> u16 {
    part16(load(words, offset / 8, ordering) >> (offset % 8 * 8))
}

/// Reads 32 bits at a byte offset, a multiple of 4.
#[inline]
pub(super) fn get32<W: Word>(words: &[W], offset: usize) -> u32 {
    part32(load(words, offset / 8, Ordering::Relaxed) >> (offset % 8 * 8))
}

/// The low 16 bits.
#[inline]
#[allow(clippy::cast_possible_truncation)] // it is what this does
pub(super) fn part16(word: u64) -> u16 {
    word as u16
}

/// The low 32 bits.
#[inline]
#[allow(clippy::cast_possible_truncation)] // it is what this does
pub(super) fn part32(word: u64) -> u32 {
    word as u32
}
