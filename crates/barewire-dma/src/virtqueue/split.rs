//! Split rings: a table of descriptors, a ring of chains that the driver writes, and one that the
//! device writes (VIRTIO §2.7).

use std::sync::atomic::Ordering;

use barewire_spec::virtio::legacy;
use barewire_spec::virtio::split::{self, Descriptor, Layout};

use super::chains::{Chains, Ring};
use super::lanes::{get, get16, get32, part32, put, put16, store};
use super::{Piece, QueueFault, QueueFeatures, QueueParts, Run, Used, Virtqueue};
use crate::Word;
use crate::lanes::GROUP;

/// Alignment of what the device writes, so that it shares no cache line with what the driver writes.
const ALIGNMENT: usize = 64;

/// The driver's side of a split ring.
#[derive(Debug)]
pub struct Split {
    mask: u16,
    /// First word of the available ring.
    available_at: usize,
    /// First byte of the used ring.
    used_at: usize,
    /// Where the driver names the event at which it wants to be told.
    used_event: usize,
    /// Where the device does.
    avail_event: usize,
    event_idx: bool,
    /// Free descriptors.
    free: Ring,
    /// The descriptor behind each one in its chain.
    next: Box<[u16]>,
    /// What was written into the available ring.
    heads: Box<[u16]>,
    chains: Chains,
    /// Index of the chain that is made available next; counts modulo 2¹⁶.
    available: u16,
    /// What it was when the device was asked last whether it wants to be told.
    asked: u16,
    /// Index of the chain that is used next.
    used: u16,
    /// Index up to which the device was seen to have used.
    seen: u16,
}

impl Split {
    fn layout(size: u16, features: QueueFeatures) -> Layout {
        let page = usize::try_from(legacy::PAGE).unwrap_or(4096);
        Layout::new(size, if features.legacy { page } else { ALIGNMENT })
    }

    fn descriptors<W: Word>(&mut self, words: &[W], chain: &[Piece]) -> Option<u16> {
        let head = self.free.pop()?;
        let mut at = head;
        let mut left = chain.iter().peekable();
        while let Some(piece) = left.next() {
            let next = left.peek().and_then(|_| self.free.pop());
            let mut flags = if piece.writable { split::WRITE } else { 0 };
            flags |= if piece.table { split::INDIRECT } else { 0 };
            flags |= if next.is_some() { split::NEXT } else { 0 };
            let descriptor = Descriptor {
                address: piece.address,
                length: piece.len,
                flags,
                next: next.unwrap_or(0),
            };
            let [first, second] = descriptor.into_words();
            let place = usize::from(at) * 2;
            store(words, place, first, Ordering::Relaxed);
            store(words, place + 1, second, Ordering::Relaxed);
            if let (Some(next), Some(link)) = (next, self.next.get_mut(usize::from(at))) {
                *link = next;
                at = next;
            }
        }
        Some(head)
    }

    /// Writes the number of a chain's first descriptor into the available ring, unless it is there from
    /// the last round: the device does not write there, or only deceives itself.
    #[inline]
    fn enter<W: Word>(&mut self, words: &[W], head: u16) {
        let slot = usize::from(self.available & self.mask);
        if let Some(there) = self.heads.get_mut(slot)
            && *there != head
        {
            *there = head;
            let at = self.available_at * 8 + 4 + 2 * slot;
            put16(words, at, head, Ordering::Relaxed);
        }
        self.available = self.available.wrapping_add(1);
    }

    /// As [`enter`](Self::enter), for chains of one descriptor each.
    #[inline]
    fn enter_run<W: Word>(&mut self, words: &[W], run: Run) {
        let slot = usize::from(self.available & self.mask);
        let there = self.heads.get(slot..slot + usize::from(run.count));
        let differ = |differ, (there, head): (&u16, u16)| differ | (there ^ head);
        let there = there.unwrap_or_default().iter();
        if there.zip(run.first..).fold(0, differ) == 0 {
            self.available = self.available.wrapping_add(run.count);
            return;
        }
        for head in run.first..run.first + run.count {
            self.enter(words, head);
        }
    }

    /// Frees a chain's descriptors, first to last.
    fn release(&mut self, head: u16, descriptors: u16) {
        let mut at = head;
        for _ in 0..descriptors {
            self.free.push(at);
            at = self.next.get(usize::from(at)).copied().unwrap_or(0);
        }
    }

    /// How many chains the device has.
    #[inline]
    fn had(&self) -> u16 {
        self.available.wrapping_sub(self.used)
    }

    /// How many chains the device has used that are still to be taken. Asks memory when all it was
    /// seen to have used are taken.
    #[inline]
    fn ready<W: Word>(&mut self, words: &[W]) -> Result<u16, QueueFault> {
        if self.used == self.seen {
            let (seen, had) = (self.look(words), self.had());
            let used = seen.wrapping_sub(self.used);
            if used > had {
                return Err(QueueFault::TooMany { used, had });
            }
            self.seen = seen;
        }
        Ok(self.seen.wrapping_sub(self.used))
    }

