//! The state of one device and the passing of its time.

use std::fmt;

use barewire_spec::virtio::net::control_queue;
use barewire_spec::virtio::{feature, net, status};

use super::config_space::config_space;
use super::device_config;
use super::exceptions::EXCEPTIONS;
use super::features::{ALL, Agreed, LEGACY_ONLY};
use super::filter::Filter;
use super::interrupts::Interrupts;
use super::queue::{Queue, Role};
use super::ring::{Chain, Trouble};
use super::steering::Steering;
use super::{Bells, Interface, QUEUE_PAIRS_MAX, VirtioConfig, VirtioCounters};
use crate::device::Part;
use crate::exceptions::{ExceptionLog, Subject};
use crate::handle::Core;
use crate::memory::{Hint, Iommu};
use crate::pci::ConfigSpace;
use crate::time::{Clock, Nanos};
use crate::trace::Trace;
use crate::violation::{Refusal, Rule, Violation, ViolationLog};
use crate::wire::Wire;

/// How many frames a step moves in each direction at most, so that accesses of the driver never
/// wait long for the device.
const BURST: usize = 64;

/// One device.
#[allow(clippy::struct_excessive_bools)] // independent facts
pub(super) struct Model {
    pub(super) config: VirtioConfig,
    pub(super) now: Nanos,
    pub(super) clock: Clock,
    pub(super) log: ViolationLog,
    pub(super) exceptions: ExceptionLog,
    pub(super) trace: Option<Box<Trace>>,
    pub(super) pci: ConfigSpace,
    pub(super) iommu: Iommu,
    pub(super) interrupts: Interrupts,
    pub(super) wire: Box<dyn Wire>,
    pub(super) plugged: bool,
    pub(super) removed: bool,
    pub(super) counters: VirtioCounters,

    /// The features that the device has.
    pub(super) offered: u64,
    pub(super) status: u8,
    /// When a reset ends that is under way.
    pub(super) reset_ends: Option<Nanos>,
    /// A reset was asked for, and the driver has not seen its end.
    pub(super) reset_unseen: bool,
    /// The status was read after `FEATURES_OK` had been set.
    pub(super) features_read: bool,
    /// The driver uses the legacy interface.
    pub(super) legacy: bool,
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    /// What the driver has written so far.
    pub(super) accepted: u64,
    pub(super) agreed: Agreed,
    pub(super) queue_select: u16,
    pub(super) generation: u8,
    /// The configuration has changed since the driver last read of it.
    pub(super) changed: bool,
    pub(super) queues: Vec<Queue>,
    /// The driver was told that DMA is not possible; once for each time it is not.
    pub(super) master_reported: bool,

    pub(super) filter: Filter,
    pub(super) steering: Steering,
    /// Receive offloads in use.
    pub(super) offloads: u64,
    pub(super) announce: bool,
    /// A frame from the wire, and the pair whose receive queue it waits for, if it does.
    pub(super) frame: Vec<u8>,
    pub(super) waiting: Option<u16>,
    /// A frame behind its header; kept for its memory.
    pub(super) whole: Vec<u8>,
    /// Which mapping receive buffers, and sent packets, lay in last.
    pub(super) received_to: Hint,
    pub(super) sent_from: Hint,
    /// Buffers that a frame is written to, with the bytes in each; kept for its memory.
    pub(super) taken: Vec<(Chain, usize)>,
    /// A packet from the driver.
    pub(super) packet: Vec<u8>,
    /// A piece of a packet that is cut; kept for its memory.
    pub(super) segment: Vec<u8>,
    pub(super) next_sender: u16,
}

impl Core for Model {
    type Doorbells = Bells;
    type Halves = ();

    #[inline]
    fn absorb(&mut self, bells: &Bells) {
        let mut rung = bells.take();
        while rung != 0 {
            let queue = u16::try_from(rung.trailing_zeros()).unwrap_or(0);
            rung &= rung - 1;
            self.notified(queue);
        }
    }

    fn advance(&mut self, amount: Nanos) {
        self.now = self.clock.after(self.now, amount);
        if self.reset_ends.is_some_and(|at| at <= self.now) {
            self.reset_ends = None;
            self.finish_reset();
        }
    }

    fn work(&mut self, bells: &Bells, amount: Nanos, part: Part) -> bool {
        self.absorb(bells);
        self.advance(amount);
        if self.removed {
            return false;
        }
        let mut busy = false;
        if part != Part::Receive {
            busy |= self.control();
            busy |= self.transmit(BURST);
        }
        if part != Part::Transmit {
            busy |= self.receive(BURST);
        }
        if self.iommu.has_indirect() {
            self.publish_late();
            for queue in &mut self.queues {
                busy |= queue.looks_again();
            }
        }
        busy
    }

