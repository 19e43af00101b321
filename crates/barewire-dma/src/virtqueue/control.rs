//! A queue of commands, one at a time: each is read by the device and answered with one byte.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lanes::{load, store};
use super::{Piece, QueueFault, QueueFeatures, QueueMemory, QueuePlan, Virtqueue};
use crate::{DmaError, Mapping};

/// Bytes of a command that there is room for.
const COMMAND: usize = 4096;
/// What stands where the device is to answer, until it does.
const UNANSWERED: u8 = 0xff;

/// The control queue of a virtio device (VIRTIO §5.1.6.5).
#[derive(Debug)]
pub struct VirtControl<Q> {
    queue: Q,
    memory: QueueMemory,
}

impl<Q: Virtqueue> VirtControl<Q> {
    /// The longest command with its data, in bytes.
    pub const LONGEST: usize = COMMAND;

    /// How a queue of `size` descriptors is laid out.
    ///
    /// # Errors
    /// [`DmaError::Range`] unless `size` is a power of two from 2 to 32,768.
    pub fn plan(size: u16, features: QueueFeatures) -> Result<QueuePlan<Q>, DmaError> {
        // the slots together hold the command and, behind it, the answer
        let slot = (COMMAND + 64).div_ceil(usize::from(size).max(1));
        QueuePlan::new(size, features, slot.next_multiple_of(16))
    }

    /// An idle queue.
    ///
    /// # Errors
    /// [`DmaError`] where the memory is not fit for it.
    pub fn new(plan: QueuePlan<Q>, mapping: Arc<Mapping>, offset: usize) -> Result<Self, DmaError> {
        let (queue, memory) = plan.start(mapping, offset)?;
        Ok(Self { queue, memory })
    }

    /// The queue's memory.
    pub fn memory(&self) -> &QueueMemory {
        &self.memory
    }

    /// Makes a command available: its two bytes of class and command, and data. Returns whether the
    /// device wants to be told, or `None`, and nothing is done, if a command is under way or this
    /// one is too long.
    pub fn command(&mut self, parts: [&[u8]; 2]) -> Option<bool> {
        let bytes = parts.concat();
        if self.queue.lent() > 0 || bytes.is_empty() || bytes.len() > COMMAND {
            return None;
        }
        let (words, first) = (self.memory.words(), self.memory.slot(0));
        for (n, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word.iter_mut()
                .zip(chunk)
                .for_each(|(to, from)| *to = *from);
            store(
                words,
                first + n,
                u64::from_le_bytes(word),
                Ordering::Relaxed,
            );
        }
        let answer = first + COMMAND / 8;
        store(words, answer, u64::from(UNANSWERED), Ordering::Relaxed);
        let command = Piece {
            address: self.memory.address(first),
            len: u32::try_from(bytes.len()).ok()?,
            ..Piece::default()
        };
        let answer = Piece {
            address: self.memory.address(answer),
            len: 1,
            writable: true,
            table: false,
        };
        self.queue.offer(words, &[command, answer])?;
        Some(self.queue.publish(words))
    }

    /// The device's answer to the command, once it is there.
    ///
    /// # Errors
    /// [`QueueFault`].
    pub fn answer(&mut self) -> Result<Option<u8>, QueueFault> {
        let words = self.memory.words();
        if self.queue.take_used(words)?.is_none() {
            return Ok(None);
        }
        let at = self.memory.slot(0) + COMMAND / 8;
        let [answer, ..] = load(words, at, Ordering::Relaxed).to_le_bytes();
        Ok(Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Direct;
    use crate::{DmaRegion, Domain, Packed, Pages, Split};

    fn the_longest_command_and_its_answer_have_room<Q: Virtqueue>() {
        for size in (1..16).map(|bits| 1 << bits) {
            let plan = VirtControl::<Q>::plan(size, QueueFeatures::default()).unwrap();
            let region = DmaRegion::allocate(plan.bytes(), Pages::Ordinary).unwrap();
            let domain = Domain::new(Arc::<Direct>::default());
            let mapping = domain.map(&region).unwrap();
            let mut control = VirtControl::new(plan, mapping, 0).unwrap();
            let data = [7; COMMAND - 2];
            assert!(control.command([&[1, 2], &data]).is_some());
            let first = control.memory().slot(0);
            let words = &control.memory().words()[first..];
            let last = words[COMMAND / 8 - 1].load(Ordering::Relaxed);
            assert_eq!(last.to_le_bytes(), [7; 8], "{size}");
            // what is outside the queue's own memory would read as 0, which says that it was done
            let answer = words
                .get(COMMAND / 8)
                .map(|word| word.load(Ordering::Relaxed));
            assert_eq!(answer.map(u64::from_le), Some(UNANSWERED.into()), "{size}");
        }
    }

    #[test]
    fn a_command_and_its_answer_have_room_in_a_queue_of_any_size() {
        the_longest_command_and_its_answer_have_room::<Split>();
        the_longest_command_and_its_answer_have_room::<Packed>();
    }
}