    /// The index up to which the device says it has used; asks memory.
    fn look<W: Word>(&self, words: &[W]) -> u16 {
        get16(words, self.used_at + 2, Ordering::Acquire)
    }
}

impl Virtqueue for Split {
    fn parts(size: u16, features: QueueFeatures) -> QueueParts {
        let layout = Self::layout(size, features);
        QueueParts {
            driver: layout.available,
            device: layout.used,
            bytes: layout.bytes,
        }
    }

    fn new<W: Word>(words: &[W], size: u16, features: QueueFeatures) -> Self {
        let layout = Self::layout(size, features);
        let count = usize::from(size);
        let mut queue = Self {
            mask: size - 1,
            available_at: layout.available / 8,
            used_at: layout.used,
            used_event: layout.available + 4 + 2 * count,
            avail_event: layout.used + 4 + 8 * count,
            event_idx: features.event_idx,
            free: Ring::full(size),
            next: vec![0; count].into(),
            heads: vec![0; count].into(), // as the memory is
            chains: Chains::new(size, features.in_order),
            available: 0,
            asked: 0,
            used: 0,
            seen: 0,
        };
        queue.disarm(words);
        queue
    }

    fn table_entry(piece: Piece, n: usize, last: bool) -> [u64; 2] {
        let flags = if last { 0 } else { split::NEXT };
        let next = if last { 0 } else { n + 1 };
        Descriptor {
            address: piece.address,
            length: piece.len,
            flags: flags | if piece.writable { split::WRITE } else { 0 },
            next: u16::try_from(next).unwrap_or(0),
        }
        .into_words()
    }

    #[inline]
    fn room(&self) -> usize {
        self.free.len()
    }

    #[inline]
    fn lent(&self) -> usize {
        usize::from(self.had())
    }

    #[inline]
    fn next_id(&self) -> Option<u16> {
        self.free.peek()
    }

    #[inline]
    fn offer<W: Word>(&mut self, words: &[W], chain: &[Piece]) -> Option<u16> {
        if chain.len() > self.room() || chain.is_empty() {
            return None;
        }
        let count = u16::try_from(chain.len()).ok()?;
        let head = self.descriptors(words, chain)?;
        self.chains.lend(head, chain, count);
        self.enter(words, head);
        Some(head)
    }

    #[inline]
    fn offer_one<W: Word>(
        &mut self,
        words: &[W],
        (address, length): (u64, u32),
        room: u32,
    ) -> Option<u16> {
        let head = self.free.pop()?;
        let descriptor = Descriptor {
            address,
            length,
            flags: if room > 0 { split::WRITE } else { 0 },
            next: 0,
        };
        let at = usize::from(head) * 2;
        let [first, second] = descriptor.into_words();
        store(words, at, first, Ordering::Relaxed);
        store(words, at + 1, second, Ordering::Relaxed);
        self.chains.keep(head, 1, room);
        self.enter(words, head);
        Some(head)
    }

    #[inline]
    fn next_run(&self, most: usize) -> Run {
        let slot = usize::from(self.available & self.mask);
        self.free.run(most.min(self.heads.len() - slot))
    }

    #[inline]
    fn offer_run<W: Word>(
        &mut self,
        words: &[W],
        mut run: Run,
        pieces: impl ExactSizeIterator<Item = (u64, u32)>,
        room: u32,
    ) -> Run {
        let table = run.range();
        let table = words.get(table.start * 2..table.end * 2);
        let (table, _) = table.unwrap_or_default().as_chunks::<2>();
        let flags = if room > 0 { split::WRITE } else { 0 };
        run.count = run
            .count
            .min(u16::try_from(pieces.len()).unwrap_or(run.count));
        for ([first, second], (address, length)) in table.iter().zip(pieces) {
            let descriptor = Descriptor {
                address,
                length,
                flags,
                next: 0,
            };
            put(first, descriptor.into_words()[0]);
            put(second, descriptor.into_words()[1]);
        }
        self.free.drop_first(run.count);
        self.chains.lend_run(run, room);
        self.enter_run(words, run);
        run
    }

    #[inline]
    fn publish<W: Word>(&mut self, words: &[W]) -> bool {
        if self.available == self.asked {
            return false;
        }
        // what was written into chains and their slots comes before it
        let at = self.available_at * 8 + 2;
        put16(words, at, self.available, Ordering::Release);
        // the device writes its wish and then looks for chains: one side sees the other's
        W::full_fence();
        let wanted = if self.event_idx {
            let event = get16(words, self.avail_event, Ordering::Relaxed);
            split::needs_event(event, self.available, self.asked)
        } else {
            get16(words, self.used_at, Ordering::Relaxed) & split::NO_NOTIFY == 0
        };
        self.asked = self.available;
        wanted
    }

