//! Which I/O virtual addresses are free.

/// Bytes of the pages that an IOMMU translates with one entry, and of a hugepage. Everything is
/// aligned to it, so that a region on hugepages takes one entry of the IOMMU's cache for each.
const ALIGNMENT: u64 = 2 << 20;

/// Hands out I/O virtual addresses inside the ranges that the kernel allows: none, to begin with.
///
/// Behind each mapping, at least one byte and mostly 2 MiB stay unused, so that a device that
/// runs over the end of one does not run into the next. Address 0 is never used: a device that
/// was told nothing uses it.
#[derive(Debug, Default)]
pub(super) struct IovaAllocator {
    /// First and last usable address.
    ranges: Vec<(u64, u64)>,
    /// First address and length of what is used, sorted.
    used: Vec<(u64, u64)>,
}

impl IovaAllocator {
    /// From now on only inside these ranges: another device may have fewer. What is used stays.
    pub(super) fn restrict(&mut self, mut ranges: Vec<(u64, u64)>) {
        ranges.sort_unstable();
        self.ranges = ranges;
    }

    /// The lowest free address for `bytes`; `None` if there is none.
    pub(super) fn take(&mut self, bytes: u64) -> Option<u64> {
        let start = self
            .ranges
            .iter()
            .find_map(|range| self.fit(*range, bytes))?;
        let place = self.used.partition_point(|(first, _)| *first < start);
        self.used.insert(place, (start, bytes));
        Some(start)
    }

    fn fit(&self, (first, last): (u64, u64), bytes: u64) -> Option<u64> {
        let mut start = first.max(ALIGNMENT).checked_next_multiple_of(ALIGNMENT)?;
        loop {
            // the byte behind the end belongs to the gap
            let end = start.checked_add(bytes)?;
            if bytes == 0 || end > last {
                return None;
            }
            let after = |used: u64, length: u64| {
                used.saturating_add(length)
                    .saturating_add(1)
                    .checked_next_multiple_of(ALIGNMENT)
            };
            let clash = self.used.iter().find(|(used, length)| {
                *used < end.saturating_add(1) && used.saturating_add(*length) >= start
            });
            match clash {
                None => return Some(start),
                Some((used, length)) => start = after(*used, *length)?,
            }
        }
    }

    /// Gives an address back. Unknown ones are ignored.
    pub(super) fn give_back(&mut self, start: u64) {
        self.used.retain(|(used, _)| *used != start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel reports behind an Intel IOMMU: the interrupt window is left out.
    const INTEL: [(u64, u64); 2] = [(0, 0xFEDF_FFFF), (0xFEF0_0000, 0x7F_FFFF_FFFF)];

    fn inside(ranges: Vec<(u64, u64)>) -> IovaAllocator {
        let mut allocator = IovaAllocator::default();
        allocator.restrict(ranges);
        allocator
    }

    #[test]
    fn aligned_apart_and_never_at_zero() {
        let mut allocator = inside(INTEL.to_vec());
        assert_eq!(allocator.take(4096), Some(ALIGNMENT));
        assert_eq!(allocator.take(ALIGNMENT), Some(2 * ALIGNMENT));
        // a mapping that fills its last 2 MiB is followed by a gap
        assert_eq!(allocator.take(1), Some(4 * ALIGNMENT));
        allocator.give_back(2 * ALIGNMENT);
        assert_eq!(allocator.take(ALIGNMENT), Some(2 * ALIGNMENT));
    }

    #[test]
    fn what_does_not_fit_into_one_range_goes_to_the_next() {
        let mut allocator = inside(INTEL.to_vec());
        let four_gigabytes = 4 << 30;
        assert_eq!(allocator.take(four_gigabytes), Some(0xFF00_0000));
        assert_eq!(allocator.take(1 << 40), None);
        assert_eq!(allocator.take(u64::MAX), None);
        assert_eq!(allocator.take(0), None);
    }

    #[test]
    fn ranges_in_any_order_and_at_the_end_of_the_world() {
        let mut allocator = inside(vec![(u64::MAX - ALIGNMENT, u64::MAX), (5, 9)]);
        assert_eq!(allocator.take(4096), Some(u64::MAX - ALIGNMENT + 1));
        assert_eq!(allocator.take(4096), None);
        assert_eq!(inside(vec![]).take(1), None);
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_everything_is_inside(
            requests in proptest::collection::vec((1u64..64 << 20, any::<bool>()), 1..60),
        ) {
            let mut allocator = inside(INTEL.to_vec());
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (bytes, give_back) in requests {
                if give_back && !held.is_empty() {
                    let (start, _) = held.swap_remove(held.len() / 2);
                    allocator.give_back(start);
                }
                let Some(start) = allocator.take(bytes) else { continue };
                let end = start + bytes - 1;
                prop_assert!(start % ALIGNMENT == 0 && start > 0);
                prop_assert!(INTEL.iter().any(|(first, last)| start >= *first && end <= *last));
                for (other, length) in &held {
                    // one byte apart at least
                    prop_assert!(end + 1 < *other || start > other + length);
                }
                held.push((start, bytes));
            }
        }
    }
}
