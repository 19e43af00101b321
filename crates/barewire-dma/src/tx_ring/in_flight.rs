//! The descriptors of a transmit ring, and how frames get into them.

use super::{Part, Sent, TxFormat};
use crate::batch::Moved;
use crate::depot::CHUNK;
use crate::lanes::{GROUP, any_set, descriptors};
use crate::packet::{Bounds, Handles, RawPacket};
use crate::translation::Translate;
use crate::{Batch, DescriptorRing, Iova, PacketRef, Pool};

/// See [`Handles::unusual`].
const UNUSUAL: u64 = Handles::<u64>::UNUSUAL;

/// The descriptors, and the buffers behind those that the device has: start and owner.
#[derive(Debug)]
#[repr(C)]
pub(super) struct InFlight<F> {
    /// Descriptors before this position can be filled without a thought: there is room, and none
    /// of them asks for a report.
    clear: usize,
    /// Lengths that need no second look.
    plain: Bounds,
    format: F,
    pub(super) reports: Reports,
    pub(super) ring: DescriptorRing,
}

/// Positions of the descriptors that asked for a report, oldest first. There is room for all that a
/// ring has.
#[derive(Debug)]
pub(super) struct Reports {
    /// As many as a power of two.
    positions: Box<[usize]>,
    first: usize,
    next: usize,
}

impl Reports {
    fn new(count: usize) -> Self {
        Self {
            positions: vec![0; count].into(),
            first: 0,
            next: 0,
        }
    }

    #[inline]
    pub(super) fn first(&self) -> Option<usize> {
        if self.first == self.next {
            return None;
        }
        let index = self.first & (self.positions.len() - 1);
        self.positions.get(index).copied()
    }

    #[inline]
    fn push(&mut self, position: usize) {
        let index = self.next & (self.positions.len() - 1);
        if let Some(place) = self.positions.get_mut(index) {
            *place = position;
        }
        self.next = self.next.wrapping_add(1);
    }

    #[inline]
    pub(super) fn drop_first(&mut self) {
        self.first = self.first.wrapping_add(1);
    }
}

impl<F: TxFormat> InFlight<F> {
    /// Nothing in flight.
    pub(super) fn new(ring: DescriptorRing, format: F) -> Self {
        Self {
            reports: Reports::new(ring.count()),
            clear: ring.next(),
            plain: Bounds::new(&format.plain()),
            ring,
            format,
        }
    }

