//! The buffers of a frame, one after the other.
#![allow(unsafe_code)]

use crate::packet::RawPacket;
use crate::pool::PoolInner;

/// The segments of a frame; see [`PacketRef::segments`](crate::PacketRef::segments).
#[derive(Debug)]
pub struct Segments<'a> {
    pool: &'a PoolInner,
    next: Option<RawPacket>,
    /// The frame, which stays borrowed.
    _frame: &'a RawPacket,
}

impl<'a> Segments<'a> {
    pub(crate) fn new(pool: &'a PoolInner, frame: &'a RawPacket) -> Self {
        Self {
            pool,
            next: Some(frame.alias()),
            _frame: frame,
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let raw = self.next.take()?;
        self.next = self.pool.next_part(&raw);
        let at = self.pool.memory().place(&raw);
        // SAFETY: `place` proves that the bytes lie in the pool's region. The frame is borrowed for
        // `'a`, and with it every buffer linked behind it, so nobody writes them meanwhile.
        Some(unsafe { std::slice::from_raw_parts(at.as_ptr(), usize::from(raw.len())) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let mut left = 0;
        let mut at = self.next.as_ref().map(RawPacket::alias);
        while let Some(raw) = at {
            left += 1;
            at = self.pool.next_part(&raw);
        }
        (left, Some(left))
    }
}

impl ExactSizeIterator for Segments<'_> {}
