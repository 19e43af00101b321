//! A region cut into buffers for frames.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::claim::Claim;
use crate::depot::{CHUNK, Depot};
use crate::packet::RawPacket;
use crate::{Checksum, DmaError, DmaRegion, Offload, Packet, PacketRef, Pages};

/// How a pool is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Number of buffers, 1 to 4,194,304, and with headroom at most 4 GiB in all.
    pub buffers: usize,
    /// Bytes of a buffer that a device may fill, 64 to 16,384.
    pub data_room: usize,
    /// Bytes in front of them, for headers that a program prepends: 0 to 1,024.
    pub headroom: usize,
    /// The memory to use.
    pub pages: Pages,
}

impl Default for PoolConfig {
    /// 4,096 buffers of 2,048 bytes behind 128 bytes of headroom.
    fn default() -> Self {
        Self {
            buffers: 4096,
            data_room: 2048,
            headroom: 128,
            pages: Pages::PreferHuge,
        }
    }
}

/// A pool of buffers that frames live in. A handle: clones are the same pool, on any thread.
///
/// Its memory lives until the last handle, packet, batch and ring that has a part of it is gone.
///
/// ```
/// use barewire_dma::{Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig { buffers: 64, ..PoolConfig::default() })?;
/// let packet = pool.packet(b"sixty bytes or so").expect("64 buffers are free");
/// assert_eq!(pool.free(), 63);
/// drop(packet);
/// assert_eq!(pool.free(), 64);
/// # Ok::<(), barewire_dma::DmaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<PoolInner>,
}

#[derive(Debug)]
pub(crate) struct PoolInner {
    id: PoolId,
    /// The whole region. A buffer starts at a multiple of `stride`, below `end`.
    memory: Claim,
    stride: u32,
    end: u32,
    headroom: u16,
    data_room: u16,
    buffers: usize,
    /// For a frame about which there is more to say than its handle does. Only the owner of the
    /// frame reads or writes its links.
    links: Box<[Link]>,
    depot: Depot,
}

/// What follows a buffer in a frame, and the note on the frame that begins with it.
#[derive(Debug, Default)]
struct Link {
    next: AtomicU64,
    note: AtomicU64,
}

impl Pool {
    /// Allocates a pool.
    ///
    /// # Errors
    /// [`DmaError::Range`] for a configuration outside the documented ranges,
    /// [`DmaError::Allocate`] when there is no memory.
    pub fn new(config: PoolConfig) -> Result<Self, DmaError> {
        let range = |what, value, allowed| {
            Err(DmaError::Range {
                what,
                value,
                allowed,
            })
        };
        if !(1..=1 << 22).contains(&config.buffers) {
            return range("number of buffers", config.buffers, "1 to 4,194,304");
        }
        if !(64..=16_384).contains(&config.data_room) {
            return range("buffer size", config.data_room, "64 to 16,384 bytes");
        }
        if config.headroom > 1024 {
            return range("headroom", config.headroom, "0 to 1,024 bytes");
        }
        let stride = stride(config.headroom + config.data_room);
        // One buffer more on each page than fits, so that those across a page's end can be left out.
        let spare = config.buffers * stride / (2 << 20) + 1;
        let bytes = (config.buffers + spare) * stride;
        let (Ok(narrow_stride), Ok(_)) = (u32::try_from(stride), u32::try_from(bytes)) else {
            return range("size of all buffers", bytes, "up to 4 GiB");
        };
        let region = DmaRegion::allocate(bytes, config.pages)?;
        let inside_one_page = |start: &usize| {
            !region.is_huge()
                || start / region.page_size() == (start + stride - 1) / region.page_size()
        };
        let usable: Vec<u32> = (0..config.buffers + spare)
            .map(|index| index * stride)
            .filter(inside_one_page)
            .take(config.buffers)
            .filter_map(|start| u32::try_from(start).ok())
            .collect();
        let end = usable.last().map_or(0, |last| last + narrow_stride);
        let depot = Depot::new(usable.len());
        depot.put(&usable);
        let narrow = |value| u16::try_from(value).unwrap_or(u16::MAX); // both checked above
        Ok(Self {
            inner: Arc::new(PoolInner {
                id: PoolId::next(),
                memory: Claim::new(&region, 0, region.len())?,
                stride: narrow_stride,
                end,
                headroom: narrow(config.headroom),
                data_room: narrow(config.data_room),
                buffers: usable.len(),
                links: (0..end / narrow_stride).map(|_| Link::default()).collect(),
                depot,
            }),
        })
    }

