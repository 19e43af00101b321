//! From the wire to host memory (82599 §7.1).

use std::mem;
use std::ops::RangeInclusive;

use barewire_spec::ixgbe::descriptor::rx::Status;
use barewire_spec::ixgbe::{Eicr, limits};

use super::coalescing::Coalescing;
use super::delivery::{self, Delivery, Target, Trouble, write_back};
use super::filter::{Acceptance, Filter};
use super::flow_director::FlowDirector;
use super::interrupt::{Causes, causes_of};
use super::model::{Model, Port};
use super::packet_buffer::{Arrival, PacketBuffer};
use super::pause::{self, Control};
use super::queue::RxQueue;
use super::recall::Recall;
use super::statistics::{FCS, Statistics};
use super::time_stamps::Sighting;
use crate::memory::{Descriptor, Iommu, Window};
use crate::packet::checksum;
use crate::packet::{Network, parse};
use crate::pci::ConfigSpace;
use crate::time::Nanos;
use crate::violation::Rule;
use crate::wire::{BLOCK, Train, Wire, train};

/// The shortest frame without FCS.
const SHORTEST: usize = limits::FRAME_MIN as usize - FCS;
/// The status of a packet's last descriptor.
const LAST: u64 = Status::DD | Status::EOP;
const INEXACT: u64 = Status::new().with_pif(true).into_bits();
const TAGGED: u64 = Status::new().with_vp(true).into_bits();
const BAD: u64 = Status::RXE;

/// What frames need on their way through the device. Whatever is rare and needs the whole model is
/// noted and left to it.
pub(super) struct Burst<'a> {
    pub(super) port: Port,
    pub(super) filter: &'a Filter,
    pub(super) flow_director: &'a mut FlowDirector,
    /// Some filter beyond addresses, VLANs and RSS is in use.
    steered: bool,
    pub(super) recall: &'a mut Recall,
    pub(super) statistics: &'a mut Statistics,
    packet_buffer: &'a mut PacketBuffer,
    pci: &'a ConfigSpace,
    pub(super) iommu: &'a Iommu,
    pub(super) queues: &'a mut [RxQueue],
    /// Those of them that run.
    running: &'a [usize],
    pub(super) coalescing: &'a mut Coalescing,
    /// The queue that the last frame went to, the descriptors of its ring, and where that frame is.
    current: usize,
    pub(super) descriptors: &'a [Descriptor],
    pub(super) window: Window<'a>,
    pub(super) causes: Causes,
    /// A frame whose moment is to be kept came in.
    pub(super) sighting: Option<Sighting>,
    /// The partner asked for a pause of so many quanta.
    pause: Option<u16>,
    /// A frame could not go on because the device may not reach memory.
    held: bool,
    /// What stopped which queue. The burst goes no further.
    pub(super) trouble: Option<(usize, Trouble)>,
}

/// Lengths of the frames that are delivered as a block.
const SHORT: RangeInclusive<usize> = 57..=BLOCK;

/// Frames that have come and those of them that are not dealt with yet.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    train: Train,
    next: usize,
}

/// Frames of one length that go to one queue, one after the other.
struct Run<'a> {
    queue: usize,
    length: usize,
    /// The queue's descriptors that are left for it.
    ready: &'a [Descriptor],
    /// Bits that a descriptor's second word must not have.
    refused: u64,
    /// Bytes of the queue's buffers.
    buffer: usize,
    /// Frames that are delivered.
    frames: usize,
}

impl Run<'_> {
    fn none() -> Self {
        Self {
            queue: usize::MAX,
            length: 0,
            ready: &[],
            refused: 0,
            buffer: 0,
            frames: 0,
        }
    }
}

impl Model {
    /// Takes up to `budget` frames from the wire; true if anything happened.
    pub(super) fn receive(&mut self, budget: usize) -> bool {
        self.refresh_filter();
        let mut busy = false;
        let mut left = budget;
        loop {
            let mut burst = Burst {
                port: self.port,
                filter: &self.filter,
                steered: self.filter.is_steering()
                    || self.flow_director.is_active()
                    || self.port.stamps.enabled,
                flow_director: &mut self.flow_director,
                recall: &mut self.recall,
                statistics: &mut self.statistics,
                packet_buffer: &mut self.packet_buffer,
                pci: &self.pci,
                iommu: &self.iommu,
                queues: &mut self.rx,
                running: &self.receiving_queues,
                coalescing: &mut self.coalescing,
                current: usize::MAX,
                descriptors: &[],
                window: Window::default(),
                causes: 0,
                sighting: None,
                pause: None,
                held: false,
                trouble: None,
            };
            busy |= burst.drain();
            let wire: &mut dyn Wire = match &mut self.looped {
                Some(looped) => {
                    // What comes in from outside finds nobody listening.
                    self.wire.pull(self.now, false, &mut self.frame);
                    &mut **looped
                }
                None => &mut self.wire,
            };
            let taken = burst.take(wire, &mut self.arriving, &mut self.frame, self.now, left);
            burst.close_all();
            let Burst {
                causes,
                sighting,
                pause,
                held,
                trouble,
                ..
            } = burst;
            busy |= taken > 0;
            left -= taken;
            self.causes |= causes;
            if let Some(sighting) = sighting {
                self.stamp_received(sighting);
            }
            if let Some(quanta) = pause {
                self.obey_pause(quanta);
            }
            if held {
                self.may_master();
            }
            match trouble {
                Some((number, trouble)) => self.stop(number, trouble),
                None => return busy,
            }
        }
    }

