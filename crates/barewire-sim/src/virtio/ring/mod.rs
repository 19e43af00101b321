//! The two kinds of rings, as the device works on them (VIRTIO §2.7, §2.8).
//!
//! A ring may lie in memory that has to be asked for, which answers later. Whatever was read of a
//! chain is therefore kept until the chain is complete, and nothing is read twice.

mod packed;
mod split;

use std::ops::{Deref, DerefMut};

use barewire_spec::virtio::{packed as packed_spec, split as split_spec};

use crate::memory::{Fault, Iommu};
use crate::violation::{Refusal, Rule, refusal};

use packed::Packed;
use split::Split;

/// Why a ring can't be worked on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Memory was asked and has not answered.
    NotYet,
    /// Memory can't be reached: of what.
    Fault(&'static str, Fault),
    /// The driver broke a rule after which the ring means nothing; with the value at fault.
    Broken(Refusal, u64),
}

/// Names what an access to memory was for.
pub(super) fn while_at(what: &'static str) -> impl Fn(Fault) -> Trouble {
    move |fault| match fault {
        Fault::NotYet(_) => Trouble::NotYet,
        fault => Trouble::Fault(what, fault),
    }
}

/// A piece of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) address: u64,
    pub(super) length: u32,
    /// The device writes to it.
    pub(super) writable: bool,
}

/// Pieces that a buffer has room for at once: two cache lines of them.
const USUAL: usize = 8;

/// A buffer that the driver made available. It lies elsewhere: it is moved many times, and its memory
/// is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain(Box<Parts>);

impl Element {
    /// As a descriptor of either kind of ring has it: their flag for writing is the same.
    fn new(address: u64, length: u32, flags: u16) -> Self {
        const { assert!(packed_spec::WRITE == split_spec::WRITE) }
        Self {
            address,
            length,
            writable: flags & split_spec::WRITE != 0,
        }
    }
}

/// What a buffer is made of.
#[derive(Clone, Debug)]
#[repr(align(128))] // what one thread works on is next to nothing that another does
pub(super) struct Parts {
    /// Names it to the driver: index of its head, or its buffer ID.
    pub(super) id: u16,
    /// Descriptors of the ring that it takes.
    pub(super) count: u16,
    pub(super) elements: Vec<Element>,
    /// Bytes that the device reads, which come first.
    pub(super) readable: u64,
    /// Bytes that the device may write.
    pub(super) writable: u64,
}

impl Deref for Chain {
    type Target = Parts;

    #[inline]
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Chain {
    #[inline]
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            id: 0,
            count: 0,
            elements: Vec::with_capacity(USUAL),
            readable: 0,
            writable: 0,
        }
    }
}

impl Parts {
    fn clear(&mut self) {
        self.elements.clear();
        self.id = 0;
        self.count = 0;
        self.readable = 0;
        self.writable = 0;
    }

    fn push(&mut self, element: Element, clauses: &Clauses) -> Result<(), Trouble> {
        let Element {
            length, writable, ..
        } = element;
        if writable {
            self.writable += u64::from(length);
        } else if self.writable > 0 {
            return Err(Trouble::Broken(clauses.order, element.address));
        } else {
            self.readable += u64::from(length);
        }
        if self.readable + self.writable > 1 << 32 {
            return Err(Trouble::Broken(clauses.too_many_bytes, element.address));
        }
        self.elements.push(element);
        Ok(())
    }
}

/// The same rules in the clauses of each kind of ring.
#[derive(Debug)]
struct Clauses {
    order: Refusal,
    too_many_bytes: Refusal,
    too_long: Refusal,
    no_indirect: Refusal,
    nested: Refusal,
    indirect_and_next: Refusal,
    table_size: Refusal,
    twice: Refusal,
}

/// What a ring is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Address of the descriptors.
    pub(super) descriptors: u64,
    /// Address of what the driver writes besides.
    pub(super) driver: u64,
    /// Address of what the device writes besides.
    pub(super) device: u64,
    pub(super) size: u16,
    pub(super) indirect: bool,
    pub(super) event_index: bool,
    pub(super) in_order: bool,
}

