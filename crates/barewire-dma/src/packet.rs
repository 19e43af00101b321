//! A frame in one or several buffers, with one owner.

use std::fmt;
use std::ops::RangeInclusive;

use crate::lanes::{GROUP, Group};
use crate::pool::{Memory, PoolInner};
use crate::segments::Segments;
use crate::{Lanes, Offload, Pool};

/// The handle of a frame: eight bytes, moved by value. Not `Copy`: a copy would be a second owner.
///
/// It says where in its pool's region the frame's first byte lies, so that neither the program nor
/// a descriptor takes more than an addition to find it. From the lowest bit: 32 bits of place, 16 of
/// length, 15 that say how far the place is from the start of its buffer, and one that says that
/// the pool knows more about the frame: that it goes on in another buffer, or a note on it. The
/// length stands where the ixgbe family's receive descriptors have it.
///
/// What every handle keeps, and the safety of [`Memory`] rests on: its place less its offset is the
/// start of a buffer of its pool, and offset and length together are at most the pool's headroom
/// and data room. ([`NOTHING`](Self::NOTHING) is no buffer: no bytes, at the start of the region.)
/// No code outside this crate makes one or pairs it with another pool.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct RawPacket(u64);

/// Where a handle has the length.
pub(crate) const LEN: u32 = 32;
const OFFSET: u32 = 48;
const MORE: u64 = 1 << 63;

#[allow(clippy::cast_possible_truncation)] // each field is cut out of its own bits
impl RawPacket {
    /// The handle of no buffer. No offset is so large: it is at most 1,024 + 16,384.
    pub(crate) const NOTHING: Self = Self(0x7fff << OFFSET);

    /// A frame of `len` bytes, `offset` bytes behind the start of the one buffer it is in.
    #[inline]
    pub(crate) fn single(start: u32, offset: u16, len: u16) -> Self {
        Self(Template::new(offset).fill(u64::from(start), u64::from(len) << LEN))
    }

    /// Where in the region its first byte lies.
    #[inline]
    pub(crate) fn at(&self) -> u32 {
        self.0 as u32
    }

    /// Bytes in this buffer.
    #[inline]
    pub(crate) fn len(&self) -> u16 {
        (self.0 >> LEN) as u16
    }

    /// How far its first byte is from the start of the buffer.
    #[inline]
    pub(crate) fn offset(&self) -> u16 {
        (self.0 >> OFFSET) as u16 & 0x7fff
    }

    /// The start of its buffer, by which pools and rings know it.
    #[inline]
    pub(crate) fn start(&self) -> u32 {
        self.at().wrapping_sub(u32::from(self.offset()))
    }

    /// Whether the pool knows more: another buffer, or a note.
    #[inline]
    pub(crate) fn more(&self) -> bool {
        self.0 >> 63 != 0
    }

    /// Itself as a word, to make a descriptor from.
    #[inline]
    pub(crate) fn handle(&self) -> Handles<u64> {
        Handles(self.0)
    }

    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.0 == Self::NOTHING.0
    }

    #[inline]
    pub(crate) fn set_more(&mut self) {
        self.0 |= MORE;
    }

    fn set(&mut self, offset: u16, len: u16) {
        let more = self.0 & MORE;
        *self = Self::single(self.start(), offset, len);
        self.0 |= more;
    }

    /// A second handle, to walk a frame with while its owner is borrowed. Nothing is given back
    /// through it.
    #[inline]
    pub(crate) fn alias(&self) -> Self {
        Self(self.0)
    }

    #[inline]
    pub(crate) fn into_bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// What the handles of frames have in common that begin at the same offset of their buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template(u64);

impl Template {
    #[inline]
    pub(crate) fn new(offset: u16) -> Self {
        Self(u64::from(offset) << OFFSET | u64::from(offset))
    }

    /// Where frames begin in the buffers that begin at these starts.
    #[inline]
    pub(crate) fn place<W: Lanes>(self, start: W) -> W {
        start.plus(self.0 & 0xffff)
    }

