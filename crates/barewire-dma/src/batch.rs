//! Frames on their way through a program.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::MaybeUninit;

use crate::depot::CHUNK;
use crate::packet::RawPacket;
use crate::pool::PoolId;
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
#[repr(align(64))] // one cache line, and that of one thread
pub struct Batch {
    pool: Option<Pool>,
    /// That pool's number, at hand.
    pool_id: PoolId,
    /// Never more than `capacity`, which is allocated.
    packets: Vec<RawPacket>,
    capacity: u16,
    /// Never more than [`SPARE`], which is allocated.
    spare: Vec<u32>,
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
            pool_id: PoolId::NONE,
            packets: Vec::with_capacity(capacity),
            capacity: u16::try_from(capacity).unwrap_or(u16::MAX),
            spare: Vec::with_capacity(SPARE),
        }
    }

    /// Number of frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Most frames it holds.
    pub fn capacity(&self) -> usize {
        usize::from(self.capacity)
    }

    /// How many frames can be added.
    #[inline]
    pub fn room(&self) -> usize {
        usize::from(self.capacity) - self.packets.len()
    }

    /// The pool whose buffers it holds at the moment.
    pub fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// The frames, to read.
    pub fn iter(&self) -> impl Iterator<Item = PacketRef<'_>> {
        let pool = self.pool.as_ref().map(Pool::inner);
        // a batch with frames has a pool
        self.packets
            .iter()
            .filter_map(move |raw| Some(PacketRef::new(pool?, raw)))
    }

    /// The frames, to change.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = PacketMut<'_>> {
        let pool = self.pool.as_ref().map(Pool::inner);
        let pool = pool.map(|pool| (pool, pool.memory()));
        self.packets.iter_mut().filter_map(move |raw| {
            let (pool, memory) = pool?;
            Some(PacketMut::within(pool, memory, raw))
        })
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
        if !self.bind(&pool, pool.id()) {
            return Err(PushError {
                packet,
                full: false,
            });
        }
        self.packets.push(packet.take_raw());
        Ok(())
    }

    /// Takes the last frame out.
    pub fn pop(&mut self) -> Option<Packet> {
        let pool = self.pool.as_ref()?;
        let raw = self.packets.pop()?;
        Some(Packet::from_raw(pool.clone(), raw))
    }

    /// Fills up to `count` frames of `len` bytes each from a pool, for a program that sends of its
    /// own accord, and returns how many it got: fewer when the batch is full, the pool is empty,
    /// `len` is more than a buffer takes, or the batch holds packets of another pool. The bytes are
    /// whatever was in the buffers.
    pub fn allocate(&mut self, pool: &Pool, count: usize, len: u16) -> usize {
        if len > pool.data_room() || !self.bind(pool, pool.id()) {
            return 0;
        }
        let count = count.min(self.room());
        for got in 0..count {
            let spare = self.spare.pop();
            let Some(start) = spare.or_else(|| pool.inner().depot().take()) else {
                return got;
            };
            self.packets
                .push(RawPacket::single(start, pool.headroom(), len));
        }
        count
    }

    /// Keeps the frames for which `keep` is true, in order, and drops the others.
    pub fn retain(&mut self, mut keep: impl FnMut(PacketMut<'_>) -> bool) {
        let Some(pool) = &self.pool else { return };
        self.packets.retain_mut(|raw| {
            let kept = keep(PacketMut::new(pool.inner(), raw));
            if !kept {
                pool.inner().give_back(raw.alias());
            }
            kept
        });
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        if let Some(pool) = &self.pool {
            pool.inner().give_all_back(self.packets.drain(..));
        }
    }

    /// Gives the empty buffers it carries back to the pool.
    fn flush(&mut self) {
        if let Some(pool) = &self.pool {
            pool.inner().depot().put(&self.spare);
        }
        self.spare.clear();
    }

    /// Makes `pool`, whose number is `id`, the one whose packets it holds; false while it holds
    /// another's.
    #[inline]
    pub(crate) fn bind(&mut self, pool: &Pool, id: PoolId) -> bool {
        self.pool_id == id || self.rebind(pool)
    }

    #[cold]
    fn rebind(&mut self, pool: &Pool) -> bool {
        if !self.is_empty() {
            return false;
        }
        self.flush();
        self.pool = Some(pool.clone());
        self.pool_id = pool.id();
        true
    }

    /// Whether what it holds is of `pool`.
    #[inline]
    pub(crate) fn carries(&self, pool: &Pool) -> bool {
        self.pool_id == pool.id()
    }

    /// The number of the pool that what it holds is of.
    #[inline]
    pub(crate) fn pool_id(&self) -> PoolId {
        self.pool_id
    }

    /// `most` places behind the last frame. The caller fills them in order and says with
    /// [`grow`](Self::grow) how many.
    ///
    /// # Safety
    /// `most` is at most [`room`](Self::room).
    #[inline]
    pub(crate) unsafe fn vacant(&mut self, most: usize) -> &mut [MaybeUninit<RawPacket>] {
        let vacant = self.packets.spare_capacity_mut();
        // SAFETY: there are at least `room` of them: `capacity` were allocated.
        unsafe { vacant.get_unchecked_mut(..most) }
    }

    /// Makes the first `count` vacant places frames.
    ///
    /// # Safety
    /// They were filled with handles of the pool that it is bound to, and nobody else has a handle
    /// of the same buffers.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, count: usize) {
        // SAFETY: the places are initialised, says the caller, and `vacant` had them from the
        // allocation.
        unsafe { self.packets.set_len(self.packets.len() + count) };
    }

    /// Adds a frame.
    ///
    /// # Safety
    /// There is room for it, it is a handle of the pool that the batch is bound to, and nobody else
    /// has a handle of the same buffer.
    #[inline]
    pub(crate) unsafe fn put(&mut self, frame: RawPacket) {
        // SAFETY: there is room, says the caller.
        let vacant = unsafe { self.vacant(1) };
        // SAFETY: it has one place.
        let place = unsafe { vacant.get_unchecked_mut(0) };
        place.write(frame);
        // SAFETY: the place was filled.
        unsafe { self.grow(1) };
    }

    /// Adds a frame of the pool that it is bound to, if there is room.
    pub(crate) fn add(&mut self, frame: RawPacket) {
        if self.room() > 0 {
            self.packets.push(frame);
        }
    }

    #[inline]
    pub(crate) fn frames(&self) -> &[RawPacket] {
        &self.packets
    }

    /// Forgets the first `count` frames, whose buffers someone else owns now.
    #[inline]
    pub(crate) fn moved_out(&mut self, count: usize) {
        if count == self.packets.len() {
            self.packets.clear();
        } else {
            self.move_up(count);
        }
    }

    #[cold]
    fn move_up(&mut self, count: usize) {
        self.packets.drain(..count.min(self.packets.len()));
    }

    /// A chunk of the empty buffers it carries for `pool`, which whoever takes it has it
    /// [forget](Self::forget_spare_chunk).
    #[inline]
    pub(crate) fn spare_chunk(&self, pool: PoolId) -> Option<&[u32; CHUNK]> {
        self.spare.last_chunk().filter(|_| self.pool_id == pool)
    }

    #[inline]
    pub(crate) fn forget_spare_chunk(&mut self) {
        self.spare.truncate(self.spare.len().saturating_sub(CHUNK));
    }

    /// Adds a chunk of empty buffers of the pool that it is bound to; false if it can't carry more.
    #[inline]
    pub(crate) fn put_spare_chunk(&mut self, chunk: [u32; CHUNK]) -> bool {
        let carried = self.spare.len();
        if carried > SPARE - CHUNK {
            return false;
        }
        let vacant = self.spare.spare_capacity_mut();
        // SAFETY: room for `SPARE` was allocated, and is never given up; with the chunk they are at
        // most so many.
        let places = unsafe { vacant.get_unchecked_mut(..CHUNK) };
        for (place, buffer) in places.iter_mut().zip(chunk) {
            place.write(buffer);
        }
        // SAFETY: the chunk was written behind what was there.
        unsafe { self.spare.set_len(carried + CHUNK) };
        true
    }

    /// Takes empty buffers of `pool`: to carry them, if it carries that pool's and has room, else
    /// home to the pool.
    pub(crate) fn take_empty(&mut self, pool: &Pool, buffers: &[u32]) {
        if self.carries(pool) && self.spare.len() + buffers.len() <= SPARE {
            self.spare.extend_from_slice(buffers);
        } else {
            pool.inner().depot().put(buffers);
        }
    }
}

/// Takes frames out of a batch when it goes out of scope, so that they have one owner even if a
/// driver's function panics.
pub(crate) struct Moved<'b> {
    pub(crate) batch: &'b mut Batch,
    pub(crate) frames: usize,
}

impl Moved<'_> {
    /// The next frame.
    pub(crate) fn first(&self) -> Option<&RawPacket> {
        self.batch.frames().get(self.frames)
    }
}

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        self.batch.moved_out(self.frames);
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