    fn time(&mut self) -> (&mut Nanos, &mut Clock) {
        (&mut self.now, &mut self.clock)
    }

    fn iommu(&mut self) -> &mut Iommu {
        &mut self.iommu
    }
}

impl Model {
    pub(super) fn new(mut config: VirtioConfig, wire: Box<dyn Wire>) -> Self {
        config.queue_pairs = config.queue_pairs.clamp(1, QUEUE_PAIRS_MAX);
        let most = config.queue_size.clamp(2, 1 << 15);
        config.queue_size = 1 << most.ilog2();
        config.mtu = config.mtu.max(device_config::MTU_LEAST);
        let mut offered = config.features & ALL | feature::VERSION_1;
        if config.queue_pairs == 1 {
            offered &= !(feature::NET_MQ | feature::NET_RSS);
        }
        while let Some(lonely) = feature::lacking(offered) {
            offered &= !lonely;
        }
        if config.interface == Interface::Transitional {
            offered |= LEGACY_ONLY;
        }
        let pairs = config.queue_pairs;
        let control = u16::from(offered & feature::NET_CTRL_VQ != 0);
        let queues = (0..2 * pairs + control).map(|_| Queue::new(config.queue_size));
        Self {
            now: Nanos::ZERO,
            clock: Clock::Stepped,
            log: ViolationLog::default(),
            exceptions: ExceptionLog::new(EXCEPTIONS),
            trace: None,
            pci: config_space(&config),
            iommu: Iommu::new(),
            interrupts: Interrupts::new(config.queue_pairs),
            wire,
            plugged: config.plugged,
            removed: false,
            counters: VirtioCounters::default(),
            offered,
            status: 0,
            reset_ends: None,
            reset_unseen: false,
            features_read: false,
            legacy: false,
            device_feature_select: 0,
            driver_feature_select: 0,
            accepted: 0,
            agreed: Agreed::default(),
            queue_select: 0,
            generation: 0,
            changed: false,
            queues: queues.collect(),
            master_reported: false,
            filter: Filter::new(config.mac),
            steering: Steering::default(),
            offloads: 0,
            announce: false,
            frame: Vec::new(),
            waiting: None,
            whole: Vec::new(),
            received_to: Hint::default(),
            sent_from: Hint::default(),
            taken: Vec::new(),
            packet: Vec::new(),
            segment: Vec::new(),
            next_sender: 0,
            config,
        }
    }

    /// Tells the driver what it could not be told before because memory had not answered.
    #[cold]
    fn publish_late(&mut self) {
        for number in (0..).take(self.queues.len()) {
            let untold = self
                .queues
                .get(usize::from(number))
                .is_some_and(Queue::is_untold);
            if untold {
                self.publish(number);
            }
        }
    }

