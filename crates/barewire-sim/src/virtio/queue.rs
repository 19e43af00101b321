//! A queue: what its registers say, and its ring while it runs (VIRTIO §2.6, §4.1.4.3).

use std::collections::VecDeque;

use barewire_spec::virtio::{NO_VECTOR, QUEUE_SIZE_MAX};

use super::ring::{Chain, Notes, Ring, Shape, Trouble};
use crate::memory::Iommu;

/// What a queue is for (VIRTIO §5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Frames for the driver, of this pair.
    Receive(u16),
    /// Frames from the driver, of this pair.
    Transmit(u16),
    Control,
    /// The device has the queue and the driver's features have no use for it.
    None,
}

/// In which way a queue departs from the order in which buffers were made available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shuffle {
    No,
    /// Every second buffer is taken before the first. Frames keep their order.
    Takes,
    /// Every second buffer is given back before the first. Packets keep their order.
    Returns,
}

/// One queue.
#[allow(clippy::struct_excessive_bools)] // independent facts
#[derive(Debug)]
#[repr(align(128))] // each direction has a thread of its own
pub(super) struct Queue {
    /// The most descriptors it can have.
    pub(super) most: u16,
    pub(super) size: u16,
    pub(super) vector: u16,
    /// Addresses of the descriptors, of the driver's part and of the device's.
    pub(super) addresses: [u64; 3],
    pub(super) enabled: bool,
    /// The ring can't be worked on until the queue is set up anew.
    pub(super) broken: bool,
    ring: Option<Ring>,
    /// The driver has notified, and not everything is looked at.
    work: bool,
    /// It has notified since it was last looked.
    rung: bool,
    /// The driver was asked to notify.
    armed: bool,
    /// There is something to look at in the next step.
    again: bool,
    /// Something was given back since the driver was last told.
    untold: bool,
    /// Buffers that were found and are not used yet.
    ready: VecDeque<Chain>,
    /// Chains whose memory is used again.
    spare: Vec<Chain>,
    shuffle: Shuffle,
    /// A buffer that is given back behind the next one.
    late: Option<(Chain, u32)>,
    pub(super) notes: Notes,
}

impl Queue {
    pub(super) fn new(most: u16) -> Self {
        let most = most.min(QUEUE_SIZE_MAX);
        Self {
            most,
            size: most,
            vector: NO_VECTOR,
            addresses: [0; 3],
            enabled: false,
            broken: false,
            ring: None,
            work: false,
            rung: false,
            armed: true,
            again: false,
            untold: false,
            ready: VecDeque::new(),
            spare: Vec::new(),
            shuffle: Shuffle::No,
            late: None,
            notes: Notes::default(),
        }
    }

