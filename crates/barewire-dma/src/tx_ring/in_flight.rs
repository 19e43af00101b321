//! The descriptors of a transmit ring, and how frames get into them.
#![allow(unsafe_code)]

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
    /// Descriptors before this position can be filled without a thought: there is room, none of them
    /// asks for a report, and from `next` to there the ring's memory goes on. Never before `next`.
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

    /// Lends the first frames, up to one that is not plain or the last there is room for. Returns
    /// how many.
    #[inline]
    pub(super) fn send_plain(
        &mut self,
        frames: &[RawPacket],
        places: &impl Translate,
        owner: u32,
    ) -> usize {
        if frames.len() > self.clear() {
            return self.send_on(frames, places, owner);
        }
        // SAFETY: so many fit: they are clear.
        let filled = unsafe { self.fill(frames, places, owner) };
        self.ring.lend(filled);
        filled
    }

    /// As [`send_plain`](Self::send_plain), where thought is needed.
    #[inline(never)]
    fn send_on(&mut self, frames: &[RawPacket], places: &impl Translate, owner: u32) -> usize {
        let most = frames.len().min(self.room());
        let run = most.min(self.ring.to_end(self.ring.next()));
        let (frames, rest) = frames.split_at(run);
        // SAFETY: they were cut to what fits.
        let filled = unsafe { self.fill(frames, places, owner) };
        self.lend(filled);
        if filled == run && run < most {
            return filled + self.send_wrapped(rest, places, owner);
        }
        filled
    }

    /// Goes on at the beginning of the ring's memory.
    #[cold]
    #[inline(never)]
    fn send_wrapped(&mut self, frames: &[RawPacket], places: &impl Translate, owner: u32) -> usize {
        self.send_on(frames, places, owner)
    }

    /// Fills descriptors for frames, up to one that is not plain: by groups, and then one by one.
    /// Returns how many.
    ///
    /// # Safety
    /// The ring has room for so many, before its memory ends.
    #[inline]
    unsafe fn fill(&mut self, frames: &[RawPacket], places: &impl Translate, owner: u32) -> usize {
        // SAFETY: they fit, says the caller.
        let (into, buffers) = unsafe { self.ring.vacant_part(frames.len()) };
        let (plain, format) = (self.plain, &self.format);
        let (groups, rest) = frames.as_chunks::<GROUP>();
        let groups = groups.iter().zip(into.as_chunks_mut::<GROUP>().0);
        let mut filled = 0;
        for ((group, into), buffers) in groups.zip(buffers.as_chunks_mut::<GROUP>().0) {
            let handles = Handles::of(group);
            if any_set(handles.unusual(plain), UNUSUAL) {
                return self.fill_singly(filled, group, places, owner);
            }
            *into = descriptors(format.whole(places.group(handles.at()), handles.len()));
            let starts = handles.start() | u64::from(owner);
            *buffers = starts.to_array().map(low);
            filled += GROUP;
        }
        if rest.is_empty() {
            return filled;
        }
        self.fill_singly(filled, rest, places, owner)
    }

    /// Fills descriptors behind the first `filled` for few frames, up to one that is not plain.
    /// Returns how many are filled now.
    #[inline]
    fn fill_singly(
        &mut self,
        mut filled: usize,
        frames: &[RawPacket],
        places: &impl Translate,
        owner: u32,
    ) -> usize {
        for frame in frames {
            if !self.put(filled, frame, places, owner) {
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
            moved.frames += self.send_plain(frames.unwrap_or_default(), places, owner);
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
    fn lend(&mut self, count: usize) {
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
