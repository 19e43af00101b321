//! Receive queues: empty buffers to the device, frames to the program.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use barewire_spec::virtio::header::{self, Header};

use super::lanes::load;
use super::merging::Frame;
use super::{
    HEADER, Piece, QueueFeatures, QueueMemory, QueuePlan, Run, Used, Virtqueue, check_header,
};
use crate::depot::CHUNK;
use crate::lanes::{GROUP, Group, any_set};
use crate::packet::{LEN, RawPacket, Template};
use crate::translation::{Attached, Places, Translate};
use crate::{Batch, DmaError, Domain, Lanes, Mapping, Pool};

/// The shortest frame: an Ethernet header.
const SHORTEST: u16 = 14;
/// Bytes of a header, with those that the shortest does not have.
const HEADER_BYTES: u16 = 12;

/// What was negotiated about the headers of received frames (VIRTIO §5.1.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxHeaders {
    /// Bytes of a header: 10 or 12.
    pub bytes: u16,
    /// A frame may lie in several buffers, and the header says in how many.
    pub mergeable: bool,
    /// A header lies in a buffer of its own, as the legacy interface has it.
    pub apart: bool,
    /// The header tells of checksums and segments.
    pub offloads: bool,
}

/// What came of a look at a receive queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames added to the batch.
    pub frames: usize,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Frames that were not as they must be, and were dropped.
    pub malformed: u64,
}

/// The buffers that a device has to receive into.
///
/// Buffers come back in any order. Nothing that the device writes is believed: see the
/// [module](crate::Virtqueue).
#[derive(Debug)]
pub struct VirtRx<Q: Virtqueue> {
    queue: Q,
    memory: QueueMemory,
    attached: Attached,
    headers: RxHeaders,
    /// Where in a buffer the device begins to write.
    begin: u16,
    /// How many bytes it may write there.
    room: u16,
    /// Of a frame behind its header.
    template: Template,
    /// What in a header asks for a closer look.
    unusual: Unusual,
    /// The buffer behind each chain.
    starts: Box<[u32]>,
    frame: Frame,
    armed: bool,
}

/// What in a header asks for a closer look at its frame.
#[derive(Clone, Copy, Debug)]
struct Unusual {
    /// Bits of the flags and the segmentation that say that there is something to know.
    notes: u16,
    /// Bits in which the number of buffers must be 1.
    buffers: u16,
}

impl Unusual {
    fn new(headers: RxHeaders) -> Self {
        let all_if = |on| if on { u16::MAX } else { 0 };
        Self {
            notes: all_if(headers.offloads),
            buffers: all_if(headers.mergeable),
        }
    }

    /// 0 where there is nothing to be looked at.
    #[inline]
    fn found_in(self, header: &[u8; header::BYTES]) -> u16 {
        let [flags, segmentation, .., low, high] = *header;
        let notes = u16::from_le_bytes([flags, segmentation]) & self.notes;
        notes | (u16::from_le_bytes([low, high]) ^ 1) & self.buffers
    }
}

impl<Q: Virtqueue> VirtRx<Q> {
    /// How a queue of `size` descriptors is laid out.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `size` is a power of two from 2 to 32,768.
    pub fn plan(
        size: u16,
        features: QueueFeatures,
        headers: RxHeaders,
    ) -> Result<QueuePlan<Q>, DmaError> {
        QueuePlan::new(size, features, if headers.apart { HEADER } else { 0 })
    }

    /// A queue whose frames arrive in buffers of `pool`. Nothing is lent yet.
    ///
    /// # Errors
    /// [`DmaError::Range`] for headers of neither 10 nor 12 bytes; [`DmaError`] where the memory is
    /// not fit for it, or the pool can't be mapped.
    pub fn new(
        plan: QueuePlan<Q>,
        (mapping, offset): (Arc<Mapping>, usize),
        pool: &Pool,
        domain: &Domain,
        headers: RxHeaders,
    ) -> Result<Self, DmaError> {
        check_header(headers.bytes)?;
        let attached = Attached::new(pool, domain)?;
        let (queue, memory) = plan.start(mapping, offset)?;
        let ahead = if headers.apart { 0 } else { headers.bytes };
        let begin = if headers.mergeable {
            // where a cache line begins, so that the device writes whole ones and a short frame's
            // header is in the same
            pool.headroom()
        } else {
            // in the headroom: the buffer has to take the whole frame
            pool.headroom().saturating_sub(ahead)
        };
        let starts = vec![0; usize::from(memory.size())].into();
        Ok(Self {
            queue,
            memory,
            attached,
            headers,
            begin,
            room: pool.inner().whole() - begin,
            template: Template::new(begin + ahead),
            unusual: Unusual::new(headers),
            starts,
            frame: Frame::new(),
            armed: false,
        })
    }

