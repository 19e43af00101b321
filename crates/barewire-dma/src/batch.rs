//! Frames on their way through a program.

use std::fmt;

use crate::depot::CHUNK;
use crate::packet::RawPacket;
use crate::{Packet, PacketMut, PacketRef, Pool};

/// Empty buffers that a batch carries from a transmit ring back to a receive ring.
const SPARE: usize = 8 * CHUNK;

/// A batch of frames of one pool, in order: what a receive queue fills and a transmit queue
/// empties.
///
/// A batch also carries the empty buffers that a transmit queue got back from its device, so that
/// the next receive can hand them to its ring without a detour through the pool. A program that
/// forwards keeps one batch for each direction and uses it again and again; nothing is allocated
/// after [`new`](Self::new).
///
/// Dropping or clearing a batch gives its buffers back to their pool.
pub struct Batch {
    pool: Option<Pool>,
    packets: Box<[RawPacket]>,
    /// The frames are `packets[start..end]`.
    start: usize,
    end: usize,
    spare: Box<[u32; SPARE]>,
    spares: usize,
}

/// A packet that a batch did not take.
#[derive(Debug)]
pub struct PushError {
    /// The packet, still the caller's.
    pub packet: Packet,
    /// Whether the batch was full; if not, it holds packets of another pool.
    pub full: bool,
}

impl Batch {
    /// The most frames that a batch can hold.
    pub const MOST: usize = 512;

