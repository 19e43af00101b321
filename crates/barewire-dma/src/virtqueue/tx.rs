//! Transmit queues: frames to the device, empty buffers back.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use barewire_spec::virtio::{header, split};

use super::lanes::store;
use super::{HEADER, Piece, QueueFeatures, QueueMemory, QueuePlan, Run, Virtqueue, check_header};
use crate::batch::Moved;
use crate::depot::CHUNK;
use crate::lanes::{GROUP, any_set};
use crate::packet::{Bounds, Handles, RawPacket};
use crate::pool::Memory;
use crate::translation::{Attached, Places, Pools, Translate};
use crate::tx_ring::Sent;
use crate::{Batch, DmaError, Domain, Lanes, Mapping, Offload, PacketRef, Pool};

/// Descriptors of a table.
const TABLE: usize = 15;
/// Bytes of the shorter header.
const HEADER_LEGACY: u16 = 10;
/// Pieces of the longest chain: a header, and buffers.
const LONGEST: usize = 64;

/// What was negotiated about the headers of sent frames (VIRTIO §5.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxHeaders {
    /// Bytes of a header: 10 or 12.
    pub bytes: u16,
    /// A header is to lie in a buffer of its own, as the legacy interface has it.
    pub apart: bool,
    /// The device finishes checksums.
    pub checksum: bool,
    /// The device cuts TCP segments over IPv4, over IPv6, and UDP datagrams.
    pub segmentation: [bool; 3],
    /// The lengths of frames that are not to be cut, without a VLAN tag.
    pub lens: (u16, u16),
}

/// The frames that a device has to send.
///
/// Their buffers come back in any order, and go into the batch that is being sent, which brings them
/// to a receive queue, or home to their pools. Frames of several pools may be in the queue at once.
#[derive(Debug)]
pub struct VirtTx<Q: Virtqueue> {
    in_flight: InFlight<Q>,
    pools: Pools,
    /// There was no room for all frames the last time.
    cramped: bool,
}

/// The queue, and the frames behind the chains that the device has.
#[derive(Debug)]
struct InFlight<Q: Virtqueue> {
    queue: Q,
    memory: QueueMemory,
    headers: TxHeaders,
    plain: Bounds,
    indirect: bool,
    /// The frame behind each chain.
    frames: Box<[RawPacket]>,
    /// And whose it is.
    owners: Box<[u8]>,
}

impl<Q: Virtqueue> VirtTx<Q> {
    /// How a queue of `size` descriptors is laid out.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `size` is a power of two from 2 to 32,768.
    pub fn plan(size: u16, features: QueueFeatures) -> Result<QueuePlan<Q>, DmaError> {
        let table = if features.indirect {
            TABLE * split::DESCRIPTOR
        } else {
            0
        };
        QueuePlan::new(size, features, HEADER + table)
    }

    /// A queue with nothing in it.
    ///
    /// # Errors
    /// [`DmaError::Range`] for headers of neither 10 nor 12 bytes; [`DmaError`] where the memory is
    /// not fit for it.
    pub fn new(
        plan: QueuePlan<Q>,
        (mapping, offset): (Arc<Mapping>, usize),
        headers: TxHeaders,
    ) -> Result<Self, DmaError> {
        check_header(headers.bytes)?;
        let indirect = plan.features().indirect;
        let (queue, memory) = plan.start(mapping, offset)?;
        let size = usize::from(memory.size());
        let (shortest, longest) = headers.lens;
        Ok(Self {
            pools: Pools::default(),
            cramped: false,
            in_flight: InFlight {
                queue,
                headers,
                plain: Bounds::new(&RangeInclusive::new(shortest, longest)),
                indirect,
                frames: (0..size).map(|_| RawPacket::NOTHING).collect(),
                owners: vec![0; size].into(),
                memory,
            },
        })
    }

    /// The queue's memory.
    pub fn memory(&self) -> &QueueMemory {
        &self.in_flight.memory
    }

