//! A strict virtio network device on PCI, as the VIRTIO specification describes it.
//!
//! [`VirtioNic`] is the device as a whole; [`VirtioNic::function`] is what a driver opens. It is
//! stepped, run and served as the 82599 of [`nic`](crate::nic) is, and plugged into the same wires.
//!
//! Whatever software does that the specification forbids becomes a [`Violation`] with the clause of
//! VIRTIO 1.2; nothing it does is a panic. What makes a queue meaningless sets `DEVICE_NEEDS_RESET`
//! as well, and the queue does nothing until the device is reset.

mod bar;
mod config_space;
mod control;
mod device_config;
mod events;
mod exceptions;
mod features;
mod filter;
mod interrupts;
mod legacy;
mod model;
mod modern;
mod offload;
mod options;
mod queue;
mod queue_setup;
mod receive;
mod ring;
mod served;
mod status;
mod steering;
mod transmit;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use bar::{VirtioBar, VirtioFunction};
pub use exceptions::EXCEPTIONS;
pub use options::OptionsError;

use self::model::Model;
use crate::device::Part;
use crate::exceptions::Tolerated;
use crate::handle::Core;
use crate::nic::{LinkState, NicCounters, Signal};
use crate::time::Nanos;
use crate::trace::Trace;
use crate::violation::Violation;
use crate::wire::Wire;

/// The most pairs of queues that a device can have.
pub const QUEUE_PAIRS_MAX: u16 = 16;

/// Queues of a device that has all pairs, and its control queue.
const QUEUES: u32 = 2 * QUEUE_PAIRS_MAX as u32 + 1;

/// Which interfaces the device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// That of VIRTIO 1.0 and later: device ID 0x1041.
    #[default]
    Modern,
    /// The legacy one in I/O ports as well: device ID 0x1000.
    Transitional,
}

/// What a device is when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtioConfig {
    /// Which interfaces it has.
    pub interface: Interface,
    /// The features it offers, as in [`barewire_spec::virtio::feature`]; those that it can't do are
    /// left out. [`VirtioConfig::default`] has all but packed rings, order of use and RSS.
    pub features: u64,
    /// Pairs of queues, 1 to [`QUEUE_PAIRS_MAX`].
    pub queue_pairs: u16,
    /// The most descriptors of a queue, a power of two up to 32,768.
    pub queue_size: u16,
    /// The MAC address.
    pub mac: [u8; 6],
    /// The largest MTU, 68 to 65,535; offered with the feature MTU.
    pub mtu: u16,
    /// The name for people.
    pub name: String,
    /// Whether the cable is plugged in at the beginning.
    pub plugged: bool,
    /// Buffers are not used in the order in which they were made available, which a device need not
    /// do unless that was agreed on.
    pub shuffled: bool,
    /// What other drivers are known to do against the specification is counted, and is no
    /// violation ([`EXCEPTIONS`]). Off, the device is fully strict.
    pub tolerate: bool,
}

impl VirtioConfig {
    /// Every feature that the device can have.
    pub const ALL_FEATURES: u64 = features::ALL;
}

impl Default for VirtioConfig {
    fn default() -> Self {
        Self {
            interface: Interface::Modern,
            features: features::USUAL,
            queue_pairs: 1,
            queue_size: 256,
            mac: [0x02, 0x42, 0x57, 0x00, 0x00, 0x01],
            mtu: 9_000,
            name: "virtio".into(),
            plugged: true,
            shuffled: false,
            tolerate: false,
        }
    }
}

/// What a device counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioCounters {
    /// Frames that were written to buffers.
    pub received: u64,
    /// Bytes of them, without header.
    pub received_bytes: u64,
    /// Frames that went to the wire; of a packet that was cut, each piece.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Frames that the filters did not let in.
    pub filtered: u64,
    /// Frames that came when there was no buffer, or no driver.
    pub missed: u64,
    /// Frames that no buffer could hold.
    pub oversize: u64,
    /// Packets that were refused, or could not be sent while the link was down.
    pub unsent: u64,
    /// Interrupts.
    pub interrupts: u64,
    /// Notifications by the driver.
    pub notifications: u64,
    /// Commands of the control queue.
    pub commands: u64,
}

/// Queues that the driver has notified, for the device to find without a lock.
#[derive(Debug, Default)]
struct Bells(AtomicU64);

impl Bells {
    /// Leaves a notification. What was written before it can be read by who finds it.
    #[inline]
    fn ring(&self, queue: u32) {
        if queue < QUEUES {
            self.0.fetch_or(1 << queue, Ordering::Release);
        }
    }

    /// The queues that were notified since the last call, a bit each.
    #[inline]
    fn take(&self) -> u64 {
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.0.swap(0, Ordering::Acquire)
    }
}

/// What the handles of a device share.
type Shared = crate::handle::Shared<Model>;

/// A software virtio network device. Clones are handles to the same device.
#[derive(Clone)]
pub struct VirtioNic {
    shared: Arc<Shared>,
}