    /// The queue's memory.
    pub fn memory(&self) -> &QueueMemory {
        &self.memory
    }

    /// The pool that frames arrive in.
    pub fn pool(&self) -> &Pool {
        &self.attached.pool
    }

    /// The longest frame that one buffer takes.
    pub fn whole_frame(&self) -> u16 {
        let ahead = if self.headers.apart {
            0
        } else {
            self.headers.bytes
        };
        self.room.saturating_sub(ahead)
    }

    /// Whether there is room for a chunk of empty buffers, or, in a small queue, for half of what it
    /// takes.
    #[inline]
    pub fn wants_buffers(&self) -> bool {
        let chains = self.queue.room() / self.pieces();
        let all = usize::from(self.memory.size()) / self.pieces();
        chains >= CHUNK.min(all.div_ceil(2))
    }

    /// Descriptors of a buffer.
    #[inline]
    fn pieces(&self) -> usize {
        1 + usize::from(self.headers.apart)
    }

    /// Lends empty buffers, as many as there is room for and as `batch` and the pool have, but makes
    /// none available before [`publish`](Self::publish). Returns how many.
    pub fn refill(&mut self, batch: &mut Batch) -> usize {
        let mut lent = 0;
        while self.wants_buffers() {
            let spare = batch.spare_chunk(self.attached.pool.id()).copied();
            if spare.is_some() {
                batch.forget_spare_chunk();
            }
            let chunk = spare.or_else(|| self.attached.pool.inner().depot().take_chunk());
            let Some(chunk) = chunk else { break };
            let mut starts = chunk.as_slice();
            while !starts.is_empty() {
                let more = self.lend(starts);
                if more == 0 {
                    // a small queue takes less than a chunk
                    self.attached.pool.inner().depot().put(starts);
                    break;
                }
                lent += more;
                starts = starts.get(more..).unwrap_or_default();
            }
        }
        lent
    }

    /// Lends the first of some empty buffers, and returns how many: 0 where there is no room.
    fn lend(&mut self, starts: &[u32]) -> usize {
        if self.headers.apart {
            let lent = starts.first().and_then(|start| self.lend_apart(*start));
            return usize::from(lent.is_some());
        }
        let run = self.queue.next_run(starts.len());
        let places = self.starts.get_mut(run.range());
        for (place, start) in places.unwrap_or_default().iter_mut().zip(starts) {
            *place = *start;
        }
        let starts = starts.iter().map(|start| u64::from(*start));
        let (words, room) = (self.memory.words(), u32::from(self.room));
        let begin = u64::from(self.begin);
        let lent = match &self.attached.places {
            Places::Linear(places) => {
                let pieces = starts.map(|start| (places.one(start + begin), room));
                self.queue.offer_run(words, run, pieces, room)
            }
            places @ Places::Paged(_) => {
                let pieces = starts.map(|start| (places.one(start + begin), room));
                self.queue.offer_run(words, run, pieces, room)
            }
        };
        usize::from(lent.count)
    }

    /// Lends one empty buffer with a header apart from it; `None` where there is no room.
    fn lend_apart(&mut self, start: u32) -> Option<()> {
        let at = u64::from(start) + u64::from(self.begin);
        let buffer = Piece {
            address: self.attached.places.one(at),
            len: u32::from(self.room),
            writable: true,
            table: false,
        };
        let id = self.queue.next_id()?;
        let header = Piece {
            address: self.memory.address(self.memory.slot(id)),
            len: u32::from(self.headers.bytes),
            ..buffer
        };
        self.queue.offer(self.memory.words(), &[header, buffer])?;
        if let Some(place) = self.starts.get_mut(usize::from(id)) {
            *place = start;
        }
        Some(())
    }

    /// Lets the device see what was lent, and says whether it wants to be told.
    #[inline]
    pub fn publish(&mut self) -> bool {
        self.queue.publish(self.memory.words())
    }

