//! The table through which every access of the device to memory goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_dma::{DmaRegion, Iova};

use super::memory::{Access, Memory, Unanswered};
use super::mirror::Mirror;
use crate::violation::Rule;
use crate::wire::widen;

/// The first address handed out. Above 4 GiB, so that a driver that forgets the high half of an
/// address register is found out.
const FIRST: u64 = 0x11_0000_0000;
/// Mappings start on multiples of this and have at least this much unmapped space behind them, so
/// that running off the end of one is never an access to the next.
const SPACING: u64 = 2 << 20;
/// The most mappings of a device: as many as a VFIO container takes.
pub(crate) const MAX_MAPPINGS: usize = 65_535;

/// Why an access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is mapped at this address.
    Unmapped(u64),
    /// The access starts in a mapping and runs out of it at this address.
    Past(u64),
    /// The mapping at this address is not for reading, or not for writing.
    Denied(u64),
    /// Whoever has the memory at this address does not give it.
    Lost(u64),
    /// Whoever has the memory at this address was asked. The access has to be made again as if it
    /// had not been tried.
    NotYet(u64),
}

impl Fault {
    /// The address, and the rule that was broken; none if it is not the driver's fault.
    pub(super) fn rule(self) -> (Option<Rule>, u64) {
        match self {
            Self::Unmapped(at) => (Some(Rule::Unmapped), at),
            Self::Past(at) => (Some(Rule::PastMapping), at),
            Self::Denied(at) => (Some(Rule::NotPermitted), at),
            Self::Lost(at) | Self::NotYet(at) => (None, at),
        }
    }

    fn unanswered(at: u64) -> impl Fn(Unanswered) -> Self {
        move |why| match why {
            Unanswered::Lost => Self::Lost(at),
            Unanswered::NotYet => Self::NotYet(at),
        }
    }
}

/// Why memory was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has no bytes, or runs past the end of the address space.
    Range,
    /// A part of the range is mapped already.
    Overlap,
    /// [`MAX_MAPPINGS`] are there.
    Full,
}

#[derive(Debug)]
struct Entry {
    start: u64,
    bytes: u64,
    access: Access,
    memory: Memory,
    /// It can be reached as words, both ways, with no further question.
    direct: bool,
}

impl Entry {
    fn new(start: u64, bytes: u64, access: Access, memory: Memory) -> Self {
        let mut entry = Self {
            start,
            bytes,
            access,
            memory,
            direct: false,
        };
        let words = entry.memory.words(entry.length());
        entry.direct = access == Access::BOTH
            && bytes.is_multiple_of(8)
            && words.is_some_and(|words| words.len() == entry.length() / 8);
        entry
    }

    fn length(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// The first address behind it. A range was checked to end within the address space.
    fn last(&self) -> u64 {
        self.start.saturating_add(self.bytes - 1)
    }

    /// Its words, if it can be reached directly.
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        if self.direct {
            self.memory.words(self.length()).unwrap_or_default()
        } else {
            &[]
        }
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let at = self.start.wrapping_add(widen(offset));
        if !self.access.read {
            return Err(Fault::Denied(at));
        }
        let read = self.memory.read(offset, at, into);
        read.map_err(Fault::unanswered(at))
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        let at = self.start.wrapping_add(widen(offset));
        if !self.access.write {
            return Err(Fault::Denied(at));
        }
        let written = self.memory.write(offset, at, from);
        written.map_err(Fault::unanswered(at))
    }
}

/// A descriptor as it lies in memory.
pub(super) type Descriptor = [AtomicU64; 2];

/// Remembers which entry the last access hit. Only a hint: it is checked at each use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hint(usize);

/// The mapping that was hit last, looked up for a burst of accesses.
#[derive(Clone, Copy, Default)]
pub(super) struct Window<'a> {
    start: u64,
    words: &'a [AtomicU64],
}

impl<'a> Window<'a> {
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

