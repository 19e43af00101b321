//! A transmit ring: frames to the device, empty buffers back.

use std::ops::RangeInclusive;

use crate::depot::CHUNK;
use crate::lanes::{GROUP, any_set, descriptors};
use crate::packet::{Bounds, Handles, RawPacket};
use crate::pool::PoolId;
use crate::translation::{Attached, Linear, Places, Translate};
use crate::{Batch, DescriptorRing, DmaError, Domain, Iova, Lanes, PacketRef, Pool};

/// The low bits of a buffer's start, which is a whole number of cache lines: a ring keeps there
/// whose buffer it is.
const OWNER: u32 = 63;

/// See [`Handles::unusual`].
const UNUSUAL: u64 = Handles::<u64>::UNUSUAL;

/// Most pools that one ring tells apart.
const MOST_POOLS: usize = OWNER as usize + 1;

/// What a family of devices reads and writes in its transmit descriptors.
///
/// [`whole`](Self::whole) is about one descriptor or a group of them: see [`Lanes`].
pub trait TxFormat {
    /// The bit of the second word by which a descriptor asks the device for a report.
    const REPORT: u64;

    /// The bit of the second word by which the device reports.
    const DONE: u64;

    /// The lengths of frames in one buffer that can be sent without a second look.
    fn plain(&self) -> RangeInclusive<u16>;

    /// Whether a frame can be sent that is not [`plain`](Self::plain).
    fn sendable(&self, frame: PacketRef<'_>) -> bool;

    /// The descriptor of a frame in one buffer: its address, and its length of 16 bits.
    fn whole<W: Lanes>(&self, buffer: W, len: W) -> [W; 2];

    /// The descriptor of one buffer of a frame of several.
    fn part(&self, part: Part) -> [u64; 2];
}

/// One buffer of a frame of several.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where the device finds its bytes.
    pub buffer: Iova,
    /// Number of its bytes.
    pub len: u16,
    /// Bytes of the whole frame.
    pub frame_len: u32,
    /// Whether it is the frame's last buffer.
    pub last: bool,
}

/// What became of the first frames of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the device has now.
    pub sent: usize,
    /// Frames that the device can't send. They were dropped.
    pub refused: usize,
}

/// The frames that a device has to send, in the order of their descriptors.
///
/// One descriptor in [`CHUNK`](Self::CHUNK) asks for a report, and so does the last one of every
/// frame of several buffers. A report says that all descriptors up to it are done, and then their
/// buffers go into the batch that is being sent, which brings them to a receive ring, or home to
/// their pools.
///
/// Frames of several pools may be in the ring at once; each buffer goes to its own.
#[derive(Debug)]
pub struct TxRing {
    in_flight: InFlight,
    pools: Vec<Attached>,
    /// The pool of the last frames, which is that of the next as a rule.
    current: Option<Route>,
    few: Few,
}

/// What it takes to send a few frames of the current pool, at hand.
#[derive(Debug)]
struct Few {
    /// The pool's number, or none where its places are not linear.
    pool: PoolId,
    places: Linear,
    owner: u32,
}

/// The descriptors, and the buffers behind those that the device has: start and owner.
#[derive(Debug)]
struct InFlight {
    ring: DescriptorRing,
    reports: Reports,
    /// Descriptors before this position can be filled without a thought: there is room, and none
    /// of them asks for a report.
    clear: usize,
    /// Lengths that need no second look.
    plain: Bounds,
}

/// How the frames of one pool get into descriptors.
#[derive(Clone, Debug)]
struct Route {
    pool: Pool,
    /// The pool's position in the list of pools.
    owner: u32,
    places: Places,
}

/// Positions of the descriptors that asked for a report, oldest first. There is room for all that a
/// ring has.
#[derive(Debug)]
struct Reports {
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

    fn first(&self) -> Option<usize> {
        if self.first == self.next {
            return None;
        }
        let index = self.first & (self.positions.len() - 1);
        self.positions.get(index).copied()
    }

    fn push(&mut self, position: usize) {
        let index = self.next & (self.positions.len() - 1);
        if let Some(place) = self.positions.get_mut(index) {
            *place = position;
        }
        self.next = self.next.wrapping_add(1);
    }

    fn drop_first(&mut self) {
        self.first = self.first.wrapping_add(1);
    }
}

/// Takes frames out of a batch when it goes out of scope, so that they have one owner even if a
/// driver's function panics.
struct Moved<'b> {
    batch: &'b mut Batch,
    frames: usize,
}

