//! Packed rings (VIRTIO §2.8).

use std::sync::atomic::{Ordering, fence};

use barewire_spec::virtio::packed::{
    Descriptor, EVENT_WRAP, EVENTS_DESCRIPTOR, EVENTS_DISABLE, EVENTS_ENABLE, INDIRECT, NEXT,
    WRITE, used_flags,
};
use barewire_spec::virtio::split::needs_event;

use super::{Chain, Clauses, Element, Notes, Parts, Shape, Table, Trouble, broken, while_at};
use crate::memory::{Hint, Iommu, Width};
use crate::violation::{Refusal, Rule, refusal};

const CLAUSES: Clauses = Clauses {
    order: broken(
        "a device-readable element behind a device-writable one",
        "virtio 1.2 §2.8.17",
    ),
    too_many_bytes: broken("a list of more than 2³² bytes", "virtio 1.2 §2.8.4"),
    too_long: broken("a list longer than the queue", "virtio 1.2 §2.8.17"),
    no_indirect: broken(
        "INDIRECT without the feature INDIRECT_DESC",
        "virtio 1.2 §2.8.19",
    ),
    nested: broken(
        "a flag other than WRITE in an indirect table",
        "virtio 1.2 §2.8.19",
    ),
    indirect_and_next: broken("INDIRECT in a list", "virtio 1.2 §2.8.19"),
    table_size: broken(
        "the length of an indirect table is no multiple of 16, 0, or above 1 MiB",
        "virtio 1.2 §2.8.7",
    ),
    twice: broken(
        "a buffer ID of a buffer that the device has not given back",
        "virtio 1.2 §2.8.21.1",
    ),
};

const HALF: Refusal = broken(
    "the first descriptor of a list made available before the others",
    "virtio 1.2 §2.8.17",
);
const FLAGS: Refusal = refusal(
    Rule::ReservedBit,
    "flags of a descriptor that do not exist",
    "virtio 1.2 §2.8.13",
);
const EVENT_FLAGS: Refusal = refusal(
    Rule::ReservedBit,
    "flags of event suppression that do not exist",
    "virtio 1.2 §2.8.14",
);
const NO_EVENTS: Refusal = refusal(
    Rule::ForbiddenValue,
    "event suppression by descriptor without the feature EVENT_IDX",
    "virtio 1.2 §2.8.10",
);

/// All flags that a descriptor of the ring may have.
const KNOWN: u16 = NEXT
    | WRITE
    | INDIRECT
    | barewire_spec::virtio::packed::AVAIL
    | barewire_spec::virtio::packed::USED;

/// A position in the ring, and the wrap counter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    index: u16,
    wrap: bool,
}

impl Position {
    const START: Self = Self {
        index: 0,
        wrap: true,
    };

    /// `count` descriptors further on, which are no more than there are.
    fn advance(self, count: u16, size: u16) -> Self {
        let index = u32::from(self.index) + u32::from(count);
        match index.checked_sub(u32::from(size)) {
            Some(over) => Self {
                index: u16::try_from(over).unwrap_or(0),
                wrap: !self.wrap,
            },
            None => Self {
                index: u16::try_from(index).unwrap_or(0),
                wrap: self.wrap,
            },
        }
    }
}

/// A list that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// The second word of the descriptor at hand, if it was read.
    word: Option<u64>,
    table: Option<(Table, u16)>,
    visited: u16,
}

/// A buffer that was given back and is not shown yet.
#[derive(Clone, Copy, Debug)]
struct Used {
    at: Position,
    id: u16,
    written: u32,
}

/// A packed ring.
#[derive(Debug)]
pub(crate) struct Packed {
    shape: Shape,
    hint: Hint,
    next: Position,
    walk: Option<Walk>,
    chain: Chain,
    /// IDs of the buffers that the device has.
    held: Vec<u64>,
    used: Position,
    batch: Vec<Used>,
    /// Descriptors used since it was last decided whether to interrupt.
    untold: u16,
}