    /// Decodes the filters anew if they have changed.
    #[inline]
    pub(super) fn refresh_filter(&mut self) {
        if self.filter.refresh(&self.registers, self.config.device) {
            self.recall.clear();
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

impl<'a> Burst<'a> {
    /// Takes up to `budget` frames from the wire; returns how many. Those that have come stay in
    /// `arriving` if there is trouble, and are the first the next time.
    fn take(
        &mut self,
        wire: &mut dyn Wire,
        arriving: &mut Arriving,
        frame: &mut Vec<u8>,
        now: Nanos,
        budget: usize,
    ) -> usize {
        let Arriving { train, next } = arriving;
        let mut left = budget;
        loop {
            while *next < train.len() && self.trouble.is_none() {
                *next += self.recalled(train.frames(*next));
                if let Some(unlike) = train.frame(*next).filter(|_| self.trouble.is_none()) {
                    *next += 1;
                    self.arrive(unlike, frame);
                }
            }
            if left == 0 || self.trouble.is_some() {
                return budget - left;
            }
            train.begin(left);
            *next = 0;
            wire.pull_train(now, self.room(), train);
            if train.is_empty() {
                return budget - left;
            }
            left -= train.len().min(left);
        }
    }

    /// For how many frames there is room at least. One may always wait in the packet buffer.
    fn room(&self) -> usize {
        if !self.port.receiving || !self.packet_buffer.is_empty() {
            return 0;
        }
        let longest = self.port.largest + self.port.tag_room;
        let room = self
            .running
            .iter()
            .map(|number| match self.queues.get(*number) {
                Some(queue) if queue.plain && queue.buffer >= longest => queue.ring.available(),
                _ => 0,
            });
        room.min().unwrap_or(0).max(1)
    }

    /// Delivers frames that begin like others of which everything is known, as long as each goes
    /// to memory in the usual way; returns how many. Where anything is unusual about the next one
    /// nothing has happened to it: [`arrive`](Self::arrive) finds it too.
    fn recalled<'t>(&mut self, frames: impl Iterator<Item = train::Frame<'t>>) -> usize {
        let usual = self.port.receiving
            && self.port.master
            && !self.steered
            && self.packet_buffer.is_empty();
        if !usual {
            return 0;
        }
        let mut taken = 0;
        let mut run = Run::none();
        let mut latest = 0;
        for frame in frames {
            let Some(first) = frame.first() else { break };
            let Some(arrival) = self.recall.find_near(first, frame.length, &mut latest) else {
                break;
            };
            let queue = arrival.queue;
            let answer = delivery::advanced(arrival, frame.length, true, None);
            if (queue, frame.length) != (run.queue, run.length) || run.ready.is_empty() {
                taken += run.frames;
                self.settle(&run);
                run = self.begin_run(queue, frame.length);
            }
            let [words, rest @ ..] = run.ready else { break };
            let (buffer, second) = delivery::descriptor(words);
            let written = second & run.refused == 0
                && if SHORT.contains(&frame.length) {
                    self.window.write_most(buffer, first, frame.length)
                } else {
                    self.window.write(buffer, frame.bytes(), run.buffer)
                };
            if !written {
                break;
            }
            write_back(words, answer);
            run.ready = rest;
            run.frames += 1;
        }
        self.settle(&run);
        taken + run.frames
    }

    /// A run to a queue, with no descriptors if its frames need a closer look.
    fn begin_run(&mut self, number: usize, length: usize) -> Run<'a> {
        let none = Run::none();
        let Some(queue) = self.queues.get_mut(number) else {
            return none;
        };
        if !queue.plain || !queue.advanced || queue.buffer < BLOCK {
            return none;
        }
        if number != self.current {
            self.current = number;
            self.descriptors = queue.ring.descriptors(self.iommu);
            self.window = self.iommu.window(queue.hint);
        }
        let head = queue.ring.head as usize;
        let ready = self.descriptors.get(head..head + queue.ring.in_a_row());
        Run {
            queue: number,
            length,
            ready: ready.unwrap_or_default(),
            refused: if queue.wants_clean { Status::DD } else { 0 },
            buffer: queue.buffer,
            frames: 0,
        }
    }

    /// Notes that the frames of a run are delivered.
    fn settle(&mut self, run: &Run<'_>) {
        if run.frames > 0
            && let Some(queue) = self.queues.get_mut(run.queue)
        {
            queue.ring.advance_by(run.frames);
            self.causes |= Causes::from(queue.cause);
            self.statistics.good(run.frames, run.length);
            self.statistics
                .delivered(run.queue, run.frames, run.frames * run.length);
        }
    }

    /// A frame reached the MAC.
    fn arrive(&mut self, arriving: train::Frame<'_>, frame: &mut Vec<u8>) {
        if !self.port.receiving {
            return;
        }
        frame.clear();
        frame.extend_from_slice(arriving.bytes());
        let known = arriving.first().filter(|_| !self.steered);
        let known = known.and_then(|first| self.recall.find(first, arriving.length));
        if let Some(arrival) = known.copied() {
            self.statistics.good(1, frame.len());
            self.hand_on(frame, arrival);
        } else {
            self.examine(frame);
        }
    }

    /// Finds out what a frame is, and what is to become of it.
    fn examine(&mut self, frame: &mut Vec<u8>) {
        let bytes = frame.len();
        let mut status = LAST;
        if bytes < SHORTEST {
            self.statistics.undersize(bytes);
            if !self.filter.stores_bad() {
                return;
            }
            status |= BAD;
        }
        let headers = parse(frame, self.filter.tags);
        let mut largest = self.port.largest;
        if headers.odd {
            largest += headers.tags();
            if headers.vlan.is_some() {
                status |= TAGGED;
            }
            if headers.network == Network::None
                && let Some(control) = pause::control(frame)
                && self.controlled(bytes, control)
            {
                return;
            }
        }
        if bytes + FCS > largest {
            self.statistics.oversize(bytes);
            return;
        }
        if status & BAD == 0 {
            self.statistics.good(1, bytes);
        }
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
        status |= verdict.0;
        if acceptance == Acceptance::Inexact {
            status |= INEXACT;
        }
        let mut arrival = Arrival {
            info: u64::from(hash.kind) | u64::from(headers.kind) << 4 | u64::from(hash.value) << 32,
            status,
            vlan: headers.vlan,
            queue,
            outer: headers.outer,
        };
        if self.steered {
            self.redirect(frame, &headers, &mut arrival);
        } else if self.port.strip_fcs && !verdict.is_wrong() && status & BAD == 0 {
            self.recall.keep(frame, &headers, &arrival);
        }
        if headers.odd {
            self.unusual(frame, &headers, &mut arrival);
        }
        if !self.port.strip_fcs {
            let fcs = checksum::crc32(frame);
            frame.extend_from_slice(&fcs.to_le_bytes());
        }
        self.hand_on(frame, arrival);
    }

    /// Gives a frame to the host, or puts it with those that wait.
    fn hand_on(&mut self, frame: &mut Vec<u8>, arrival: Arrival) {
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
            self.causes |= causes_of(Eicr::new().with_rx_miss(true).into_bits());
        }
    }