    /// The memory of the pool, for mapping.
    pub fn region(&self) -> &Arc<DmaRegion> {
        self.inner.memory.region()
    }

    /// Number of buffers, free or not.
    pub fn buffers(&self) -> usize {
        self.inner.buffers
    }

    /// Bytes of a buffer that a device may fill.
    pub fn data_room(&self) -> u16 {
        self.inner.data_room
    }

    /// Bytes in front of a received frame.
    #[inline]
    pub fn headroom(&self) -> u16 {
        self.inner.headroom
    }

    /// Buffers that nobody has at this moment. Batches keep some empty buffers back for the next
    /// receive; those are not counted.
    pub fn free(&self) -> usize {
        self.inner.depot.len()
    }

    /// Whether both handles are the same pool.
    pub fn is(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// What tells it from all other pools.
    #[inline]
    pub(crate) fn id(&self) -> PoolId {
        self.inner.id
    }

    /// A packet with these bytes, or `None` when the pool is empty or the bytes are more than one
    /// buffer takes.
    pub fn packet(&self, bytes: &[u8]) -> Option<Packet> {
        let len = u16::try_from(bytes.len())
            .ok()
            .filter(|len| *len <= self.inner.data_room)?;
        let start = self.inner.depot.take()?;
        let mut packet = Packet::from_raw(
            self.clone(),
            RawPacket::single(start, self.inner.headroom, len),
        );
        packet.as_mut().bytes_mut().copy_from_slice(bytes);
        Some(packet)
    }

    #[inline]
    pub(crate) fn inner(&self) -> &PoolInner {
        &self.inner
    }

    /// The bytes from the first buffer's start to the last one's end.
    pub(crate) fn extent(&self) -> usize {
        self.inner.end as usize
    }

    /// Where buffers may start, among them places that are none because a page ends there.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> {
        (0..self.extent()).step_by(self.stride())
    }

    /// Distance between two starts.
    pub(crate) fn stride(&self) -> usize {
        self.inner.stride as usize
    }
}

/// The number of a pool, which no other pool of this process ever has, or that of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolId(u64);

impl PoolId {
    /// No pool's number.
    pub(crate) const NONE: Self = Self(0);

    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The bytes of a pool's buffers, found by handle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'a> {
    first: NonNull<u8>,
    pool: PhantomData<&'a PoolInner>,
}

impl<'a> Memory<'a> {
    /// The bytes of one buffer of a frame.
    #[inline]
    pub(crate) fn bytes(self, raw: &'a RawPacket) -> &'a [u8] {
        let at = self.place(raw);
        // SAFETY: `place` proves that the bytes lie in the pool's region, which the pool, borrowed
        // for `'a`, keeps mapped. Whoever holds `&RawPacket` shares the buffer with readers only:
        // the handle is unique, and a writer needs `&mut` of it.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), usize::from(raw.len())) }
    }

    /// The bytes of one buffer of a frame, to write.
    #[inline]
    pub(crate) fn bytes_mut<'b>(self, raw: &'b mut RawPacket) -> &'b mut [u8]
    where
        'a: 'b,
    {
        let at = self.place(raw);
        // SAFETY: `place` proves that the bytes lie in the pool's region, which the pool, borrowed
        // for longer than `'b`, keeps mapped. A buffer has one handle in this process, which is
        // borrowed exclusively for as long as the slice lives, so no other slice into it exists.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), usize::from(raw.len())) }
    }

    /// The `N` bytes in front of a frame, to write; none where its headroom is less.
    #[inline]
    pub(crate) fn in_front<'b, const N: usize>(
        self,
        raw: &'b mut RawPacket,
    ) -> Option<&'b mut [u8; N]>
    where
        'a: 'b,
    {
        if usize::from(raw.offset()) < N {
            return None;
        }
        let end = self.place(raw);
        // SAFETY: the frame begins at `end`, `offset` bytes behind the start of its buffer, which
        // lies in the pool's region (see `place`), and `N` is not more than `offset`.
        let mut first = unsafe { end.sub(N) }.cast::<[u8; N]>();
        // SAFETY: these are bytes of the frame's buffer, initialised as the whole region is. The pool,
        // borrowed for longer than `'b`, keeps it mapped, and whoever has `&mut` of the handle is
        // alone with the buffer for as long as the reference lives.
        Some(unsafe { first.as_mut() })
    }