impl Packed {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            hint: Hint::default(),
            next: Position::START,
            walk: None,
            chain: Chain::default(),
            held: vec![0; 1 << 10],
            used: Position::START,
            batch: Vec::new(),
            untold: 0,
            shape,
        }
    }

    fn address(&self, index: u16) -> u64 {
        self.shape.descriptors.wrapping_add(u64::from(index) * 16)
    }

    fn load(
        &mut self,
        memory: &Iommu,
        what: &'static str,
        iova: u64,
        width: Width,
    ) -> Result<u64, Trouble> {
        let value = memory.load(&mut self.hint, iova, width);
        value.map_err(while_at(what))
    }

    /// Marks an ID as held or not; says whether it was.
    fn hold(&mut self, id: u16, held: bool) -> bool {
        let bit = 1u64 << (id % 64);
        let Some(word) = self.held.get_mut(usize::from(id / 64)) else {
            return false;
        };
        let before = *word & bit != 0;
        *word = if held { *word | bit } else { *word & !bit };
        before
    }

    pub(super) fn fetch(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
        chain: &mut Chain,
    ) -> Result<bool, Trouble> {
        if self.walk.is_none() {
            let at = self.address(self.next.index).wrapping_add(8);
            let word = self.load(memory, "descriptor", at, Width::Eight)?;
            if !Descriptor::from_words([0, word]).is_available(self.next.wrap) {
                return Ok(false);
            }
            self.chain.clear();
            self.walk = Some(Walk {
                word: Some(word),
                ..Walk::default()
            });
        }
        while let Some(mut walk) = self.walk {
            let more = self.visit(memory, notes, &mut walk);
            // What was read is kept, whatever came of it.
            self.walk = Some(walk);
            if !more? {
                self.walk = None;
            }
        }
        if self.hold(self.chain.id, true) {
            return Err(Trouble::Broken(CLAUSES.twice, self.chain.id.into()));
        }
        self.next = self.next.advance(self.chain.count, self.shape.size);
        std::mem::swap(&mut self.chain, chain);
        Ok(true)
    }

    /// Reads a descriptor; says whether the list goes on.
    fn visit(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
        walk: &mut Walk,
    ) -> Result<bool, Trouble> {
        if let Some((table, index)) = walk.table {
            return self.visit_entry(memory, walk, table, index);
        }
        if walk.visited >= self.shape.size {
            return Err(Trouble::Broken(CLAUSES.too_long, walk.visited.into()));
        }
        let position = self.next.advance(walk.visited, self.shape.size);
        let at = self.address(position.index);
        let high = match walk.word {
            Some(word) => word,
            None => self.load(memory, "descriptor", at.wrapping_add(8), Width::Eight)?,
        };
        walk.word = Some(high);
        let low = self.load(memory, "descriptor", at, Width::Eight)?;
        walk.word = None;
        let descriptor = Descriptor::from_words([low, high]);
        let Descriptor {
            address,
            length,
            id,
            flags,
        } = descriptor;
        if !descriptor.is_available(position.wrap) {
            return Err(Trouble::Broken(HALF, flags.into()));
        }
        if flags & !KNOWN != 0 {
            notes.add(FLAGS, flags.into());
        }
        walk.visited += 1;
        self.chain.count += 1;
        self.chain.id = id;
        if flags & INDIRECT != 0 {
            if !self.shape.indirect {
                return Err(Trouble::Broken(CLAUSES.no_indirect, flags.into()));
            }
            if flags & NEXT != 0 || walk.visited > 1 {
                return Err(Trouble::Broken(CLAUSES.indirect_and_next, flags.into()));
            }
            let table = Table::new(address, length, &CLAUSES)?;
            if table.entries > self.shape.size {
                return Err(Trouble::Broken(CLAUSES.too_long, table.entries.into()));
            }
            walk.table = Some((table, 0));
            return Ok(true);
        }
        let element = Element::new(address, length, flags);
        self.chain.push(element, &CLAUSES)?;
        Ok(flags & NEXT != 0)
    }

    /// Reads an entry of an indirect table.
    fn visit_entry(
        &mut self,
        memory: &Iommu,
        walk: &mut Walk,
        table: Table,
        index: u16,
    ) -> Result<bool, Trouble> {
        let words = memory.entry(&mut self.hint, table.at(index));
        let words = words.map_err(while_at("indirect table"))?;
        let Descriptor {
            address,
            length,
            flags,
            ..
        } = Descriptor::from_words(words);
        if flags & !WRITE != 0 {
            return Err(Trouble::Broken(CLAUSES.nested, flags.into()));
        }
        let element = Element::new(address, length, flags);
        self.chain.push(element, &CLAUSES)?;
        walk.table = Some((table, index + 1));
        Ok(index + 1 < table.entries)
    }

    pub(super) fn give_back(&mut self, chain: &Chain, written: u32) {
        let Parts { id, count, .. } = **chain;
        self.hold(id, false);
        // The last one stands for all before it where buffers are used in order (§2.8.8).
        let replaces = self.shape.in_order && chain.writable == 0;
        match self.batch.last_mut() {
            Some(last) if replaces => last.id = id,
            _ => self.batch.push(Used {
                at: self.used,
                id,
                written,
            }),
        }
        self.used = self.used.advance(count, self.shape.size);
        self.untold = self.untold.saturating_add(count);
    }

    pub(super) fn publish(&mut self, memory: &Iommu) -> Result<(), Trouble> {
        // From behind, so that the driver never sees the beginning of a frame and not its end
        // (§2.8.9).
        while let Some(Used { at, id, written }) = self.batch.pop() {
            let wrote = if written > 0 { WRITE } else { 0 };
            let [_, word] = Descriptor {
                address: 0,
                length: written,
                id,
                flags: used_flags(at.wrap) | wrote,
            }
            .into_words();
            let iova = self.address(at.index).wrapping_add(8);
            let stored = memory.store(&mut self.hint, iova, Width::Eight, word);
            stored.map_err(while_at("used descriptor"))?;
        }
        Ok(())
    }

    pub(super) fn wants_interrupt(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
    ) -> Result<bool, Trouble> {
        if self.untold == 0 {
            return Ok(false);
        }
        // See the split ring.
        fence(Ordering::SeqCst);
        let driver = self.shape.driver;
        if !memory.is_direct(&mut self.hint, driver, 4) {
            self.untold = 0;
            return Ok(true);
        }
        let both = self.load(memory, "event suppression", driver, Width::Four)?;
        let event = u16::try_from(both & 0xFFFF).unwrap_or(0);
        let flags = u16::try_from(both >> 16).unwrap_or(0);
        let wanted = match flags & 3 {
            EVENTS_ENABLE => true,
            EVENTS_DISABLE => false,
            EVENTS_DESCRIPTOR if self.shape.event_index => self.reaches(event),
            EVENTS_DESCRIPTOR => {
                notes.add(NO_EVENTS, flags.into());
                true
            }
            _ => {
                notes.add(EVENT_FLAGS, flags.into());
                true
            }
        };
        if flags & !3 != 0 {
            notes.add(EVENT_FLAGS, flags.into());
        }
        self.untold = 0;
        Ok(wanted)
    }

    /// Whether what was used since the last time includes the descriptor that the driver waits for.
    fn reaches(&self, event: u16) -> bool {
        let mut offset = event & !EVENT_WRAP;
        if (event & EVENT_WRAP != 0) != self.used.wrap {
            offset = offset.wrapping_sub(self.shape.size);
        }
        let new = self.used.index;
        needs_event(offset, new, new.wrapping_sub(self.untold))
    }

    pub(super) fn ask_to_be_notified(
        &mut self,
        memory: &Iommu,
        wanted: bool,
    ) -> Result<(), Trouble> {
        let Position { index, wrap } = self.next;
        let wrap = if wrap { EVENT_WRAP } else { 0 };
        let (event, flags) = match (wanted, self.shape.event_index) {
            (false, _) => (0, EVENTS_DISABLE),
            (true, false) => (0, EVENTS_ENABLE),
            (true, true) => (index | wrap, EVENTS_DESCRIPTOR),
        };
        let both = u64::from(event) | u64::from(flags) << 16;
        let stored = memory.store(&mut self.hint, self.shape.device, Width::Four, both);
        stored.map_err(while_at("event suppression"))?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// The ring is in memory that has to be asked for.
    pub(super) fn is_distant(&mut self, memory: &Iommu) -> bool {
        !memory.is_direct(&mut self.hint, self.shape.driver, 4)
    }
}