    /// Adds the frames that have arrived to `batch`, as many as it has room for.
    ///
    /// # Errors
    /// [`DmaError::OtherPool`] while the batch holds packets of another pool; [`DmaError::Device`]
    /// when the device said what can't be, after which the queue is no more good.
    #[inline]
    pub fn receive(&mut self, batch: &mut Batch) -> Result<Received, DmaError> {
        if !batch.bind(&self.attached.pool, self.attached.pool.id()) {
            return Err(DmaError::OtherPool);
        }
        let mut received = Received::default();
        while batch.room() > 0 {
            if batch.room() >= GROUP && self.receive_run(batch, &mut received)? {
                continue;
            }
            let Some(used) = self.queue.take_used(self.memory.words())? else {
                break;
            };
            self.take(used, batch, &mut received);
        }
        if self.armed && received.frames > 0 {
            self.armed = false;
            self.queue.disarm(self.memory.words());
        }
        Ok(received)
    }

    /// Takes back a run of buffers, if the device is done with one; says so if not.
    #[inline]
    fn receive_run(
        &mut self,
        batch: &mut Batch,
        received: &mut Received,
    ) -> Result<bool, DmaError> {
        let mut lens = [0; CHUNK];
        let most = batch.room().min(CHUNK);
        let places = lens.get_mut(..most).unwrap_or_default();
        let run = self.queue.take_run(self.memory.words(), places)?;
        if run.count == 0 {
            return Ok(false);
        }
        let lens = lens.get(..usize::from(run.count)).unwrap_or_default();
        let whole = if self.frame.has_begun() {
            0
        } else {
            self.take_whole(run, lens, batch, received)
        };
        for (id, len) in run.numbers().zip(lens).skip(whole) {
            let used = Used {
                id,
                len: (*len).min(u32::from(self.room)),
                honest: *len <= u32::from(self.room),
            };
            self.take(used, batch, received);
        }
        Ok(true)
    }

    /// Takes back the first buffers of a run as far as each holds a frame that needs no closer look.
    /// Returns how many. The batch has room for the run.
    #[inline]
    fn take_whole(
        &mut self,
        run: Run,
        lens: &[u32],
        batch: &mut Batch,
        received: &mut Received,
    ) -> usize {
        const BORROW: u64 = 1 << 63;
        let ahead = self.headers.bytes;
        let (least, room) = (u64::from(ahead + SHORTEST), u64::from(self.room));
        let (template, unusual, begin) = (self.template, self.unusual, self.begin);
        let memory = self.attached.pool.inner().memory();
        let look = |start: &u32| {
            let header = RawPacket::single(*start, begin, HEADER_BYTES);
            let header = memory.bytes(&header).first_chunk();
            header.map_or(u16::MAX, |header| unusual.found_in(header))
        };
        let starts = self.starts.get(run.range()).unwrap_or_default();
        let most = starts.len().min(lens.len());
        // SAFETY: the batch has room for the whole run, says the caller.
        let places = unsafe { batch.vacant(most) };
        let groups = starts.as_chunks::<GROUP>().0.iter();
        let groups = groups.zip(lens.as_chunks::<GROUP>().0);
        let mut whole = 0;
        for ((starts, lens), places) in groups.zip(places.as_chunks_mut::<GROUP>().0) {
            let len = Group::from(lens.map(u64::from));
            let misfit = len.minus(least) | (Group::of(room) - len);
            let notes = starts.iter().fold(0, |notes, start| notes | look(start));
            if notes != 0 || any_set(misfit, BORROW) {
                break;
            }
            let starts = Group::from(starts.map(u64::from));
            let lens = len.minus(ahead.into()) << LEN;
            let frames = template.fill(starts, lens).to_array();
            for (place, frame) in places.iter_mut().zip(frames) {
                place.write(RawPacket::from_bits(frame));
            }
            whole += GROUP;
        }
        let rest = starts.iter().zip(lens).zip(places).skip(whole);
        for ((start, len), place) in rest {
            let len = u64::from(*len);
            let misfit = len.minus(least) | room.minus(len);
            if look(start) != 0 || misfit & BORROW != 0 {
                break;
            }
            let frame = template.fill(u64::from(*start), len.minus(ahead.into()) << LEN);
            place.write(RawPacket::from_bits(frame));
            whole += 1;
        }
        // SAFETY: as many places were filled, with buffers of the pool that the batch is bound to.
        // They were lent, each under one number, and `take_run` gives each number back once: nobody
        // else has a handle of them.
        unsafe { batch.grow(whole) };
        let bytes: u64 = lens.iter().take(whole).map(|len| u64::from(*len)).sum();
        received.bytes += bytes.minus(whole as u64 * u64::from(ahead));
        received.frames += whole;
        whole
    }

