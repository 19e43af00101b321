//! The receive packet buffer: frames that passed the filters and wait for descriptors.

use std::collections::VecDeque;
use std::mem;

/// What is known of a frame that passed the filters, as its last descriptor will tell it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    /// First word of the write-back.
    pub(super) info: u64,
    /// Second word, without length and tag.
    pub(super) status: u64,
    pub(super) vlan: Option<u16>,
    /// Which receive queue it goes to.
    pub(super) queue: usize,
    /// There is an outer tag, so that the other one is behind it.
    pub(super) outer: bool,
}

impl Arrival {
    /// Where the tag is that may be taken out.
    pub(super) fn tag_at(&self) -> usize {
        if self.outer { 16 } else { 12 }
    }
}

/// A frame in the buffer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The frame, with FCS if the device keeps it.
    pub(super) bytes: Vec<u8>,
    pub(super) arrival: Arrival,
    /// How many bytes descriptors have taken already.
    pub(super) done: usize,
}

/// A bounded first-in first-out buffer of frames (82599 §8.2.3.8.9).
#[derive(Debug)]
pub(super) struct PacketBuffer {
    waiting: VecDeque<Waiting>,
    /// Emptied frames, so that the buffer does not allocate once it has been full.
    spare: Vec<Vec<u8>>,
    used: usize,
}

/// Memory is used in lines of this many bytes.
const LINE: usize = 32;

fn footprint(bytes: &[u8]) -> usize {
    bytes.len().next_multiple_of(LINE)
}

impl PacketBuffer {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            spare: Vec::new(),
            used: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Puts a frame at the end if a buffer of `capacity` bytes has room for it, and leaves an empty vector
    /// in its place.
    pub(super) fn push(
        &mut self,
        capacity: usize,
        bytes: &mut Vec<u8>,
        arrival: Arrival,
        done: usize,
    ) -> bool {
        let size = footprint(bytes);
        if self.used.saturating_add(size) > capacity {
            return false;
        }
        self.used += size;
        let spare = self.spare.pop().unwrap_or_default();
        let bytes = mem::replace(bytes, spare);
        self.waiting.push_back(Waiting {
            bytes,
            arrival,
            done,
        });
        true
    }

    /// The frame whose turn it is.
    pub(super) fn head(&mut self) -> Option<&mut Waiting> {
        self.waiting.front_mut()
    }

    /// Removes the frame whose turn it was.
    pub(super) fn pop(&mut self) {
        if let Some(mut frame) = self.waiting.pop_front() {
            self.used -= footprint(&frame.bytes);
            frame.bytes.clear();
            self.spare.push(frame.bytes);
        }
    }

    /// Forgets all frames, as a reset does.
    pub(super) fn clear(&mut self) {
        while !self.is_empty() {
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_room_is_bounded() {
        let mut buffer = PacketBuffer::new();
        for tag in 0..4u8 {
            let mut frame = vec![tag; 60];
            assert!(buffer.push(256, &mut frame, Arrival::default(), 0));
            assert!(frame.is_empty());
        }
        let mut frame = vec![9; 60];
        assert!(!buffer.push(256, &mut frame, Arrival::default(), 0));
        assert_eq!(frame.len(), 60);
        for tag in 0..4u8 {
            assert_eq!(buffer.head().unwrap().bytes[0], tag);
            buffer.pop();
        }
        assert!(buffer.is_empty());
        buffer.pop();
        assert!(buffer.push(256, &mut frame, Arrival::default(), 0));
        buffer.clear();
        assert_eq!(buffer.used, 0);
    }
}
