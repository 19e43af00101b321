//! The buffers that a device has at the moment.

use std::sync::Arc;

use crate::depot::CHUNK;
use crate::packet::{INDEX, RawPacket};
use crate::{Batch, DmaError, Domain, Iova, Mapping, Pool};

/// Most pools that one ring tells apart: a buffer's pool is kept in 8 bits.
const MOST_POOLS: usize = 256;

/// The buffers lent to a device through one ring, in ring order: the first lent is the first to
/// come back, as with every ring of the ixgbe family.
///
/// A receive ring lends empty buffers ([`lend_chunk`](Self::lend_chunk)) and takes frames back
/// ([`receive`](Self::receive)); a transmit ring lends frames ([`lend_frames`](Self::lend_frames))
/// and takes empty buffers back ([`reclaim`](Self::reclaim)). Positions are free-running, as in
/// [`Ring`](crate::Ring).
///
/// Taking back a buffer before the device is done with it is the one mistake this type can't
/// prevent: the driver must have seen the done bit. Its consequence is bounded as the crate's
/// documentation says.
#[derive(Debug)]
pub struct Lent {
    slots: Box<[u32]>,
    oldest: usize,
    next: usize,
    pools: Vec<Attached>,
}

/// A pool as the ring's device sees it.
#[derive(Debug)]
struct Attached {
    pool: Pool,
    /// Keeps the pool's memory visible to the device.
    _mapping: Arc<Mapping>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// Place n is at base + n × stride.
    Linear { base: u64, stride: u64 },
    /// The address of each place; of those that no buffer lies in, 0.
    Table(Box<[u64]>),
}

impl Attached {
    fn new(pool: &Pool, domain: &Domain) -> Result<Self, DmaError> {
        let mapping = domain.map(pool.region())?;
        let stride = pool.stride();
        let whole = pool.places() as usize * stride;
        let places = if let Ok(base) = mapping.iova(0, whole) {
            Places::Linear {
                base: base.get(),
                stride: stride as u64,
            }
        } else {
            let huge = pool.region().is_huge();
            let table = (0..pool.places())
                .map(|index| match mapping.iova(pool.offset_of(index), stride) {
                    Ok(iova) => Ok(iova.get()),
                    // on hugepages a pool leaves out the places across a page's end
                    Err(DmaError::Scattered { .. }) if huge => Ok(0),
                    Err(error) => Err(error),
                })
                .collect::<Result<_, _>>()?;
            Places::Table(table)
        };
        Ok(Self {
            pool: pool.clone(),
            _mapping: mapping,
            places,
        })
    }

    #[inline]
    fn iova(&self, index: u32, offset: u16) -> Iova {
        let place = match &self.places {
            Places::Linear { base, stride } => base + u64::from(index) * stride,
            Places::Table(table) => table.get(index as usize).copied().unwrap_or(0),
        };
        Iova::new(place + u64::from(offset))
    }
}

/// One buffer of a frame on its way to a device.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Its free-running position in the ring.
    pub position: usize,
    /// Where the device finds its bytes.
    pub iova: Iova,
    /// Number of its bytes.
    pub len: u16,
    /// Bytes of the whole frame.
    pub frame_len: u32,
    /// Whether it is the frame's last buffer.
    pub last: bool,
}

impl Lent {
    /// Number of buffers that [`lend_chunk`](Self::lend_chunk) lends at once.
    pub const CHUNK: usize = CHUNK;

    /// Nothing lent yet, through a ring of `slots` descriptors.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `slots` is a power of two from 32 to 65,536.
    pub fn new(slots: usize) -> Result<Self, DmaError> {
        if !slots.is_power_of_two() || !(CHUNK..=1 << 16).contains(&slots) {
            return Err(DmaError::Range {
                what: "ring size",
                value: slots,
                allowed: "a power of two from 32 to 65,536",
            });
        }
        Ok(Self {
            slots: vec![0; slots].into(),
            oldest: 0,
            next: 0,
            pools: Vec::new(),
        })
    }

    /// Makes a pool known, mapping its memory for the device if it is not yet, and returns its tag.
    ///
    /// # Errors
    /// What [`Domain::map`] and [`Mapping::iova`] say, and [`DmaError::TooManyPools`].
    pub fn attach(&mut self, pool: &Pool, domain: &Domain) -> Result<u8, DmaError> {
        if let Some(tag) = self.tag(pool) {
            return Ok(tag);
        }
        let tag = u8::try_from(self.pools.len())
            .map_err(|_| DmaError::TooManyPools { most: MOST_POOLS })?;
        self.pools.push(Attached::new(pool, domain)?);
        Ok(tag)
    }