impl Moved<'_> {
    fn left(&self) -> &[RawPacket] {
        self.batch.frames().get(self.frames..).unwrap_or_default()
    }
}

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        self.batch.moved_out(self.frames);
    }
}

/// Fewer frames than a group.
const FEW: usize = GROUP - 1;

impl TxRing {
    /// Number of descriptors of which one asks for a report.
    pub const CHUNK: usize = CHUNK;

    /// A ring with nothing in it.
    pub fn new(ring: DescriptorRing, format: &impl TxFormat) -> Self {
        Self {
            in_flight: InFlight {
                reports: Reports::new(ring.count()),
                clear: ring.next(),
                plain: Bounds::new(&format.plain()),
                ring,
            },
            pools: Vec::new(),
            current: None,
            few: Few {
                pool: PoolId::NONE,
                places: Linear::default(),
                owner: 0,
            },
        }
    }

    /// The descriptors.
    #[inline]
    pub fn ring(&self) -> &DescriptorRing {
        &self.in_flight.ring
    }

    /// Position of the descriptor that is lent next.
    #[inline]
    pub fn next(&self) -> usize {
        self.in_flight.ring.next()
    }

    /// Number of descriptors the device has.
    #[inline]
    pub fn lent(&self) -> usize {
        self.in_flight.ring.lent()
    }

    /// Makes a pool known, mapping its memory for the device if it is not yet.
    ///
    /// # Errors
    /// What [`Domain::map`] and [`Mapping::iova`](crate::Mapping::iova) say, and
    /// [`DmaError::TooManyPools`].
    pub fn attach(&mut self, pool: &Pool, domain: &Domain) -> Result<(), DmaError> {
        if self.pools.iter().any(|attached| attached.pool.is(pool)) {
            return Ok(());
        }
        if self.pools.len() >= MOST_POOLS {
            return Err(DmaError::TooManyPools { most: MOST_POOLS });
        }
        self.pools.push(Attached::new(pool, domain)?);
        Ok(())
    }

    /// Whether the frames of `batch` can be sent without an [`attach`](Self::attach).
    pub fn knows(&mut self, batch: &Batch) -> bool {
        let is_of = |route: &Route| batch.carries(&route.pool);
        if self.current.as_ref().is_some_and(is_of) {
            return true;
        }
        let mut pools = (0..).zip(&self.pools);
        let Some((owner, attached)) = pools.find(|(_, attached)| batch.carries(&attached.pool))
        else {
            return false;
        };
        self.few.pool = PoolId::NONE;
        if let Places::Linear(places) = attached.places {
            self.few = Few {
                pool: attached.pool.id(),
                places,
                owner,
            };
        }
        self.current = Some(Route {
            pool: attached.pool.clone(),
            owner,
            places: attached.places.clone(),
        });
        true
    }

    /// Lends all frames of a small batch, if nothing about them or the ring needs a second look, as
    /// is so 31 times of 32. Else it lends nothing and returns false, and [`send`](Self::send) is to
    /// be called.
    #[inline]
    pub fn send_few<F: TxFormat>(&mut self, batch: &mut Batch, format: &F) -> bool {
        let frames = batch.frames();
        let (pool, places, owner) = (self.few.pool, self.few.places, self.few.owner);
        let few = frames.len().wrapping_sub(1) < FEW && batch.pool_id() == pool;
        if !few || frames.len() > self.in_flight.clear() {
            return false;
        }
        for (n, frame) in frames.iter().enumerate() {
            if !self.in_flight.put(n, frame, &places, owner, format) {
                return false;
            }
        }
        self.in_flight.ring.lend(frames.len());
        batch.moved_out(frames.len());
        true
    }

    /// Lends the first frames of `batch`, as many whole ones as there is room for, after taking
    /// back what the device is done with. Nothing is lent of a batch that the ring does not
    /// [know](Self::knows).
    pub fn send<F: TxFormat>(&mut self, batch: &mut Batch, format: &F) -> Sent {
        // once for each chunk of descriptors, and whenever the ring is too full
        if batch.len() > self.in_flight.clear() {
            self.take_back::<F>(Some(batch));
        }
        let mut sent = self.lend(batch, format);
        // frames of several buffers may need more room than there are frames
        if !batch.is_empty() && self.take_back::<F>(Some(batch)) > 0 {
            let more = self.lend(batch, format);
            sent.sent += more.sent;
            sent.refused += more.refused;
        }
        sent
    }