    /// Makes a pool known, mapping its memory for the device if it is not yet.
    ///
    /// # Errors
    /// As [`TxRing::attach`](crate::TxRing::attach).
    pub fn attach(&mut self, pool: &Pool, domain: &Domain) -> Result<(), DmaError> {
        self.pools.attach(pool, domain)
    }

    /// Whether the frames of `batch` can be sent without an [`attach`](Self::attach).
    pub fn knows(&self, batch: &Batch) -> bool {
        self.pools.owner_of(batch).is_some()
    }

    /// Lends the first frames of `batch`, as many whole ones as there is room for, and the number of
    /// their bytes. Nothing is lent of a batch that the queue does not [know](Self::knows). The
    /// device learns of them by [`publish`](Self::publish).
    pub fn send(&mut self, batch: &mut Batch) -> (Sent, u64) {
        let Some((owner, attached)) = self.pools.owner_of(batch) else {
            return (Sent::default(), 0);
        };
        let in_flight = &mut self.in_flight;
        let mut moved = Moved { batch, frames: 0 };
        let (mut refused, mut bytes) = (0, 0);
        loop {
            let frames = moved.batch.frames().get(moved.frames..);
            let (lent, more) = in_flight.lend_run(frames.unwrap_or_default(), attached, owner);
            moved.frames += lent;
            bytes += more;
            let Some(frame) = moved.first() else { break };
            if lent > 0 {
                continue;
            }
            match in_flight.lend_parts(frame, attached, owner) {
                Lent::Whole(more) => bytes += more,
                Lent::NoRoom => break,
                Lent::Refused => {
                    let frame = frame.alias();
                    moved.frames += 1;
                    refused += 1;
                    attached.pool.inner().give_back(frame);
                    continue;
                }
            }
            moved.frames += 1;
        }
        let sent = moved.frames - refused;
        self.cramped = moved.first().is_some();
        (Sent { sent, refused }, bytes)
    }

    /// Lets the device see what was lent, and says whether it wants to be told.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let in_flight = &mut self.in_flight;
        in_flight.queue.publish(in_flight.memory.words())
    }

    /// Whether buffers are to be taken back before `wanted` frames are sent: there are many of them, or
    /// there was no room the last time, or may be none now.
    #[inline]
    pub fn is_late(&self, wanted: usize) -> bool {
        let in_flight = &self.in_flight;
        let size = usize::from(in_flight.memory.size());
        let room = in_flight.queue.room();
        self.cramped || wanted == 0 || room < wanted || size - room >= CHUNK.min(size / 2)
    }

    /// Takes back the buffers of frames that the device has sent: into `batch`, if it carries their
    /// pool's and has room, else to their pools. Returns how many frames.
    ///
    /// # Errors
    /// [`DmaError::Device`] when the device said what can't be, after which the queue is no more
    /// good.
    pub fn take_back(&mut self, batch: Option<&mut Batch>) -> Result<usize, DmaError> {
        let mut back = Back {
            batch,
            pools: &self.pools,
            owner: 0,
            starts: [0; CHUNK],
            count: 0,
        };
        let in_flight = &mut self.in_flight;
        let words = in_flight.memory.words();
        let mut frames = 0;
        loop {
            let mut run = in_flight.queue.take_run(words, &mut [0; CHUNK])?;
            if run.count == 0 {
                let Some(used) = in_flight.queue.take_used(words)? else {
                    break;
                };
                run = Run {
                    first: used.id,
                    count: 1,
                };
            }
            let sent = in_flight.frames.get(run.range()).unwrap_or_default();
            let owners = in_flight.owners.get(run.range()).unwrap_or_default();
            back.give(sent, owners);
            frames += usize::from(run.count);
        }
        Ok(frames)
    }

    /// Number of frames that the device has.
    pub fn lent(&self) -> usize {
        self.in_flight.queue.lent()
    }
}

