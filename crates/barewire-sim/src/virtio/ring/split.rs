//! Split rings (VIRTIO §2.7).

use std::sync::atomic::{Ordering, fence};

use barewire_spec::virtio::split::{
    Descriptor, INDIRECT, NEXT, NO_INTERRUPT, NO_NOTIFY, WRITE, needs_event,
};

use super::{Chain, Clauses, Element, Notes, Shape, Table, Trouble, broken, while_at};
use crate::memory::{Hint, Iommu, Width};
use crate::violation::{Refusal, Rule, refusal};

const CLAUSES: Clauses = Clauses {
    order: broken(
        "a device-readable element behind a device-writable one",
        "virtio 1.2 §2.7.4.2",
    ),
    too_many_bytes: broken("a chain of more than 2³² bytes", "virtio 1.2 §2.7.5.2"),
    too_long: broken(
        "a chain longer than the queue, or a loop",
        "virtio 1.2 §2.7.5.3.1",
    ),
    no_indirect: broken(
        "INDIRECT without the feature INDIRECT_DESC",
        "virtio 1.2 §2.7.5.3.1",
    ),
    nested: broken("INDIRECT in an indirect table", "virtio 1.2 §2.7.5.3.1"),
    indirect_and_next: broken("INDIRECT and NEXT at once", "virtio 1.2 §2.7.5.3.1"),
    table_size: broken(
        "the length of an indirect table is no multiple of 16, 0, or above 1 MiB",
        "virtio 1.2 §2.7.5.3",
    ),
    twice: broken(
        "a chain made available that the device has not given back",
        "virtio 1.2 §2.7.13",
    ),
};

const BACKWARDS: Refusal = refusal(
    Rule::Descriptor,
    "the available index went back, or further ahead than the queue is long",
    "virtio 1.2 §2.7.6.1",
);
const HEAD: Refusal = broken(
    "a head outside the table of descriptors",
    "virtio 1.2 §2.7.6",
);
const OUTSIDE: Refusal = broken("NEXT leads outside the table", "virtio 1.2 §2.7.5");
const FLAGS: Refusal = refusal(
    Rule::ReservedBit,
    "flags of a descriptor that do not exist",
    "virtio 1.2 §2.7.5",
);
const ORDER: Refusal = broken(
    "descriptors out of the table's order although IN_ORDER was negotiated",
    "virtio 1.2 §2.7.5.2",
);
const AVAILABLE_FLAGS: Refusal = refusal(
    Rule::ReservedBit,
    "flags of the available ring that do not exist",
    "virtio 1.2 §2.7.7.1",
);
const FLAGS_WITH_EVENTS: Refusal = refusal(
    Rule::ForbiddenValue,
    "flags of the available ring although EVENT_IDX was negotiated",
    "virtio 1.2 §2.7.7.1",
);

/// A chain that is being read.
#[derive(Clone, Copy, Debug)]
struct Walk {
    index: u16,
    table: Option<Table>,
    visited: u16,
}

/// A split ring.
#[derive(Debug)]
pub(crate) struct Split {
    shape: Shape,
    hint: Hint,
    /// The available index, as it was read last.
    seen: u16,
    /// The available entry that is taken next.
    next: u16,
    walk: Option<Walk>,
    chain: Chain,
    /// Heads of the chains that the device has.
    held: Vec<bool>,
    /// The head that comes next where descriptors are in order.
    expected: u16,
    /// The used entry that is written next.
    used: u16,
    /// The used index, as the driver sees it.
    published: u16,
    /// The used index when it was last decided whether to interrupt.
    told: u16,
    /// The length of the entry that was written last, which is yet to be written, and where.
    length: Option<(u64, u32)>,
    /// What stands for all entries from `published` on where buffers are used in order.
    last: Option<(u16, u32)>,
}