    /// The handles of frames in the buffers that begin at these starts, with their lengths where a
    /// handle has them.
    #[inline]
    pub(crate) fn fill<W: Lanes>(self, start: W, len: W) -> W {
        (start | len).plus(self.0)
    }
}

/// The handles of a frame or a group of frames, to make descriptors from: words without owners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handles<W>(W);

impl Handles<Group> {
    #[inline]
    pub(crate) fn of(frames: &[RawPacket; GROUP]) -> Self {
        Self(Group::from(frames.each_ref().map(|frame| frame.0)))
    }
}

impl<W: Lanes> Handles<W> {
    /// What is set where [`unusual`](Self::unusual) finds something: the carry of a length that is
    /// too long, the borrow of one that is too short, or that the frame goes on.
    pub(crate) const UNUSUAL: u64 = 1 << OFFSET | MORE;

    /// Where the first bytes lie.
    #[inline]
    pub(crate) fn at(self) -> W {
        self.0 & 0xffff_ffff
    }

    /// Bytes in these buffers.
    #[inline]
    pub(crate) fn len(self) -> W {
        self.0 >> LEN & 0xffff
    }

    /// The starts of the buffers of frames that are in one buffer each.
    #[inline]
    pub(crate) fn start(self) -> W {
        self.at() - (self.0 >> OFFSET)
    }

    /// How far the first bytes are from the starts of the buffers.
    #[inline]
    pub(crate) fn offset(self) -> W {
        self.0 >> OFFSET & 0x7fff
    }

    /// Not 0 where the pool knows more about a frame.
    #[inline]
    pub(crate) fn more(self) -> W {
        self.0 & MORE
    }

    /// Sets a bit of [`UNUSUAL`](Self::UNUSUAL) where a frame is in several buffers, or its length
    /// is out of bounds. Other bits mean nothing.
    #[inline]
    pub(crate) fn unusual(self, bounds: Bounds) -> W {
        let len = self.0 & (MORE | 0xffff << LEN);
        len.plus(bounds.over) | len.minus(bounds.under)
    }
}

impl Handles<u64> {
    /// Whether a frame is in one buffer, and its length within these bounds.
    #[inline]
    pub(crate) fn is_plain(self, bounds: Bounds) -> bool {
        self.0 & MORE == 0 && self.len().minus(bounds.shortest) <= bounds.span
    }
}

/// Bounds of a length, in the forms in which it is compared with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    shortest: u64,
    /// The longest, less the shortest.
    span: u64,
    /// What to add to a length where a handle has it, so that one too long carries.
    over: u64,
    /// What to take from it, so that one too short borrows.
    under: u64,
}

impl Bounds {
    pub(crate) fn new(lens: &RangeInclusive<u16>) -> Self {
        let (shortest, longest) = (*lens.start(), *lens.end());
        Self {
            shortest: u64::from(shortest),
            span: u64::from(longest.saturating_sub(shortest)),
            over: u64::from(u16::MAX - longest) << LEN,
            under: u64::from(shortest) << LEN,
        }
    }
}

impl Default for RawPacket {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// A frame that the program owns. Dropping it gives its buffers back to their pool, whichever
/// thread that happens on.
///
/// On the data path frames travel in a [`Batch`](crate::Batch); a packet of its own is for
/// frames that go another way, such as through a channel.
pub struct Packet {
    pool: Pool,
    raw: RawPacket,
}

impl Packet {
    pub(crate) fn from_raw(pool: Pool, raw: RawPacket) -> Self {
        Self { pool, raw }
    }

    /// Splits the packet without giving its buffers back.
    pub(crate) fn take_raw(&mut self) -> RawPacket {
        std::mem::take(&mut self.raw)
    }

    /// The pool its buffers belong to.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The packet, to read.
    pub fn as_ref(&self) -> PacketRef<'_> {
        PacketRef::new(self.pool.inner(), &self.raw)
    }

