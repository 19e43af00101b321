//! The table through which every access of the device to memory goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_dma::{DmaRegion, Iova};

use super::backing::{Access, Memory, Unanswered};
use super::mirror::Mirror;
use super::window::Window;
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
pub(crate) enum Fault {
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
    pub(crate) fn rule(self) -> (Option<Rule>, u64) {
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
pub enum Refused {
    /// It has no bytes, or runs past the end of the address space.
    Range,
    /// A part of the range is mapped already.
    Overlap,
    /// [`MAX_MAPPINGS`] are there.
    Full,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    start: u64,
    bytes: u64,
    access: Access,
    memory: Memory,
    /// It can be reached as words, both ways, with no further question.
    pub(super) direct: bool,
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
    pub(super) fn words(&self) -> &[AtomicU64] {
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
pub(crate) type Descriptor = [AtomicU64; 2];

/// Remembers which entry the last access hit. Only a hint: it is checked at each use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hint(usize);

/// Address ranges and the memory behind them, sorted by address and disjoint.
#[derive(Debug)]
pub(crate) struct Iommu {
    entries: Vec<Entry>,
    next: u64,
    /// How many entries can't be reached directly.
    indirect: usize,
    /// Copies of the rings that lie in such entries.
    pub(crate) mirrors: Vec<Mirror>,
}

impl Iommu {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            next: FIRST,
            indirect: 0,
            mirrors: Vec::new(),
        }
    }

    /// A table with the same mappings, if all can be reached directly; an empty one if not.
    pub(crate) fn direct_copy(&self) -> Self {
        let mut copy = Self::new();
        if !self.has_indirect() {
            copy.entries.clone_from(&self.entries);
        }
        copy
    }

    /// Maps a region at an address that was never used before, so that the use of an address
    /// after its unmapping is always noticed. `None` when the address space is used up.
    pub(crate) fn map(&mut self, region: &Arc<DmaRegion>) -> Option<Iova> {
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
    pub(crate) fn map_at(
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
    pub(crate) fn unmap(&mut self, iova: Iova) {
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
    pub(crate) fn unmap_range(&mut self, start: u64, bytes: u64) -> usize {
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
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.indirect = 0;
        self.mirrors.clear();
    }

    /// Whether there is memory that can't be reached directly.
    #[inline]
    pub(crate) fn has_indirect(&self) -> bool {
        self.indirect > 0
    }

    /// Whether all of a range lies in one mapping that can be reached directly.
    pub(crate) fn is_direct(&self, hint: &mut Hint, iova: u64, bytes: u64) -> bool {
        self.find(hint, iova)
            .is_ok_and(|(entry, _, left)| entry.direct && bytes <= left)
    }

    /// The mapping behind `iova`, the offset in it, and how many bytes follow there.
    #[inline]
    pub(super) fn find(&self, hint: &mut Hint, iova: u64) -> Result<(&Entry, usize, u64), Fault> {
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
    pub(crate) fn window(&self, hint: Hint) -> Window<'_> {
        self.entries
            .get(hint.0)
            .map_or_else(Window::default, |entry| {
                Window::new(entry.start, entry.words())
            })
    }

    /// The two 64-bit words of the descriptor at `iova`.
    #[inline]
    pub(crate) fn descriptor(&self, hint: &mut Hint, iova: u64) -> Result<&Descriptor, Fault> {
        let (entry, offset, _) = self.find(hint, iova)?;
        words_from(entry.words(), offset)
            .first_chunk()
            .or_else(|| self.mirrored(iova).first())
            .ok_or(Fault::Past(iova))
    }

    /// The descriptors from `iova` on, as far as the mapping goes; none if nothing is mapped there.
    #[inline]
    pub(crate) fn descriptors(&self, hint: &mut Hint, iova: u64) -> &[Descriptor] {
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
    pub(crate) fn read(
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
    pub(crate) fn write(
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
    pub(crate) fn write32(&self, hint: &mut Hint, iova: u64, value: u32) -> Result<(), Fault> {
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
    pub(crate) fn prepare(&self, hint: &mut Hint, iova: u64, count: usize) -> Result<(), Fault> {
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
    pub(crate) fn read_pieces(
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
    pub(crate) fn write_pieces(
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
    pub(crate) fn covers(&self, iova: u64, bytes: u64) -> Result<(), Fault> {
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

/// The words from an offset on that is a multiple of 8.
#[inline]
fn words_from(words: &[AtomicU64], offset: usize) -> &[AtomicU64] {
    words.get(offset / 8..).unwrap_or_default()
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
mod tests;
