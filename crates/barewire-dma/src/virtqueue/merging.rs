//! Received frames that need a closer look: in several buffers, or with something to know about them.

use barewire_spec::virtio::header::Header;

use super::{Received, RxHeaders};
use crate::packet::RawPacket;
use crate::pool::PoolInner;
use crate::{Batch, Offload};

/// The most buffers of a frame: enough for 64 KiB in the smallest buffers that are any use for it.
const LONGEST: u16 = 64;

/// A frame of which not all buffers have come.
#[derive(Debug)]
pub(super) struct Frame {
    /// The buffers that have come, and nothing behind them.
    parts: Box<[RawPacket]>,
    have: u16,
    want: u16,
    /// One of them is not as it must be.
    malformed: bool,
    offload: Offload,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self {
            parts: (0..LONGEST).map(|_| RawPacket::NOTHING).collect(),
            have: 0,
            want: 0,
            malformed: false,
            offload: Offload::NONE,
        }
    }

    /// Whether some of its buffers have come, and others have not.
    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        self.have > 0
    }

    /// A frame begins with this header, in a queue of `size` buffers. `good` says that its first buffer
    /// is as it must be.
    pub(super) fn begin(&mut self, header: Header, headers: RxHeaders, size: u16, good: bool) {
        let want = if headers.mergeable {
            header.num_buffers
        } else {
            1
        };
        let bounded = (1..=LONGEST.min(size)).contains(&want);
        let offload = if headers.offloads {
            Offload::from_header(header)
        } else {
            Some(Offload::NONE)
        };
        self.malformed = !good || !bounded || offload.is_none();
        self.offload = offload.unwrap_or(Offload::NONE);
        // what follows a lie about their number is no part of it
        self.want = if bounded && good { want } else { 1 };
    }

    /// One of its buffers is not as it must be.
    pub(super) fn spoil(&mut self) {
        self.malformed = true;
    }

    /// Adds a buffer to the frame, and the frame to the batch if it was the last.
    pub(super) fn collect(
        &mut self,
        part: RawPacket,
        pool: &PoolInner,
        batch: &mut Batch,
        received: &mut Received,
    ) {
        if let Some(place) = self.parts.get_mut(usize::from(self.have)) {
            *place = part;
            self.have += 1;
        }
        if self.have < self.want {
            return;
        }
        let parts = self.parts.get_mut(..usize::from(self.have));
        self.have = 0;
        // linked from the last buffer to the first
        let mut parts = parts.into_iter().flatten().rev();
        let Some(mut whole) = parts.next().map(std::mem::take) else {
            return;
        };
        let mut bytes = u64::from(whole.len());
        for part in parts {
            let mut before = std::mem::take(part);
            bytes += u64::from(before.len());
            pool.set_link(&mut before, whole);
            whole = before;
        }
        if self.malformed || !self.offload.fits(bytes) {
            received.malformed += 1;
            pool.give_back(whole);
            return;
        }
        if !self.offload.is_none() {
            pool.set_note(&mut whole, self.offload);
        }
        received.frames += 1;
        received.bytes += bytes;
        batch.add(whole);
    }

    /// Gives the buffers that have come back to their pool.
    pub(super) fn give_back(&mut self, pool: &PoolInner) {
        for part in &mut self.parts {
            if !part.is_nothing() {
                pool.give_back(std::mem::take(part));
            }
        }
    }
}