    /// Bytes of a buffer that no handle exists of, to write.
    ///
    /// # Safety
    /// They are within one of the pool's buffers, which nobody else reads or writes as long as the
    /// slice lives.
    #[inline]
    pub(crate) unsafe fn slice_mut<'b>(self, at: u64, len: u16) -> &'b mut [u8]
    where
        'a: 'b,
    {
        // SAFETY: the pool's buffers lie in its region, which begins at `first`.
        let first = unsafe { self.first.add(usize::try_from(at).unwrap_or(0)) };
        // SAFETY: as the caller says; and the pool, borrowed for longer than `'b`, keeps the region
        // mapped.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), usize::from(len)) }
    }

    /// Where the bytes of a handle begin; `raw.len()` of them lie in the pool's region.
    #[inline]
    pub(crate) fn place(self, raw: &RawPacket) -> NonNull<u8> {
        // SAFETY: a handle's place is its buffer's start and its offset, and offset and length
        // together are at most headroom and data room, which `stride` is not less than (see
        // `RawPacket`). So place and length together are at most `end`, which `Pool::new` chose
        // within the region that begins at `first`.
        unsafe { self.first.add(raw.at() as usize) }
    }
}

impl PoolInner {
    #[inline]
    pub(crate) fn depot(&self) -> &Depot {
        &self.depot
    }

    #[inline]
    pub(crate) fn memory(&self) -> Memory<'_> {
        Memory {
            first: self.memory.first(),
            pool: PhantomData,
        }
    }

    /// Bytes from the start of the headroom to the end of the buffer.
    pub(crate) fn whole(&self) -> u16 {
        self.headroom + self.data_room // at most 1,024 + 16,384
    }

    /// What follows this buffer, in a frame of several.
    pub(crate) fn next_part(&self, raw: &RawPacket) -> Option<RawPacket> {
        if !raw.more() {
            return None;
        }
        let next = RawPacket::from_bits(self.link(raw).next.load(Ordering::Relaxed));
        (!next.is_nothing()).then_some(next)
    }

    fn link(&self, raw: &RawPacket) -> &Link {
        let index = raw.start() / self.stride;
        &self.links[index as usize]
    }

    /// Lets the frame go on from this buffer to `next`.
    pub(crate) fn set_link(&self, raw: &mut RawPacket, next: RawPacket) {
        let link = self.link(raw);
        link.next.store(next.into_bits(), Ordering::Relaxed);
        link.note.store(0, Ordering::Relaxed);
        raw.set_more();
    }

    /// The note on a frame.
    pub(crate) fn note(&self, frame: &RawPacket) -> Offload {
        if !frame.more() {
            return Offload::NONE;
        }
        Offload::from_bits(self.link(frame).note.load(Ordering::Relaxed))
    }

    /// Puts a note on a frame.
    pub(crate) fn set_note(&self, frame: &mut RawPacket, note: Offload) {
        if !frame.more() {
            self.set_link(frame, RawPacket::NOTHING);
        }
        self.keep_note(frame, note);
    }

    fn keep_note(&self, frame: &RawPacket, note: Offload) {
        let bits = note.into_bits();
        self.link(frame).note.store(bits, Ordering::Relaxed);
    }

    /// Does for a frame what its note asks for and its device can't do. False if it can't be done
    /// here either.
    pub(crate) fn finish_offload(&self, frame: &RawPacket) -> bool {
        let note = self.note(frame);
        let done = note.segmentation.is_none();
        done && (!note.checksum.is_partial() || self.finish_checksum(frame))
    }

    /// Finishes a frame's checksum. False, and nothing is written, if it has none to be finished or
    /// the field would lie outside.
    pub(crate) fn finish_checksum(&self, frame: &RawPacket) -> bool {
        let Checksum::Partial { start, offset } = self.note(frame).checksum else {
            return false;
        };
        let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
        // 16 bits at a time, the first byte the high one, wherever segments end
        let (mut sum, mut at) = (0u64, 0usize);
        for segment in PacketRef::new(self, frame).segments() {
            for byte in segment {
                if at >= start {
                    let high = (at - start).is_multiple_of(2);
                    sum += u64::from(*byte) << if high { 8 } else { 0 };
                }
                at += 1;
            }
        }
        if field + 2 > at {
            return false;
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).unwrap_or(0);
        // a sum of 0 says that UDP has none (RFC 768)
        let sum = if sum == 0 && offset == UDP_FIELD {
            u16::MAX
        } else {
            sum
        };
        self.overwrite(frame, field, sum.to_be_bytes());
        let note = Offload {
            checksum: Checksum::Unknown,
            ..self.note(frame)
        };
        self.keep_note(frame, note);
        true
    }

    /// Writes bytes into a frame, wherever its segments end. The caller owns the frame.
    fn overwrite(&self, frame: &RawPacket, from: usize, bytes: [u8; 2]) {
        let (mut part, mut first) = (Some(frame.alias()), 0);
        while let Some(mut raw) = part {
            let len = usize::from(raw.len());
            for (at, byte) in (from..).zip(bytes) {
                let within = at.checked_sub(first);
                let place = within.and_then(|at| self.memory().bytes_mut(&mut raw).get_mut(at));
                if let Some(place) = place {
                    *place = byte;
                }
            }
            first += len;
            part = self.next_part(&raw);
        }
    }

    /// Takes all buffers of a frame back.
    pub(crate) fn give_back(&self, raw: RawPacket) {
        let mut left = Some(raw);
        while let Some(raw) = left {
            left = self.next_part(&raw);
            self.depot.put(&[raw.start()]);
        }
    }

    /// Takes all buffers of several frames back, a chunk at a time where it can.
    pub(crate) fn give_all_back(&self, frames: impl Iterator<Item = RawPacket>) {
        let mut chunk = [0; CHUNK];
        let mut count = 0;
        for raw in frames {
            if raw.more() {
                self.give_back(raw);
                continue;
            }
            if let Some(place) = chunk.get_mut(count) {
                *place = raw.start();
                count += 1;
            }
            if count == CHUNK {
                self.depot.put(&chunk);
                count = 0;
            }
        }
        self.depot.put(chunk.get(..count).unwrap_or_default());
    }
}

