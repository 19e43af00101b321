//! One word, or several at once.
#![allow(unsafe_code)]

use std::ops::{Add, BitAnd, BitOr, BitXor, Shl, Shr, Sub};

use wide::{u64x2, u64x4};

/// A 64-bit word, or a group of them that the processor works on at once: what can be done with a
/// descriptor without a branch.
///
/// A driver says once how a word of a descriptor is made or judged, for any `Lanes`; a ring has it
/// done for groups where there are many and for single words where there are few.
pub trait Lanes:
    Copy
    + BitAnd<u64, Output = Self>
    + BitOr<u64, Output = Self>
    + BitXor<u64, Output = Self>
    + BitOr<Output = Self>
    + Sub<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// This word in each.
    fn of(word: u64) -> Self;

    /// Adds a word to each; sums wrap.
    #[must_use]
    fn plus(self, word: u64) -> Self;

    /// Takes a word from each; differences wrap.
    #[must_use]
    fn minus(self, word: u64) -> Self;
}

impl Lanes for u64 {
    #[inline]
    fn of(word: u64) -> Self {
        word
    }

    #[inline]
    fn plus(self, word: u64) -> Self {
        self.wrapping_add(word)
    }

    #[inline]
    fn minus(self, word: u64) -> Self {
        self.wrapping_sub(word)
    }
}

impl Lanes for u64x4 {
    #[inline]
    fn of(word: u64) -> Self {
        Self::splat(word)
    }

    #[inline]
    fn plus(self, word: u64) -> Self {
        Add::add(self, word)
    }

    #[inline]
    fn minus(self, word: u64) -> Self {
        Sub::sub(self, word)
    }
}

/// Number of words in a group.
pub(crate) const GROUP: usize = 4;

/// A group of words.
pub(crate) type Group = u64x4;

/// Whether any of these bits is set in any word of a group.
#[inline]
pub(crate) fn any_set(group: Group, bits: u64) -> bool {
    let [a, b, c, d] = (group & bits).to_array();
    (a | b | c | d) != 0
}

/// The descriptors of which these are the first and the second words, as a device finds them.
#[inline]
pub(crate) fn descriptors([first, second]: [Group; 2]) -> [[u64; 2]; GROUP] {
    let halves = |group: Group| {
        let words = Group::from(group.to_array().map(u64::to_le));
        // SAFETY: four words are twice two words, whatever type they have.
        unsafe { std::mem::transmute::<Group, [u64x2; 2]>(words) }
    };
    let ([a, c], [b, d]) = (halves(first), halves(second));
    let rows = [
        a.unpack_lo(b),
        a.unpack_hi(b),
        c.unpack_lo(d),
        c.unpack_hi(d),
    ];
    // SAFETY: as above.
    unsafe { std::mem::transmute::<[u64x2; GROUP], [[u64; 2]; GROUP]>(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mixed<W: Lanes>(word: W) -> W {
        ((word & 0xffff_ffff) << 7 | word >> 3)
            .plus(5)
            .minus(1 << 40)
            ^ 0x55
    }

    proptest! {
        #[test]
        fn a_group_does_what_single_words_do(words: [u64; GROUP], bits: u64) {
            let group = Group::from(words);
            prop_assert_eq!(mixed(group).to_array(), words.map(mixed));
            let alternating = descriptors([group, group.plus(1)]);
            prop_assert_eq!(alternating, words.map(|word| [word, word.wrapping_add(1)]));
            prop_assert_eq!(any_set(group, bits), words.iter().any(|word| word & bits != 0));
        }
    }
}
