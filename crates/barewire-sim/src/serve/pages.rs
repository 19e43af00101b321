//! The pages of registers that a client may map.
//!
//! They are those that hold the registers of queues, and nothing else is in them but the counters
//! of queues. The client writes values there; the device finds them when it looks, as writes in an
//! order that makes sense for a queue. What the device changes is shown there only where the client
//! has not written meanwhile.
//!
//! A counter that clears when it is read can't do so in a mapped page. There it holds what was
//! counted up to the last read of MPC[0], with which drivers begin to collect statistics, since the
//! one before.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_bus::vfio_user::{REGION_FLAG_MMAP, RegionInfo, SparseArea};
use barewire_dma::{DmaError, DmaRegion, Pages as Kind};
use barewire_spec::ixgbe::{self as spec, Mode, Register, Rxdctl, Txdctl, limits, lookup};
use rustix::io::Errno;

use crate::nic::{Direction, Nic, QueueView};

/// Where the pages are in BAR 0: from here to there.
const AREAS: [(u32, u32); 3] = [(0x1000, 0x2000), (0x6000, 0x8000), (0xD000, 0xE000)];
/// Queues of each direction.
const QUEUES: usize = 128;

/// What is taken from the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Everything.
    Everything,
    /// What stops queues and sets them up, but nothing that starts them or hands anything over.
    Stopping,
}

/// What a word is to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// RXDCTL or TXDCTL.
    Control(usize),
    /// What must not change while the queue runs: where its ring is.
    Ring(usize),
    /// The queue's head.
    Head(usize),
    /// RDT or TDT.
    Tail(usize),
    /// Any other register, or none at all.
    Other,
    /// A counter that clears when it is read.
    Counter,
}

/// A word that the client has written.
#[derive(Clone, Copy, Debug)]
struct Change {
    word: usize,
    old: u32,
    new: u32,
}

/// The words of one queue, and what the device has shown of it.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    control: usize,
    head: usize,
    tail: usize,
    enable: u32,
    shown: (bool, u32),
}

/// The pages, and what they held when the device last looked.
#[derive(Debug)]
pub struct Pages {
    nic: Nic,
    region: Arc<DmaRegion>,
    /// The offset of each word in BAR 0.
    offsets: Vec<u32>,
    parts: Vec<Part>,
    /// Two words each.
    shadow: Vec<u64>,
    /// Receive queues, then transmit queues.
    queues: Vec<Queue>,
    changes: Vec<Change>,
    shared: bool,
}

fn number(direction: Direction, queue: usize) -> usize {
    match direction {
        Direction::Receive => queue,
        Direction::Transmit => QUEUES + queue,
    }
}

/// The register at an offset, what it is and the queue it belongs to, counted through both
/// directions.
fn part(offset: u32) -> Part {
    let Some((register, index)) = lookup(offset) else {
        return Part::Other;
    };
    let is = |other: &'static Register| std::ptr::eq(register, other);
    let receive = index as usize;
    let transmit = QUEUES + receive;
    if register.mode == Mode::ReadClear {
        Part::Counter
    } else if is(&spec::RXDCTL) {
        Part::Control(receive)
    } else if is(&spec::TXDCTL) {
        Part::Control(transmit)
    } else if is(&spec::RDH) {
        Part::Head(receive)
    } else if is(&spec::TDH) {
        Part::Head(transmit)
    } else if is(&spec::RDT) {
        Part::Tail(receive)
    } else if is(&spec::TDT) {
        Part::Tail(transmit)
    } else if [&spec::RDBAL, &spec::RDBAH, &spec::RDLEN]
        .into_iter()
        .any(is)
    {
        Part::Ring(receive)
    } else if [&spec::TDBAL, &spec::TDBAH, &spec::TDLEN]
        .into_iter()
        .any(is)
    {
        Part::Ring(transmit)
    } else {
        Part::Other
    }
}

/// The half of a pair that word `word` is.
fn half(pair: u64, word: usize) -> u32 {
    let shifted = if word.is_multiple_of(2) {
        pair & 0xFFFF_FFFF
    } else {
        pair >> 32
    };
    u32::try_from(shifted).unwrap_or(0)
}

fn with_half(pair: u64, word: usize, value: u32) -> u64 {
    if word.is_multiple_of(2) {
        pair & !0xFFFF_FFFF | u64::from(value)
    } else {
        pair & 0xFFFF_FFFF | u64::from(value) << 32
    }
}