    /// The packet, to change.
    pub fn as_mut(&mut self) -> PacketMut<'_> {
        PacketMut::new(self.pool.inner(), &mut self.raw)
    }

    /// Bytes of the frame, over all its segments, without FCS.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the first segment: the whole frame unless [`PacketRef::segments`] has more.
    pub fn bytes(&self) -> &[u8] {
        self.pool.inner().memory().bytes(&self.raw)
    }

    /// The bytes of the first segment, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pool.inner().memory().bytes_mut(&mut self.raw)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // a packet moved into a batch has no buffer left
        let raw = self.take_raw();
        if !raw.is_nothing() {
            self.pool.inner().give_back(raw);
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A frame, to read, borrowed from a batch or a packet.
#[derive(Clone, Copy)]
pub struct PacketRef<'a> {
    pool: &'a PoolInner,
    memory: Memory<'a>,
    raw: &'a RawPacket,
}

impl<'a> PacketRef<'a> {
    #[inline]
    pub(crate) fn new(pool: &'a PoolInner, raw: &'a RawPacket) -> Self {
        Self {
            pool,
            memory: pool.memory(),
            raw,
        }
    }

    /// The bytes of the first segment: the whole frame unless there are more.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.memory.bytes(self.raw)
    }

    /// Bytes of the frame, over all its segments, without FCS.
    pub fn len(self) -> usize {
        if self.raw.more() {
            self.segments().map(<[u8]>::len).sum()
        } else {
            usize::from(self.raw.len())
        }
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The frame's segments, in order: one, but for frames larger than a buffer.
    pub fn segments(self) -> Segments<'a> {
        Segments::new(self.pool, self.raw)
    }

    /// The note on the frame: what its device found out about it, or what is still to be done.
    pub fn offload(self) -> Offload {
        self.pool.note(self.raw)
    }

    /// Copies the frame behind the end of `into`.
    pub fn copy_to(self, into: &mut Vec<u8>) {
        for segment in self.segments() {
            into.extend_from_slice(segment);
        }
    }
}

impl fmt::Debug for PacketRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketRef")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A frame, to change, borrowed from a batch or a packet.
pub struct PacketMut<'a> {
    pool: &'a PoolInner,
    /// The pool's, at hand: a loop over packets keeps it in a register.
    memory: Memory<'a>,
    raw: &'a mut RawPacket,
}

impl<'a> PacketMut<'a> {
    #[inline]
    pub(crate) fn new(pool: &'a PoolInner, raw: &'a mut RawPacket) -> Self {
        Self::within(pool, pool.memory(), raw)
    }

    /// As [`new`](Self::new); `memory` is the pool's.
    #[inline]
    pub(crate) fn within(pool: &'a PoolInner, memory: Memory<'a>, raw: &'a mut RawPacket) -> Self {
        Self { pool, memory, raw }
    }