impl<Q: Virtqueue> InFlight<Q> {
    /// Lends the first of some frames as far as there is nothing special about them, each in one buffer
    /// with its header in front of it, and there is room. Returns how many, and their bytes.
    #[inline]
    fn lend_run(&mut self, frames: &[RawPacket], attached: &Attached, owner: u8) -> (usize, u64) {
        if self.headers.apart {
            return (0, 0);
        }
        if let [frame] | [frame, _] | [frame, _, _] = frames {
            let bytes = self.lend_one(frame, attached, owner);
            return bytes.map_or((0, 0), |bytes| (1, bytes));
        }
        let run = self.queue.next_run(frames.len().min(CHUNK));
        let frames = frames.get(..usize::from(run.count)).unwrap_or_default();
        let frames = frames.get(..self.plain_ones(frames)).unwrap_or_default();
        let lent = if self.headers.bytes == HEADER_LEGACY {
            self.lend_behind::<{ header::BYTES_LEGACY }>(run, frames, attached)
        } else {
            self.lend_behind::<{ header::BYTES }>(run, frames, attached)
        };
        let kept = self.frames.get_mut(lent.range()).unwrap_or_default();
        let mut bytes = 0;
        for (place, frame) in kept.iter_mut().zip(frames) {
            *place = frame.alias();
            bytes += frame.handle().len();
        }
        let owners = self.owners.get_mut(lent.range());
        owners.unwrap_or_default().fill(owner);
        (usize::from(lent.count), bytes)
    }

    /// Lends a frame if it is plain and there is room, and returns its bytes.
    #[inline]
    fn lend_one(&mut self, frame: &RawPacket, attached: &Attached, owner: u8) -> Option<u64> {
        if self.plain_ones(std::slice::from_ref(frame)) == 0 {
            return None;
        }
        let (memory, places) = (attached.pool.inner().memory(), &attached.places);
        let piece = if self.headers.bytes == HEADER_LEGACY {
            piece::<{ header::BYTES_LEGACY }>(frame, memory, places)
        } else {
            piece::<{ header::BYTES }>(frame, memory, places)
        };
        let id = self.queue.offer_one(self.memory.words(), piece, 0)?;
        self.keep(id, frame, owner);
        Some(frame.handle().len())
    }

    /// Lends as many plain frames as a run has numbers, each behind a header of `N` bytes.
    #[inline]
    fn lend_behind<const N: usize>(
        &mut self,
        run: Run,
        frames: &[RawPacket],
        attached: &Attached,
    ) -> Run {
        let words = self.memory.words();
        let memory = attached.pool.inner().memory();
        match &attached.places {
            Places::Linear(places) => {
                let pieces = frames.iter().map(|frame| piece::<N>(frame, memory, places));
                self.queue.offer_run(words, run, pieces, 0)
            }
            places @ Places::Paged(_) => {
                let pieces = frames.iter().map(|frame| piece::<N>(frame, memory, places));
                self.queue.offer_run(words, run, pieces, 0)
            }
        }
    }

    /// How many of the first frames have nothing special about them, and room in front of them for
    /// their header.
    #[inline]
    fn plain_ones(&self, frames: &[RawPacket]) -> usize {
        const UNUSUAL: u64 = Handles::<u64>::UNUSUAL;
        const BORROW: u64 = 1 << 63;
        let ahead = u64::from(self.headers.bytes);
        let mut plain = 0;
        let (groups, rest) = frames.as_chunks::<GROUP>();
        for group in groups {
            let handles = Handles::of(group);
            let short = handles.offset().minus(ahead) & BORROW;
            if any_set(handles.unusual(self.plain) & UNUSUAL | short, u64::MAX) {
                break;
            }
            plain += GROUP;
        }
        let rest = if plain == groups.len() * GROUP {
            rest
        } else {
            frames.get(plain..).unwrap_or_default()
        };
        let mut rest = rest.iter().map(RawPacket::handle);
        let odd = rest.position(|it| !it.is_plain(self.plain) || it.offset() < ahead);
        plain + odd.unwrap_or(frames.len() - plain)
    }