/// Where a UDP header has its checksum.
const UDP_FIELD: u16 = 6;

/// Distance between buffers: whole cache lines, and an odd number of them, so that the headers of
/// consecutive frames spread over all sets of the L1 cache. (2,048 bytes exactly would put them
/// all into two.)
fn stride(bytes: usize) -> usize {
    let lines = bytes.div_ceil(64);
    (lines | 1) * 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stride_is_an_odd_number_of_cache_lines() {
        for bytes in [64, 65, 2048, 2176, 4096, 16_384 + 1024] {
            assert_eq!(stride(bytes) % 128, 64);
            assert!(stride(bytes) >= bytes && stride(bytes) < bytes + 128);
        }
    }

    #[test]
    fn configurations_out_of_range_are_refused_with_the_range() {
        let good = PoolConfig {
            buffers: 8,
            ..PoolConfig::default()
        };
        for bad in [
            PoolConfig { buffers: 0, ..good },
            PoolConfig {
                buffers: usize::MAX,
                ..good
            },
            PoolConfig {
                data_room: 63,
                ..good
            },
            PoolConfig {
                data_room: 16_385,
                ..good
            },
            PoolConfig {
                headroom: 1025,
                ..good
            },
            PoolConfig {
                buffers: 1 << 22,
                ..good
            },
        ] {
            assert!(
                matches!(Pool::new(bad), Err(DmaError::Range { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_empty_pool_gives_nothing_and_a_dropped_packet_goes_home() {
        let pool = Pool::new(PoolConfig {
            buffers: 2,
            ..PoolConfig::default()
        })
        .unwrap();
        let first = pool.packet(b"one").unwrap();
        let _second = pool.packet(b"two").unwrap();
        assert!(pool.packet(b"three").is_none());
        drop(first);
        assert_eq!(pool.packet(b"three").unwrap().bytes(), b"three");
    }

    #[test]
    fn bytes_beyond_a_buffer_are_refused() {
        let pool = Pool::new(PoolConfig {
            buffers: 2,
            data_room: 64,
            ..PoolConfig::default()
        })
        .unwrap();
        assert!(pool.packet(&[0; 65]).is_none());
        assert_eq!(pool.packet(&[7; 64]).unwrap().len(), 64);
    }

    #[test]
    fn packets_keep_their_memory_alive() {
        let pool = Pool::new(PoolConfig {
            buffers: 2,
            ..PoolConfig::default()
        })
        .unwrap();
        let packet = pool.packet(b"still here").unwrap();
        drop(pool);
        assert_eq!(packet.bytes(), b"still here");
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let pool = Pool::new(PoolConfig {
            buffers: 64,
            data_room: 64,
            headroom: 0,
            ..PoolConfig::default()
        })
        .unwrap();
        let packets: Vec<_> = (0..64u8).map(|n| pool.packet(&[n; 64]).unwrap()).collect();
        for (n, packet) in (0..64u8).zip(&packets) {
            assert_eq!(packet.bytes(), [n; 64]);
        }
    }
}
