//! A receive ring: empty buffers to the device, frames to the program.
#![allow(unsafe_code)]

use crate::depot::CHUNK;
use crate::lanes::{GROUP, Group, any_set, descriptors};
use crate::packet::{RawPacket, Template};
use crate::pool::PoolId;
use crate::translation::{Attached, Places, Translate};
use crate::{Batch, DescriptorRing, DmaError, Domain, Lanes, Pool, Ring};

/// What a family of devices writes and reads in its receive descriptors.
///
/// The functions are about one descriptor or a group of them: see [`Lanes`].
pub trait RxFormat {
    /// The descriptor that offers an empty buffer at this address.
    fn empty<W: Lanes>(&self, buffer: W) -> [W; 2];

    /// What keeps the descriptor with this second word from being a whole, undamaged frame in one
    /// buffer: 0 is nothing. That the device has not written it back yet is a fault.
    fn fault<W: Lanes>(&self, status: W) -> W;

    /// How many bytes the device says it wrote into the buffer: 16 bits. The ring bounds it.
    fn len<W: Lanes>(&self, status: W) -> W;
}

/// The buffers that a device has to receive into, in the order of their descriptors: the first lent
/// is the first to come back, as with every ring of the ixgbe family.
///
/// Empty buffers go out in chunks of [`CHUNK`](Self::CHUNK), first those that the program's batch
/// brings from a transmit ring, then those of the pool. Frames come back into the batch. Nothing
/// that the device writes is believed: a frame that is longer than its buffer, or of no length,
/// is never handed out.
///
/// Taking back a buffer before the device is done with it is the one mistake this type can't
/// prevent: the format must know the done bit. Its consequence is bounded as the crate's
/// documentation says.
#[derive(Debug)]
pub struct RxRing {
    ring: DescriptorRing,
    attached: Attached,
    /// Of a frame behind the headroom.
    template: Template,
    /// The most bytes that a device may write into a buffer.
    limit: u16,
    /// The pool's number, or none while every descriptor needs a second look.
    at_ease: PoolId,
}

/// Fewer frames than a group.
const FEW: usize = GROUP - 1;

impl RxRing {
    /// Number of buffers that are lent at once.
    pub const CHUNK: usize = CHUNK;

    /// A ring whose frames arrive in buffers of `pool`, of which the device fills at most `limit`
    /// bytes. Nothing is lent yet.
    ///
    /// # Errors
    /// What [`Domain::map`] and [`Mapping::iova`](crate::Mapping::iova) say.
    pub fn new(
        ring: DescriptorRing,
        pool: &Pool,
        domain: &Domain,
        limit: u16,
    ) -> Result<Self, DmaError> {
        Ok(Self {
            at_ease: pool.id(),
            attached: Attached::new(pool, domain)?,
            template: Template::new(pool.headroom()),
            limit: limit.min(pool.data_room()),
            ring,
        })
    }

    /// The descriptors.
    #[inline]
    pub fn ring(&self) -> &DescriptorRing {
        &self.ring
    }

    /// The pool that frames arrive in.
    pub fn pool(&self) -> &Pool {
        &self.attached.pool
    }

    /// Position of the descriptor that comes back next.
    #[inline]
    pub fn oldest(&self) -> usize {
        self.ring.oldest()
    }

    /// Position of the descriptor that is lent next.
    #[inline]
    pub fn next(&self) -> usize {
        self.ring.next()
    }

    /// Number of buffers the device has.
    #[inline]
    pub fn lent(&self) -> usize {
        self.ring.lent()
    }

    /// Whether there is room for a chunk of empty buffers.
    #[inline]
    pub fn wants_buffers(&self) -> bool {
        self.ring.room() >= CHUNK
    }

    /// Says whether every descriptor needs a second look from now on.
    pub fn look_twice(&mut self, always: bool) {
        let id = self.attached.pool.id();
        self.at_ease = if always { PoolId::NONE } else { id };
    }