    /// Takes back one buffer.
    fn take(&mut self, used: Used, batch: &mut Batch, received: &mut Received) {
        let start = self.starts.get(usize::from(used.id)).copied().unwrap_or(0);
        // bounded by the chain's room, which has 16 bits but for a header apart
        let len = u16::try_from(used.len).unwrap_or(u16::MAX);
        if self.frame.has_begun() {
            let more = RawPacket::single(start, self.begin, len.min(self.room));
            let good = used.honest && len > 0;
            return self.take_more(more, good, batch, received);
        }
        let ahead = self.headers.bytes;
        let bytes = len.saturating_sub(ahead);
        let good = used.honest && bytes >= SHORTEST;
        let at = self.begin + if self.headers.apart { 0 } else { ahead };
        let frame = RawPacket::single(start, at, bytes);
        let header = self.header(used.id, start);
        let plain = !self.headers.mergeable || header.num_buffers == 1;
        let asks = self.headers.offloads && header.flags | header.gso_type != 0;
        if good && plain && !asks {
            received.frames += 1;
            received.bytes += u64::from(bytes);
            batch.add(frame);
        } else {
            self.take_first(frame, header, good, batch, received);
        }
    }

    /// Takes the first buffer of a frame that needs a closer look.
    #[cold]
    fn take_first(
        &mut self,
        first: RawPacket,
        header: Header,
        good: bool,
        batch: &mut Batch,
        received: &mut Received,
    ) {
        self.frame
            .begin(header, self.headers, self.memory.size(), good);
        let pool = self.attached.pool.inner();
        self.frame.collect(first, pool, batch, received);
    }

    /// Takes a buffer of a frame whose first has come.
    #[cold]
    fn take_more(
        &mut self,
        more: RawPacket,
        good: bool,
        batch: &mut Batch,
        received: &mut Received,
    ) {
        if !good {
            self.frame.spoil();
        }
        let pool = self.attached.pool.inner();
        self.frame.collect(more, pool, batch, received);
    }

    /// The header that the device wrote for the chain, before it was looked at.
    #[inline]
    fn header(&self, id: u16, start: u32) -> Header {
        let mut bytes = [0; header::BYTES];
        if self.headers.apart {
            let (words, at) = (self.memory.words(), self.memory.slot(id));
            let words = [0, 1].map(|n| load(words, at + n, Ordering::Relaxed));
            let both = words.iter().flat_map(|word| word.to_le_bytes());
            bytes.iter_mut().zip(both).for_each(|(to, from)| *to = from);
        } else {
            let place = RawPacket::single(start, self.begin, self.headers.bytes);
            let from = self.attached.pool.inner().memory().bytes(&place);
            bytes
                .iter_mut()
                .zip(from)
                .for_each(|(to, from)| *to = *from);
        }
        Header::from_bytes(bytes)
    }

    /// Asks for an interrupt as soon as a frame has arrived, and says whether none has yet.
    pub fn arm(&mut self) -> bool {
        self.armed = true;
        self.queue.arm(self.memory.words())
    }

    /// Number of buffers that the device has.
    pub fn lent(&self) -> usize {
        self.queue.lent()
    }
}

impl<Q: Virtqueue> Drop for VirtRx<Q> {
    /// Gives the buffers back. The device must have stopped.
    fn drop(&mut self) {
        let pool = self.attached.pool.inner();
        self.frame.give_back(pool);
        let starts = &self.starts;
        self.queue.forget(|id| {
            if let Some(start) = starts.get(usize::from(id)) {
                pool.depot().put(&[*start]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Direct;
    use crate::{DmaRegion, Pages, PoolConfig, Split};

    #[test]
    fn a_header_that_no_buffer_has_room_for_is_refused() {
        let domain = Domain::new(Arc::<Direct>::default());
        let pool = Pool::new(PoolConfig {
            buffers: 1,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        })
        .unwrap();
        let made = |bytes| {
            let headers = RxHeaders {
                bytes,
                mergeable: false,
                apart: false,
                offloads: false,
            };
            let plan = VirtRx::<Split>::plan(2, QueueFeatures::default(), headers).unwrap();
            let region = DmaRegion::allocate(plan.bytes(), Pages::Ordinary).unwrap();
            let mapping = domain.map(&region).unwrap();
            VirtRx::new(plan, (mapping, 0), &pool, &domain, headers)
        };
        assert!(made(10).is_ok() && made(12).is_ok());
        for bytes in [0, 11, 16, u16::MAX] {
            let refused = made(bytes);
            assert!(matches!(refused, Err(DmaError::Range { .. })), "{bytes}");
        }
    }
}