impl fmt::Debug for VirtioNic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioNic")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl VirtioNic {
    /// A device after power-on, with its port plugged into `wire`. It keeps its own time, which
    /// passes with steps, accesses and waits.
    pub fn new(config: VirtioConfig, wire: impl Wire + 'static) -> Self {
        let name = config.name.clone();
        Self {
            shared: Shared::new(name, Model::new(config, Box::new(wire))),
        }
    }

    /// The device as a driver finds it on its bus.
    pub fn function(&self) -> VirtioFunction {
        VirtioFunction::new(Arc::clone(&self.shared))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Does one bounded piece of work: takes notifications, sends and receives some frames. True if
    /// anything happened. With the same accesses and steps in the same order the same happens.
    pub fn step(&self) -> bool {
        self.shared.step()
    }

    /// Steps a part of the device, unless another thread works on it or waits for an access; those
    /// come first.
    pub(crate) fn try_step(&self, part: Part) -> bool {
        self.shared.try_step(part)
    }

    /// Steps until `duration` of the device's time has passed.
    pub fn run_for(&self, duration: Duration) {
        self.shared.run_for(duration);
    }

    /// Lets the device follow the real clock, or keep its own time again.
    pub(crate) fn follow_clock(&self, follow: bool) {
        self.shared.follow_clock(follow);
    }

    /// Plugs the cable in or out. The driver is told by a change of the configuration.
    pub fn set_cable(&self, plugged: bool) {
        self.shared.access().set_cable(plugged);
    }

    /// Asks the driver to announce itself to its network (VIRTIO §5.1.6.5.4), if it can.
    pub fn ask_for_announcement(&self) {
        self.shared.access().ask_for_announcement();
    }

    /// Lets the device meet an error that it can't leave without a reset (VIRTIO §2.1.2).
    pub fn fail(&self) {
        self.shared.access().need_reset();
    }

    /// Takes the device away without warning: registers read all ones, writes have no effect,
    /// nothing is sent, received, or written to memory any more.
    pub fn unplug(&self) {
        self.shared.access().removed = true;
    }

    /// The rules that software has broken: the first 256 in full, oldest first.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.access().log.kept().to_vec()
    }

    /// How many times software has broken a rule.
    pub fn violation_count(&self) -> u64 {
        self.shared.access().log.total()
    }

    /// The exceptions that software made use of, and how often; none while
    /// [`VirtioConfig::tolerate`] is off.
    pub fn exceptions(&self) -> Vec<Tolerated> {
        self.shared.access().exceptions.met()
    }

    /// Writes every event from now on to `output`, as text. It slows the device down.
    pub fn trace(&self, output: impl Write + Send + 'static) {
        self.shared.access().trace = Some(Box::new(Trace::new(output)));
    }

    /// Ends the record and writes what is buffered.
    ///
    /// # Errors
    /// The first that occurred in writing it.
    pub fn end_trace(&self) -> io::Result<()> {
        let trace = self.shared.access().trace.take();
        trace.map_or(Ok(()), |trace| trace.end())
    }

    /// The device's time.
    pub fn now(&self) -> Nanos {
        self.shared.access().now
    }

    /// The state of the link.
    pub fn link(&self) -> LinkState {
        let up = self.shared.access().plugged;
        LinkState {
            up,
            mbits: if up { device_config::SPEED } else { 0 },
        }
    }

    /// The features that driver and device have agreed on, 0 before they have.
    pub fn agreed_features(&self) -> u64 {
        self.shared.access().agreed.0
    }

    /// What the device has counted since it was made.
    pub fn counters(&self) -> VirtioCounters {
        self.shared.access().counters
    }

    /// The same as far as an 82599 counts it too.
    pub fn totals(&self) -> NicCounters {
        let counters = self.counters();
        NicCounters {
            received: counters.received,
            sent: counters.sent,
            missed: counters.missed,
            dropped: counters.filtered,
            undersize: 0,
            oversize: counters.oversize,
        }
    }

    /// What the device has counted since it was made, by name.
    pub fn statistics(&self) -> Vec<(String, u64)> {
        let counters = self.counters();
        let named = [
            ("received", counters.received),
            ("received_bytes", counters.received_bytes),
            ("sent", counters.sent),
            ("sent_bytes", counters.sent_bytes),
            ("filtered", counters.filtered),
            ("missed", counters.missed),
            ("oversize", counters.oversize),
            ("unsent", counters.unsent),
            ("interrupts", counters.interrupts),
            ("notifications", counters.notifications),
            ("commands", counters.commands),
        ];
        named
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    /// Sends the device's interrupts to `signal` from now on, in place of whoever had them before.
    pub fn connect_interrupts(&self, signal: impl Signal + 'static) {
        self.shared.access().interrupts.signal = Some(Box::new(signal));
    }

    /// Nothing is on its way: the wire has nothing to offer, no frame waits in the device, nothing
    /// waits to be sent. Buffers that the driver holds are not the device's to know.
    pub fn is_idle(&self) -> bool {
        let mut model = self.shared.access();
        model.absorb(&self.shared.doorbells);
        model.is_idle()
    }

    /// Lets `look` see the wire that the port is plugged into.
    pub fn with_wire<R>(&self, look: impl FnOnce(&mut dyn Wire) -> R) -> R {
        look(&mut *self.shared.access().wire)
    }

    /// Unplugs the port from its wire and plugs it into another; returns the old one.
    pub fn replace_wire(&self, wire: impl Wire + 'static) -> Box<dyn Wire> {
        std::mem::replace(&mut self.shared.access().wire, Box::new(wire))
    }
}
