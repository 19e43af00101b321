//! Receive queues: empty buffers to the device, frames to the program.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use barewire_spec::virtio::header::{self, Header};

use super::lanes::load;
use super::{HEADER, Piece, QueueFeatures, QueueMemory, QueuePlan, Used, Virtqueue, check_header};
use crate::depot::CHUNK;
use crate::packet::RawPacket;
use crate::translation::Attached;
use crate::{Batch, DmaError, Domain, Mapping, Offload, Pool};

/// The most buffers of a frame: enough for 64 KiB in the smallest buffers that are any use for it.
const LONGEST: u16 = 64;
/// The shortest frame: an Ethernet header.
const SHORTEST: u16 = 14;

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
    /// The buffer behind each chain.
    starts: Box<[u32]>,
    frame: Frame,
    armed: bool,
}

/// A frame of which not all buffers have come.
#[derive(Debug)]
struct Frame {
    /// The buffers that have come, and nothing behind them.
    parts: Box<[RawPacket]>,
    have: u16,
    want: u16,
    /// One of them is not as it must be.
    malformed: bool,
    offload: Offload,
}

impl Frame {
    fn new() -> Self {
        Self {
            parts: (0..LONGEST).map(|_| RawPacket::NOTHING).collect(),
            have: 0,
            want: 0,
            malformed: false,
            offload: Offload::NONE,
        }
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
        // the header in the headroom where it can be, so that frames begin where they always do
        let ahead = if headers.apart { 0 } else { headers.bytes };
        let begin = pool.headroom().saturating_sub(ahead);
        let starts = vec![0; usize::from(memory.size())].into();
        Ok(Self {
            queue,
            memory,
            attached,
            headers,
            begin,
            room: pool.inner().whole() - begin,
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
            for start in chunk {
                if self.lend(start).is_some() {
                    lent += 1;
                } else {
                    // a small queue takes less than a chunk
                    self.attached.pool.inner().depot().put(&[start]);
                }
            }
        }
        lent
    }

    /// Lends one empty buffer; `None` where there is no room.
    fn lend(&mut self, start: u32) -> Option<()> {
        let at = u64::from(start) + u64::from(self.begin);
        let buffer = Piece {
            address: self.attached.places.one(at),
            len: u32::from(self.room),
            writable: true,
            table: false,
        };
        let id = self.queue.next_id()?;
        let words = self.memory.words();
        if self.headers.apart {
            let header = Piece {
                address: self.memory.address(self.memory.slot(id)),
                len: u32::from(self.headers.bytes),
                writable: true,
                table: false,
            };
            self.queue.offer(words, &[header, buffer])?;
        } else {
            self.queue.offer(words, &[buffer])?;
        }
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

    /// Takes back one buffer.
    #[inline]
    fn take(&mut self, used: Used, batch: &mut Batch, received: &mut Received) {
        let start = self.starts.get(usize::from(used.id)).copied().unwrap_or(0);
        // bounded by the chain's room, which has 16 bits but for a header apart
        let len = u16::try_from(used.len).unwrap_or(u16::MAX);
        if self.frame.have > 0 {
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
        let want = if self.headers.mergeable {
            header.num_buffers
        } else {
            1
        };
        let bounded = (1..=LONGEST.min(self.memory.size())).contains(&want);
        let offload = if self.headers.offloads {
            Offload::from_header(header)
        } else {
            Some(Offload::NONE)
        };
        self.frame.malformed = !good || !bounded || offload.is_none();
        self.frame.offload = offload.unwrap_or(Offload::NONE);
        // what follows a lie about their number is no part of it
        self.frame.want = if bounded && good { want } else { 1 };
        self.collect(first, batch, received);
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
        self.frame.malformed |= !good;
        self.collect(more, batch, received);
    }

    /// Adds a buffer to the frame, and the frame to the batch if it was the last.
    fn collect(&mut self, part: RawPacket, batch: &mut Batch, received: &mut Received) {
        let frame = &mut self.frame;
        if let Some(place) = frame.parts.get_mut(usize::from(frame.have)) {
            *place = part;
            frame.have += 1;
        }
        if frame.have < frame.want {
            return;
        }
        let parts = frame.parts.get_mut(..usize::from(frame.have));
        frame.have = 0;
        // linked from the last buffer to the first
        let mut parts = parts.into_iter().flatten().rev();
        let pool = self.attached.pool.inner();
        let Some(mut whole) = parts.next().map(std::mem::take) else {
            return;
        };
        let mut bytes = u64::from(whole.len());
        for part in parts {
            let mut before = std::mem::take(part);
            bytes += u64::from(before.len());
            pool.set_link(&mut before, whole);
            whole = before;
        }
        if frame.malformed || !frame.offload.fits(bytes) {
            received.malformed += 1;
            pool.give_back(whole);
            return;
        }
        if !frame.offload.is_none() {
            pool.set_note(&mut whole, frame.offload);
        }
        received.frames += 1;
        received.bytes += bytes;
        batch.add(whole);
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
        for part in &mut self.frame.parts {
            if !part.is_nothing() {
                pool.give_back(std::mem::take(part));
            }
        }
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
