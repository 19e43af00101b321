//! A frame in one or several buffers, with one owner.

use std::fmt;

use crate::Pool;
use crate::pool::PoolInner;
use crate::segments::Segments;

/// The handle of a frame: eight bytes, moved by value. Not `Copy`: a copy would be a second owner.
///
/// A frame of several buffers has its first one here and the others linked behind it in the pool.
///
/// What every handle keeps, and the safety of [`PoolInner::bytes`] rests on: the index is that of a
/// place of its pool, and `offset + len` is at most the pool's headroom and data room together.
/// (The default, a frame of nothing in place 0, keeps it in every pool.) No code outside this crate
/// makes one or pairs it with another pool.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct RawPacket {
    /// Index of the buffer in the low 24 bits, number of buffers in the upper 8.
    buffer: u32,
    pub(crate) offset: u16,
    pub(crate) len: u16,
}

/// The bits of a buffer's index; the others say how many buffers follow or whose it is.
pub(crate) const INDEX: u32 = (1 << 24) - 1;

impl RawPacket {
    /// A frame in the one buffer `index`.
    #[inline]
    pub(crate) fn single(index: u32, offset: u16, len: u16) -> Self {
        Self {
            buffer: index & INDEX | 1 << 24,
            offset,
            len,
        }
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.buffer & INDEX
    }

    #[inline]
    pub(crate) fn segments(&self) -> u32 {
        self.buffer >> 24
    }

    /// A second handle, to walk a frame with while its owner is borrowed. Nothing is given back
    /// through it.
    pub(crate) fn alias(&self) -> Self {
        Self {
            buffer: self.buffer,
            offset: self.offset,
            len: self.len,
        }
    }

    pub(crate) fn set_segments(&mut self, segments: u8) {
        self.buffer = self.index() | u32::from(segments) << 24;
    }

    pub(crate) fn into_bits(self) -> u64 {
        u64::from(self.buffer) << 32 | u64::from(self.offset) << 16 | u64::from(self.len)
    }

    #[allow(clippy::cast_possible_truncation)] // each field is cut out of its own bits
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            buffer: (bits >> 32) as u32,
            offset: (bits >> 16) as u16,
            len: bits as u16,
        }
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
        PacketRef {
            pool: self.pool.inner(),
            raw: &self.raw,
        }
    }

    /// The packet, to change.
    pub fn as_mut(&mut self) -> PacketMut<'_> {
        PacketMut {
            pool: self.pool.inner(),
            raw: &mut self.raw,
        }
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
        self.pool.inner().bytes(&self.raw)
    }

    /// The bytes of the first segment, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pool.inner().bytes_mut(&mut self.raw)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // a packet moved into a batch has no segments left
        let raw = self.take_raw();
        self.pool.inner().give_back(&raw);
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
    pub(crate) pool: &'a PoolInner,
    pub(crate) raw: &'a RawPacket,
}

impl<'a> PacketRef<'a> {
    /// The bytes of the first segment: the whole frame unless there are more.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.pool.bytes(self.raw)
    }

    /// Bytes of the frame, over all its segments, without FCS.
    pub fn len(self) -> usize {
        if self.raw.segments() <= 1 {
            usize::from(self.raw.len)
        } else {
            self.segments().map(<[u8]>::len).sum()
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
    pub(crate) pool: &'a PoolInner,
    pub(crate) raw: &'a mut RawPacket,
}

impl PacketMut<'_> {
    /// The frame, to read.
    pub fn as_ref(&self) -> PacketRef<'_> {
        PacketRef {
            pool: self.pool,
            raw: self.raw,
        }
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
        self.pool.bytes(self.raw)
    }

    /// The bytes of the first segment, to write.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pool.bytes_mut(self.raw)
    }

    /// Puts `bytes` more in front of the frame, out of the headroom, and returns them; `None` when
    /// the headroom is less.
    pub fn prepend(&mut self, bytes: u16) -> Option<&mut [u8]> {
        let offset = self.raw.offset.checked_sub(bytes)?;
        self.raw.len = self.raw.len.checked_add(bytes)?;
        self.raw.offset = offset;
        Some(&mut self.bytes_mut()[..usize::from(bytes)])
    }

    /// Removes `bytes` from the front of the frame; `None`, and nothing is removed, when its first
    /// segment is shorter.
    pub fn trim_front(&mut self, bytes: u16) -> Option<()> {
        self.raw.len = self.raw.len.checked_sub(bytes)?;
        self.raw.offset += bytes; // at most the old end of the frame
        Some(())
    }

    /// Puts `bytes` more behind a frame of one segment and returns them; `None` when its buffer
    /// has no such room or the frame has several segments.
    pub fn append(&mut self, bytes: u16) -> Option<&mut [u8]> {
        let old = self.raw.len;
        let len = old.checked_add(bytes)?;
        let end = self.raw.offset.checked_add(len)?;
        if end > self.pool.whole() || self.raw.segments() != 1 {
            return None;
        }
        self.raw.len = len;
        Some(&mut self.bytes_mut()[usize::from(old)..])
    }

    /// Cuts a frame of one segment to `len` bytes; `None`, and nothing is cut, when it is shorter
    /// already or has several segments.
    pub fn truncate(&mut self, len: u16) -> Option<()> {
        if len > self.raw.len || self.raw.segments() != 1 {
            return None;
        }
        self.raw.len = len;
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
        let raw = RawPacket::from_bits(
            RawPacket {
                buffer: 0x0312_3456,
                offset: 128,
                len: 9728,
            }
            .into_bits(),
        );
        assert_eq!(
            (raw.index(), raw.segments(), raw.offset, raw.len),
            (0x12_3456, 3, 128, 9728)
        );
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