    /// Reads `count` bytes at `iova` to the beginning of `into`, whose rest is then unspecified.
    /// False if that can't be done here: [`Iommu::read`] can, or knows why not.
    #[inline]
    pub(super) fn read(&self, iova: u64, into: &mut [u8], count: usize) -> bool {
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
    /// done here: [`Iommu::write`] can, or knows why not.
    #[inline]
    pub(super) fn write(&self, iova: u64, from: &[u8], buffer: usize) -> bool {
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

/// Address ranges and the memory behind them, sorted by address and disjoint.
#[derive(Debug)]
pub(super) struct Iommu {
    entries: Vec<Entry>,
    next: u64,
    /// How many entries can't be reached directly.
    indirect: usize,
    /// Copies of the rings that lie in such entries.
    pub(super) mirrors: Vec<Mirror>,
}

impl Iommu {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            next: FIRST,
            indirect: 0,
            mirrors: Vec::new(),
        }
    }

    /// Maps a region at an address that was never used before, so that the use of an address
    /// after its unmapping is always noticed. `None` when the address space is used up.
    pub(super) fn map(&mut self, region: &Arc<DmaRegion>) -> Option<Iova> {
        let bytes = widen(region.len());
        let start = self.next;
        self.next = start
            .checked_add(bytes)?
            .checked_next_multiple_of(SPACING)?
            .checked_add(SPACING)?;
        let memory = Memory::Mapped(Arc::clone(region), 0);
        self.map_at(start, bytes, Access::BOTH, memory).ok()?;
        Some(Iova::new(start))
    }

    /// Maps memory where somebody else wants it.
    pub(super) fn map_at(
        &mut self,
        start: u64,
        bytes: u64,
        access: Access,
        memory: Memory,
    ) -> Result<(), Refused> {
        let last = bytes
            .checked_sub(1)
            .and_then(|more| start.checked_add(more))
            .ok_or(Refused::Range)?;
        let index = self.entries.partition_point(|entry| entry.start < start);
        let before = index
            .checked_sub(1)
            .and_then(|before| self.entries.get(before));
        let behind = self.entries.get(index);
        if before.is_some_and(|entry| entry.last() >= start)
            || behind.is_some_and(|entry| entry.start <= last)
        {
            return Err(Refused::Overlap);
        }
        if self.entries.len() >= MAX_MAPPINGS {
            return Err(Refused::Full);
        }
        let entry = Entry::new(start, bytes, access, memory);
        self.indirect += usize::from(!entry.direct);
        self.entries.insert(index, entry);
        Ok(())
    }

    /// Takes away the mapping that starts at `iova`.
    pub(super) fn unmap(&mut self, iova: Iova) {
        let start = iova.get();
        let found = self
            .entries
            .binary_search_by_key(&start, |entry| entry.start);
        if let Some(entry) = found.ok().and_then(|index| self.entries.get(index)) {
            self.unmap_range(start, entry.bytes);
        }
    }

    /// Takes away what is mapped of `bytes` from `start` on; mappings that reach beyond keep the
    /// rest. Nothing need be mapped there. Returns how many mappings it touched.
    pub(super) fn unmap_range(&mut self, start: u64, bytes: u64) -> usize {
        let Some(more) = bytes.checked_sub(1) else {
            return 0;
        };
        let last = start.saturating_add(more);
        let from = self.entries.partition_point(|entry| entry.last() < start);
        let to = self.entries.partition_point(|entry| entry.start <= last);
        if from >= to {
            return 0;
        }
        let taken: Vec<Entry> = self.entries.drain(from..to).collect();
        let mut at = from;
        for entry in &taken {
            let head = start.saturating_sub(entry.start).min(entry.bytes);
            let tail = entry.last().saturating_sub(last);
            let parts = [(0, head), (entry.bytes - tail, tail)];
            for (offset, bytes) in parts.into_iter().filter(|(_, bytes)| *bytes > 0) {
                let memory = entry
                    .memory
                    .from(usize::try_from(offset).unwrap_or(usize::MAX));
                let rest = Entry::new(entry.start + offset, bytes, entry.access, memory);
                self.entries.insert(at, rest);
                at += 1;
            }
        }
        self.indirect = self.entries.iter().filter(|entry| !entry.direct).count();
        self.mirrors.retain(|mirror| !mirror.touches(start, last));
        taken.len()
    }

    /// Takes all mappings away.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.indirect = 0;
        self.mirrors.clear();
    }