    /// Descriptors that frames may still take. One stays free: a ring whose tail is its head is
    /// empty, not full.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.ring.room().saturating_sub(1)
    }

    /// How many descriptors can be filled without a thought.
    #[inline]
    pub(super) fn clear(&self) -> usize {
        self.clear.wrapping_sub(self.ring.next())
    }

    /// Finds out how many descriptors can be filled without a thought.
    #[inline]
    pub(super) fn look_ahead(&mut self) {
        let next = self.ring.next();
        let before_report = CHUNK - 1 - next % CHUNK;
        self.clear = next.wrapping_add(before_report.min(self.room()));
    }

    /// Fills the descriptor `n` behind the next, which the driver has, for a frame; false if the
    /// frame is not plain.
    #[inline]
    pub(super) fn put(
        &mut self,
        n: usize,
        frame: &RawPacket,
        places: &impl Translate,
        owner: u32,
    ) -> bool {
        let handle = frame.handle();
        if !handle.is_plain(self.plain) {
            return false;
        }
        let words = self.format.whole(places.one(handle.at()), handle.len());
        self.ring.put(n, words, low(handle.start()) | owner);
        true
    }

    /// Fills descriptors for the first frames, up to one that is not plain or the last there is
    /// room for. Returns how many.
    #[inline]
    pub(super) fn fill(
        &mut self,
        frames: &[RawPacket],
        places: &impl Translate,
        owner: u32,
    ) -> usize {
        let most = frames.len().min(self.room());
        let filled = self.fill_run(0, frames, most, places, owner);
        // the end of the ring's memory ends a run as well
        if filled < most && self.ring.index(self.ring.next().wrapping_add(filled)) == 0 {
            return filled + self.fill_wrapped(filled, frames, most, places, owner);
        }
        filled
    }

    #[cold]
    fn fill_wrapped(
        &mut self,
        first: usize,
        frames: &[RawPacket],
        most: usize,
        places: &impl Translate,
        owner: u32,
    ) -> usize {
        self.fill_run(first, frames, most, places, owner)
    }

    /// Fills descriptors for the frames from `first` up to `most`, to one that is not plain, or to
    /// the end of the ring's memory: by groups, and then one by one. Returns how many.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the rare second call would keep it from being inlined
    fn fill_run(
        &mut self,
        first: usize,
        frames: &[RawPacket],
        most: usize,
        places: &impl Translate,
        owner: u32,
    ) -> usize {
        let frames = frames.get(first..most).unwrap_or_default();
        let (into, buffers) = self.ring.vacant_run(first, frames.len());
        let (plain, format) = (self.plain, &self.format);
        let groups = frames.as_chunks::<GROUP>().0.iter();
        let groups = groups.zip(into.as_chunks_mut::<GROUP>().0);
        let mut filled = 0;
        for ((frames, into), buffers) in groups.zip(buffers.as_chunks_mut::<GROUP>().0) {
            let handles = Handles::of(frames);
            if any_set(handles.unusual(plain), UNUSUAL) {
                break;
            }
            *into = descriptors(format.whole(places.group(handles.at()), handles.len()));
            let starts = handles.start() | u64::from(owner);
            *buffers = starts.to_array().map(low);
            filled += GROUP;
        }
        let run = into.len();
        for frame in frames.get(filled..run).unwrap_or_default() {
            if !self.put(first + filled, frame, places, owner) {
                break;
            }
            filled += 1;
        }
        filled
    }

    /// Lends the first frames of a batch, those that need a second look one at a time.
    pub(super) fn send_rest(
        &mut self,
        batch: &mut Batch,
        pool: &Pool,
        places: &impl Translate,
        owner: u32,
    ) -> Sent {
        let mut moved = Moved { batch, frames: 0 };
        let mut refused = 0;
        loop {
            let frames = moved.batch.frames().get(moved.frames..);
            let filled = self.fill(frames.unwrap_or_default(), places, owner);
            self.lend(filled);
            moved.frames += filled;
            let Some(frame) = moved.first() else { break };
            if frame.handle().is_plain(self.plain) {
                break; // there is no room for it
            }
            let done = pool.inner().finish_offload(frame);
            if !done || !self.format.sendable(PacketRef::new(pool.inner(), frame)) {
                let frame = frame.alias();
                moved.frames += 1;
                refused += 1;
                pool.inner().give_back(frame);
            } else if self.lend_parts(frame, pool, places, owner) {
                moved.frames += 1;
            } else {
                break;
            }
        }
        Sent {
            sent: moved.frames - refused,
            refused,
        }
    }

    /// Lends a frame that is not plain, buffer by buffer; false, and nothing is lent, when there is
    /// no room for all of it.
    fn lend_parts(
        &mut self,
        frame: &RawPacket,
        pool: &Pool,
        places: &impl Translate,
        owner: u32,
    ) -> bool {
        let segments = PacketRef::new(pool.inner(), frame).segments();
        let lens = segments.map(<[u8]>::len);
        let (parts, bytes) = lens.fold((0, 0), |(parts, bytes), len| (parts + 1, bytes + len));
        if parts > self.room() {
            return false;
        }
        let mut raw = frame.alias();
        for n in 0..parts {
            let words = self.format.part(Part {
                buffer: Iova::new(places.one(raw.handle().at())),
                len: raw.len(),
                frame_len: u32::try_from(bytes).unwrap_or(u32::MAX),
                last: n + 1 == parts,
            });
            self.ring.put(n, words, raw.start() | owner);
            if let Some(next) = pool.inner().next_part(&raw) {
                raw = next;
            }
        }
        // A ring might be too full for the next such frame, with no report to come.
        self.report(parts - 1);
        self.ring.lend(parts);
        self.look_ahead();
        true
    }

    /// Lends the next `count` descriptors, which were filled for a frame each, and asks for a
    /// report at the end of each chunk.
    #[inline]
    pub(super) fn lend(&mut self, count: usize) {
        let mut end = CHUNK - 1 - self.ring.next() % CHUNK;
        while end < count {
            self.report(end);
            end += CHUNK;
        }
        self.ring.lend(count);
        self.look_ahead();
    }

    /// Asks for a report of the filled descriptor `n` behind the next.
    #[inline]
    fn report(&mut self, n: usize) {
        self.ring.amend(n, F::REPORT);
        self.reports.push(self.ring.next().wrapping_add(n));
    }
}

/// The start of a buffer, which has 32 bits.
#[inline]
#[allow(clippy::cast_possible_truncation)] // a pool's region has at most 4 GiB
fn low(start: u64) -> u32 {
    start as u32
}