impl Pages {
    pub(crate) fn new(nic: Nic) -> Result<Self, DmaError> {
        let region = DmaRegion::allocate(limits::BAR0_SIZE as usize, Kind::Ordinary)?;
        let offsets: Vec<u32> = AREAS
            .iter()
            .flat_map(|(from, to)| (*from..*to).step_by(4))
            .collect();
        let parts: Vec<Part> = offsets.iter().map(|offset| part(*offset)).collect();
        let mut queues = vec![Queue::default(); 2 * QUEUES];
        for (word, part) in parts.iter().enumerate() {
            match part {
                Part::Control(queue) => queues[*queue].control = word,
                Part::Head(queue) => queues[*queue].head = word,
                Part::Tail(queue) => queues[*queue].tail = word,
                _ => {}
            }
        }
        for (index, queue) in queues.iter_mut().enumerate() {
            queue.enable = if index < QUEUES {
                Rxdctl::new().with_enable(true).into_bits()
            } else {
                Txdctl::new().with_enable(true).into_bits()
            };
        }
        let mut pages = Self {
            nic,
            shadow: vec![0; offsets.len() / 2],
            region,
            offsets,
            parts,
            queues,
            changes: Vec::new(),
            shared: false,
        };
        pages.show_all();
        Ok(pages)
    }

    /// The client may have mapped them.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Adds to the description of BAR 0 what can be mapped; returns the file to map.
    pub(super) fn describe(&mut self, info: &mut RegionInfo) -> Result<OwnedFd, Errno> {
        info.flags |= REGION_FLAG_MMAP;
        info.areas = AREAS
            .iter()
            .map(|(from, to)| SparseArea {
                offset: (*from).into(),
                size: (to - from).into(),
            })
            .collect();
        let file = rustix::io::fcntl_dupfd_cloexec(self.region.memfd(), 0)?;
        self.shared = true;
        Ok(file)
    }

    /// The pair of words that `word` is one of.
    fn cell(&self, word: usize) -> Option<&AtomicU64> {
        let offset = *self.offsets.get(word)?;
        self.region.words().get(offset as usize / 8)
    }

    fn word_at(&self, offset: u32) -> Option<usize> {
        self.offsets.binary_search(&offset).ok()
    }

    fn shadow_of(&self, word: usize) -> u32 {
        self.shadow
            .get(word / 2)
            .map_or(0, |pair| half(*pair, word))
    }

    fn set_shadow(&mut self, word: usize, value: u32) {
        if let Some(pair) = self.shadow.get_mut(word / 2) {
            *pair = with_half(*pair, word, value);
        }
    }

    /// Shows `value`, whatever the client has written.
    fn show(&mut self, word: usize, value: u32) -> u32 {
        let mut old = 0;
        if let Some(cell) = self.cell(word) {
            let update = |pair| Some(with_half(pair, word, value));
            // The update never declines.
            let before = cell.fetch_update(Ordering::Release, Ordering::Relaxed, update);
            old = half(before.unwrap_or(0), word);
        }
        self.set_shadow(word, value);
        old
    }

    /// Shows `value` if the word still is what the device knows; the client's write counts
    /// otherwise, and is found at the next look.
    fn offer(&mut self, word: usize, value: u32) {
        let known = self.shadow_of(word);
        let Some(cell) = self.cell(word) else { return };
        let update = |pair| (half(pair, word) == known).then(|| with_half(pair, word, value));
        let shown = cell.fetch_update(Ordering::Release, Ordering::Relaxed, update);
        if shown.is_ok() {
            self.set_shadow(word, value);
        }
    }

    /// Finds what the client has written since the last look.
    fn find_changes(&mut self) {
        self.changes.clear();
        let mut pair = 0;
        for (from, to) in AREAS {
            let cells = self.region.words().get(from as usize / 8..to as usize / 8);
            for cell in cells.unwrap_or_default() {
                let now = cell.load(Ordering::Acquire);
                let known = self.shadow.get(pair).copied().unwrap_or(now);
                if now != known {
                    for word in [2 * pair, 2 * pair + 1] {
                        let (old, new) = (half(known, word), half(now, word));
                        if old != new && self.parts.get(word) != Some(&Part::Counter) {
                            self.changes.push(Change { word, old, new });
                        }
                    }
                }
                pair += 1;
            }
        }
    }

