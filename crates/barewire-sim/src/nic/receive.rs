//! From the wire to host memory (82599 §7.1).

use std::mem;
use std::sync::atomic::Ordering;

use barewire_spec::ixgbe::descriptor::rx::{LegacyStatus, Status};
use barewire_spec::ixgbe::{Eicr, limits};

use super::checksum;
use super::config_space::ConfigSpace;
use super::filter::{Acceptance, Filter};
use super::iommu::{Descriptor, Fault, Iommu, Window};
use super::model::{Model, Port};
use super::packet_buffer::{Arrival, PacketBuffer};
use super::parse::parse;
use super::queue::RxQueue;
use super::statistics::{FCS, Statistics};
use crate::time::Nanos;
use crate::violation::Rule;
use crate::wire::Wire;

/// The shortest frame without FCS.
const SHORTEST: usize = limits::FRAME_MIN as usize - FCS;
/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// The status of a packet's last descriptor.
const LAST: u64 = Status::DD | Status::EOP;
const INEXACT: u64 = Status::new().with_pif(true).into_bits();
const TAGGED: u64 = Status::new().with_vp(true).into_bits();

/// What became of an attempt to write a frame to host memory.
enum Delivery {
    Done,
    /// There are not enough descriptors; so many bytes are written.
    Blocked(usize),
    Stopped(Trouble),
}

/// What stops a queue.
#[derive(Clone, Copy)]
enum Trouble {
    Fault(Fault),
    /// The second word of a descriptor.
    Refused(u64),
}

impl From<Fault> for Delivery {
    fn from(fault: Fault) -> Self {
        Self::Stopped(Trouble::Fault(fault))
    }
}

/// What frames need on their way through the device. Whatever is rare and needs the whole model is
/// noted and left to it.
struct Burst<'a> {
    port: Port,
    filter: &'a Filter,
    statistics: &'a mut Statistics,
    packet_buffer: &'a mut PacketBuffer,
    pci: &'a ConfigSpace,
    iommu: &'a Iommu,
    queues: &'a mut [RxQueue],
    /// The queue that the last frame went to, the descriptors of its ring, and where that frame is.
    current: usize,
    descriptors: &'a [Descriptor],
    window: Window<'a>,
    causes: u32,
    /// A frame could not go on because the device may not reach memory.
    held: bool,
    /// What stopped which queue. The burst goes no further.
    trouble: Option<(usize, Trouble)>,
}

impl Model {
    /// Takes up to `budget` frames from the wire; true if anything happened.
    pub(super) fn receive(&mut self, budget: usize) -> bool {
        self.filter.refresh(&self.registers, self.config.device);
        let mut busy = false;
        let mut left = budget;
        loop {
            let mut burst = Burst {
                port: self.port,
                filter: &self.filter,
                statistics: &mut self.statistics,
                packet_buffer: &mut self.packet_buffer,
                pci: &self.pci,
                iommu: &self.iommu,
                queues: &mut self.rx,
                current: usize::MAX,
                descriptors: &[],
                window: Window::default(),
                causes: 0,
                held: false,
                trouble: None,
            };
            busy |= burst.drain();
            let taken = burst.take(&mut *self.wire, &mut self.frame, self.now, left);
            let Burst {
                causes,
                held,
                trouble,
                ..
            } = burst;
            busy |= taken > 0;
            left -= taken;
            self.causes |= causes;
            if held {
                self.may_master();
            }
            match trouble {
                Some((number, trouble)) => self.stop(number, trouble),
                None => return busy,
            }
        }
    }

    /// Stops a receive queue, and says why.
    #[cold]
    fn stop(&mut self, number: usize, trouble: Trouble) {
        self.rx[number].ring.broken = true;
        self.statistics.dropped(number);
        match trouble {
            Trouble::Fault(fault) => self.fault("receive DMA", number, fault),
            Trouble::Refused(word) => self.violate(
                Rule::Descriptor,
                || format!("receive descriptor of queue {number}"),
                word,
                || "bit 0 of the header address (DD) is 1: the queue stops".into(),
                "82599 §7.1.6.1",
            ),
        }
    }
}