    /// An empty batch for `capacity` frames; numbers outside 1 to [`Batch::MOST`] become the
    /// nearest of these.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, Self::MOST);
        Self {
            pool: None,
            packets: std::iter::repeat_with(RawPacket::default)
                .take(capacity)
                .collect(),
            start: 0,
            end: 0,
            spare: Box::new([0; SPARE]),
            spares: 0,
        }
    }

    /// Number of frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Most frames it holds.
    pub fn capacity(&self) -> usize {
        self.packets.len()
    }

    /// How many frames can be added.
    #[inline]
    pub fn room(&self) -> usize {
        self.packets.len() - self.len()
    }

    /// The pool whose buffers it holds at the moment.
    pub fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// The frames, to read.
    pub fn iter(&self) -> impl Iterator<Item = PacketRef<'_>> {
        let pool = self.pool.as_ref().map(Pool::inner);
        self.frames()
            .iter()
            .filter_map(move |raw| Some(PacketRef { pool: pool?, raw }))
    }

    /// The frames, to change.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = PacketMut<'_>> {
        let pool = self.pool.as_ref().map(Pool::inner);
        // a batch with frames has a pool
        self.packets[self.start..self.end]
            .iter_mut()
            .filter_map(move |raw| Some(PacketMut { pool: pool?, raw }))
    }

    /// Adds a packet behind the others.
    ///
    /// # Errors
    /// [`PushError`] gives the packet back when the batch is full or holds packets of another
    /// pool.
    #[allow(clippy::result_large_err)] // the packet itself is what comes back
    pub fn push(&mut self, mut packet: Packet) -> Result<(), PushError> {
        if self.room() == 0 {
            return Err(PushError { packet, full: true });
        }
        let pool = packet.pool().clone();
        if !self.bind(&pool) {
            return Err(PushError {
                packet,
                full: false,
            });
        }
        let raw = packet.take_raw();
        self.make_contiguous_room(1);
        self.packets[self.end] = raw;
        self.end += 1;
        Ok(())
    }

    /// Takes the last frame out.
    pub fn pop(&mut self) -> Option<Packet> {
        if self.is_empty() {
            return None;
        }
        let pool = self.pool.clone()?;
        self.end -= 1;
        Some(Packet::from_raw(
            pool,
            std::mem::take(&mut self.packets[self.end]),
        ))
    }

    /// Fills up to `count` frames of `len` bytes each from a pool, for a program that sends of its
    /// own accord, and returns how many it got: fewer when the batch is full, the pool is empty,
    /// `len` is more than a buffer takes, or the batch holds packets of another pool. The bytes are
    /// whatever was in the buffers.
    pub fn allocate(&mut self, pool: &Pool, count: usize, len: u16) -> usize {
        if len > pool.data_room() || !self.bind(pool) {
            return 0;
        }
        let count = count.min(self.room());
        self.make_contiguous_room(count);
        for got in 0..count {
            let Some(index) = self.take_spare().or_else(|| pool.inner().depot().take()) else {
                return got;
            };
            self.packets[self.end] = RawPacket::single(index, pool.headroom(), len);
            self.end += 1;
        }
        count
    }

    /// Keeps the frames for which `keep` is true, in order, and drops the others.
    pub fn retain(&mut self, mut keep: impl FnMut(PacketMut<'_>) -> bool) {
        let Some(pool) = &self.pool else { return };
        let mut kept = self.start;
        for at in self.start..self.end {
            let mut raw = std::mem::take(&mut self.packets[at]);
            if keep(PacketMut {
                pool: pool.inner(),
                raw: &mut raw,
            }) {
                self.packets[kept] = raw;
                kept += 1;
            } else {
                pool.inner().give_back(&raw);
            }
        }
        self.end = kept;
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        if let Some(pool) = &self.pool {
            for raw in &mut self.packets[self.start..self.end] {
                pool.inner().give_back(&std::mem::take(raw));
            }
        }
        self.start = 0;
        self.end = 0;
    }

    /// Gives the empty buffers it carries back to the pool.
    fn flush(&mut self) {
        if let Some(pool) = &self.pool {
            pool.inner().depot().put(&self.spare[..self.spares]);
        }
        self.spares = 0;
    }

    /// Makes `pool` the one whose packets it holds; false while it holds another's.
    #[inline]
    pub(crate) fn bind(&mut self, pool: &Pool) -> bool {
        match &self.pool {
            Some(bound) if bound.is(pool) => true,
            Some(_) if !self.is_empty() => false,
            _ => {
                self.flush();
                self.pool = Some(pool.clone());
                true
            }
        }
    }

    /// Frames in order, to be filled: `count` places behind the last. The caller says afterwards
    /// with [`grow`](Self::grow) how many it filled.
    #[inline]
    pub(crate) fn vacant(&mut self, count: usize) -> &mut [RawPacket] {
        self.make_contiguous_room(count);
        &mut self.packets[self.end..self.end + count]
    }

    #[inline]
    pub(crate) fn grow(&mut self, count: usize) {
        self.end = (self.end + count).min(self.packets.len());
    }

    #[inline]
    fn make_contiguous_room(&mut self, count: usize) {
        if self.start > 0 && self.end + count > self.packets.len() {
            self.packets[..self.end].rotate_left(self.start);
            self.end -= self.start;
            self.start = 0;
        }
    }

    #[inline]
    pub(crate) fn frames(&self) -> &[RawPacket] {
        &self.packets[self.start..self.end]
    }

    /// Forgets the first `count` frames, whose buffers someone else owns now.
    #[inline]
    pub(crate) fn moved_out(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// A chunk of the empty buffers it carries for `pool`.
    #[inline]
    pub(crate) fn take_spare_chunk(&mut self, pool: &Pool) -> Option<[u32; CHUNK]> {
        if !self.pool.as_ref().is_some_and(|bound| bound.is(pool)) {
            return None;
        }
        let at = self.spares.checked_sub(CHUNK)?;
        let chunk = self.spare[at..].first_chunk::<CHUNK>()?;
        self.spares = at;
        Some(*chunk)
    }

    fn take_spare(&mut self) -> Option<u32> {
        self.spares = self.spares.checked_sub(1)?;
        self.spare.get(self.spares).copied()
    }

    /// Room for `count` empty buffers of `pool`, if it carries that pool's and has so much.
    #[inline]
    pub(crate) fn spare_room(&mut self, pool: &Pool, count: usize) -> Option<&mut [u32]> {
        if !self.pool.as_ref().is_some_and(|bound| bound.is(pool)) {
            return None;
        }
        let at = self.spares;
        let room = self.spare.get_mut(at..at + count)?;
        self.spares += count;
        Some(room)
    }
}

impl Default for Batch {
    /// A batch for 32 frames.
    fn default() -> Self {
        Self::new(32)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
        self.flush();
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