    /// Whether there is memory that can't be reached directly.
    #[inline]
    pub(super) fn has_indirect(&self) -> bool {
        self.indirect > 0
    }

    /// Whether all of a range lies in one mapping that can be reached directly.
    pub(super) fn is_direct(&self, hint: &mut Hint, iova: u64, bytes: u64) -> bool {
        self.find(hint, iova)
            .is_ok_and(|(entry, _, left)| entry.direct && bytes <= left)
    }

    /// The mapping behind `iova`, the offset in it, and how many bytes follow there.
    #[inline]
    fn find(&self, hint: &mut Hint, iova: u64) -> Result<(&Entry, usize, u64), Fault> {
        if let Some(found) = self
            .entries
            .get(hint.0)
            .and_then(|entry| within(entry, iova))
        {
            return Ok(found);
        }
        self.search(hint, iova)
    }

    #[cold]
    fn search(&self, hint: &mut Hint, iova: u64) -> Result<(&Entry, usize, u64), Fault> {
        let index = self
            .entries
            .partition_point(|entry| entry.start <= iova)
            .checked_sub(1)
            .ok_or(Fault::Unmapped(iova))?;
        let found = self
            .entries
            .get(index)
            .and_then(|entry| within(entry, iova))
            .ok_or(Fault::Unmapped(iova))?;
        hint.0 = index;
        Ok(found)
    }