    /// The tag of a pool that was attached.
    #[inline]
    pub fn tag(&self, pool: &Pool) -> Option<u8> {
        self.pools
            .iter()
            .position(|attached| attached.pool.is(pool))
            .and_then(|tag| u8::try_from(tag).ok())
    }

    /// Number of buffers the device has.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.next.wrapping_sub(self.oldest)
    }

    /// How many more can be lent.
    #[inline]
    pub fn room(&self) -> usize {
        self.slots.len() - self.len()
    }

    /// Position of the buffer that comes back next.
    #[inline]
    pub fn oldest(&self) -> usize {
        self.oldest
    }

    /// Position of the buffer that is lent next.
    #[inline]
    pub fn next(&self) -> usize {
        self.next
    }

    /// Lends [`CHUNK`](Self::CHUNK) empty buffers of the first attached pool, taking those that
    /// `batch` carries before those in the pool, and calls `fill` with the position and address of
    /// each. False, and nothing is lent, when there are not so many or the ring is full.
    #[inline]
    pub fn lend_chunk(&mut self, batch: &mut Batch, mut fill: impl FnMut(usize, Iova)) -> bool {
        let Some(attached) = self.pools.first() else {
            return false;
        };
        if self.room() < CHUNK {
            return false;
        }
        let spare = batch.take_spare_chunk(&attached.pool);
        let Some(chunk) = spare.or_else(|| attached.pool.inner().depot().take_chunk()) else {
            return false;
        };
        let headroom = attached.pool.headroom();
        // whole chunks only, in a ring of whole chunks: the run does not wrap
        let at = self.next & (self.slots.len() - 1);
        let Some(slots) = self.slots.get_mut(at..at + CHUNK) else {
            return false;
        };
        slots.copy_from_slice(&chunk);
        for (position, index) in (self.next..).zip(chunk) {
            fill(position, attached.iova(index, headroom));
        }
        self.next = self.next.wrapping_add(CHUNK);
        true
    }

    /// Takes the `count` oldest buffers back as frames of one buffer each and adds them to `batch`;
    /// `len_of` says how many bytes the device put into the n-th. A length beyond the buffer is cut
    /// to it. Returns how many: fewer than `count` when the batch is full or not so many are lent,
    /// none unless exactly one pool is attached.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool.
    #[inline]
    pub fn receive(
        &mut self,
        batch: &mut Batch,
        count: usize,
        mut len_of: impl FnMut(usize) -> u16,
    ) -> Result<usize, DmaError> {
        // with one pool every slot is that pool's
        let [attached] = &self.pools[..] else {
            return Ok(0);
        };
        if !batch.bind(&attached.pool) {
            return Err(DmaError::OtherPool);
        }
        let count = count.min(self.len()).min(batch.room());
        let (headroom, room) = (attached.pool.headroom(), attached.pool.data_room());
        let mask = self.slots.len() - 1;
        let at = self.oldest & mask;
        let run = count.min(self.slots.len() - at);
        let vacant = batch.vacant(count);
        let (first, second) = vacant.split_at_mut(run);
        for (n, (raw, slot)) in first.iter_mut().zip(&self.slots[at..at + run]).enumerate() {
            *raw = RawPacket::single(*slot & INDEX, headroom, len_of(n).min(room));
        }
        for (n, (raw, slot)) in second
            .iter_mut()
            .zip(&self.slots[..count - run])
            .enumerate()
        {
            *raw = RawPacket::single(*slot & INDEX, headroom, len_of(run + n).min(room));
        }
        batch.grow(count);
        self.oldest = self.oldest.wrapping_add(count);
        Ok(count)
    }

    /// Takes the oldest buffers back as one frame of several buffers, the n-th holding
    /// `len_of(n)` bytes, and adds it to `batch`. False, and nothing is taken, when the batch is
    /// full, or `count` is 0, more than 255 or more than are lent.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool.
    pub fn receive_frame(
        &mut self,
        batch: &mut Batch,
        count: usize,
        len_of: impl Fn(usize) -> u16,
    ) -> Result<bool, DmaError> {
        let [attached] = &self.pools[..] else {
            return Ok(false);
        };
        if !batch.bind(&attached.pool) {
            return Err(DmaError::OtherPool);
        }
        let segments = match u8::try_from(count) {
            Ok(segments) if segments > 0 && count <= self.len() && batch.room() > 0 => segments,
            _ => return Ok(false),
        };
        let (headroom, room) = (attached.pool.headroom(), attached.pool.data_room());
        let mask = self.slots.len() - 1;
        let segment = |n: usize| {
            let slot = self.slots[(self.oldest.wrapping_add(n)) & mask];
            RawPacket::single(slot & INDEX, headroom, len_of(n).min(room))
        };
        for n in 1..count {
            attached
                .pool
                .inner()
                .set_link(segment(n - 1).index(), segment(n));
        }
        let mut head = segment(0);
        head.set_segments(segments);
        batch.vacant(1)[0] = head;
        batch.grow(1);
        self.oldest = self.oldest.wrapping_add(count);
        Ok(true)
    }

    /// Lends the first frames of `batch`, as many as whole frames fit into `room` descriptors, and
    /// calls `fill` for each of their buffers. Returns the number of frames.
    ///
    /// `tag` is that of the batch's pool; with another nothing is lent.
    #[inline]
    pub fn lend_frames(
        &mut self,
        batch: &mut Batch,
        tag: u8,
        room: usize,
        mut fill: impl FnMut(Slot),
    ) -> usize {
        let Some(attached) = self.pools.get(usize::from(tag)) else {
            return 0;
        };
        if !batch.pool().is_some_and(|pool| pool.is(&attached.pool)) {
            return 0;
        }
        let mask = self.slots.len() - 1;
        let mut left = room.min(self.slots.len() - self.next.wrapping_sub(self.oldest));
        let owner = u32::from(tag) << 24;
        let mut moved = Moved { batch, frames: 0 };
        let Moved { batch, frames } = &mut moved;
        for raw in batch.frames() {
            let segments = raw.segments();
            if segments as usize > left {
                break;
            }
            *frames += 1;
            if segments == 1 {
                let slot = Slot {
                    position: self.next,
                    iova: attached.iova(raw.index(), raw.offset),
                    len: raw.len,
                    frame_len: u32::from(raw.len),
                    last: true,
                };
                self.slots[self.next & mask] = owner | raw.index();
                fill(slot);
                self.next = self.next.wrapping_add(1);
            } else {
                let inner = attached.pool.inner();
                let mut each = raw.alias();
                let mut frame_len = 0;
                for n in 0..segments {
                    frame_len += u32::from(each.len);
                    if n + 1 < segments {
                        each = inner.link(each.index());
                    }
                }
                each = raw.alias();
                for n in 0..segments {
                    let last = n + 1 == segments;
                    let iova = attached.iova(each.index(), each.offset);
                    self.slots[self.next & mask] = owner | each.index();
                    fill(Slot {
                        position: self.next,
                        iova,
                        len: each.len,
                        frame_len,
                        last,
                    });
                    self.next = self.next.wrapping_add(1);
                    if !last {
                        each = inner.link(each.index());
                    }
                }
            }
            left -= segments as usize;
        }
        moved.frames
    }

    /// Takes the `count` oldest buffers back as empty ones: into `batch`, if it carries their
    /// pool's and has room, else to their pools. Returns how many: fewer if not so many are lent.
    #[inline]
    pub fn reclaim(&mut self, count: usize, mut batch: Option<&mut Batch>) -> usize {
        let count = count.min(self.len());
        let mask = self.slots.len() - 1;
        let mut left = count;
        while left > 0 {
            let at = self.oldest & mask;
            let run = left.min(self.slots.len() - at).min(CHUNK);
            let slots = &self.slots[at..at + run];
            let tag = slots[0] >> 24;
            // as many as are of one pool
            let same = slots
                .iter()
                .fold(0, |differ, slot| differ | (slot >> 24 ^ tag))
                == 0;
            let run = if same {
                run
            } else {
                slots.iter().take_while(|slot| *slot >> 24 == tag).count()
            };
            if let Some(attached) = self.pools.get(tag as usize) {
                let slots = &self.slots[at..at + run];
                let room = batch
                    .as_deref_mut()
                    .and_then(|batch| batch.spare_room(&attached.pool, run));
                if let Some(room) = room {
                    for (index, slot) in room.iter_mut().zip(slots) {
                        *index = slot & INDEX;
                    }
                } else {
                    let mut chunk = [0; CHUNK];
                    for (index, slot) in chunk.iter_mut().zip(slots) {
                        *index = slot & INDEX;
                    }
                    attached.pool.inner().depot().put(&chunk[..run]);
                }
            }
            self.oldest = self.oldest.wrapping_add(run);
            left -= run;
        }
        count
    }

    /// Gives up on buffers that a device may still use because it does not stop: they are never
    /// handed out again, and the memory stays allocated and mapped until the process ends. Better
    /// a leak than a frame written into somebody else's buffer.
    pub fn abandon(mut self) {
        if self.len() > 0 {
            std::mem::forget(std::mem::take(&mut self.pools));
        }
        self.oldest = self.next;
    }
}

/// Takes frames out of a batch when it goes out of scope, so that they have one owner even if the
/// driver's closure panics.
struct Moved<'b> {
    batch: &'b mut Batch,
    frames: usize,
}

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        self.batch.moved_out(self.frames);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.reclaim(self.len(), None);
    }
}

#[cfg(test)]
mod tests;
