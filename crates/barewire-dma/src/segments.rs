//! The buffers of a frame, one after the other.
#![allow(unsafe_code)]

use crate::packet::RawPacket;
use crate::pool::PoolInner;

/// The segments of a frame; see [`PacketRef::segments`](crate::PacketRef::segments).
#[derive(Debug)]
pub struct Segments<'a> {
    pool: &'a PoolInner,
    next: RawPacket,
    left: u32,
    /// The frame, which stays borrowed.
    _frame: &'a RawPacket,
}

impl<'a> Segments<'a> {
    pub(crate) fn new(pool: &'a PoolInner, frame: &'a RawPacket) -> Self {
        Self {
            pool,
            next: frame.alias(),
            left: frame.segments(),
            _frame: frame,
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let at = self.pool.place(&self.next);
        let len = usize::from(self.next.len);
        if self.left > 0 {
            self.next = self.pool.link(self.next.index());
        }
        // SAFETY: `place` proves that the bytes lie in the pool's region. The frame is borrowed for
        // `'a`, and with it every buffer linked behind it, so nobody writes them meanwhile.
        Some(unsafe { std::slice::from_raw_parts(at, len) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Segments<'_> {}
