//! Virtqueues: how a virtio device and its driver hand buffers to each other (VIRTIO §2.6 to §2.8).
//!
//! There are two formats, [`Split`] and [`Packed`], which differ in how the two sides write to each
//! other. Both are told through [`Virtqueue`]: chains of [`Piece`]s are made available, come back as
//! [`Used`], and either side says when it wants to be told. On top of it are [`VirtRx`], [`VirtTx`]
//! and [`VirtControl`], which know what is behind a chain: buffers of a [`Pool`](crate::Pool), or a
//! command.
//!
//! # What the device says is checked
//!
//! A device names chains by number. A number that is no chain's, or of a chain that it has used
//! already, or more chains than it has: each is a [`QueueFault`], the end of the queue, since nothing
//! tells which of its numbers were true. A flag of another round tells of nothing. A length beyond
//! the chain's room is told with the chain ([`Used::honest`]); the queue goes on.
//! What the driver needs to remember of a chain it keeps in its own memory. Nothing is read back from
//! what a device can write.
//!
//! # Ordering
//!
//! All of a queue's memory is reached through atomics. A chain is complete in memory before the store
//! that makes it available, which is a release; what the device wrote into its buffers is visible
//! after the load that finds it used, which is an acquire. Where one side writes and then looks
//! whether the other has gone to sleep, a full barrier is between the two. `tests/loom.rs` tries all
//! orders.

mod chains;
mod control;
mod lanes;
mod memory;
mod merging;
mod packed;
mod rx;
mod split;
#[cfg(test)]
mod tests;
mod tx;

use std::fmt::Debug;

pub use self::control::VirtControl;
pub use self::memory::{QueueMemory, QueuePlan};
pub use self::packed::Packed;
pub use self::rx::{Received, RxHeaders, VirtRx};
pub use self::split::Split;
pub use self::tx::{TxHeaders, VirtTx};
use crate::{DmaError, Word};

/// Bytes that a header apart from its frame has room in.
const HEADER: usize = 16;

/// Refuses headers of another size than virtio has (VIRTIO §5.1.6).
fn check_header(bytes: u16) -> Result<(), DmaError> {
    if matches!(bytes, 10 | 12) {
        return Ok(());
    }
    Err(DmaError::Range {
        what: "bytes of a header",
        value: usize::from(bytes),
        allowed: "10 or 12",
    })
}

/// What was negotiated about a queue's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent features
pub struct QueueFeatures {
    /// Each side names the event at which it wants to be told (`VIRTIO_F_EVENT_IDX`).
    pub event_idx: bool,
    /// Chains are used in the order in which they were made available (`VIRTIO_F_IN_ORDER`).
    pub in_order: bool,
    /// A descriptor may point to a table of descriptors (`VIRTIO_F_INDIRECT_DESC`).
    pub indirect: bool,
    /// The parts of a split ring lie where the legacy interface has them (VIRTIO §2.7.2).
    pub legacy: bool,
}

/// Where the device finds the parts of a queue: byte offsets from the queue's first byte, which is
/// that of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueParts {
    /// What the driver writes.
    pub driver: usize,
    /// What the device writes.
    pub device: usize,
    /// Bytes of the whole.
    pub bytes: usize,
}

/// One piece of memory of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Where the device finds it.
    pub address: u64,
    /// Number of bytes.
    pub len: u32,
    /// Whether the device writes it; it reads it otherwise.
    pub writable: bool,
    /// Whether it is a table of descriptors of the pieces (VIRTIO §2.7.5.3).
    pub table: bool,
}

/// A chain that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which one: what making it available returned.
    pub id: u16,
    /// Bytes that the device says it wrote, never more than the chain's writable pieces have.
    pub len: u32,
    /// Whether the device did not claim more.
    pub honest: bool,
}

/// Chains whose numbers follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The first's number.
    pub first: u16,
    /// How many.
    pub count: u16,
}

