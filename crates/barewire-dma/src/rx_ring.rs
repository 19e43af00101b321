//! A receive ring: empty buffers to the device, frames to the program.
#![allow(unsafe_code)]

use crate::depot::CHUNK;
use crate::lanes::{GROUP, Group, any_set, descriptors};
use crate::packet::{LEN, RawPacket, Template};
use crate::pool::PoolId;
use crate::translation::{Attached, Places, Translate};
use crate::{Batch, DescriptorRing, DmaError, Domain, Lanes, Pool, Ring};

/// What a family of devices writes and reads in its receive descriptors.
///
/// The functions are about one descriptor or a group of them: see [`Lanes`].
pub trait RxFormat {
    /// The descriptor that offers an empty buffer at this address.
    fn empty<W: Lanes>(&self, buffer: W) -> [W; 2];

    /// What the second word of a descriptor says of a frame: from bit 32 on, in 16 bits, how many
    /// bytes the device says it wrote into the buffer, which the ring bounds; in the other bits,
    /// what keeps it from being a whole, undamaged frame in one buffer: 0 is nothing. That the
    /// device has not written the descriptor back yet is such a fault.
    fn frame<W: Lanes>(&self, status: W) -> W;
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
#[repr(C)] // what the data path uses comes first, in as few cache lines as can be
pub struct RxRing<F: RxFormat> {
    /// The pool's number, or none while every descriptor needs a second look.
    at_ease: PoolId,
    /// Descriptors before this position can be taken without a thought: the device has them, the
    /// last one is not among them, and from `oldest` to there the ring's memory goes on. Never
    /// before `oldest`.
    until: usize,
    /// When `oldest` gets here there is room for a chunk of empty buffers.
    refill_at: usize,
    pool_id: PoolId,
    /// Of a frame behind the headroom.
    template: Template,
    /// What to add to a length where a handle has it, so that one above the limit carries.
    over: u64,
    /// The most bytes that a device may write into a buffer.
    limit: u16,
    headroom: u16,
    format: F,
    ring: DescriptorRing,
    attached: Attached,
}

impl<F: RxFormat> RxRing<F> {
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
        format: F,
    ) -> Result<Self, DmaError> {
        let limit = limit.min(pool.data_room());
        Ok(Self {
            at_ease: pool.id(),
            until: ring.oldest(),
            refill_at: ring.oldest(),
            pool_id: pool.id(),
            template: Template::new(pool.headroom()),
            over: u64::from(u16::MAX - limit) << LEN,
            limit,
            headroom: pool.headroom(),
            format,
            ring,
            attached: Attached::new(pool, domain)?,
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
        // positions are free-running, and these two less than a ring apart
        self.oldest().wrapping_sub(self.refill_at) <= usize::MAX / 2
    }

    /// Finds out how far descriptors can be taken without a thought, and when to refill.
    #[inline]
    fn look_ahead(&mut self) {
        let oldest = self.oldest();
        let most = self.lent().saturating_sub(1);
        self.until = oldest.wrapping_add(most.min(self.ring.to_end(oldest)));
        let lap_before = self.next().wrapping_sub(self.ring.count());
        self.refill_at = lap_before.wrapping_add(CHUNK);
    }

    /// Descriptors that can be taken without a thought.
    #[inline]
    fn ahead(&self) -> usize {
        self.until.wrapping_sub(self.oldest())
    }

    /// Takes the oldest descriptors back, and the buffers behind them away.
    fn take(&mut self, count: usize) {
        self.ring.take(count);
        self.look_ahead();
    }

    /// Says whether every descriptor needs a second look from now on.
    pub fn look_twice(&mut self, always: bool) {
        self.at_ease = if always { PoolId::NONE } else { self.pool_id };
    }

    /// Lends empty buffers, as many chunks as there is room for and as `batch` and the pool have.
    /// Returns whether there was one.
    pub fn refill(&mut self, batch: &mut Batch) -> bool {
        let before = self.ring.next();
        while self.ring.room() >= CHUNK {
            if let Some(chunk) = batch.spare_chunk(self.pool_id) {
                self.lend(chunk);
                batch.forget_spare_chunk();
            } else if !self.lend_from_pool() {
                break;
            }
        }
        self.look_ahead();
        self.ring.next() != before
    }

    /// Lends a chunk of the pool's, if it has one.
    #[cold]
    fn lend_from_pool(&mut self) -> bool {
        let chunk = self.pool().inner().depot().take_chunk();
        chunk.inspect(|chunk| self.lend(chunk)).is_some()
    }

    /// Lends a chunk of empty buffers, for which there is room.
    #[inline]
    fn lend(&mut self, chunk: &[u32; CHUNK]) {
        let (descriptors, buffers) = self.ring.vacant_run(CHUNK);
        let descriptors = descriptors.first_chunk_mut::<CHUNK>();
        let buffers = buffers.first_chunk_mut::<CHUNK>();
        // only whole chunks are ever lent, so one never lies across the end of the ring's memory
        if let (Some(descriptors), Some(buffers)) = (descriptors, buffers) {
            *buffers = *chunk;
            let (headroom, format) = (self.headroom, &self.format);
            match &self.attached.places {
                Places::Linear(places) => offer(descriptors, chunk, headroom, places, format),
                Places::Paged(places) => offer(descriptors, chunk, headroom, places, format),
            }
            self.ring.lend(CHUNK);
        }
    }

    /// Receives into a batch that has room for one frame, if one has arrived and nothing about it
    /// or the ring needs a second look. Else it takes nothing and returns false, and
    /// [`receive_easy`](Self::receive_easy) is to be called.
    #[inline]
    pub fn receive_one(&mut self, batch: &mut Batch) -> bool {
        let at_ease = batch.room() == 1 && self.is_at_ease_with(batch);
        if !at_ease || self.wants_buffers() || self.ahead() == 0 {
            return false;
        }
        let (status, buffer) = self.ring.at(self.ring.oldest());
        let Some(frame) = self.frame(status, buffer) else {
            return false;
        };
        // SAFETY: the batch has room for one frame.
        unsafe { batch.put(frame) };
        self.ring.take(1);
        true
    }

    /// Whether descriptors may need no second look, and the batch was used with this ring's pool
    /// last.
    #[inline]
    pub fn is_at_ease_with(&self, batch: &Batch) -> bool {
        batch.pool_id() == self.at_ease
    }

    /// As [`receive`](Self::receive), but takes nothing unless the ring
    /// [is at ease](Self::is_at_ease_with) with the batch.
    #[inline]
    pub fn receive_easy(&mut self, batch: &mut Batch) -> usize {
        if !self.is_at_ease_with(batch) {
            return 0;
        }
        self.receive_bound(batch)
    }

    /// Adds the frames that have arrived to `batch`, up to the first descriptor with a fault, and
    /// returns how many: at most as many as the batch has room for. The last buffer lent stays.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool.
    pub fn receive(&mut self, batch: &mut Batch) -> Result<usize, DmaError> {
        if !batch.bind(&self.attached.pool, self.pool_id) {
            return Err(DmaError::OtherPool);
        }
        Ok(self.receive_bound(batch))
    }

    /// Receives into a batch that is bound to the ring's pool.
    #[inline]
    fn receive_bound(&mut self, batch: &mut Batch) -> usize {
        let (room, ahead) = (batch.room(), self.ahead());
        let received = self.receive_run(batch, room.min(ahead));
        if received == ahead && room > ahead {
            return received + self.receive_on(batch);
        }
        received
    }

    /// Goes on where thought is needed: behind the end of the ring's memory, as a rule.
    #[inline(never)]
    fn receive_on(&mut self, batch: &mut Batch) -> usize {
        self.look_ahead();
        self.receive_run(batch, batch.room().min(self.ahead()))
    }

    /// Takes frames up to one with a fault, or `most`, which the batch has room for and which are
    /// ahead: by groups, and then one by one.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the rare second call would keep it from being inlined
    fn receive_run(&mut self, batch: &mut Batch, most: usize) -> usize {
        debug_assert!(most <= batch.room() && most <= self.ahead());
        let mut received = 0;
        if most >= GROUP {
            // SAFETY: what is ahead does not reach beyond the end of the ring's memory.
            let (descriptors, buffers) = unsafe { self.ring.oldest_part(most) };
            // SAFETY: the batch has room for so many.
            let places = unsafe { batch.vacant(most) };
            let (template, over) = (self.template, self.over);
            let groups = descriptors.as_chunks::<GROUP>().0.iter();
            let groups = groups.zip(buffers.as_chunks::<GROUP>().0);
            for ((descriptors, buffers), places) in groups.zip(places.as_chunks_mut::<GROUP>().0) {
                let status = Group::from(descriptors.each_ref().map(Ring::status_of));
                let frame = self.format.frame(status);
                if any_set(unusual(frame, over), !LENGTH) {
                    break;
                }
                let start = Group::from(buffers.map(u64::from));
                let frames = template.fill(start, frame).to_array();
                for (place, frame) in places.iter_mut().zip(frames) {
                    place.write(RawPacket::from_bits(frame));
                }
                received += GROUP;
            }
            // SAFETY: the first `received` places were filled, with buffers that the device is done
            // with and that leave the ring in the next line.
            unsafe { batch.grow(received) };
            self.ring.take(received);
            if received == most {
                return received;
            }
        }
        received + self.receive_few(batch, (most - received).min(GROUP - 1))
    }

    /// Takes up to `most` frames, which the batch has room for, one by one: up to one with a fault.
    #[inline]
    fn receive_few(&mut self, batch: &mut Batch, most: usize) -> usize {
        debug_assert!(most <= batch.room());
        let mut received = 0;
        while received < most {
            let (status, buffer) = self.ring.at(self.ring.oldest());
            let Some(frame) = self.frame(status, buffer) else {
                break;
            };
            // SAFETY: the batch has room for `most` frames, and these are fewer.
            unsafe { batch.put(frame) };
            self.ring.take(1);
            received += 1;
        }
        received
    }

    /// The frame that a descriptor says is in a buffer, if it is whole and fits.
    #[inline]
    fn frame(&self, status: u64, buffer: u32) -> Option<RawPacket> {
        let frame = self.format.frame(status);
        (unusual(frame, self.over) & !LENGTH == 0)
            .then(|| RawPacket::from_bits(self.template.fill(u64::from(buffer), frame)))
    }

    /// Takes as many buffers back as there are `lens`, as one frame, the n-th holding `lens[n]`
    /// bytes, and adds it to `batch`. False, and nothing is taken, when the batch is full, or they
    /// are none, more than 255 or more than are lent. A length beyond the buffer is cut to it.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool.
    pub fn receive_frame(&mut self, batch: &mut Batch, lens: &[u16]) -> Result<bool, DmaError> {
        if !batch.bind(&self.attached.pool, self.pool_id) {
            return Err(DmaError::OtherPool);
        }
        if lens.len() > self.lent().min(255) || batch.room() == 0 {
            return Ok(false);
        }
        let segment = |n: usize, len: u16| {
            let (_, buffer) = self.ring.at(self.oldest().wrapping_add(n));
            let len = u64::from(len.min(self.limit)) << LEN;
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
        self.take(lens.len());
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
            self.take(run);
            left -= run;
        }
    }

    /// Gives up on buffers that a device may still use because it does not stop: they are never
    /// handed out again, and the memory stays allocated and mapped until the process ends. Better
    /// a leak than a frame written into somebody else's buffer.
    pub fn abandon(&mut self) {
        if self.lent() > 0 {
            std::mem::forget(self.attached.clone());
            self.ring.abandon();
        }
        self.take(self.lent());
    }
}

impl<F: RxFormat> Drop for RxRing<F> {
    fn drop(&mut self) {
        self.discard(self.lent(), &mut Batch::new(1));
    }
}

/// The bits of a length where a handle has it, which is where [`RxFormat::frame`] has it.
const LENGTH: u64 = 0xffff << LEN;

/// Sets a bit outside [`LENGTH`] where a frame has a fault or its length is out of bounds.
///
/// It must not miss one, whatever the format says. A bit below the length stays as it is in both
/// sums. A length beyond the limit carries into the bits above it in the first sum, one of 0 borrows
/// from them in the second, and no length does both. So one of the sums leaves the bits above as
/// they are, and if they are 0 in both, neither carried nor borrowed.
#[inline]
fn unusual<W: Lanes>(frame: W, over: u64) -> W {
    frame.plus(over) | frame.minus(1 << LEN)
}

/// Writes the descriptors that offer buffers with these starts.
#[inline]
fn offer(
    into: &mut [[u64; 2]; CHUNK],
    starts: &[u32; CHUNK],
    headroom: u16,
    places: &impl Translate,
    format: &impl RxFormat,
) {
    let (into, _) = into.as_chunks_mut::<GROUP>();
    for (into, starts) in into.iter_mut().zip(starts.as_chunks::<GROUP>().0) {
        let data = Group::from(starts.map(u64::from)).plus(u64::from(headroom));
        *into = descriptors(format.empty(places.group(data)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_a_faultless_frame_of_a_length_within_the_limit_is_usual(
            above in prop_oneof![Just(0), Just(1), Just(u16::MAX), any::<u16>()],
            below in prop_oneof![9 => Just(0), 1 => any::<u32>()],
            limit: u16,
            off in -2_i32..=2,
            any_len: u16,
        ) {
            let near = u16::try_from(i32::from(limit) + off).unwrap_or(0);
            let over = u64::from(u16::MAX - limit) << LEN;
            for len in [near, any_len, 0, 1] {
                let frame = u64::from(above) << 48 | u64::from(len) << LEN | u64::from(below);
                let usual = above == 0 && below == 0 && (1..=limit).contains(&len);
                prop_assert_eq!(unusual(frame, over) & !LENGTH == 0, usual);
            }
        }
    }
}
