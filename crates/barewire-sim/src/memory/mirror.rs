//! Copies of descriptor rings that lie in memory which can't be reached directly.
//!
//! A ring is worked on as words in memory. Where its memory is a file or belongs to a peer behind a
//! socket, the device works on a copy: descriptors are fetched when the driver has handed them
//! over, and what the device changed is written back after each piece of work, behind the frames
//! that it is about.

use std::sync::atomic::{AtomicU64, Ordering};

use super::iommu::Descriptor;
use crate::wire::widen;

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

/// The copy of one ring.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) base: u64,
    pub(crate) words: Box<[Descriptor]>,
    /// What the memory itself holds.
    clean: Box<[[u64; 2]]>,
}

impl Mirror {
    pub(crate) fn new(base: u64, count: u32) -> Self {
        let count = count as usize;
        let empty = || [const { AtomicU64::new(0) }; 2];
        Self {
            base,
            words: (0..count).map(|_| empty()).collect(),
            clean: vec![[0; 2]; count].into(),
        }
    }

    /// The descriptor at an address.
    pub(crate) fn index_of(&self, iova: u64) -> Option<usize> {
        let offset = iova.wrapping_sub(self.base);
        let index = usize::try_from(offset / DESCRIPTOR).ok()?;
        (offset.is_multiple_of(DESCRIPTOR) && index < self.words.len()).then_some(index)
    }

    /// Whether it is a copy of anything from `start` to `last`.
    pub(crate) fn touches(&self, start: u64, last: u64) -> bool {
        let end = self
            .base
            .saturating_add(widen(self.words.len()) * DESCRIPTOR);
        self.base <= last && end > start
    }

    pub(crate) fn take_in(&mut self, first: usize, bytes: &[u8]) {
        let words = self.words.get(first..).unwrap_or_default();
        let clean = self.clean.get_mut(first..).unwrap_or_default();
        let pairs = bytes.as_chunks::<16>().0;
        for ((to, clean), from) in words.iter().zip(clean).zip(pairs) {
            let halves = from.as_chunks::<8>().0;
            for ((to, clean), from) in to.iter().zip(clean).zip(halves) {
                *clean = u64::from_ne_bytes(*from);
                to.store(*clean, Ordering::Relaxed);
            }
        }
    }

    /// The first run of changed descriptors in `from..to`: where it begins and its bytes. They
    /// count as written back then.
    pub(crate) fn changed(&mut self, from: usize, to: usize) -> Option<(usize, Vec<u8>)> {
        let now = |words: &Descriptor| {
            let [low, high] = words;
            [low.load(Ordering::Relaxed), high.load(Ordering::Relaxed)]
        };
        let first = (from..to).find(|index| self.clean[*index] != now(&self.words[*index]))?;
        let mut bytes = Vec::new();
        for index in first..to {
            let words = now(&self.words[index]);
            if self.clean[index] == words {
                break;
            }
            self.clean[index] = words;
            for word in words {
                bytes.extend_from_slice(&word.to_ne_bytes());
            }
        }
        Some((first, bytes))
    }
}