/// What a device said that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFault {
    /// A number of a chain that it does not have.
    #[error("it used chain {id}, which it does not have")]
    NoSuchChain {
        /// The number.
        id: u32,
    },
    /// It has used more chains than it had.
    #[error("it used {used} chains, but had {had}")]
    TooMany {
        /// How many it says.
        used: u16,
        /// How many it had.
        had: u16,
    },
}

/// A format of virtqueues: the driver's side.
///
/// `words` is always the queue's memory, as [`QueueMemory::words`] gives it.
pub trait Virtqueue: Debug + Send + Sized + 'static {
    /// Where the parts of a queue of `size` descriptors lie.
    fn parts(size: u16, features: QueueFeatures) -> QueueParts;

    /// An empty queue of `size` descriptors, which is a power of two from 2 to 32,768. The memory is
    /// zeroed.
    fn new<W: Word>(words: &[W], size: u16, features: QueueFeatures) -> Self;

    /// The two words of descriptor `n` of a table (VIRTIO §2.7.5.3, §2.8.7).
    fn table_entry(piece: Piece, n: usize, last: bool) -> [u64; 2];

    /// How many descriptors the driver has.
    fn room(&self) -> usize;

    /// How many chains the device has.
    fn lent(&self) -> usize;

    /// The number that the next chain gets; `None` where there is no room for one.
    fn next_id(&self) -> Option<u16>;

    /// Makes a chain available, and returns its number: below the queue's size. `None`, and nothing
    /// is done, when it has no piece or more than there is room for.
    fn offer<W: Word>(&mut self, words: &[W], chain: &[Piece]) -> Option<u16>;

    /// Makes a chain of one piece available, into which the device may write `room` bytes; it reads the
    /// piece where that is 0. Returns its number, or `None` where there is no room.
    fn offer_one<W: Word>(&mut self, words: &[W], piece: (u64, u32), room: u32) -> Option<u16>;

    /// The numbers that the next chains of one piece get, as far as they follow each other and there
    /// is room: at most `most`.
    fn next_run(&self, most: usize) -> Run;

    /// Makes chains of one piece available under the numbers of a run that
    /// [`next_run`](Self::next_run) told, each with the address and the length of its piece, into which
    /// the device may write `room` bytes; it reads them where that is 0. Ends where either ends, and
    /// returns what was made available.
    fn offer_run<W: Word>(
        &mut self,
        words: &[W],
        run: Run,
        pieces: impl ExactSizeIterator<Item = (u64, u32)>,
        room: u32,
    ) -> Run;

    /// Lets the device see what was offered, and says whether it wants to be told.
    fn publish<W: Word>(&mut self, words: &[W]) -> bool;

    /// The next chain that the device is done with, if there is one.
    ///
    /// # Errors
    /// [`QueueFault`]. The queue is to be given up then.
    fn take_used<W: Word>(&mut self, words: &[W]) -> Result<Option<Used>, QueueFault>;

    /// The next chains that the device is done with, as far as each has one piece and their numbers
    /// follow each other, and how many bytes the device says it wrote into each: at most as many as
    /// there are places in `lens`. None where [`take_used`](Self::take_used) is to look.
    ///
    /// # Errors
    /// [`QueueFault`]. The queue is to be given up then.
    fn take_run<W: Word>(&mut self, words: &[W], lens: &mut [u32]) -> Result<Run, QueueFault>;

    /// Forgets all chains that the device has, as it is stopped, and tells their numbers. The queue is
    /// of no use afterwards.
    fn forget(&mut self, each: impl FnMut(u16));

    /// Asks for an interrupt as soon as the device has used a chain, and says whether none is used
    /// yet: only then an interrupt is certain to come.
    fn arm<W: Word>(&mut self, words: &[W]) -> bool;

    /// Asks for no more interrupts. The device may still send some.
    fn disarm<W: Word>(&mut self, words: &[W]);
}