    /// The driver works with the device (VIRTIO §2.1.2, §3.1.2).
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        let running = self.status & status::DRIVER_OK != 0 || self.legacy;
        running && self.status & status::NEEDS_RESET == 0 && self.reset_ends.is_none()
    }

    /// What a queue is for, with the features that were agreed on.
    pub(super) fn role(&self, queue: u16) -> Role {
        let several = self.agreed.has(feature::NET_MQ | feature::NET_RSS);
        let pairs = if several { self.config.queue_pairs } else { 1 };
        if queue < 2 * pairs {
            return match queue % 2 {
                0 => Role::Receive(queue / 2),
                _ => Role::Transmit(queue / 2),
            };
        }
        if queue == control_queue(pairs) && self.agreed.has(feature::NET_CTRL_VQ) {
            return Role::Control;
        }
        Role::None
    }

    /// Whether the configuration space lets the device reach memory. Says so if not: this is asked
    /// when there is something to do.
    pub(super) fn may_master(&mut self) -> bool {
        if self.pci.is_master() {
            return true;
        }
        if !self.master_reported {
            self.master_reported = true;
            self.violate(
                Rule::NotBusMaster,
                || "PCI command register".into(),
                u64::from(self.pci.command()),
                || "a queue has work and bit 2 (bus master) is 0".into(),
                "PCI Local Bus 3.0 §6.2.2",
            );
        }
        false
    }

    /// Records an event, if events are recorded.
    pub(super) fn note(&mut self, what: &str, event: &dyn fmt::Display) {
        if let Some(trace) = &mut self.trace {
            trace.note(self.now, what, event);
        }
    }

    /// Records a violation, unless an exception covers it. Its texts are made only if it is kept.
    pub(super) fn violate(
        &mut self,
        rule: Rule,
        what: impl FnOnce() -> String,
        value: u64,
        state: impl FnOnce() -> String,
        section: &'static str,
    ) {
        let at = self.now;
        let make = || Violation {
            rule,
            what: what(),
            value,
            state: state(),
            section,
            at,
        };
        if !self.config.tolerate && self.trace.is_none() {
            self.log.record(make);
            return;
        }
        let violation = make();
        let bits = u32::try_from(value).unwrap_or(u32::MAX);
        let subject = Subject::Object(&violation.what);
        if self.config.tolerate && self.exceptions.tolerates(rule, subject, bits) {
            return;
        }
        self.note("BROKEN", &violation);
        self.log.record(|| violation);
    }

    /// Records that something broke a rule.
    pub(super) fn refuse(&mut self, refusal: Refusal, value: u64, what: impl FnOnce() -> String) {
        let Refusal { rule, why, section } = refusal;
        self.violate(rule, what, value, || why.into(), section);
    }

    /// Records the broken rules that a queue has noted.
    pub(super) fn take_notes(&mut self, queue: u16) {
        let Some(notes) = self
            .queues
            .get_mut(usize::from(queue))
            .map(|queue| &mut queue.notes.0)
            .filter(|notes| !notes.is_empty())
            .map(std::mem::take)
        else {
            return;
        };
        for (refusal, value) in notes {
            self.refuse(refusal, value, || format!("queue {queue}"));
        }
    }

    /// Stops a queue whose ring can't be worked on, unless it only takes time. True if it stopped.
    pub(super) fn trouble(&mut self, number: u16, trouble: Trouble) -> bool {
        match trouble {
            Trouble::NotYet => return false,
            Trouble::Broken(refusal, value) => {
                self.refuse(refusal, value, || format!("queue {number}"));
            }
            Trouble::Fault(what, fault) => {
                let (rule, address) = fault.rule();
                if let Some(rule) = rule {
                    self.violate(
                        rule,
                        || format!("{what} of queue {number}"),
                        address,
                        || "the queue stops".into(),
                        "virtio 1.2 §2.7.1",
                    );
                } else {
                    tracing::warn!(
                        what,
                        number,
                        address,
                        "memory does not answer: the queue stops"
                    );
                }
            }
        }
        if let Some(queue) = self.queues.get_mut(usize::from(number)) {
            queue.broken = true;
        }
        self.need_reset();
        true
    }

    /// The next buffer of a queue; none where there is none now, or the queue stops.
    #[inline]
    pub(super) fn next_buffer(&mut self, number: u16) -> Option<Chain> {
        let queue = self.queues.get_mut(usize::from(number))?;
        match queue.take(&self.iommu) {
            Ok(chain) => chain,
            Err(trouble) => {
                self.trouble(number, trouble);
                None
            }
        }
    }

    /// Shows the driver what a queue gave back, with an interrupt if it wants one.
    pub(super) fn publish(&mut self, number: u16) {
        let Some(queue) = self.queues.get_mut(usize::from(number)) else {
            return;
        };
        let vector = queue.vector;
        match queue.publish(&self.iommu) {
            Ok(true) => self.interrupt_for_queue(vector),
            Ok(false) => {}
            Err(trouble) => {
                self.trouble(number, trouble);
            }
        }
        self.take_notes(number);
    }

    /// The device's configuration has changed: the driver is told.
    pub(super) fn configuration_changed(&mut self) {
        self.changed = true;
        if self.is_live() {
            self.interrupt_for_configuration();
        }
    }

    /// An error that only a reset ends (VIRTIO §2.1.2).
    pub(super) fn need_reset(&mut self) {
        if self.status & status::NEEDS_RESET != 0 || self.reset_ends.is_some() {
            return;
        }
        let told = self.status & status::DRIVER_OK != 0;
        self.status |= status::NEEDS_RESET;
        if told {
            self.changed = true;
            self.interrupt_for_configuration();
        }
    }

    pub(super) fn set_cable(&mut self, plugged: bool) {
        if self.plugged != plugged {
            self.plugged = plugged;
            if self.agreed.has(feature::NET_STATUS) {
                self.configuration_changed();
            }
        }
    }

    pub(super) fn ask_for_announcement(&mut self) {
        if self.agreed.has(feature::NET_GUEST_ANNOUNCE) && self.agreed.has(feature::NET_STATUS) {
            self.announce = true;
            self.configuration_changed();
        }
    }

    /// Status of the network, as the configuration shows it.
    pub(super) fn network_status(&self) -> u16 {
        let link = if self.plugged { net::LINK_UP } else { 0 };
        let announce = if self.announce { net::ANNOUNCE } else { 0 };
        link | announce
    }

    pub(super) fn is_idle(&self) -> bool {
        let unsent = self.is_live()
            && (0u16..).zip(&self.queues).any(|(number, queue)| {
                matches!(self.role(number), Role::Transmit(_) | Role::Control) && queue.has_work()
            });
        self.waiting.is_none() && !unsent && self.wire.idle()
    }
}