    /// Gives the device what the client has written: what stops a queue first, then what describes
    /// it, then what starts it, then tails.
    pub(super) fn look(&mut self, look: Look) {
        if !self.shared {
            return;
        }
        self.find_changes();
        if self.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        let part = |change: &Change| self.parts.get(change.word).copied();
        let parts: Vec<Option<Part>> = changes.iter().map(part).collect();
        let all = || changes.iter().zip(&parts);
        for (change, part) in all() {
            if let Some(Part::Control(queue)) = part
                && change.old & !change.new & self.queues[*queue].enable != 0
            {
                // A tail from before it stopped means nothing any more.
                let tail = self.queues[*queue].tail;
                if let Some(tail) = changes.iter().find(|change| change.word == tail) {
                    self.set_shadow(tail.word, tail.new);
                }
                self.stop(*queue, change.new);
            }
        }
        // The client goes on writing while it is looked at. What it wrote before it started a queue
        // that was seen to start is there by now; what it starts from now on waits for the next look.
        self.find_changes();
        let described = std::mem::take(&mut self.changes);
        let mut stopped = Vec::new();
        for change in &described {
            let part = self.parts.get(change.word).copied();
            let again = match part {
                Some(Part::Ring(queue)) => Some(queue),
                // That of a receive queue is not software's to write.
                Some(Part::Head(queue)) => Some(queue).filter(|queue| *queue >= QUEUES),
                _ => None,
            };
            stopped.extend(again.filter(|queue| self.stop_unseen(*queue)));
            if let Some(Part::Ring(_) | Part::Head(_) | Part::Other) = part {
                self.write_change(change);
            }
        }
        if look == Look::Everything {
            // Some may have been written as they were when a queue stopped, and some come again.
            self.find_changes();
            let seen = changes;
            let mut changes = std::mem::take(&mut self.changes);
            changes.retain(|change| {
                let again = match self.parts.get(change.word) {
                    Some(Part::Control(queue) | Part::Tail(queue)) => stopped.contains(queue),
                    _ => false,
                };
                again || seen.iter().any(|seen| seen.word == change.word)
            });
            for change in &changes {
                if matches!(self.parts.get(change.word), Some(Part::Control(_))) {
                    self.write_change(change);
                }
            }
            self.nic.settle_queues();
            for change in &changes {
                match self.parts.get(change.word) {
                    Some(Part::Control(_)) => self.read_back(change.word),
                    Some(Part::Tail(_)) => self.write_change(change),
                    _ => {}
                }
            }
            self.changes = changes;
        }
    }

    /// Stops a queue, as `control` says.
    fn stop(&mut self, queue: usize, control: u32) {
        let Queue {
            control: word,
            tail,
            ..
        } = self.queues[queue];
        if let Some(offset) = self.offsets.get(word) {
            self.nic.write_register(*offset, control);
            self.nic.settle_queues();
            self.set_shadow(word, control);
            self.read_back(word);
            // A tail that is the same as before is seen this way when the queue runs again.
            self.offer(tail, 0);
        }
    }

    /// Where a ring changes while its queue runs, the client has stopped the queue and started it
    /// again between two looks. At least nothing shows that it has not.
    /// True if it ran.
    fn stop_unseen(&mut self, queue: usize) -> bool {
        let Queue {
            control,
            tail,
            enable,
            ..
        } = self.queues[queue];
        let known = self.shadow_of(control);
        if known & enable == 0 {
            return false;
        }
        if let Some(offset) = self.offsets.get(control) {
            self.nic.write_register(*offset, known & !enable);
            self.nic.settle_queues();
        }
        self.set_shadow(control, known & !enable);
        if queue < QUEUES {
            // All of a fresh ring has been handed over, maybe up to the same descriptor as before.
            self.set_shadow(tail, 0);
        }
        true
    }

    fn write_change(&mut self, change: &Change) {
        if let Some(offset) = self.offsets.get(change.word) {
            self.nic.write_register(*offset, change.new);
        }
        self.set_shadow(change.word, change.new);
        self.read_back(change.word);
    }

    /// Shows what a register has become by a write.
    fn read_back(&mut self, word: usize) {
        let offset = self.offsets.get(word).copied();
        let mut value = None;
        self.nic
            .peek(offset.into_iter(), |_, now| value = Some(now));
        if let Some(value) = value {
            self.offer(word, value);
        }
    }

