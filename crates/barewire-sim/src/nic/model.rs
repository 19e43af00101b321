//! The state of one device and the passing of its time.

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Hlreg0, Maxfrs, Rxctrl, Rxpbsize, limits};

use super::clock::SystemTime;
use super::coalescing::Coalescing;
use super::config_space::config_space;
use super::doorbell::{Direction, Doorbells, QUEUES};
use super::exceptions::EXCEPTIONS;
use super::filter::Filter;
use super::flow_director::FlowDirector;
use super::halves::Halves;
use super::interrupt::{Causes, Interrupts, causes_of};
use super::link::Link;
use super::packet_buffer::PacketBuffer;
use super::pause::{PauseState, Pauses};
use super::plug::Plug;
use super::queue::{RxQueue, TxQueue};
use super::recall::Recall;
use super::receive::Arriving;
use super::registers::Registers;
use super::reset::Resets;
use super::spi::SerialEeprom;
use super::statistics::Statistics;
use super::time_stamps::Stamps;
use super::{Device, NicConfig, eeprom};
use crate::device::Part;
use crate::exceptions::{ExceptionLog, Subject};
use crate::handle::Core;
use crate::memory::{Fault, Iommu};
use crate::packet::FlagMasks;
use crate::pci::ConfigSpace;
use crate::time::{Clock, Nanos};
use crate::trace::Trace;
use crate::violation::{Rule, Violation, ViolationLog};
use crate::wire::{Loopback, Train, Wire};

/// How many frames a step moves in each direction at most, so that accesses of the driver never
/// wait long for the device.
pub(super) const BURST: usize = 64;

/// A change that the device makes by itself some time after it was asked to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch {
    pub(super) at: Nanos,
    pub(super) direction: Direction,
    pub(super) queue: usize,
    pub(super) enable: bool,
}

/// What the data path asks for every frame, decoded from registers once.
#[allow(clippy::struct_excessive_bools)] // independent bits of registers
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Port {
    /// The configuration space lets the device reach memory.
    pub(super) master: bool,
    pub(super) receiving: bool,
    pub(super) sending: bool,
    pub(super) largest: usize,
    pub(super) pad: bool,
    pub(super) append_fcs: bool,
    pub(super) strip_fcs: bool,
    pub(super) packet_buffer: usize,
    /// Where tags are inserted, their `EtherType`, and how many bytes of tags a frame may have
    /// beyond its largest size.
    pub(super) tag_at: usize,
    pub(super) tag_kind: u16,
    pub(super) tag_room: usize,
    pub(super) flag_masks: FlagMasks,
    pub(super) stamps: Stamps,
    pub(super) pauses: Pauses,
}

/// One device.
pub(super) struct Model {
    pub(super) config: NicConfig,
    pub(super) now: Nanos,
    pub(super) clock: Clock,
    pub(super) log: ViolationLog,
    pub(super) exceptions: ExceptionLog,
    pub(super) registers: Registers,
    pub(super) pci: ConfigSpace,
    pub(super) iommu: Iommu,
    pub(super) wire: Plug,
    /// Where what is sent comes back, while the MAC's loopback is on.
    pub(super) looped: Option<Box<Loopback>>,
    pub(super) statistics: Statistics,
    pub(super) filter: Filter,
    pub(super) recall: Recall,
    pub(super) flow_director: FlowDirector,
    pub(super) coalescing: Coalescing,
    pub(super) pause: PauseState,
    pub(super) rx: Vec<RxQueue>,
    pub(super) tx: Vec<TxQueue>,
    /// Receive queues that run.
    pub(super) receiving_queues: Vec<usize>,
    /// Transmit queues that run, in the order of their turns.
    pub(super) sending_queues: Vec<usize>,
    pub(super) next_sender: usize,
    pub(super) packet_buffer: PacketBuffer,
    pub(super) arriving: Arriving,
    /// Where frames are put together that are about to leave.
    pub(super) leaving: Train,
    /// The frame that is looked at.
    pub(super) frame: Vec<u8>,
    pub(super) port: Port,
    pub(super) link: Link,
    pub(super) resets: Resets,
    pub(super) eeprom: Vec<u16>,
    pub(super) serial_eeprom: SerialEeprom,
    pub(super) system_time: SystemTime,
    pub(super) switches: Vec<Switch>,
    pub(super) causes: Causes,
    pub(super) interrupts: Interrupts,
    /// When the next change by the device itself is due.
    pub(super) next_event: Nanos,
    /// The driver was told that DMA is not possible; once for each time it is not.
    pub(super) master_reported: bool,
    pub(super) removed: bool,
    pub(super) trace: Option<Box<Trace>>,
    /// Both directions are with [`Halves`].
    pub(super) lent: bool,
}