    #[inline]
    fn take_used<W: Word>(&mut self, words: &[W]) -> Result<Option<Used>, QueueFault> {
        if self.ready(words)? == 0 {
            return Ok(None);
        }
        if !self.chains.in_run() {
            let slot = usize::from(self.used & self.mask);
            let at = self.used_at + 4 + 8 * slot;
            let (id, len) = (get32(words, at), get32(words, at + 4));
            self.chains.named(id, len)?;
        }
        let next = self.used.wrapping_add(1);
        if next == self.seen
            && let Some(id) = self.chains.beyond_next()
        {
            // it named a chain beyond those that it says it has used
            return Err(QueueFault::NoSuchChain { id: id.into() });
        }
        let Some((used, descriptors)) = self.chains.take() else {
            return Ok(None);
        };
        self.used = next;
        self.release(used.id, descriptors);
        Ok(Some(used))
    }

    #[inline]
    fn take_run<W: Word>(&mut self, words: &[W], lens: &mut [u32]) -> Result<Run, QueueFault> {
        let ready = usize::from(self.ready(words)?);
        let slot = usize::from(self.used & self.mask);
        let most = ready.min(lens.len()).min(self.heads.len() - slot);
        if most == 0 || self.chains.in_run() {
            return Ok(Run::default());
        }
        // an entry is the second half of a word and the first half of the next
        let at = self.used_at / 8 + slot;
        let entries = words.get(at..=at + most).and_then(<[W]>::split_first);
        let Some((word, behind)) = entries else {
            return Ok(Run::default());
        };
        let mut word = get(word);
        let first = word >> 32;
        let (mut expected, mut count) = (first, 0);
        let groups = behind.as_chunks::<GROUP>().0.iter();
        for (next, lens) in groups.zip(lens.as_chunks_mut::<GROUP>().0) {
            let [a, b, c, d] = next.each_ref().map(get);
            let ids = [word, a, b, c].map(|word| word >> 32);
            *lens = [a, b, c, d].map(part32);
            if differ_from_run(ids, expected) {
                break;
            }
            word = d;
            expected += GROUP as u64;
            count += 4;
        }
        let single = behind.iter().zip(lens).skip(usize::from(count));
        for (next, len) in single {
            if word >> 32 != expected {
                break;
            }
            word = get(next);
            *len = part32(word);
            expected += 1;
            count += 1;
        }
        let run = self.chains.take_run(first, count).unwrap_or_default();
        self.free.push_run(run);
        self.used = self.used.wrapping_add(run.count);
        Ok(run)
    }

    fn forget(&mut self, each: impl FnMut(u16)) {
        self.chains.forget(each);
    }

    fn arm<W: Word>(&mut self, words: &[W]) -> bool {
        if self.event_idx {
            put16(words, self.used_event, self.used, Ordering::Relaxed);
        } else {
            put16(words, self.available_at * 8, 0, Ordering::Relaxed);
        }
        W::full_fence();
        self.used == self.look(words)
    }

    fn disarm<W: Word>(&mut self, words: &[W]) {
        if self.event_idx {
            // as far ahead as can be: with the event index the flag stays 0 (VIRTIO §2.7.7.1)
            let far = self.used.wrapping_sub(1);
            put16(words, self.used_event, far, Ordering::Relaxed);
        } else {
            let at = self.available_at * 8;
            put16(words, at, split::NO_INTERRUPT, Ordering::Relaxed);
        }
    }
}

/// Whether these are not `first` and the numbers behind it.
#[inline]
fn differ_from_run(ids: [u64; GROUP], first: u64) -> bool {
    let both = ids.into_iter().zip(first..);
    both.fold(0, |differ, (id, expected)| differ | (id ^ expected)) != 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_chain_beyond_those_used_is_a_fault_and_none_is_lost() {
        let features = QueueFeatures {
            in_order: true,
            ..QueueFeatures::default()
        };
        let parts = Split::parts(4, features);
        let words: Vec<AtomicU64> = (0..parts.bytes.div_ceil(8))
            .map(|_| AtomicU64::new(0))
            .collect();
        let mut queue = Split::new(&words, 4, features);
        let piece = [Piece::default()];
        let lent: Vec<u16> = (0..3)
            .map(|_| queue.offer(&words, &piece).unwrap())
            .collect();
        queue.publish(&words);
        // it says it has used two, and names the third
        store(
            &words,
            parts.device / 8,
            2 << 16 | u64::from(lent[2]) << 32,
            Ordering::Release,
        );
        let first = queue.take_used(&words).unwrap().unwrap();
        assert_eq!((first.id, queue.lent()), (lent[0], 2));
        let fault = QueueFault::NoSuchChain { id: lent[2].into() };
        assert_eq!(queue.take_used(&words), Err(fault));
        assert_eq!(queue.lent(), 2);
        let mut forgotten = Vec::new();
        queue.forget(|id| forgotten.push(id));
        assert_eq!(forgotten, lent[1..]);
    }
}