    /// Shows heads, and queues that have started or stopped.
    pub(super) fn publish(&mut self) {
        if !self.shared {
            return;
        }
        self.nic.clone().view_queues(|view: QueueView| {
            let index = number(view.direction, view.queue);
            let Some(queue) = self.queues.get_mut(index) else {
                return;
            };
            let now = (view.enabled, view.head);
            if queue.shown == now {
                return;
            }
            queue.shown = now;
            let Queue {
                control,
                head,
                enable,
                ..
            } = *queue;
            self.offer(head, view.head);
            let enabled = if view.enabled { enable } else { 0 };
            let known = self.shadow_of(control);
            if known & enable != enabled {
                self.offer(control, known & !enable | enabled);
            }
        });
    }

    /// Reads registers by message. What a counter shows in its page is read, too.
    pub(super) fn read(&mut self, offset: u32, data: &mut [u8]) {
        if !offset.is_multiple_of(4) || !data.len().is_multiple_of(4) {
            self.nic.misaligned(offset.into(), data.len(), "read");
            data.fill(0xFF);
            return;
        }
        let words = data.as_chunks_mut::<4>().0;
        for (word, at) in words.iter_mut().zip((offset..).step_by(4)) {
            if at == spec::MPC.base {
                self.collect_counters();
            }
            let counted = self.take_counter(at);
            let value = self.nic.read_register(at).wrapping_add(counted);
            *word = value.to_le_bytes();
        }
    }

    /// Writes registers by message, and shows what has become of them.
    pub(super) fn write(&mut self, offset: u32, data: &[u8]) {
        if !offset.is_multiple_of(4) || !data.len().is_multiple_of(4) {
            self.nic.misaligned(offset.into(), data.len(), "write");
            return;
        }
        for (word, at) in data.as_chunks::<4>().0.iter().zip((offset..).step_by(4)) {
            self.nic.write_register(at, u32::from_le_bytes(*word));
            if at == spec::CTRL.base {
                self.refresh_all();
            } else {
                self.refresh(at);
            }
        }
    }

    /// Shows a register that was written by message.
    fn refresh(&mut self, offset: u32) {
        let primary = lookup(offset).and_then(|(register, index)| register.get(index));
        let Some(word) = primary.and_then(|offset| self.word_at(offset)) else {
            return;
        };
        if self.parts.get(word) == Some(&Part::Counter) {
            return;
        }
        let mut value = None;
        self.nic
            .peek(primary.into_iter(), |_, now| value = Some(now));
        if let Some(value) = value {
            self.show(word, value);
        }
    }

    /// Shows all registers, after the device may have been reset.
    pub(super) fn refresh_all(&mut self) {
        if self.shared {
            self.show_all();
        }
    }

    fn show_all(&mut self) {
        let offsets = std::mem::take(&mut self.offsets);
        let plain = offsets
            .iter()
            .zip(&self.parts)
            .filter(|(_, part)| **part != Part::Counter)
            .map(|(offset, _)| *offset);
        let mut values = Vec::with_capacity(offsets.len());
        self.nic
            .peek(plain, |offset, value| values.push((offset, value)));
        self.offsets = offsets;
        for (offset, value) in values {
            if let Some(word) = self.word_at(offset) {
                self.show(word, value);
            }
        }
    }

    /// Shows what the counters of queues have counted since the last time.
    fn collect_counters(&mut self) {
        if !self.shared {
            return;
        }
        for word in 0..self.offsets.len() {
            if self.parts.get(word) == Some(&Part::Counter)
                && let Some(offset) = self.offsets.get(word)
            {
                let counted = self.nic.read_register(*offset);
                self.show(word, counted);
            }
        }
    }

    /// What a counter shows, which is then 0. 0 where there is none.
    fn take_counter(&mut self, offset: u32) -> u32 {
        match self.word_at(offset) {
            Some(word) if self.shared && self.parts.get(word) == Some(&Part::Counter) => {
                self.show(word, 0)
            }
            _ => 0,
        }
    }

    /// Forgets what the counters show: the device has lost it.
    pub(super) fn clear_counters(&mut self) {
        for word in 0..self.offsets.len() {
            if self.parts.get(word) == Some(&Part::Counter) {
                self.show(word, 0);
            }
        }
    }
}