    /// As after a reset.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.most);
    }

    /// Lets the queue run.
    pub(super) fn start(&mut self, shape: Shape, packed: bool, shuffle: Shuffle) {
        let ring = if packed {
            Ring::packed(shape)
        } else {
            Ring::split(shape)
        };
        self.ring = Some(ring);
        self.enabled = true;
        if !shape.in_order {
            self.shuffle = shuffle;
        }
    }

    /// The driver has notified.
    pub(super) fn notify(&mut self) {
        self.work = true;
        self.rung = true;
    }

    pub(super) fn runs(&self) -> bool {
        self.enabled && !self.broken
    }

    /// Whether there is something to look at in the next step, though nothing tells of it.
    pub(super) fn looks_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    /// Something was given back that the driver has not been told of.
    pub(super) fn is_untold(&self) -> bool {
        self.untold && self.runs()
    }

    /// Whether there is anything to look at.
    pub(super) fn has_work(&self) -> bool {
        self.runs() && (self.work || !self.ready.is_empty())
    }

    fn fetch(&mut self, memory: &Iommu) -> Result<Option<Chain>, Trouble> {
        let Some(ring) = &mut self.ring else {
            return Ok(None);
        };
        if !self.work || self.broken {
            return Ok(None);
        }
        let mut chain = self.spare.pop().unwrap_or_default();
        loop {
            match ring.fetch(memory, &mut self.notes, &mut chain) {
                Ok(true) => break,
                Ok(false) => {}
                Err(trouble) => {
                    self.spare.push(chain);
                    return Err(trouble);
                }
            }
            let distant = ring.is_distant(memory);
            if self.armed && distant && std::mem::take(&mut self.rung) {
                // What was answered may have been asked for before the notification.
                self.again = true;
                self.spare.push(chain);
                return Err(Trouble::NotYet);
            }
            if self.armed {
                // It was looked once more after the driver had been asked to notify.
                self.work = false;
                self.spare.push(chain);
                return Ok(None);
            }
            ring.ask_to_be_notified(memory, true)?;
            self.armed = true;
            if distant {
                // The look once more must not find what was answered before.
                self.again = true;
                self.spare.push(chain);
                return Err(Trouble::NotYet);
            }
        }
        if self.armed {
            ring.ask_to_be_notified(memory, false)?;
            self.armed = false;
        }
        Ok(Some(chain))
    }

    /// Finds buffers until they have room for `bytes`. False if there are not enough.
    #[inline]
    pub(super) fn find_room(&mut self, memory: &Iommu, bytes: u64) -> Result<bool, Trouble> {
        match self.ready.front() {
            Some(first) if first.writable >= bytes => Ok(true),
            _ => self.find_more(memory, bytes),
        }
    }

    fn find_more(&mut self, memory: &Iommu, bytes: u64) -> Result<bool, Trouble> {
        let mut room: u64 = self.ready.iter().map(|chain| chain.writable).sum();
        while self.ready.is_empty() || room < bytes {
            let Some(chain) = self.fetch(memory)? else {
                return Ok(false);
            };
            room += chain.writable;
            self.ready.push_back(chain);
            if self.shuffle == Shuffle::Takes
                && self.ready.len() == 1
                && let Some(second) = self.fetch(memory)?
            {
                room += second.writable;
                self.ready.push_front(second);
            }
        }
        Ok(true)
    }

    /// How many buffers are found and not used.
    pub(super) fn found(&self) -> usize {
        self.ready.len()
    }

    /// The next buffer, if there is one.
    pub(super) fn take(&mut self, memory: &Iommu) -> Result<Option<Chain>, Trouble> {
        let found = self.find_room(memory, 0)?;
        Ok(self.ready.pop_front().filter(|_| found))
    }

    /// A buffer that was taken and can't be used yet.
    pub(super) fn put_back(&mut self, chain: Chain) {
        self.ready.push_front(chain);
    }

    /// Gives a buffer back to the driver, with `written` bytes in it.
    pub(super) fn give_back(
        &mut self,
        memory: &Iommu,
        chain: Chain,
        written: u32,
    ) -> Result<(), Trouble> {
        self.untold = true;
        if self.shuffle == Shuffle::Returns {
            let Some((first, before)) = self.late.replace((chain, written)) else {
                return Ok(());
            };
            self.return_late(memory)?;
            return self.return_now(memory, first, before);
        }
        self.return_now(memory, chain, written)
    }

    fn return_now(&mut self, memory: &Iommu, chain: Chain, written: u32) -> Result<(), Trouble> {
        if let Some(ring) = &mut self.ring {
            ring.give_back(memory, &chain, written)?;
        }
        self.spare.push(chain);
        Ok(())
    }

    fn return_late(&mut self, memory: &Iommu) -> Result<(), Trouble> {
        match self.late.take() {
            Some((chain, written)) => self.return_now(memory, chain, written),
            None => Ok(()),
        }
    }

    /// Shows the driver what was given back; whether it wants an interrupt for it.
    pub(super) fn publish(&mut self, memory: &Iommu) -> Result<bool, Trouble> {
        if self.untold && !self.broken {
            self.return_late(memory)?;
        }
        let Some(ring) = self.ring.as_mut().filter(|_| self.untold && !self.broken) else {
            return Ok(false);
        };
        ring.publish(memory)?;
        let wanted = ring.wants_interrupt(memory, &mut self.notes)?;
        self.untold = false;
        Ok(wanted)
    }
}