    fn keep(&mut self, id: u16, frame: &RawPacket, owner: u8) {
        let id = usize::from(id);
        if let (Some(place), Some(whose)) = (self.frames.get_mut(id), self.owners.get_mut(id)) {
            *place = frame.alias();
            *whose = owner;
        }
    }

    /// Lends a frame buffer by buffer, its header ahead of it.
    #[cold]
    fn lend_parts(&mut self, frame: &RawPacket, attached: &Attached, owner: u8) -> Lent {
        let pool = attached.pool.inner();
        let mut offload = pool.note(frame);
        let reference = PacketRef::new(pool, frame);
        let bytes = reference.len();
        if !self.sendable(reference, bytes, offload) {
            return Lent::Refused;
        }
        if !self.headers.checksum && offload.checksum.is_partial() {
            if !pool.finish_checksum(frame) {
                return Lent::Refused;
            }
            offload.checksum = crate::Checksum::Unknown;
        }
        let Some(id) = self.queue.next_id() else {
            return Lent::NoRoom;
        };
        let mut chain = [Piece::default(); LONGEST];
        let mut count = 1;
        let mut part = frame.alias();
        loop {
            let Some(place) = chain.get_mut(count) else {
                return Lent::Refused;
            };
            *place = Piece {
                address: attached.places.one(u64::from(part.at())),
                len: u32::from(part.len()),
                ..Piece::default()
            };
            count += 1;
            match pool.next_part(&part) {
                Some(next) => part = next,
                None => break,
            }
        }
        let slot = self.memory.slot(id);
        if let Some(header) = chain.first_mut() {
            *header = Piece {
                address: self.memory.address(slot),
                len: u32::from(self.headers.bytes),
                ..Piece::default()
            };
        }
        let words = self.memory.words();
        let chain = chain.get(..count).unwrap_or_default();
        let table = self.table(chain, slot);
        let table = table.as_ref().map(std::slice::from_ref);
        if table.unwrap_or(chain).len() > self.queue.room() {
            // more than there ever is room for can't be sent at all
            let never = chain.len() > usize::from(self.memory.size());
            return if never { Lent::Refused } else { Lent::NoRoom };
        }
        let mut padded = [0; HEADER];
        let fields = offload.to_header(&reference).to_bytes();
        padded
            .iter_mut()
            .zip(fields)
            .for_each(|(to, from)| *to = from);
        let (halves, _) = padded.as_chunks::<8>();
        for (n, half) in halves.iter().enumerate() {
            store(
                words,
                slot + n,
                u64::from_le_bytes(*half),
                Ordering::Relaxed,
            );
        }
        if self.queue.offer(words, table.unwrap_or(chain)).is_none() {
            return Lent::NoRoom;
        }
        self.keep(id, frame, owner);
        Lent::Whole(u64::try_from(bytes).unwrap_or(0))
    }

    /// Writes a table of the chain's descriptors behind the header in its slot, where that spares
    /// descriptors (VIRTIO §2.7.5.3, §2.8.7).
    fn table(&self, chain: &[Piece], slot: usize) -> Option<Piece> {
        if !self.indirect || !(2..=TABLE).contains(&chain.len()) {
            return None;
        }
        let words = self.memory.words();
        let first = slot + HEADER / 8;
        for (n, piece) in chain.iter().enumerate() {
            let last = n + 1 == chain.len();
            let place = first + n * split::DESCRIPTOR / 8;
            for (half, word) in Q::table_entry(*piece, n, last).into_iter().enumerate() {
                store(words, place + half, word, Ordering::Relaxed);
            }
        }
        let bytes = chain.len() * split::DESCRIPTOR;
        Some(Piece {
            address: self.memory.address(first),
            len: u32::try_from(bytes).ok()?,
            writable: false,
            table: true,
        })
    }