impl Burst<'_> {
    /// Takes up to `budget` frames from the wire; returns how many.
    fn take(
        &mut self,
        wire: &mut dyn Wire,
        frame: &mut Vec<u8>,
        now: Nanos,
        budget: usize,
    ) -> usize {
        let receiving = self.port.receiving;
        let mut taken = 0;
        while taken < budget && self.trouble.is_none() {
            let room = receiving && self.packet_buffer.is_empty();
            if !wire.pull(now, room, frame) {
                break;
            }
            taken += 1;
            if receiving {
                self.arrive(frame);
            }
        }
        taken
    }

    /// A frame reached the MAC.
    #[inline]
    fn arrive(&mut self, frame: &mut Vec<u8>) {
        let bytes = frame.len();
        if bytes < SHORTEST {
            self.statistics.undersize(bytes);
            return;
        }
        let headers = parse(frame, self.filter.vet);
        let tag = if headers.vlan.is_some() { TAG } else { 0 };
        if bytes + FCS > self.port.largest + tag {
            self.statistics.oversize(bytes);
            return;
        }
        self.statistics.good(bytes);
        let acceptance = self.filter.accepts(frame);
        if acceptance == Acceptance::No || !self.filter.accepts_vlan(&headers) {
            self.statistics.filtered(bytes);
            return;
        }
        self.statistics.accepted(frame);
        let (hash, queue) = self.filter.steer(frame, &headers);
        let verdict = checksum::verify(frame, &headers);
        if verdict.is_wrong() {
            self.statistics.wrong_checksum();
        }
        let mut status = LAST | verdict.0;
        if acceptance == Acceptance::Inexact {
            status |= INEXACT;
        }
        if headers.vlan.is_some() {
            status |= TAGGED;
        }
        let arrival = Arrival {
            info: u64::from(hash.kind) | u64::from(headers.kind) << 4 | u64::from(hash.value) << 32,
            status,
            vlan: headers.vlan,
            queue,
        };
        if !self.port.strip_fcs {
            let fcs = checksum::crc32(frame);
            frame.extend_from_slice(&fcs.to_le_bytes());
        }
        let done = if self.packet_buffer.is_empty() {
            match self.offer(frame, &arrival, 0) {
                None => return,
                Some(done) => done,
            }
        } else {
            0
        };
        let capacity = self.port.packet_buffer;
        if !self.packet_buffer.push(capacity, frame, arrival, done) {
            self.statistics.missed();
            self.causes |= Eicr::new().with_rx_miss(true).into_bits();
        }
    }

    /// Gives waiting frames to the host, in order; true if any could go.
    #[inline(never)]
    fn drain(&mut self) -> bool {
        let mut busy = false;
        while self.trouble.is_none()
            && let Some(waiting) = self.packet_buffer.head()
        {
            let bytes = mem::take(&mut waiting.bytes);
            let arrival = waiting.arrival;
            let done = waiting.done;
            let left = if self.port.receiving {
                self.offer(&bytes, &arrival, done)
            } else {
                Some(done)
            };
            if let Some(waiting) = self.packet_buffer.head() {
                waiting.bytes = bytes;
                waiting.done = left.unwrap_or(0);
            }
            match left {
                None => self.packet_buffer.pop(),
                Some(now) => return busy || now != done,
            }
            busy = true;
        }
        busy
    }

    /// Tries to give a frame to the host, of which `done` bytes are there already. `None` when the
    /// device is finished with it, delivered or not; else how many bytes are there now.
    #[inline(always)]
    #[allow(clippy::inline_always)] // once a frame: what it is given stays in registers
    fn offer(&mut self, frame: &[u8], arrival: &Arrival, done: usize) -> Option<usize> {
        if !self.port.master && !self.pci.is_master() {
            self.held = true;
            return Some(done);
        }
        let number = arrival.queue;
        let queue = self.queues.get_mut(number)?;
        if !queue.ring.enabled || queue.ring.broken {
            // Frames for a queue that does not run are dropped, whatever SRRCTL says.
            self.statistics.dropped(number);
            return None;
        }
        if number != self.current {
            self.current = number;
            self.descriptors = queue.ring.descriptors(self.iommu);
            self.window = self.iommu.window(queue.hint);
        }
        let mut ring = Target {
            queue,
            iommu: self.iommu,
            descriptors: self.descriptors,
            window: &mut self.window,
        };
        let delivery = if done == 0 && ring.deliver_whole(frame, arrival) {
            Delivery::Done
        } else {
            ring.deliver(frame, arrival, done)
        };
        match delivery {
            Delivery::Done => {
                self.causes |= ring.queue.cause;
                let fcs = if self.port.strip_fcs { 0 } else { FCS };
                self.statistics.delivered(number, frame.len() - fcs);
                None
            }
            Delivery::Blocked(0) if ring.queue.drop => {
                self.statistics.dropped(number);
                None
            }
            Delivery::Blocked(now) => Some(now),
            Delivery::Stopped(trouble) => {
                self.trouble = Some((number, trouble));
                None
            }
        }
    }
}

