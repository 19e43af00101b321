//! A transmit ring: frames to the device, empty buffers back.

mod in_flight;

use std::ops::RangeInclusive;

use self::in_flight::InFlight;
use crate::depot::CHUNK;
use crate::pool::PoolId;
use crate::translation::{Linear, Places, Pools};
use crate::{Batch, DescriptorRing, DmaError, Domain, Iova, Lanes, PacketRef, Pool};

/// The low bits of a buffer's start, which is a whole number of cache lines: a ring keeps there
/// whose buffer it is.
const OWNER: u32 = 63;

const _: () = assert!(Pools::MOST == OWNER as usize + 1);

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
#[repr(C)] // what the data path uses comes first, in as few cache lines as can be
pub struct TxRing<F: TxFormat> {
    /// The pool of the last frames, which is that of the next as a rule.
    direct: Direct,
    in_flight: InFlight<F>,
    pools: Pools,
}

/// What it takes to send frames of one pool.
#[derive(Debug)]
struct Direct {
    /// The pool's number, or none where its places are not linear.
    pool: PoolId,
    places: Linear,
    owner: u32,
}

impl<F: TxFormat> TxRing<F> {
    /// Number of descriptors of which one asks for a report.
    pub const CHUNK: usize = CHUNK;

    /// A ring with nothing in it.
    pub fn new(ring: DescriptorRing, format: F) -> Self {
        Self {
            in_flight: InFlight::new(ring, format),
            pools: Pools::default(),
            direct: Direct {
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
        self.pools.attach(pool, domain)
    }

    /// Whether the frames of `batch` can be sent without an [`attach`](Self::attach).
    pub fn knows(&self, batch: &Batch) -> bool {
        self.pools.owner_of(batch).is_some()
    }

    /// Lends the frame of a batch of one, if nothing about it or the ring needs a second look, as is
    /// so 31 times of 32. Else it lends nothing and returns false, and
    /// [`send_easy`](Self::send_easy) is to be called.
    #[inline]
    pub fn send_one(&mut self, batch: &mut Batch) -> bool {
        let [frame] = batch.frames() else {
            return false;
        };
        let direct = &self.direct;
        if batch.pool_id() != direct.pool || self.in_flight.clear() == 0 {
            return false;
        }
        if !self.in_flight.put(0, frame, &direct.places, direct.owner) {
            return false;
        }
        self.in_flight.ring.lend(1);
        batch.moved_out(1);
        true
    }

    /// Lends the first frames of `batch`, after taking back what the device is done with: up to one
    /// that needs a second look, or the last there is room for; and none of another pool than the
    /// last. Returns how many.
    #[inline]
    pub fn send_easy(&mut self, batch: &mut Batch) -> usize {
        if batch.pool_id() != self.direct.pool {
            return 0;
        }
        let wanted = batch.len();
        if wanted > self.in_flight.clear() {
            self.make_room(wanted, batch);
        }
        let (places, owner) = (self.direct.places, self.direct.owner);
        let sent = self.in_flight.send_plain(batch.frames(), &places, owner);
        batch.moved_out(sent);
        sent
    }

    /// Lends the first frames of `batch`, as many whole ones as there is room for, after taking
    /// back what the device is done with. Nothing is lent of a batch that the ring does not
    /// [know](Self::knows).
    pub fn send(&mut self, batch: &mut Batch) -> Sent {
        let sent = self.send_easy(batch);
        if batch.is_empty() {
            return Sent { sent, refused: 0 };
        }
        let rest = self.send_rest(batch);
        Sent {
            sent: sent + rest.sent,
            refused: rest.refused,
        }
    }

    /// As [`send`](Self::send), where [`send_easy`](Self::send_easy) left frames: the next one is not
    /// plain, or there was no room for it; or the batch is of another pool than the last.
    #[cold]
    pub fn send_rest(&mut self, batch: &mut Batch) -> Sent {
        self.take_back(Some(batch));
        let Some((owner, attached)) = self.pools.owner_of(batch) else {
            return Sent::default();
        };
        let owner = u32::from(owner);
        let (pool, places) = (attached.pool.clone(), attached.places.clone());
        match &places {
            Places::Linear(places) => {
                let (pool_id, places) = (pool.id(), *places);
                self.direct = Direct {
                    pool: pool_id,
                    places,
                    owner,
                };
                self.in_flight.send_rest(batch, &pool, &places, owner)
            }
            Places::Paged(places) => self.in_flight.send_rest(batch, &pool, places, owner),
        }
    }

    /// Takes back the buffers that the device has reported as done: into `batch`, if it carries
    /// their pool's and has room, else to their pools. Returns how many.
    pub fn take_back(&mut self, batch: Option<&mut Batch>) -> usize {
        let lent = self.lent();
        self.take_reported(usize::MAX, batch);
        self.in_flight.look_ahead();
        lent - self.lent()
    }

    /// Takes back as many chunks as `wanted` descriptors will be, or all there are where these would
    /// not find room.
    #[inline(never)]
    fn make_room(&mut self, wanted: usize, batch: &mut Batch) {
        let chunks = (self.next() % CHUNK + wanted) / CHUNK;
        let full = wanted > self.in_flight.room();
        self.take_reported(if full { usize::MAX } else { chunks }, Some(batch));
    }

    /// Takes back what so many reports are about, or as many as there are.
    #[inline]
    fn take_reported(&mut self, reports: usize, mut batch: Option<&mut Batch>) {
        for _ in 0..reports {
            let Some(report) = self.in_flight.reports.first() else {
                return;
            };
            if self.in_flight.ring.status(report) & F::DONE == 0 {
                return;
            }
            self.in_flight.reports.drop_first();
            let done = report
                .wrapping_add(1)
                .wrapping_sub(self.in_flight.ring.oldest());
            let whole = done == CHUNK
                && batch
                    .as_deref_mut()
                    .is_some_and(|batch| self.take_chunk(batch));
            if !whole {
                self.take(done, batch.as_deref_mut());
            }
        }
    }

    /// Takes the oldest chunk back into `batch`, if it is a whole one of the pool whose frames are
    /// being sent, as is the rule.
    #[inline]
    fn take_chunk(&mut self, batch: &mut Batch) -> bool {
        let (_, buffers) = self.in_flight.ring.oldest_run(CHUNK);
        let Some(chunk) = buffers.first_chunk::<CHUNK>() else {
            return false;
        };
        let taken = batch.pool_id() == self.direct.pool
            && differ(chunk, self.direct.owner) == 0
            && batch.put_spare_chunk(chunk.map(|buffer| buffer & !OWNER));
        if taken {
            self.in_flight.ring.take(CHUNK);
        }
        taken
    }

    /// Takes the oldest `count` buffers back, which are lent.
    #[cold]
    fn take(&mut self, count: usize, mut batch: Option<&mut Batch>) {
        let mut left = count;
        while left > 0 {
            let (_, buffers) = self.in_flight.ring.oldest_run(left.min(CHUNK));
            let owner = low_six(buffers.first().copied().unwrap_or(0));
            let same = buffers.iter().take_while(|it| low_six(**it) == owner);
            let mut empty = [0; CHUNK];
            let mut taken = 0;
            for (place, buffer) in empty.iter_mut().zip(same) {
                *place = buffer & !OWNER;
                taken += 1;
            }
            let empty = empty.get(..taken).unwrap_or(&empty);
            if let Some(attached) = self.pools.get(owner) {
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
            self.in_flight.ring.abandon();
        }
        let lent = self.lent();
        self.in_flight.ring.take(lent);
    }
}

impl<F: TxFormat> Drop for TxRing<F> {
    fn drop(&mut self) {
        self.take(self.lent(), None);
    }
}

/// Whose a buffer is.
#[inline]
#[allow(clippy::cast_possible_truncation)] // six bits
fn low_six(buffer: u32) -> u8 {
    (buffer & OWNER) as u8
}

/// 0 if all these buffers are `owner`'s.
#[inline]
fn differ(buffers: &[u32; CHUNK], owner: u32) -> u32 {
    let differ = |differ, buffer: &u32| differ | buffer ^ owner;
    buffers.iter().fold(0, differ) & OWNER
}