    /// Lends empty buffers, as many chunks as there is room for and as `batch` and the pool have.
    /// Returns whether there was one.
    pub fn refill(&mut self, batch: &mut Batch, format: &impl RxFormat) -> bool {
        let before = self.ring.next();
        while self.wants_buffers() {
            let pool = &self.attached.pool;
            let brought = batch.take_spare_chunk(pool);
            let Some(chunk) = brought.or_else(|| pool.inner().depot().take_chunk()) else {
                break;
            };
            let (descriptors, buffers) = self.ring.vacant_run(CHUNK);
            // whole chunks only, in a ring of whole chunks: none ends with the ring's memory
            let (Some(descriptors), Some(buffers)) = (
                descriptors.first_chunk_mut::<CHUNK>(),
                buffers.first_chunk_mut::<CHUNK>(),
            ) else {
                break;
            };
            *buffers = chunk;
            let headroom = u64::from(pool.headroom());
            match &self.attached.places {
                Places::Linear(places) => offer(descriptors, &chunk, headroom, places, format),
                Places::Paged(places) => offer(descriptors, &chunk, headroom, places, format),
            }
            self.ring.lend(CHUNK);
        }
        self.ring.next() != before
    }

    /// Fills a small batch, if so many frames have arrived and nothing about them or the ring needs
    /// a second look. Else it takes nothing and returns false, and [`receive`](Self::receive) is to
    /// be called.
    #[inline]
    pub fn receive_few(&mut self, batch: &mut Batch, format: &impl RxFormat) -> bool {
        let room = batch.room();
        let few = room.wrapping_sub(1) < FEW && batch.pool_id() == self.at_ease;
        if !few || self.ring.room() >= CHUNK {
            return false;
        }
        let oldest = self.ring.oldest();
        let (template, limit) = (self.template, self.limit);
        // SAFETY: it is the batch's room.
        let places = unsafe { batch.vacant(room) };
        for (n, place) in places.iter_mut().enumerate() {
            let (status, buffer) = self.ring.at(oldest.wrapping_add(n));
            let len = format.len(status);
            if format.fault(status) != 0 || impossible(len, limit) & IMPOSSIBLE != 0 {
                return false;
            }
            place.write(RawPacket::from_bits(template.fill(u64::from(buffer), len)));
        }
        // SAFETY: the places were filled, with buffers that the device is done with and that leave
        // the ring in the next line.
        unsafe { batch.grow(room) };
        self.ring.take(room);
        true
    }

    /// Adds the frames that have arrived to `batch`, up to the first descriptor with a fault, and
    /// returns how many: at most as many as the batch has room for. The last buffer lent stays.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool.
    pub fn receive(
        &mut self,
        batch: &mut Batch,
        format: &impl RxFormat,
    ) -> Result<usize, DmaError> {
        if !batch.bind(&self.attached.pool) {
            return Err(DmaError::OtherPool);
        }
        Ok(self.receive_many(batch, format))
    }

    /// Takes frames by groups, and then one by one up to a fault.
    #[inline]
    fn receive_many(&mut self, batch: &mut Batch, format: &impl RxFormat) -> usize {
        let most = batch.room().min(self.lent().saturating_sub(1));
        let mut received = 0;
        loop {
            received += self.receive_groups(batch, most - received, format);
            let singles = GROUP.min(most - received);
            let singly = self.receive_singles(batch, singles, format);
            received += singly;
            // a whole group of singles was at the end of the ring's memory: go on from its start
            if singly < GROUP {
                return received;
            }
        }
    }

    /// Takes whole groups of frames, up to one with a fault, the end of the ring's memory, or
    /// `most`, which the batch has room for.
    #[inline]
    fn receive_groups(&mut self, batch: &mut Batch, most: usize, format: &impl RxFormat) -> usize {
        debug_assert!(most <= batch.room());
        let (descriptors, buffers) = self.ring.oldest_run(most);
        let (descriptors, _) = descriptors.as_chunks::<GROUP>();
        let (buffers, _) = buffers.as_chunks::<GROUP>();
        // SAFETY: `most` is at most the batch's room.
        let (places, _) = unsafe { batch.vacant(most) }.as_chunks_mut::<GROUP>();
        let (template, limit) = (self.template, self.limit);
        let mut received = 0;
        for ((descriptors, buffers), places) in descriptors.iter().zip(buffers).zip(places) {
            let status = Group::from(descriptors.each_ref().map(Ring::status_of));
            let len = format.len(status);
            if any_set(impossible(len, limit), IMPOSSIBLE)
                || any_set(format.fault(status), u64::MAX)
            {
                break;
            }
            let start = Group::from(buffers.map(u64::from));
            let frames = template.fill(start, len).to_array();
            for (place, frame) in places.iter_mut().zip(frames) {
                place.write(RawPacket::from_bits(frame));
            }
            received += GROUP;
        }
        // SAFETY: the first `received` places were filled, with buffers that the device is done
        // with and that leave the ring in the next line.
        unsafe { batch.grow(received) };
        self.ring.take(received);
        received
    }