    fn sendable(&self, frame: PacketRef<'_>, bytes: usize, offload: Offload) -> bool {
        /// A VLAN tag, which the limit does not count.
        const TAG: usize = 4;
        let mut segments = frame.segments();
        let (shortest, longest) = self.headers.lens;
        let tagged = frame.bytes().get(12..14) == Some(&[0x81, 0x00]);
        let longest = usize::from(longest) + if tagged { TAG } else { 0 };
        let cut = match offload.segmentation {
            None => bytes <= longest,
            Some(cut) => {
                let can = self.headers.segmentation.get(cut.protocol.index());
                can.is_some_and(|can| *can) && u16::try_from(bytes).is_ok()
            }
        };
        let fits = u64::try_from(bytes).is_ok_and(|bytes| offload.fits(bytes));
        cut && fits && bytes >= usize::from(shortest) && segments.all(|part| !part.is_empty())
    }
}

/// A frame and the header of `N` bytes in front of it: address and length. The header says that there
/// is nothing to finish and nothing to cut.
#[inline]
fn piece<const N: usize>(
    frame: &RawPacket,
    memory: Memory<'_>,
    places: &impl Translate,
) -> (u64, u32) {
    if let Some(header) = memory.in_front(&mut frame.alias()) {
        *header = [0; N];
    }
    let at = places.one(frame.handle().at().minus(N as u64));
    (at, u32::from(frame.len()) + u32::try_from(N).unwrap_or(0))
}

/// What became of a frame.
enum Lent {
    /// The device has it, with so many bytes.
    Whole(u64),
    /// There is no room for it now.
    NoRoom,
    /// The device can't send it.
    Refused,
}

/// Buffers on their way back, gathered by pool.
struct Back<'q, 'b> {
    batch: Option<&'b mut Batch>,
    pools: &'q Pools,
    owner: u8,
    starts: [u32; CHUNK],
    count: usize,
}

impl Back<'_, '_> {
    /// Gives back frames and says whose each is.
    #[inline]
    fn give(&mut self, frames: &[RawPacket], owners: &[u8]) {
        let owner = owners.first().copied().unwrap_or(0);
        let same = owners.iter().fold(0, |differ, it| differ | (it ^ owner)) == 0;
        let more = frames
            .iter()
            .fold(0, |all, frame| all | frame.handle().more());
        if !same || more != 0 {
            return self.give_each(frames, owners);
        }
        if owner != self.owner || self.count + frames.len() > CHUNK {
            self.flush();
            self.owner = owner;
        }
        let places = self.starts.get_mut(self.count..);
        let places = places.unwrap_or_default().iter_mut();
        for (place, frame) in places.zip(frames) {
            *place = frame.start();
        }
        self.count += frames.len();
    }

    #[cold]
    fn give_each(&mut self, frames: &[RawPacket], owners: &[u8]) {
        for (frame, owner) in frames.iter().zip(owners) {
            if !frame.more() {
                self.give(std::slice::from_ref(frame), std::slice::from_ref(owner));
            } else if let Some(attached) = self.pools.get(*owner) {
                attached.pool.inner().give_back(frame.alias());
            }
        }
    }

    fn flush(&mut self) {
        let starts = self.starts.get(..self.count).unwrap_or_default();
        if let Some(attached) = self.pools.get(self.owner) {
            match self.batch.as_deref_mut() {
                Some(batch) => batch.take_empty(&attached.pool, starts),
                None => attached.pool.inner().depot().put(starts),
            }
        }
        self.count = 0;
    }
}

impl Drop for Back<'_, '_> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<Q: Virtqueue> Drop for VirtTx<Q> {
    /// Gives the buffers back. The device must have stopped.
    fn drop(&mut self) {
        let pools = &self.pools;
        let InFlight {
            queue,
            frames,
            owners,
            ..
        } = &mut self.in_flight;
        queue.forget(|id| {
            let id = usize::from(id);
            let frame = frames.get_mut(id).map(std::mem::take);
            let pool = owners.get(id).and_then(|owner| pools.get(*owner));
            if let (Some(frame), Some(attached)) = (frame, pool) {
                attached.pool.inner().give_back(frame);
            }
        });
    }
}