    /// The frame, to read.
    pub fn as_ref(&self) -> PacketRef<'_> {
        PacketRef::new(self.pool, self.raw)
    }

    /// Bytes of the frame, over all its segments, without FCS.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the first segment: the whole frame unless there are more.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes(self.raw)
    }

    /// The bytes of the first segment, to write.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.bytes_mut(self.raw)
    }

    /// As [`PacketRef::offload`].
    pub fn offload(&self) -> Offload {
        self.pool.note(self.raw)
    }

    /// Puts a note on the frame: what the device that sends it is to do. A device that can't finish
    /// a checksum has it done on the way; one that can't cut refuses the frame. `None`, and nothing
    /// is changed, where the note [can't be](Offload::fits) about this frame.
    ///
    /// Offsets in it are not kept up when the frame is made longer or shorter at its front.
    pub fn set_offload(&mut self, offload: Offload) -> Option<()> {
        let bytes = u64::try_from(self.len()).ok()?;
        if !offload.fits(bytes) {
            return None;
        }
        if !offload.is_none() || self.raw.more() {
            self.pool.set_note(self.raw, offload);
        }
        Some(())
    }

    /// Finishes a [partial](crate::Checksum::Partial) checksum, for a frame that goes where no device
    /// does. False where there is none.
    pub fn finish_checksum(&mut self) -> bool {
        self.pool.finish_checksum(self.raw)
    }

    /// Puts `bytes` more in front of the frame, out of the headroom, and returns them; `None` when
    /// the headroom is less.
    pub fn prepend(&mut self, bytes: u16) -> Option<&mut [u8]> {
        let offset = self.raw.offset().checked_sub(bytes)?;
        let len = self.raw.len().checked_add(bytes)?;
        self.raw.set(offset, len);
        Some(&mut self.bytes_mut()[..usize::from(bytes)])
    }

    /// Removes `bytes` from the front of the frame; `None`, and nothing is removed, when its first
    /// segment is shorter.
    pub fn trim_front(&mut self, bytes: u16) -> Option<()> {
        let len = self.raw.len().checked_sub(bytes)?;
        // at most the old end of the frame
        self.raw.set(self.raw.offset() + bytes, len);
        Some(())
    }

    /// Puts `bytes` more behind a frame of one segment and returns them; `None` when its buffer
    /// has no such room or the frame has several segments.
    pub fn append(&mut self, bytes: u16) -> Option<&mut [u8]> {
        let old = self.raw.len();
        let len = old.checked_add(bytes)?;
        let end = self.raw.offset().checked_add(len)?;
        if end > self.pool.whole() || self.pool.next_part(self.raw).is_some() {
            return None;
        }
        self.raw.set(self.raw.offset(), len);
        Some(&mut self.bytes_mut()[usize::from(old)..])
    }

    /// Cuts a frame of one segment to `len` bytes; `None`, and nothing is cut, when it is shorter
    /// already or has several segments.
    pub fn truncate(&mut self, len: u16) -> Option<()> {
        if len > self.raw.len() || self.pool.next_part(self.raw).is_some() {
            return None;
        }
        self.raw.set(self.raw.offset(), len);
        Some(())
    }
}

impl fmt::Debug for PacketMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketMut")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    fn packet(bytes: &[u8]) -> Packet {
        Pool::new(PoolConfig {
            buffers: 4,
            ..PoolConfig::default()
        })
        .unwrap()
        .packet(bytes)
        .unwrap()
    }

    #[test]
    fn a_handle_is_eight_bytes_and_survives_its_link_form() {
        assert_eq!(size_of::<RawPacket>(), 8);
        for (start, offset, len) in [(0, 0, 0), (0xffff_0000, 128, 9728), (64, 17_408, u16::MAX)] {
            let mut raw = RawPacket::single(start, offset, len);
            assert!(!raw.more());
            raw.set_more();
            let raw = RawPacket::from_bits(raw.into_bits());
            assert_eq!((raw.start(), raw.offset(), raw.len()), (start, offset, len));
            assert_eq!(raw.at(), start + u32::from(offset));
            assert!(raw.more());
        }
    }

    #[test]
    fn headers_are_put_in_front_and_taken_off() {
        let mut packet = packet(b"payload");
        packet.as_mut().prepend(4).unwrap().copy_from_slice(b"head");
        assert_eq!(packet.bytes(), b"headpayload");
        packet.as_mut().trim_front(6).unwrap();
        assert_eq!(packet.bytes(), b"yload");
        assert!(packet.as_mut().prepend(128 + 3).is_none());
        assert!(packet.as_mut().trim_front(6).is_none());
        assert_eq!(packet.bytes(), b"yload");
    }

    #[test]
    fn the_end_moves_within_the_buffer() {
        let mut packet = packet(b"abc");
        packet.as_mut().append(2).unwrap().copy_from_slice(b"de");
        assert_eq!(packet.bytes(), b"abcde");
        assert!(packet.as_mut().append(2048).is_none());
        assert!(packet.as_mut().append(u16::MAX).is_none());
        assert_eq!(packet.as_mut().append(2043).unwrap().len(), 2043);
        packet.as_mut().truncate(1).unwrap();
        assert!(packet.as_mut().truncate(2).is_none());
        assert_eq!(packet.bytes(), b"a");
    }
}