impl Core for Model {
    type Doorbells = Doorbells;
    type Halves = Halves;

    #[inline]
    fn absorb(&mut self, doorbells: &Doorbells) {
        doorbells.take(|direction, queue, tail| {
            if let Some(trace) = &mut self.trace {
                trace.tail(self.now, direction, queue, tail);
            }
            self.write_tail(direction, queue, tail);
        });
    }

    fn advance(&mut self, amount: Nanos) {
        self.now = self.clock.after(self.now, amount);
        if self.now >= self.next_event {
            self.due();
        }
    }

    fn work(&mut self, doorbells: &Doorbells, amount: Nanos, part: Part) -> bool {
        self.absorb(doorbells);
        let events = self.next_event;
        self.advance(amount);
        let mut busy = self.next_event != events;
        if self.removed {
            return busy;
        }
        if self.iommu.has_indirect() {
            self.fetch_rings();
        }
        let before = self.before_step();
        if part != Part::Receive {
            busy |= self.transmit(BURST);
        }
        if part != Part::Transmit {
            busy |= self.receive(BURST);
        }
        if self.iommu.has_indirect() {
            self.flush_rings();
        }
        if self.trace.is_some() {
            self.after_step(&before);
        }
        if self.port.pauses.sends() {
            self.pause_partner();
        }
        self.interrupt();
        busy
    }

    fn lend(&mut self, halves: &Halves) {
        self.lend_out(halves);
    }

    fn recall(&mut self, halves: &Halves, wait: bool) -> bool {
        self.call_back(halves, wait)
    }

    #[inline]
    fn work_half(halves: &Halves, doorbells: &Doorbells, part: Part) -> Option<bool> {
        halves.step(doorbells, part)
    }

    fn time(&mut self) -> (&mut Nanos, &mut Clock) {
        (&mut self.now, &mut self.clock)
    }

    fn iommu(&mut self) -> &mut Iommu {
        &mut self.iommu
    }
}

impl Model {
    pub(super) fn new(config: NicConfig, wire: Plug) -> Self {
        let mut model = Self {
            now: Nanos::ZERO,
            clock: Clock::Stepped,
            log: ViolationLog::default(),
            exceptions: ExceptionLog::new(EXCEPTIONS),
            registers: Registers::new(),
            pci: config_space(&config),
            iommu: Iommu::new(),
            wire,
            looped: None,
            statistics: Statistics::new(),
            filter: Filter::new(),
            recall: Recall::new(),
            flow_director: FlowDirector::default(),
            coalescing: Coalescing::default(),
            pause: PauseState::default(),
            rx: (0..QUEUES).map(|_| RxQueue::default()).collect(),
            tx: (0..QUEUES).map(|_| TxQueue::default()).collect(),
            receiving_queues: Vec::new(),
            sending_queues: Vec::new(),
            next_sender: 0,
            packet_buffer: PacketBuffer::new(),
            arriving: Arriving::default(),
            leaving: Train::new(),
            frame: Vec::new(),
            port: Port::default(),
            link: Link::new(&config),
            resets: Resets::default(),
            eeprom: eeprom::image(config.mac),
            serial_eeprom: SerialEeprom::new(),
            system_time: SystemTime::default(),
            switches: Vec::new(),
            causes: 0,
            interrupts: Interrupts::new(),
            next_event: Nanos::ZERO,
            master_reported: false,
            removed: false,
            trace: None,
            lent: false,
            config,
        };
        model.power_on();
        model
    }

    /// Lets time pass by the real clock; returns what it is now.
    pub(super) fn passed(&mut self) -> Nanos {
        self.now = self.clock.after(self.now, Nanos::ZERO);
        self.now
    }

    /// Has the time that another device has.
    pub(super) fn set_clock_from(&mut self, other: &Self) {
        self.clock = other.clock;
        self.now = other.now;
    }

    /// Does what falls due now and finds out when the next thing will.
    #[cold]
    fn due(&mut self) {
        self.finish_resets();
        self.finish_switches();
        self.update_link();
        self.update_interrupts();
        let switches = self.switches.iter().map(|switch| switch.at);
        self.next_event = switches
            .chain(self.resets.pending())
            .chain(self.link.pending())
            .chain(self.interrupts.pending())
            .filter(|at| *at > self.now)
            .min()
            .unwrap_or(Nanos(u64::MAX));
    }

    /// Makes [`due`](Self::due) look again, after something was put off.
    pub(super) fn reschedule(&mut self) {
        self.next_event = Nanos::ZERO;
    }

