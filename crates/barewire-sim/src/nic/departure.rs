//! Frames that leave, on their way from a queue to the wire.

use barewire_spec::ixgbe::limits;

use super::refusal;
use super::statistics::{FCS, Statistics};
use crate::memory::Window;
use crate::time::Nanos;
use crate::violation::Refusal;
use crate::wire::{BLOCK, Train, Wire};

/// The shortest frame without FCS.
pub(super) const SHORTEST: usize = limits::FRAME_MIN as usize - FCS;

/// So many frames of one length.
#[derive(Clone, Copy, Default)]
pub(super) struct Lengths {
    pub(super) length: usize,
    pub(super) frames: usize,
}

/// Where frames go.
pub(super) struct Out<'a> {
    pub(super) wire: &'a mut dyn Wire,
    /// Frames that are about to leave.
    pub(super) train: &'a mut Train,
    pub(super) statistics: &'a mut Statistics,
    pub(super) now: Nanos,
    /// Frames sent, and their bytes.
    pub(super) sent: usize,
    pub(super) bytes: usize,
}

impl Out<'_> {
    /// Sends a frame.
    pub(super) fn send(&mut self, frame: &[u8]) {
        self.train.push(frame);
        self.statistics.sent(frame);
        self.bytes += frame.len();
        self.sent += 1;
        if self.train.is_full() {
            self.depart();
        }
    }

    /// Puts the `length` bytes at `address` into the train; false, and nothing has happened, if
    /// they are not within `window`. There is room in the train.
    #[inline]
    pub(super) fn fetch(&mut self, window: Window<'_>, address: u64, length: usize) -> bool {
        let frame = if length <= BLOCK {
            let block = self.train.room_for_short();
            block.and_then(|block| {
                let read = window.read_block(address, block);
                block.get(..length).filter(|_| read)
            })
        } else {
            let room = self.train.room(length);
            let read = window.read(address, room, length);
            room.get(..length).filter(|_| read)
        };
        let Some(frame) = frame else { return false };
        self.statistics.sent_to(frame);
        self.train.add(length);
        true
    }

    /// Counts frames that were put into the train.
    #[inline]
    pub(super) fn note(&mut self, Lengths { frames, length }: &Lengths) {
        self.statistics.sent_lengths(*frames, *length);
        self.bytes += frames * length;
        self.sent += frames;
    }

    /// Lets the train leave, and begins another.
    pub(super) fn depart(&mut self) {
        if !self.train.is_empty() {
            self.wire.push_train(self.now, self.train);
        }
        self.train.begin(usize::MAX);
    }

    /// Sends the first `length` bytes, padded where that is too few and `pad` allows it.
    pub(super) fn send_padded(
        &mut self,
        frame: &mut [u8],
        length: usize,
        pad: bool,
    ) -> Result<(), Refusal> {
        if length < SHORTEST {
            if !pad {
                return Err(refusal::NO_PADDING);
            }
            if let Some(padding) = frame.get_mut(length..SHORTEST) {
                padding.fill(0);
            }
        }
        if let Some(frame) = frame.get(..length.max(SHORTEST)) {
            self.send(frame);
        }
        Ok(())
    }
}