    /// Lends the first frames of `batch`, as many as there is room for.
    fn lend<F: TxFormat>(&mut self, batch: &mut Batch, format: &F) -> Sent {
        if !self.knows(batch) {
            return Sent::default();
        }
        let Some(route) = &self.current else {
            return Sent::default();
        };
        let in_flight = &mut self.in_flight;
        match &route.places {
            Places::Linear(places) => in_flight.send(batch, route, places, format),
            Places::Paged(places) => in_flight.send(batch, route, places, format),
        }
    }

    /// Takes back the buffers that the device has reported as done: into `batch`, if it carries
    /// their pool's and has room, else to their pools. Returns how many.
    pub fn take_back<F: TxFormat>(&mut self, mut batch: Option<&mut Batch>) -> usize {
        let mut taken = 0;
        while let Some(report) = self.in_flight.reports.first() {
            if self.in_flight.ring.status(report) & F::DONE == 0 {
                break;
            }
            self.in_flight.reports.drop_first();
            let oldest = self.in_flight.ring.oldest();
            let done = report.wrapping_add(1).wrapping_sub(oldest);
            self.take(done, batch.as_deref_mut());
            taken += done;
        }
        taken
    }

    /// Takes the oldest `count` buffers back, which are lent.
    fn take(&mut self, count: usize, mut batch: Option<&mut Batch>) {
        let mut left = count;
        while left > 0 {
            let (_, buffers) = self.in_flight.ring.oldest_run(left);
            let owner = buffers.first().map_or(0, |first| first & OWNER);
            let mut chunk = [0; CHUNK];
            let taken = match buffers.first_chunk::<CHUNK>() {
                // as a rule: a whole chunk of one pool
                Some(whole) if differ(whole, owner) == 0 => {
                    chunk = whole.map(|buffer| buffer & !OWNER);
                    CHUNK
                }
                _ => {
                    let same = |buffer: &&u32| **buffer & OWNER == owner;
                    let same = buffers.iter().take_while(same);
                    let mut taken = 0;
                    for (place, buffer) in chunk.iter_mut().zip(same) {
                        *place = buffer & !OWNER;
                        taken += 1;
                    }
                    taken
                }
            };
            let empty = chunk.get(..taken).unwrap_or(&chunk);
            if let Some(attached) = self.pools.get(owner as usize) {
                match batch.as_deref_mut() {
                    Some(batch) => batch.take_empty(&attached.pool, empty),
                    None => attached.pool.inner().depot().put(empty),
                }
            }
            self.in_flight.ring.take(taken);
            left -= taken;
        }
    }

    /// Gives up on buffers that a device may still use because it does not stop: they are never
    /// handed out again, and the memory stays allocated and mapped until the process ends. Better
    /// a leak than a frame read from somebody else's buffer.
    pub fn abandon(&mut self) {
        if self.lent() > 0 {
            std::mem::forget(std::mem::take(&mut self.pools));
        }
        let lent = self.lent();
        self.in_flight.ring.take(lent);
    }
}

impl Drop for TxRing {
    fn drop(&mut self) {
        self.take(self.lent(), None);
    }
}

impl InFlight {
    /// Descriptors that frames may still take. One stays free: a ring whose tail is its head is
    /// empty, not full.
    #[inline]
    fn room(&self) -> usize {
        self.ring.room().saturating_sub(1)
    }

    /// How many descriptors can be filled without a thought.
    #[inline]
    fn clear(&self) -> usize {
        self.clear.wrapping_sub(self.ring.next())
    }

    /// Finds out how many descriptors can be filled without a thought.
    fn look_ahead(&mut self) {
        let next = self.ring.next();
        let before_report = CHUNK - 1 - next % CHUNK;
        self.clear = next.wrapping_add(before_report.min(self.room()));
    }

    /// Fills the descriptor `n` behind the next, which the driver has, for a frame; false if the
    /// frame is not plain.
    #[inline]
    fn put<F: TxFormat>(
        &mut self,
        n: usize,
        frame: &RawPacket,
        places: &impl Translate,
        owner: u32,
        format: &F,
    ) -> bool {
        let handle = frame.handle();
        if handle.unusual(self.plain) & UNUSUAL != 0 {
            return false;
        }
        let words = format.whole(places.one(handle.at()), handle.len());
        self.ring.put(n, words, low(handle.start()) | owner);
        true
    }