    /// A MAC control frame arrived; true if it ends here.
    #[cold]
    fn controlled(&mut self, bytes: usize, control: Control) -> bool {
        if let Control::Pause(quanta) = control
            && self.port.pauses.obeyed
        {
            self.pause = Some(quanta);
            self.statistics.received_pause(quanta > 0);
        }
        if self.port.pauses.passes(control) {
            return false;
        }
        self.statistics.good(1, bytes);
        self.statistics.filtered(bytes);
        true
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
    fn offer(&mut self, frame: &[u8], arrival: &Arrival, done: usize) -> Option<usize> {
        if !self.port.master && !self.pci.is_master() {
            self.held = true;
            return Some(done);
        }
        let number = arrival.queue;
        let mut queue = self.queues.get_mut(number)?;
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
        if !queue.plain {
            if queue.longest.is_some_and(|longest| frame.len() > longest) {
                self.statistics.dropped(number);
                return None;
            }
            if queue.coalesce.is_some() && done == 0 && self.coalesce(frame, arrival) {
                return None;
            }
            queue = self.queues.get_mut(number)?;
        }
        let mut ring = Target {
            queue,
            filter: self.filter,
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
                self.causes |= Causes::from(ring.queue.cause);
                let fcs = if self.port.strip_fcs { 0 } else { FCS };
                self.statistics.delivered(number, 1, frame.len() - fcs);
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