impl Split {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            hint: Hint::default(),
            seen: 0,
            next: 0,
            walk: None,
            chain: Chain::default(),
            held: vec![false; usize::from(shape.size)],
            expected: 0,
            used: 0,
            published: 0,
            told: 0,
            length: None,
            last: None,
            shape,
        }
    }

    /// Of positions in the ring: its size is a power of two (§2.7).
    fn mask(&self) -> u16 {
        self.shape.size.wrapping_sub(1)
    }

    fn load(&mut self, memory: &Iommu, what: &'static str, iova: u64) -> Result<u16, Trouble> {
        let value = memory.load(&mut self.hint, iova, Width::Two);
        let value = value.map_err(while_at(what))?;
        Ok(u16::try_from(value).unwrap_or(0))
    }

    fn store(
        &mut self,
        memory: &Iommu,
        iova: u64,
        width: Width,
        value: impl Into<u64>,
    ) -> Result<(), Trouble> {
        let stored = memory.store(&mut self.hint, iova, width, value.into());
        stored.map_err(while_at("used ring"))
    }

    pub(super) fn fetch(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
        chain: &mut Chain,
    ) -> Result<bool, Trouble> {
        if self.walk.is_none() && !self.begin(memory, notes)? {
            return Ok(false);
        }
        while let Some(walk) = self.walk {
            self.walk = self.visit(memory, notes, walk)?;
        }
        self.next = self.next.wrapping_add(1);
        self.expected = self.expected.wrapping_add(self.chain.count) & self.mask();
        std::mem::swap(&mut self.chain, chain);
        Ok(true)
    }

    /// Finds the head of the next chain.
    fn begin(&mut self, memory: &Iommu, notes: &mut Notes) -> Result<bool, Trouble> {
        let Shape { driver, size, .. } = self.shape;
        if self.next == self.seen {
            self.seen = self.load(memory, "available ring", driver.wrapping_add(2))?;
            if self.seen.wrapping_sub(self.next) > size {
                return Err(Trouble::Broken(BACKWARDS, self.seen.into()));
            }
        }
        if self.next == self.seen {
            return Ok(false);
        }
        let slot = u64::from(self.next & self.mask());
        let head = self.load(memory, "available ring", driver.wrapping_add(4 + 2 * slot))?;
        match self.held.get_mut(usize::from(head)) {
            None => return Err(Trouble::Broken(HEAD, head.into())),
            Some(true) => return Err(Trouble::Broken(CLAUSES.twice, head.into())),
            Some(is_held) => *is_held = true,
        }
        if self.shape.in_order && head != self.expected {
            notes.add(ORDER, head.into());
            self.expected = head;
        }
        self.chain.clear();
        self.chain.id = head;
        self.walk = Some(Walk {
            index: head,
            table: None,
            visited: 0,
        });
        Ok(true)
    }

    /// Reads a descriptor; says where the chain goes on.
    fn visit(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
        walk: Walk,
    ) -> Result<Option<Walk>, Trouble> {
        let Shape {
            descriptors, size, ..
        } = self.shape;
        let Walk {
            index,
            table,
            visited,
        } = walk;
        if visited >= size {
            return Err(Trouble::Broken(CLAUSES.too_long, visited.into()));
        }
        let (address, entries) = match table {
            Some(table) => (table.at(index), table.entries),
            None => (descriptors.wrapping_add(u64::from(index) * 16), size),
        };
        let words = memory.entry(&mut self.hint, address);
        let words = words.map_err(while_at("descriptor"))?;
        let Descriptor {
            address,
            length,
            flags,
            next,
        } = Descriptor::from_words(words);
        if flags & !(NEXT | WRITE | INDIRECT) != 0 {
            notes.add(FLAGS, flags.into());
        }
        if table.is_none() {
            self.chain.count += 1;
        }
        if flags & INDIRECT != 0 {
            if !self.shape.indirect {
                return Err(Trouble::Broken(CLAUSES.no_indirect, flags.into()));
            }
            if table.is_some() {
                return Err(Trouble::Broken(CLAUSES.nested, flags.into()));
            }
            if flags & NEXT != 0 {
                return Err(Trouble::Broken(CLAUSES.indirect_and_next, flags.into()));
            }
            return Ok(Some(Walk {
                index: 0,
                table: Some(Table::new(address, length, &CLAUSES)?),
                visited,
            }));
        }
        let element = Element::new(address, length, flags);
        self.chain.push(element, &CLAUSES)?;
        if flags & NEXT == 0 {
            return Ok(None);
        }
        if next >= entries {
            return Err(Trouble::Broken(OUTSIDE, next.into()));
        }
        let following = match table {
            None => (index + 1) % size,
            Some(_) => index + 1,
        };
        if self.shape.in_order && next != following {
            notes.add(ORDER, next.into());
        }
        Ok(Some(Walk {
            index: next,
            table,
            visited: visited + 1,
        }))
    }

    pub(super) fn give_back(
        &mut self,
        memory: &Iommu,
        chain: &Chain,
        written: u32,
    ) -> Result<(), Trouble> {
        if let Some(held) = self.held.get_mut(usize::from(chain.id)) {
            *held = false;
        }
        if self.shape.in_order && chain.writable == 0 {
            // One entry stands for all buffers before it (§2.7.9).
            self.last = Some((chain.id, written));
            self.used = self.used.wrapping_add(1);
            return Ok(());
        }
        self.write_entry(memory, self.used, chain.id, written)?;
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    fn write_entry(
        &mut self,
        memory: &Iommu,
        position: u16,
        id: u16,
        written: u32,
    ) -> Result<(), Trouble> {
        let slot = u64::from(position & self.mask());
        let entry = self.shape.device.wrapping_add(4 + 8 * slot);
        let length = entry.wrapping_add(4);
        let before = self.length.take();
        self.length = Some((length, written));
        match before {
            // the length before and this number lie in one word, if that begins there
            Some((at, before)) if at.wrapping_add(4) == entry && at.is_multiple_of(8) => {
                let both = u64::from(before) | u64::from(id) << 32;
                self.store(memory, at, Width::Eight, both)
            }
            Some((at, before)) => {
                self.store(memory, at, Width::Four, before)?;
                self.store(memory, entry, Width::Four, id)
            }
            None => self.store(memory, entry, Width::Four, id),
        }
    }

    pub(super) fn publish(&mut self, memory: &Iommu) -> Result<(), Trouble> {
        if self.published == self.used {
            return Ok(());
        }
        if let Some((id, written)) = self.last.take() {
            self.write_entry(memory, self.published, id, written)?;
        }
        if let Some((at, written)) = self.length.take() {
            self.store(memory, at, Width::Four, written)?;
        }
        let index = self.shape.device.wrapping_add(2);
        self.store(memory, index, Width::Two, self.used)?;
        self.published = self.used;
        Ok(())
    }

    pub(super) fn wants_interrupt(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
    ) -> Result<bool, Trouble> {
        if self.told == self.published {
            return Ok(false);
        }
        // The driver asks for interrupts and then looks at the index; the device writes the index
        // and then looks whether it is asked. One of them sees what the other wrote.
        fence(Ordering::SeqCst);
        let Shape { driver, size, .. } = self.shape;
        if !memory.is_direct(&mut self.hint, driver, 4) {
            // What memory answers may be from before the index: better one too many.
            self.told = self.published;
            return Ok(true);
        }
        let flags = self.load(memory, "available ring", driver)?;
        let wanted = if self.shape.event_index {
            if flags != 0 {
                notes.add(FLAGS_WITH_EVENTS, flags.into());
            }
            let at = driver.wrapping_add(4 + 2 * u64::from(size));
            let event = self.load(memory, "available ring", at)?;
            needs_event(event, self.published, self.told)
        } else {
            if flags & !NO_INTERRUPT != 0 {
                notes.add(AVAILABLE_FLAGS, flags.into());
            }
            flags & NO_INTERRUPT == 0
        };
        self.told = self.published;
        Ok(wanted)
    }

    pub(super) fn ask_to_be_notified(
        &mut self,
        memory: &Iommu,
        wanted: bool,
    ) -> Result<(), Trouble> {
        let Shape { device, size, .. } = self.shape;
        if !self.shape.event_index {
            let flags = if wanted { 0 } else { NO_NOTIFY };
            self.store(memory, device, Width::Two, flags)?;
        } else if wanted {
            let at = device.wrapping_add(4 + 8 * u64::from(size));
            self.store(memory, at, Width::Two, self.next)?;
        }
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// The ring is in memory that has to be asked for.
    pub(super) fn is_distant(&mut self, memory: &Iommu) -> bool {
        !memory.is_direct(&mut self.hint, self.shape.driver, 4)
    }
}