/// A descriptor of the device's, and the buffer it gives.
struct Taken<'a> {
    words: &'a Descriptor,
    buffer: u64,
}

impl Taken<'_> {
    /// Writes the descriptor back and goes on to the next.
    #[inline]
    fn give_back(&self, queue: &mut RxQueue, [low, high]: [u64; 2]) {
        self.words[0].store(low.to_le(), Ordering::Relaxed);
        // The driver reads this word first: with it, all before it is there.
        self.words[1].store(high.to_le(), Ordering::Release);
        queue.ring.advance();
    }
}

/// The queue that a frame goes to, and what is looked up for it.
struct Target<'a, 'q> {
    queue: &'q mut RxQueue,
    iommu: &'a Iommu,
    descriptors: &'a [Descriptor],
    window: &'q mut Window<'a>,
}

impl RxQueue {
    /// The buffer that a descriptor gives; its second word if that breaks a rule.
    #[inline]
    fn look(&self, words: &Descriptor) -> (u64, Option<u64>) {
        let buffer = u64::from_le(words[0].load(Ordering::Relaxed));
        let second = u64::from_le(words[1].load(Ordering::Relaxed));
        let refused = self.advanced && second & Status::DD != 0;
        (buffer, refused.then_some(second))
    }
}

impl<'a> Target<'a, '_> {
    /// The descriptor at the head, if there is one and it is as the datasheet wants it.
    fn take(&mut self) -> Result<Taken<'a>, Delivery> {
        let queue = &mut *self.queue;
        if !queue.ring.has_work() {
            return Err(Delivery::Blocked(0));
        }
        let words = queue.ring.at_head(self.descriptors, self.iommu)?;
        match queue.look(words) {
            (buffer, None) => Ok(Taken { words, buffer }),
            (_, Some(second)) => Err(Delivery::Stopped(Trouble::Refused(second))),
        }
    }

    /// Writes a frame that one buffer holds as it is: nearly every frame. Where anything is unusual
    /// nothing happens: [`deliver`](Self::deliver) finds it too, and what to do about it.
    #[inline]
    fn deliver_whole(&mut self, frame: &[u8], arrival: &Arrival) -> bool {
        let queue = &mut *self.queue;
        if queue.strip_tag || !queue.ring.has_work() {
            return false;
        }
        let Some(words) = self.descriptors.get(queue.ring.head as usize) else {
            return false;
        };
        let (buffer, unusable) = queue.look(words);
        if unusable.is_some() || !self.window.write(buffer, frame, queue.buffer) {
            return false;
        }
        let words_back = if queue.advanced {
            advanced(arrival, frame.len(), true, None)
        } else {
            [buffer, legacy(arrival, frame.len(), true, None)]
        };
        Taken { words, buffer }.give_back(queue, words_back);
        true
    }

    /// Writes what is left of a frame into as many buffers as it takes.
    #[inline(never)]
    fn deliver(&mut self, frame: &[u8], arrival: &Arrival, done: usize) -> Delivery {
        let tag = arrival.vlan.filter(|_| self.queue.strip_tag);
        let mut stripped = [0; 12];
        let (first, rest) = match (tag, frame.split_at_checked(12)) {
            (Some(_), Some((addresses, rest))) if rest.len() >= TAG => {
                stripped.copy_from_slice(addresses);
                (&stripped[..], &rest[TAG..])
            }
            _ => (&frame[..0], frame),
        };
        let total = first.len() + rest.len();
        let mut at = done;
        loop {
            let taken = match self.take() {
                Ok(taken) => taken,
                Err(Delivery::Blocked(_)) => return Delivery::Blocked(at),
                Err(delivery) => return delivery,
            };
            let queue = &mut *self.queue;
            let count = queue.buffer.min(total - at);
            if let Err(fault) = put(queue, self.iommu, taken.buffer, first, rest, at..at + count) {
                return fault.into();
            }
            *self.window = self.iommu.window(queue.hint);
            at += count;
            let last = at == total;
            let words = if queue.advanced {
                advanced(arrival, count, last, tag)
            } else {
                [taken.buffer, legacy(arrival, count, last, tag)]
            };
            taken.give_back(queue, words);
            if last {
                return Delivery::Done;
            }
        }
    }
}