/// Broken rules that don't keep the device from going on.
#[derive(Debug, Default)]
pub(super) struct Notes(pub(super) Vec<(Refusal, u64)>);

impl Notes {
    /// The most that are kept between two looks.
    const MOST: usize = 64;

    fn add(&mut self, refusal: Refusal, value: u64) {
        if self.0.len() < Self::MOST {
            self.0.push((refusal, value));
        }
    }
}

/// A ring that runs.
#[derive(Debug)]
pub(super) enum Ring {
    Split(Split),
    Packed(Packed),
}

impl Ring {
    pub(super) fn split(shape: Shape) -> Self {
        Self::Split(Split::new(shape))
    }

    pub(super) fn packed(shape: Shape) -> Self {
        Self::Packed(Packed::new(shape))
    }

    /// Finds the next buffer that the driver has made available; false if there is none.
    pub(super) fn fetch(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
        chain: &mut Chain,
    ) -> Result<bool, Trouble> {
        match self {
            Self::Split(ring) => ring.fetch(memory, notes, chain),
            Self::Packed(ring) => ring.fetch(memory, notes, chain),
        }
    }

    /// Gives a buffer back, with `written` bytes in it. The driver sees it after
    /// [`publish`](Self::publish).
    pub(super) fn give_back(
        &mut self,
        memory: &Iommu,
        chain: &Chain,
        written: u32,
    ) -> Result<(), Trouble> {
        match self {
            Self::Split(ring) => ring.give_back(memory, chain, written),
            Self::Packed(ring) => {
                ring.give_back(chain, written);
                Ok(())
            }
        }
    }

    /// Shows the driver what was given back.
    pub(super) fn publish(&mut self, memory: &Iommu) -> Result<(), Trouble> {
        match self {
            Self::Split(ring) => ring.publish(memory),
            Self::Packed(ring) => ring.publish(memory),
        }
    }

    /// Whether the driver wants to hear of what was published since it was last asked.
    pub(super) fn wants_interrupt(
        &mut self,
        memory: &Iommu,
        notes: &mut Notes,
    ) -> Result<bool, Trouble> {
        match self {
            Self::Split(ring) => ring.wants_interrupt(memory, notes),
            Self::Packed(ring) => ring.wants_interrupt(memory, notes),
        }
    }

    /// The ring is in memory that has to be asked for: it answers once for all of a step.
    pub(super) fn is_distant(&mut self, memory: &Iommu) -> bool {
        memory.has_indirect()
            && match self {
                Self::Split(ring) => ring.is_distant(memory),
                Self::Packed(ring) => ring.is_distant(memory),
            }
    }

    /// Asks for a notification of the next buffer, or for none.
    pub(super) fn ask_to_be_notified(
        &mut self,
        memory: &Iommu,
        wanted: bool,
    ) -> Result<(), Trouble> {
        match self {
            Self::Split(ring) => ring.ask_to_be_notified(memory, wanted),
            Self::Packed(ring) => ring.ask_to_be_notified(memory, wanted),
        }
    }
}

/// A table of descriptors that a descriptor points to.
#[derive(Clone, Copy, Debug)]
struct Table {
    address: u64,
    entries: u16,
}

impl Table {
    fn new(address: u64, bytes: u32, clauses: &Clauses) -> Result<Self, Trouble> {
        let entries = u16::try_from(bytes / 16).ok();
        match entries {
            Some(entries) if entries > 0 && bytes.is_multiple_of(16) => {
                Ok(Self { address, entries })
            }
            _ => Err(Trouble::Broken(clauses.table_size, bytes.into())),
        }
    }

    /// The address of an entry.
    fn at(self, index: u16) -> u64 {
        self.address.wrapping_add(u64::from(index) * 16)
    }
}

const fn broken(why: &'static str, section: &'static str) -> Refusal {
    refusal(Rule::Descriptor, why, section)
}