    /// The mapping that a hint is about; an empty one if there is none.
    #[inline]
    pub(super) fn window(&self, hint: Hint) -> Window<'_> {
        self.entries
            .get(hint.0)
            .map_or_else(Window::default, |entry| Window {
                start: entry.start,
                words: entry.words(),
            })
    }

    /// The two 64-bit words of the descriptor at `iova`.
    #[inline]
    pub(super) fn descriptor(&self, hint: &mut Hint, iova: u64) -> Result<&Descriptor, Fault> {
        let (entry, offset, _) = self.find(hint, iova)?;
        words_from(entry.words(), offset)
            .first_chunk()
            .or_else(|| self.mirrored(iova).first())
            .ok_or(Fault::Past(iova))
    }

    /// The descriptors from `iova` on, as far as the mapping goes; none if nothing is mapped there.
    #[inline]
    pub(super) fn descriptors(&self, hint: &mut Hint, iova: u64) -> &[Descriptor] {
        match self.find(hint, iova) {
            Ok((entry, offset, _)) if entry.direct => {
                words_from(entry.words(), offset).as_chunks().0
            }
            Ok(_) => self.mirrored(iova),
            Err(_) => &[],
        }
    }

    /// The copies of descriptors from `iova` on; none if no ring is copied there.
    #[cold]
    fn mirrored(&self, iova: u64) -> &[Descriptor] {
        let from = |mirror: &'_ Mirror| mirror.index_of(iova);
        self.mirrors
            .iter()
            .find_map(|mirror| Some((mirror, from(mirror)?)))
            .and_then(|(mirror, index)| mirror.words.get(index..))
            .unwrap_or_default()
    }

    /// Reads `count` bytes at `iova` to the beginning of `into`, whose rest is then unspecified.
    #[cold]
    pub(super) fn read(
        &self,
        hint: &mut Hint,
        iova: u64,
        into: &mut [u8],
        count: usize,
    ) -> Result<(), Fault> {
        self.find(hint, iova)?;
        if self.window(*hint).read(iova, into, count) {
            return Ok(());
        }
        let into = into.get_mut(..count).unwrap_or_default();
        self.read_pieces(hint, iova, into)
    }

    /// Writes `from` at `iova`, where a buffer of `buffer` bytes begins.
    #[cold]
    pub(super) fn write(
        &self,
        hint: &mut Hint,
        iova: u64,
        from: &[u8],
        buffer: usize,
    ) -> Result<(), Fault> {
        self.find(hint, iova)?;
        if self.window(*hint).write(iova, from, buffer) {
            return Ok(());
        }
        self.write_pieces(hint, iova, from)
    }

    /// Replaces the 32 bits at `iova`, a multiple of 4, in one atomic step.
    pub(super) fn write32(&self, hint: &mut Hint, iova: u64, value: u32) -> Result<(), Fault> {
        let (entry, offset, _) = self.find(hint, iova & !7)?;
        if !entry.direct {
            let offset = offset.saturating_add(if iova & 4 == 0 { 0 } else { 4 });
            return entry.write(offset, &value.to_le_bytes());
        }
        let word = entry.words().get(offset / 8).ok_or(Fault::Unmapped(iova))?;
        let shift = if iova & 4 == 0 { 0 } else { 32 };
        let mask = u64::from(u32::MAX) << shift;
        let value = u64::from(value) << shift;
        // The other half may belong to the driver, which may write it at the same moment.
        let mut current = word.load(Ordering::Relaxed);
        while let Err(now) = word.compare_exchange_weak(
            current,
            current & !mask | value,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            current = now;
        }
        Ok(())
    }

    /// Asks for all pieces of a range that have to be asked for.
    fn prepare(&self, hint: &mut Hint, iova: u64, count: usize) -> Result<(), Fault> {
        let mut at = iova;
        let mut rest = count;
        let mut result = Ok(());
        while rest > 0 {
            let (entry, _, left) = self.find(hint, at).map_err(|fault| past(fault, iova))?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest);
            if entry.access.read {
                let prepared = entry.memory.prepare(at, count);
                result = result.and(prepared.map_err(Fault::unanswered(at)));
            }
            at = at.wrapping_add(widen(count));
            rest -= count;
        }
        result
    }

    /// Reads bytes wherever they lie.
    #[cold]
    pub(super) fn read_pieces(
        &self,
        hint: &mut Hint,
        iova: u64,
        into: &mut [u8],
    ) -> Result<(), Fault> {
        if self.indirect > 0 {
            self.prepare(hint, iova, into.len())?;
        }
        let mut at = iova;
        let mut rest = into;
        while !rest.is_empty() {
            let (entry, offset, left) = self.find(hint, at).map_err(|fault| past(fault, iova))?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            entry.read(offset, now)?;
            // Wrapping is harmless: what comes next is looked up, or there is no next.
            at = at.wrapping_add(widen(count));
            rest = later;
        }
        Ok(())
    }

    /// Writes bytes wherever they lie.
    #[cold]
    pub(super) fn write_pieces(
        &self,
        hint: &mut Hint,
        iova: u64,
        from: &[u8],
    ) -> Result<(), Fault> {
        let mut at = iova;
        let mut rest = from;
        while !rest.is_empty() {
            let (entry, offset, left) = self.find(hint, at).map_err(|fault| past(fault, iova))?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(count);
            entry.write(offset, now)?;
            // Wrapping is harmless: what comes next is looked up, or there is no next.
            at = at.wrapping_add(widen(count));
            rest = later;
        }
        Ok(())
    }

    /// Whether `bytes` from `iova` on are all mapped.
    pub(super) fn covers(&self, iova: u64, bytes: u64) -> Result<(), Fault> {
        let mut hint = Hint::default();
        let mut at = iova;
        let mut rest = bytes;
        while rest > 0 {
            let (_, _, left) = self
                .find(&mut hint, at)
                .map_err(|fault| past(fault, iova))?;
            let count = left.min(rest);
            at = at.checked_add(count).ok_or(Fault::Past(at))?;
            rest -= count;
        }
        Ok(())
    }
}

/// Bytes that are read at once.
const BLOCK: usize = 64;