/// Writes a part of a frame that consists of two pieces.
#[inline]
fn put(
    queue: &mut RxQueue,
    iommu: &Iommu,
    buffer: u64,
    first: &[u8],
    rest: &[u8],
    part: std::ops::Range<usize>,
) -> Result<(), Fault> {
    let split = first.len();
    if part.start >= split {
        let piece = rest.get(part.start - split..part.end - split);
        let piece = piece.unwrap_or_default();
        return iommu.write(&mut queue.hint, buffer, piece, queue.buffer);
    }
    let head = first
        .get(part.start..part.end.min(split))
        .unwrap_or_default();
    iommu.write(&mut queue.hint, buffer, head, head.len())?;
    let piece = rest
        .get(..part.end.saturating_sub(split))
        .unwrap_or_default();
    let behind = buffer.wrapping_add(crate::wire::widen(head.len()));
    iommu.write(&mut queue.hint, behind, piece, piece.len())
}

/// The two words of an advanced write-back (82599 §7.1.6.2).
#[inline]
fn advanced(arrival: &Arrival, count: usize, last: bool, tag: Option<u16>) -> [u64; 2] {
    let length = (crate::wire::widen(count) & 0xFFFF) << 32;
    if !last {
        return [0, Status::DD | length];
    }
    let tag = u64::from(tag.unwrap_or(0)) << 48;
    [arrival.info, arrival.status | length | tag]
}

/// The second word of a legacy write-back (82599 §7.1.5).
fn legacy(arrival: &Arrival, count: usize, last: bool, tag: Option<u16>) -> u64 {
    let length = u16::try_from(count).unwrap_or(u16::MAX);
    let status = LegacyStatus::new().with_dd(true).with_length(length);
    if !last {
        return status.into_bits();
    }
    let found = Status::from_bits(arrival.status);
    status
        .with_eop(true)
        .with_vp(found.vp())
        .with_udpcs(found.udpcs())
        .with_l4cs(found.l4i())
        .with_ipcs(found.ipcs())
        .with_pif(found.pif())
        .with_tcpe(found.l4e())
        .with_ipe(found.ipe())
        .with_vlan(tag.unwrap_or(0))
        .into_bits()
}
