//! Which chains a device has.

use std::ops::Range;

use super::{Piece, QueueFault, Run, Used};

/// The chains that the device has: their numbers, in the order in which they were made available,
/// and what was lent under each.
#[derive(Debug)]
pub(super) struct Chains {
    /// How many descriptors the device has under each number; 0 while it does not have it.
    descriptors: Box<[u16]>,
    /// How many bytes it may write under each.
    room: Box<[u32]>,
    /// Numbers in the order in which chains were made available.
    order: Ring,
    /// The last chain of a run that is used in order, and the bytes written into it, while chains
    /// before it are still to be taken.
    run: Option<(u16, u32)>,
    in_order: bool,
}

/// Numbers in a queue of their own, at most as many as a power of two: first in, first out.
///
/// The order of free numbers matters where buffers are used in order: descriptors of a split ring
/// are then to be taken round the table, from the first to the last (VIRTIO §2.7.13.1).
#[derive(Debug)]
pub(super) struct Ring {
    numbers: Box<[u16]>,
    first: usize,
    next: usize,
}

impl Ring {
    pub(super) fn empty(size: u16) -> Self {
        Self {
            numbers: vec![0; usize::from(size)].into(),
            first: 0,
            next: 0,
        }
    }

    /// All numbers below `size`.
    pub(super) fn full(size: u16) -> Self {
        Self {
            numbers: (0..size).collect(),
            first: 0,
            next: usize::from(size),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.next.wrapping_sub(self.first)
    }

    #[inline]
    pub(super) fn push(&mut self, number: u16) {
        let at = self.next & (self.numbers.len() - 1);
        if let Some(place) = self.numbers.get_mut(at) {
            *place = number;
        }
        self.next = self.next.wrapping_add(1);
    }

    /// The number that is popped next.
    #[inline]
    pub(super) fn peek(&self) -> Option<u16> {
        if self.len() == 0 {
            return None;
        }
        let at = self.first & (self.numbers.len() - 1);
        self.numbers.get(at).copied()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u16> {
        let number = self.peek()?;
        self.drop_first(1);
        Some(number)
    }

    /// The numbers that are popped next, up to `most`, as far as each is one above that before it.
    #[inline]
    pub(super) fn run(&self, most: usize) -> Run {
        let at = self.first & (self.numbers.len() - 1);
        let end = self.numbers.len().min(at + most.min(self.len()));
        let numbers = self.numbers.get(at..end).unwrap_or_default();
        Run::at_front_of(numbers)
    }

    /// Drops the numbers that are popped next.
    #[inline]
    pub(super) fn drop_first(&mut self, count: u16) {
        self.first = self.first.wrapping_add(usize::from(count));
    }

    #[inline]
    pub(super) fn push_run(&mut self, run: Run) {
        let at = self.next & (self.numbers.len() - 1);
        let places = self.numbers.get_mut(at..at + usize::from(run.count));
        let Some(places) = places else {
            return run.numbers().for_each(|number| self.push(number));
        };
        places
            .iter_mut()
            .zip(run.numbers())
            .for_each(|(to, number)| *to = number);
        self.next = self.next.wrapping_add(usize::from(run.count));
    }
}

impl Run {
    /// Those at the front of some numbers.
    #[inline]
    fn at_front_of(numbers: &[u16]) -> Self {
        let Some(first) = numbers.first().copied() else {
            return Self::default();
        };
        let differ = |differ, (number, expected): (&u16, u16)| differ | (number ^ expected);
        let all = numbers.iter().zip(first..).fold(0, differ) == 0;
        let count = if all {
            numbers.len()
        } else {
            let mut both = numbers.iter().zip(first..);
            both.position(|(number, expected)| *number != expected)
                .unwrap_or(0)
        };
        // at most 32,768
        let count = u16::try_from(count).unwrap_or(0);
        Self { first, count }
    }

    #[inline]
    pub(super) fn numbers(self) -> impl Iterator<Item = u16> {
        self.first..self.first + self.count
    }

    /// Where they are among what there is for each number.
    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        let first = usize::from(self.first);
        first..first + usize::from(self.count)
    }
}

impl Chains {
    pub(super) fn new(size: u16, in_order: bool) -> Self {
        Self {
            descriptors: vec![0; usize::from(size)].into(),
            room: vec![0; usize::from(size)].into(),
            order: Ring::empty(if in_order { size } else { 1 }),
            run: None,
            in_order,
        }
    }

    /// The device has a chain under this number from now on.
    #[inline]
    pub(super) fn lend(&mut self, id: u16, chain: &[Piece], descriptors: u16) {
        let writable = chain.iter().filter(|piece| piece.writable);
        let room = writable.map(|piece| piece.len).fold(0, u32::saturating_add);
        self.keep(id, descriptors, room);
    }

    /// The device has a chain under this number from now on, into which it may write `room` bytes.
    #[inline]
    pub(super) fn keep(&mut self, id: u16, descriptors: u16, room: u32) {
        let at = usize::from(id);
        if let (Some(its), Some(has)) = (self.descriptors.get_mut(at), self.room.get_mut(at)) {
            (*its, *has) = (descriptors, room);
        }
        if self.in_order {
            self.order.push(id);
        }
    }