    /// Decodes what the data path asks for every frame.
    pub(super) fn decode_port(&mut self) {
        self.recall.clear();
        let hlreg0 = Hlreg0::from_bits(self.registers.of(&spec::HLREG0));
        let maxfrs = Maxfrs::from_bits(self.registers.of(&spec::MAXFRS));
        let largest = if hlreg0.jumboen() {
            u32::from(maxfrs.mfs())
        } else {
            limits::FRAME_MAX_PLAIN
        };
        let rxctrl = Rxctrl::from_bits(self.registers.of(&spec::RXCTRL));
        let held = spec::Secrxctrl::from_bits(self.registers.of(&spec::SECRXCTRL)).rx_dis();
        let dmatxctl = spec::Dmatxctl::from_bits(self.registers.of(&spec::DMATXCTL));
        let stopped = spec::Sectxctrl::from_bits(self.registers.of(&spec::SECTXCTRL)).tx_dis();
        let size = Rxpbsize::from_bits(self.registers.get(&spec::RXPBSIZE, 0)).size();
        let master = !self.resets.master_disabled;
        let looped = hlreg0.lpbk();
        if looped != self.looped.is_some() {
            self.looped = looped.then(|| Box::new(Loopback::new()));
        }
        let connected = self.link.is_up() || looped && self.is_link_forced();
        let double = dmatxctl.gdv();
        let first = spec::Dtxtcpflgl::from_bits(self.registers.of(&spec::DTXTCPFLGL));
        let last = spec::Dtxtcpflgh::from_bits(self.registers.of(&spec::DTXTCPFLGH));
        self.port = Port {
            master: self.pci.is_master(),
            receiving: rxctrl.rxen() && !held && connected && master,
            sending: dmatxctl.te() && !stopped && connected && master,
            largest: largest as usize,
            pad: hlreg0.txpaden(),
            append_fcs: hlreg0.txcrcen(),
            strip_fcs: hlreg0.rxcrcstrp(),
            packet_buffer: (usize::from(size) * 1024).min(self.config.rx_packet_buffer),
            tag_at: if double { 16 } else { 12 },
            tag_kind: dmatxctl.vt(),
            tag_room: if double { 8 } else { 4 },
            flag_masks: FlagMasks {
                first: first.first_seg(),
                middle: first.mid_seg(),
                last: last.lst_seg(),
            },
            stamps: Stamps::decode(&self.registers),
            pauses: Pauses::decode(&self.registers),
        };
    }

    /// Whether software forces the link up, as it does for the MAC's loopback.
    fn is_link_forced(&self) -> bool {
        if self.is_copper() {
            spec::Macc::from_bits(self.registers.of(&spec::MACC)).flu()
        } else {
            spec::Autoc::from_bits(self.registers.of(&spec::AUTOC)).flu()
        }
    }

    /// Whether the configuration space lets the device reach memory. Says so if not: this is
    /// asked when there is something to do.
    #[cold]
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
                "82599 §9.3.3",
            );
        }
        false
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
        if !self.config.tolerate {
            self.record(rule, what, value, state, section);
            return;
        }
        let what = what();
        let bits = u32::try_from(value).unwrap_or(u32::MAX);
        if !self.tolerates(rule, Subject::Object(&what), bits) {
            self.record(rule, || what, value, state, section);
        }
    }

    /// Whether the list of exceptions covers a broken rule; counts it if so.
    pub(super) fn tolerates(&mut self, rule: Rule, subject: Subject<'_>, bits: u32) -> bool {
        self.config.tolerate && self.exceptions.tolerates(rule, subject, bits)
    }

    /// Records a violation that no exception covers.
    pub(super) fn record(
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
        if let Some(trace) = &mut self.trace {
            let violation = make();
            trace.note(at, "BROKEN", &violation);
            self.log.record(|| violation);
        } else {
            self.log.record(make);
        }
    }

    /// Records an access to memory that the IOMMU refused.
    #[cold]
    pub(super) fn fault(&mut self, what: &str, queue: usize, fault: Fault) {
        let (rule, address) = fault.rule();
        let Some(rule) = rule else {
            tracing::warn!(
                what,
                queue,
                address,
                "memory does not answer: the queue stops"
            );
            return;
        };
        self.violate(
            rule,
            || format!("{what} of queue {queue}"),
            address,
            || "the queue stops".into(),
            "82599 §7.1.5",
        );
    }

    /// Whether the PHY is copper behind MDIO rather than serial lanes of the device's own.
    pub(super) fn is_copper(&self) -> bool {
        self.config.device != Device::I82599
    }

    /// Raises interrupt causes, as bits of EICR.
    #[inline]
    pub(super) fn raise(&mut self, eicr: u32) {
        self.causes |= causes_of(eicr);
    }

    /// Nothing waits in the device: no frame in the packet buffer, nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        let unsent = self.port.sending
            && self
                .sending_queues
                .iter()
                .any(|queue| self.tx[*queue].ring.has_work());
        self.packet_buffer.is_empty() && !unsent && self.wire.idle()
    }
}