    /// Lends the first frames of a batch: whole groups of plain ones, then single ones, and those
    /// that need a second look one at a time.
    #[inline(never)]
    fn send<F: TxFormat>(
        &mut self,
        batch: &mut Batch,
        route: &Route,
        places: &impl Translate,
        format: &F,
    ) -> Sent {
        let mut moved = Moved { batch, frames: 0 };
        let mut refused = 0;
        loop {
            let frames = moved.left();
            let frames = frames.get(..self.room()).unwrap_or(frames);
            let Some(first) = frames.first() else { break };
            let filled = match self.fill_groups(frames, places, route.owner, format) {
                0 => self.fill_singles(frames, places, route.owner, format),
                groups => groups,
            };
            if filled > 0 {
                self.lend::<F>(filled);
                moved.frames += filled;
                continue;
            }
            if !format.sendable(PacketRef::new(route.pool.inner(), first)) {
                let first = first.alias();
                moved.frames += 1;
                refused += 1;
                route.pool.inner().give_back(first);
            } else if self.lend_parts(first, route, places, format) {
                moved.frames += 1;
            } else {
                break;
            }
        }
        self.look_ahead();
        Sent {
            sent: moved.frames - refused,
            refused,
        }
    }

    /// Fills descriptors for whole groups of plain frames, up to one with another frame in it or
    /// the end of the ring's memory. Returns how many.
    #[inline]
    fn fill_groups<F: TxFormat>(
        &mut self,
        frames: &[RawPacket],
        places: &impl Translate,
        owner: u32,
        format: &F,
    ) -> usize {
        let (into, buffers) = self.ring.vacant_run(frames.len());
        let (frames, _) = frames.as_chunks::<GROUP>();
        let (into, _) = into.as_chunks_mut::<GROUP>();
        let (buffers, _) = buffers.as_chunks_mut::<GROUP>();
        let plain = self.plain;
        let mut filled = 0;
        for ((frames, into), buffers) in frames.iter().zip(into).zip(buffers) {
            let handles = Handles::of(frames);
            if any_set(handles.unusual(plain), UNUSUAL) {
                break;
            }
            *into = descriptors(format.whole(places.group(handles.at()), handles.len()));
            let starts = handles.start() | u64::from(owner);
            *buffers = starts.to_array().map(low);
            filled += GROUP;
        }
        filled
    }

    /// Fills descriptors for plain frames, up to a group of them or the first other one. Returns
    /// how many.
    fn fill_singles<F: TxFormat>(
        &mut self,
        frames: &[RawPacket],
        places: &impl Translate,
        owner: u32,
        format: &F,
    ) -> usize {
        let mut filled = 0;
        for frame in frames.iter().take(GROUP) {
            if !self.put(filled, frame, places, owner, format) {
                break;
            }
            filled += 1;
        }
        filled
    }

    /// Lends a frame that is not plain, buffer by buffer; false, and nothing is lent, when there is
    /// no room for all of it.
    #[cold]
    fn lend_parts<F: TxFormat>(
        &mut self,
        frame: &RawPacket,
        route: &Route,
        places: &impl Translate,
        format: &F,
    ) -> bool {
        let segments = PacketRef::new(route.pool.inner(), frame).segments();
        let lens = segments.map(<[u8]>::len);
        let (parts, bytes) = lens.fold((0, 0), |(parts, bytes), len| (parts + 1, bytes + len));
        if parts > self.room() {
            return false;
        }
        let mut raw = frame.alias();
        for n in 0..parts {
            let words = format.part(Part {
                buffer: Iova::new(places.one(raw.handle().at())),
                len: raw.len(),
                frame_len: u32::try_from(bytes).unwrap_or(u32::MAX),
                last: n + 1 == parts,
            });
            self.ring.put(n, words, raw.start() | route.owner);
            if raw.more() {
                raw = route.pool.inner().link(&raw);
            }
        }
        // A ring might be too full for the next such frame, with no report to come.
        self.report::<F>(parts - 1);
        self.ring.lend(parts);
        true
    }

    /// Lends the next `count` descriptors, which were filled for a frame each, and asks for a
    /// report at the end of each chunk.
    #[inline]
    fn lend<F: TxFormat>(&mut self, count: usize) {
        let mut end = CHUNK - 1 - self.ring.next() % CHUNK;
        while end < count {
            self.report::<F>(end);
            end += CHUNK;
        }
        self.ring.lend(count);
    }

    /// Asks for a report of the filled descriptor `n` behind the next.
    #[inline]
    fn report<F: TxFormat>(&mut self, n: usize) {
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

/// 0 if all these buffers are `owner`'s.
fn differ(buffers: &[u32; CHUNK], owner: u32) -> u32 {
    let differ = |differ, buffer: &u32| differ | buffer ^ owner;
    buffers.iter().fold(0, differ) & OWNER
}
