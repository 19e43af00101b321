//! Which sequence numbers of a flow have arrived, in bounded memory.

use super::widen;

/// What an arriving sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The highest so far; so many before it have not arrived.
    Newest { skipped: u64 },
    /// Skipped earlier and here now.
    Late,
    /// Here before.
    Again,
    /// So old that it is no longer known whether it was here before.
    Forgotten,
}

/// For each flow the next sequence number expected and a bitmap of the latest ones.
///
/// The bitmap is a ring: sequence number `s` has bit `s mod size`. It is exact for the last `size`
/// numbers below the next one, which is far more than a NIC can hold back.
#[derive(Debug)]
pub(super) struct Windows {
    flows: Vec<Flow>,
    bits: Vec<u64>,
    words: usize,
}

/// Where a flow is.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    next: u64,
    /// From here on up to the next one all have arrived, and the bitmap does not know yet.
    unnoted: u64,
}

/// Numbers remembered by each of many flows.
const SMALLEST: usize = 4_096;
/// Numbers remembered by each of few flows.
const LARGEST: usize = 65_536;
/// Numbers remembered in all, where that is within the bounds above.
const TOTAL: usize = 1 << 20;

impl Windows {
    pub(super) fn new(flows: u16) -> Self {
        let flows = usize::from(flows);
        let size = (TOTAL / flows.next_power_of_two()).clamp(SMALLEST, LARGEST);
        Self::with_size(flows, size)
    }

    /// `size` must be a power of two and at least 64.
    fn with_size(flows: usize, size: usize) -> Self {
        let words = size / 64;
        Self {
            flows: vec![Flow::default(); flows],
            bits: vec![0; flows * words],
            words,
        }
    }

    /// The number of `flow` that would be the next in order; `None` if there is no such flow or no
    /// number after it.
    #[inline]
    pub(super) fn expected(&self, flow: u16) -> Option<u64> {
        let flow = self.flows.get(usize::from(flow))?;
        (flow.next != u64::MAX).then_some(flow.next)
    }

    /// Notes that the expected number of `flow` has arrived; false if nothing was expected.
    #[inline]
    pub(super) fn advance(&mut self, flow: u16) -> bool {
        match self.flows.get_mut(usize::from(flow)) {
            Some(flow) if flow.next != u64::MAX => {
                flow.next += 1;
                true
            }
            _ => false,
        }
    }

    /// Notes that all numbers of `flow` below `next` have arrived, from the expected one on.
    #[inline]
    pub(super) fn advance_to(&mut self, flow: u16, next: u64) {
        if let Some(flow) = self.flows.get_mut(usize::from(flow)) {
            flow.next = flow.next.max(next);
        }
    }

    /// Lets the bitmap of a flow know which numbers have arrived. The flow must exist.
    fn note(&mut self, flow: usize) {
        let size = widen(self.words) * 64;
        let bits = &mut self.bits[flow * self.words..][..self.words];
        let Flow { next, unnoted } = &mut self.flows[flow];
        if *next - *unnoted >= size {
            bits.fill(u64::MAX);
        } else {
            for arrived in *unnoted..*next {
                let (word, bit) = place(arrived, size);
                bits[word] |= bit;
            }
        }
        *unnoted = *next;
    }

    /// Notes that `sequence` of `flow` has arrived. The flow must exist.
    pub(super) fn record(&mut self, flow: u16, sequence: u64) -> Arrival {
        let flow = usize::from(flow);
        self.note(flow);
        let size = widen(self.words) * 64;
        let next = self.flows[flow].next;
        let bits = &mut self.bits[flow * self.words..][..self.words];
        if sequence >= next {
            let skipped = sequence - next;
            if skipped >= size {
                bits.fill(0);
            } else {
                for missing in next..sequence {
                    let (word, bit) = place(missing, size);
                    bits[word] &= !bit;
                }
            }
            let (word, bit) = place(sequence, size);
            bits[word] |= bit;
            let next = sequence.saturating_add(1);
            self.flows[flow] = Flow {
                next,
                unnoted: next,
            };
            return Arrival::Newest { skipped };
        }
        if next - sequence > size {
            return Arrival::Forgotten;
        }
        let (word, bit) = place(sequence, size);
        if bits[word] & bit != 0 {
            return Arrival::Again;
        }
        bits[word] |= bit;
        Arrival::Late
    }
}

/// Word and bit of a sequence number.
fn place(sequence: u64, size: u64) -> (usize, u64) {
    let slot = sequence & (size - 1);
    // The slot is below the window's size, which is a `usize`.
    let word = usize::try_from(slot / 64).unwrap_or_default();
    (word, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn order_gaps_and_repeats() {
        let mut windows = Windows::new(2);
        assert_eq!(windows.record(0, 0), Arrival::Newest { skipped: 0 });
        assert_eq!(windows.record(0, 3), Arrival::Newest { skipped: 2 });
        assert_eq!(windows.record(0, 1), Arrival::Late);
        assert_eq!(windows.record(0, 1), Arrival::Again);
        assert_eq!(windows.record(0, 3), Arrival::Again);
        assert_eq!(windows.record(1, 0), Arrival::Newest { skipped: 0 });
    }

    #[test]
    fn the_far_past_is_forgotten_and_the_far_future_is_a_gap() {
        let mut windows = Windows::with_size(1, 64);
        assert_eq!(windows.record(0, 1_000), Arrival::Newest { skipped: 1_000 });
        assert_eq!(windows.record(0, 936), Arrival::Forgotten);
        assert_eq!(windows.record(0, 937), Arrival::Late);
        let last = u64::MAX - 1;
        assert_eq!(
            windows.record(0, last),
            Arrival::Newest {
                skipped: last - 1_001
            }
        );
        assert_eq!(windows.record(0, last), Arrival::Again);
    }

    #[test]
    fn memory_is_bounded() {
        for flows in [1, 2, 16, 17, 256, 1_000, u16::MAX] {
            let windows = Windows::new(flows);
            assert!(windows.words.is_power_of_two());
            assert!(windows.bits.len() * 8 <= 40 << 20);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_remembering_everything(
            numbers in prop::collection::vec(0u64..400, 1..400),
            step in 0u64..3,
        ) {
            let size = 128;
            let mut windows = Windows::with_size(1, 128);
            let mut seen = HashSet::new();
            let mut next = 0;
            for (at, number) in numbers.into_iter().enumerate() {
                let number = number + step * widen(at);
                let expected = if number >= next {
                    let skipped = number - next;
                    next = number + 1;
                    Arrival::Newest { skipped }
                } else if next - number > size {
                    Arrival::Forgotten
                } else if seen.contains(&number) {
                    Arrival::Again
                } else {
                    Arrival::Late
                };
                let in_order = windows.expected(0) == Some(number) && windows.advance(0);
                let got = if in_order {
                    Arrival::Newest { skipped: 0 }
                } else {
                    windows.record(0, number)
                };
                prop_assert_eq!(got, expected);
                seen.insert(number);
            }
        }
    }
}