    /// Takes frames one by one, up to one with a fault or `most`, which the batch has room for.
    #[inline]
    fn receive_singles(&mut self, batch: &mut Batch, most: usize, format: &impl RxFormat) -> usize {
        debug_assert!(most <= batch.room());
        let oldest = self.ring.oldest();
        let mut received = 0;
        // SAFETY: `most` is at most the batch's room.
        for place in unsafe { batch.vacant(most) } {
            let (status, buffer) = self.ring.at(oldest.wrapping_add(received));
            let len = format.len(status);
            if format.fault(status) != 0 || impossible(len, self.limit) & IMPOSSIBLE != 0 {
                break;
            }
            let frame = self.template.fill(u64::from(buffer), len);
            place.write(RawPacket::from_bits(frame));
            received += 1;
        }
        // SAFETY: the first `received` places were filled, with buffers that the device is done
        // with and that leave the ring in the next line.
        unsafe { batch.grow(received) };
        self.ring.take(received);
        received
    }

    /// Takes as many buffers back as there are `lens`, as one frame, the n-th holding `lens[n]`
    /// bytes, and adds it to `batch`. False, and nothing is taken, when the batch is full, or they
    /// are none, more than 255 or more than are lent. A length beyond the buffer is cut to it.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool.
    pub fn receive_frame(&mut self, batch: &mut Batch, lens: &[u16]) -> Result<bool, DmaError> {
        if !batch.bind(&self.attached.pool) {
            return Err(DmaError::OtherPool);
        }
        if lens.len() > self.lent().min(255) || batch.room() == 0 {
            return Ok(false);
        }
        let segment = |n: usize, len: u16| {
            let (_, buffer) = self.ring.at(self.oldest().wrapping_add(n));
            let len = u64::from(len.min(self.limit));
            RawPacket::from_bits(self.template.fill(u64::from(buffer), len))
        };
        // linked from the last buffer to the first
        let mut segments = lens.iter().enumerate().rev();
        let Some((last, len)) = segments.next() else {
            return Ok(false);
        };
        let mut frame = segment(last, *len);
        for (n, len) in segments {
            let mut before = segment(n, *len);
            self.attached.pool.inner().set_link(&mut before, frame);
            frame = before;
        }
        self.ring.take(lens.len());
        batch.add(frame);
        Ok(true)
    }

    /// Takes the oldest `count` buffers back as empty ones, or as many as are lent: into `batch`,
    /// if it carries their pool's and has room, else to their pool.
    pub fn discard(&mut self, count: usize, batch: &mut Batch) {
        let mut left = count.min(self.lent());
        while left > 0 {
            let (_, buffers) = self.ring.oldest_run(left.min(CHUNK));
            batch.take_empty(&self.attached.pool, buffers);
            let run = buffers.len();
            self.ring.take(run);
            left -= run;
        }
    }

    /// Gives up on buffers that a device may still use because it does not stop: they are never
    /// handed out again, and the memory stays allocated and mapped until the process ends. Better
    /// a leak than a frame written into somebody else's buffer.
    pub fn abandon(&mut self) {
        if self.lent() > 0 {
            std::mem::forget(self.attached.clone());
        }
        self.ring.take(self.lent());
    }
}

impl Drop for RxRing {
    fn drop(&mut self) {
        self.discard(self.lent(), &mut Batch::new(1));
    }
}

/// The carry of a length that is more than a buffer's, and the borrow of none.
const IMPOSSIBLE: u64 = 1 << 16 | 1 << 63;

/// Sets a bit of [`IMPOSSIBLE`] where `limit` bytes can't hold so many, or nothing at all came.
#[inline]
fn impossible<W: Lanes>(len: W, limit: u16) -> W {
    len.plus(u64::from(u16::MAX - limit)) | len.minus(1)
}

/// Writes the descriptors that offer buffers with these starts.
#[inline]
fn offer(
    into: &mut [[u64; 2]; CHUNK],
    starts: &[u32; CHUNK],
    headroom: u64,
    places: &impl Translate,
    format: &impl RxFormat,
) {
    let (into, _) = into.as_chunks_mut::<GROUP>();
    for (into, starts) in into.iter_mut().zip(starts.as_chunks::<GROUP>().0) {
        let data = Group::from(starts.map(u64::from)).plus(headroom);
        *into = descriptors(format.empty(places.group(data)));
    }
}