    /// The device has chains of one descriptor each under these numbers from now on, into each of
    /// which it may write `room` bytes.
    #[inline]
    pub(super) fn lend_run(&mut self, run: Run, room: u32) {
        if let Some(places) = self.descriptors.get_mut(run.range()) {
            places.fill(1);
        }
        if let Some(places) = self.room.get_mut(run.range()) {
            places.fill(room);
        }
        if self.in_order {
            self.order.push_run(run);
        }
    }

    /// Takes the first `count` of the chains from number `first` on, if the device has them all and
    /// each has one descriptor.
    #[inline]
    pub(super) fn take_run(&mut self, first: u64, count: u16) -> Option<Run> {
        let first = u16::try_from(first).ok().filter(|_| count > 0)?;
        let run = Run { first, count };
        let end = first.checked_add(count)?;
        let descriptors = self
            .descriptors
            .get_mut(usize::from(first)..usize::from(end))?;
        let odd = descriptors.iter().fold(0, |odd, it| odd | (it ^ 1));
        if odd != 0 || (self.in_order && self.order.run(usize::from(count)) != run) {
            return None;
        }
        descriptors.fill(0);
        if self.in_order {
            self.order.drop_first(count);
        }
        Some(run)
    }

    /// What is lent under a number that the device named.
    #[inline]
    fn find(&self, id: u32) -> Result<u16, QueueFault> {
        let lent = usize::try_from(id)
            .ok()
            .and_then(|at| self.descriptors.get(at));
        match (lent, u16::try_from(id)) {
            (Some(1..), Ok(id)) => Ok(id),
            _ => Err(QueueFault::NoSuchChain { id }),
        }
    }

    /// Whether chains before the one that the device named last are still to be taken.
    #[inline]
    pub(super) fn in_run(&self) -> bool {
        self.run.is_some()
    }

    /// The device has named a chain, and says how many bytes it wrote into it. Where chains are
    /// used in order this stands for all before it too (VIRTIO §2.7.13.3, §2.8.15.1), which it has
    /// then written as a whole. [`take`](Self::take) gives them, one by one.
    #[inline]
    pub(super) fn named(&mut self, id: u32, len: u32) -> Result<(), QueueFault> {
        self.run = Some((self.find(id)?, len));
        Ok(())
    }

    /// The chain that the device has named, if it is not yet the one that [`take`](Self::take) gives
    /// next.
    #[inline]
    pub(super) fn beyond_next(&self) -> Option<u16> {
        let (last, _) = self.run?;
        (self.in_order && self.order.peek() != Some(last)).then_some(last)
    }

    /// The oldest chain of those that the device has named, and the number of its descriptors.
    #[inline]
    pub(super) fn take(&mut self) -> Option<(Used, u16)> {
        let (last, claimed) = self.run?;
        let id = if self.in_order {
            self.order.pop()?
        } else {
            last
        };
        let descriptors = std::mem::take(self.descriptors.get_mut(usize::from(id))?);
        let room = *self.room.get(usize::from(id))?;
        let len = if id == last {
            self.run = None;
            claimed
        } else {
            room
        };
        let used = Used {
            id,
            len: len.min(room),
            honest: len <= room,
        };
        Some((used, descriptors))
    }

    /// Forgets all chains that are lent, and tells their numbers.
    pub(super) fn forget(&mut self, mut each: impl FnMut(u16)) {
        self.run = None;
        for (descriptors, id) in self.descriptors.iter_mut().zip(0..) {
            if std::mem::take(descriptors) > 0 {
                each(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: u32) -> Piece {
        Piece {
            len,
            writable: true,
            ..Piece::default()
        }
    }

    #[test]
    fn a_number_is_taken_once() {
        let mut chains = Chains::new(4, false);
        chains.lend(2, &[piece(10)], 1);
        assert_eq!(chains.named(4, 0), Err(QueueFault::NoSuchChain { id: 4 }));
        assert_eq!(chains.named(1, 0), Err(QueueFault::NoSuchChain { id: 1 }));
        chains.named(2, 11).unwrap();
        let (used, descriptors) = chains.take().unwrap();
        assert_eq!((used.len, used.honest, descriptors), (10, false, 1));
        assert!(chains.take().is_none());
        assert_eq!(chains.named(2, 0), Err(QueueFault::NoSuchChain { id: 2 }));
    }

    #[test]
    fn in_order_the_last_stands_for_all_before_it() {
        let mut chains = Chains::new(4, true);
        for id in [3, 0, 1] {
            chains.lend(id, &[piece(10), piece(2)], 2);
        }
        chains.named(0, 5).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| chains.take()).collect();
        let taken: Vec<_> = taken.iter().map(|(used, _)| (used.id, used.len)).collect();
        assert_eq!(taken, [(3, 12), (0, 5)]);
        assert!(!chains.in_run());
        chains.named(1, 1).unwrap();
        assert_eq!(chains.take().unwrap().0.id, 1);
    }
}