/// The words from an offset on that is a multiple of 8.
#[inline]
fn words_from(words: &[AtomicU64], offset: usize) -> &[AtomicU64] {
    words.get(offset / 8..).unwrap_or_default()
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

#[inline]
fn within(entry: &Entry, iova: u64) -> Option<(&Entry, usize, u64)> {
    let offset = iova.wrapping_sub(entry.start);
    if offset >= entry.bytes {
        return None;
    }
    let position = usize::try_from(offset).ok()?;
    Some((entry, position, entry.bytes - offset))
}

fn past(fault: Fault, start: u64) -> Fault {
    match fault {
        Fault::Unmapped(at) if at != start => Fault::Past(at),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_dma::Pages;
    use proptest::prelude::*;

    fn put(iommu: &Iommu, iova: u64, bytes: &[u8]) -> Result<(), Fault> {
        iommu.write(&mut Hint::default(), iova, bytes, bytes.len())
    }

    fn get(iommu: &Iommu, iova: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut room = vec![0; bytes.len() + BLOCK];
        iommu.read(&mut Hint::default(), iova, &mut room, bytes.len())?;
        bytes.copy_from_slice(&room[..bytes.len()]);
        Ok(())
    }

    proptest! {
        #[test]
        fn a_write_changes_its_bytes_and_no_others(
            at in 0u64..300,
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            buffer in 0usize..256,
        ) {
            let (iommu, first, _) = table();
            put(&iommu, first, &[0xEE; 1024]).unwrap();
            let buffer = buffer.max(bytes.len());
            iommu.write(&mut Hint::default(), first + at, &bytes, buffer).unwrap();
            let mut all = vec![0; 1024];
            get(&iommu, first, &mut all).unwrap();
            let at = usize::try_from(at).unwrap();
            prop_assert_eq!(&all[at..at + bytes.len()], &bytes[..]);
            prop_assert!(all[..at].iter().all(|byte| *byte == 0xEE));
            prop_assert!(all[at + bytes.len()..].iter().all(|byte| *byte == 0xEE));
            let mut back = vec![0; bytes.len()];
            get(&iommu, first + at as u64, &mut back).unwrap();
            prop_assert_eq!(back, bytes);
        }
    }

    fn table() -> (Iommu, u64, u64) {
        let mut iommu = Iommu::new();
        let region = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
        let first = iommu.map(&region).unwrap().get();
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let second = iommu.map(&region).unwrap().get();
        (iommu, first, second)
    }

    #[test]
    fn bytes_go_through_and_addresses_have_a_high_half() {
        let (iommu, first, second) = table();
        assert!(first >> 32 != 0);
        put(&iommu, first + 5, &[1, 2, 3]).unwrap();
        put(&iommu, second, &[9]).unwrap();
        let mut bytes = [0; 3];
        get(&iommu, first + 5, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn the_end_of_a_mapping_is_the_end() {
        let (iommu, first, _) = table();
        assert_eq!(
            put(&iommu, first + 8190, &[0; 4]),
            Err(Fault::Past(first + 8192))
        );
        assert_eq!(
            get(&iommu, first - 1, &mut [0; 4]),
            Err(Fault::Unmapped(first - 1))
        );
        assert_eq!(iommu.covers(first, 8193), Err(Fault::Past(first + 8192)));
        assert_eq!(iommu.covers(first, 8192), Ok(()));
        assert!(iommu.covers(u64::MAX, 1).is_err());
    }

    #[test]
    fn an_address_is_never_used_twice() {
        let (mut iommu, first, second) = table();
        iommu.unmap(Iova::new(first));
        assert_eq!(get(&iommu, first, &mut [0]), Err(Fault::Unmapped(first)));
        get(&iommu, second, &mut [0]).unwrap();
        let region = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
        assert!(iommu.map(&region).unwrap().get() > second);
    }

    #[test]
    fn half_a_word_is_replaced() {
        let (iommu, first, _) = table();
        put(&iommu, first, &[0xAA; 8]).unwrap();
        iommu
            .write32(&mut Hint::default(), first + 4, 0x0102_0304)
            .unwrap();
        let mut bytes = [0; 8];
        get(&iommu, first, &mut bytes).unwrap();
        assert_eq!(bytes, [0xAA, 0xAA, 0xAA, 0xAA, 4, 3, 2, 1]);
    }
}
