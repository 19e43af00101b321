//! A strict, register-level 82599, as the datasheet describes it.
//!
//! [`Nic`] is the device as a whole; [`Nic::function`] is what a driver opens. The device works
//! when it is stepped: by a test ([`Nic::step`], [`Nic::run_for`]), by the driver's own waits
//! ([`barewire_bus::Bar::delay`]) or by a [`Runner`](crate::runner::Runner) on a thread.
//!
//! Whatever software does that the datasheet forbids becomes a [`Violation`]; nothing it does is
//! a panic. What the hardware has and the model has not is listed in [`UNIMPLEMENTED`], and asking
//! for it is a violation too.

mod arrival;
mod bar;
mod clock;
mod coalescing;
mod config_space;
mod control;
mod delivery;
mod departure;
mod doorbell;
mod eeprom;
mod events;
mod exceptions;
mod filter;
mod firmware;
mod flow_director;
mod flow_hash;
mod halves;
mod header_split;
mod interrupt;
mod link;
mod mirror;
mod model;
mod module;
mod msix;
mod offload;
mod packet_buffer;
mod pause;
mod phy;
mod plug;
mod queue;
mod recall;
mod receive;
mod refusal;
mod registers;
mod reset;
mod rings;
mod roles;
mod rss;
mod segmentation;
mod served;
mod spi;
mod statistics;
mod steering;
mod time_stamps;
mod totals;
mod trace;
mod transmit;
mod two_wire;
mod unimplemented;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use barewire_spec::ixgbe::{limits, link_speed};

pub use bar::{NicBar, NicFunction};
pub(crate) use doorbell::Direction;
pub use exceptions::EXCEPTIONS;

pub use crate::exceptions::{Exception, Place, Tolerated};
pub use interrupt::Signal;
pub(crate) use served::QueueView;
pub use totals::Total;
pub use unimplemented::{UNIMPLEMENTED, Unimplemented};

use self::model::Model;
use self::plug::Plug;
use self::statistics::Counter;
use crate::device::Part;
use crate::handle::Core;
use crate::time::Nanos;
use crate::violation::Violation;
use crate::wire::Wire;

/// Bytes of BAR 0.
pub(crate) const BAR0_BYTES: u32 = limits::BAR0_SIZE;

/// Which controller a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// 82599 with an SFP+ port.
    #[default]
    I82599,
    /// X540: 10GBASE-T.
    X540,
    /// X550: 10GBASE-T.
    X550,
}

impl Device {
    /// The PCI device ID; the vendor is Intel.
    pub const fn pci_id(self) -> u16 {
        match self {
            Self::I82599 => 0x10FB,
            Self::X540 => 0x1528,
            Self::X550 => 0x1563,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I82599 => "82599",
            Self::X540 => "X540",
            Self::X550 => "X550",
        })
    }
}

/// What a device is when it leaves the factory.
#[derive(Clone, Debug)]
pub struct NicConfig {
    /// Which controller.
    pub device: Device,
    /// The MAC address in the EEPROM.
    pub mac: [u8; 6],
    /// The name for people.
    pub name: String,
    /// Bytes of receive packet buffer: at most 512 KiB; RXPBSIZE may make it smaller.
    pub rx_packet_buffer: usize,
    /// Whether the cable is plugged in at the beginning.
    pub plugged: bool,
    /// The EEPROM's value of AUTOC, where it is not that of an SFP+ port.
    pub autoc: Option<u32>,
    /// What Linux's and DPDK's drivers are known to do against the datasheet is counted, and is no
    /// violation ([`EXCEPTIONS`]). Off, the device is fully strict.
    pub tolerate: bool,
}

impl Default for NicConfig {
    fn default() -> Self {
        Self {
            device: Device::I82599,
            mac: [0x02, 0x42, 0x57, 0x00, 0x00, 0x01],
            name: "sim".into(),
            rx_packet_buffer: limits::RX_PACKET_BUFFER_KIB as usize * 1024,
            plugged: true,
            autoc: None,
            tolerate: false,
        }
    }
}

/// The state of a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The link is up.
    pub up: bool,
    /// Mbit/s; 0 while it is down.
    pub mbits: u32,
}

/// What a device counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicCounters {
    /// Frames that passed the filters (GPRC).
    pub received: u64,
    /// Frames sent (GPTC).
    pub sent: u64,
    /// Frames dropped for want of packet buffer (MPC).
    pub missed: u64,
    /// Frames dropped for want of descriptors (QPRDC, all indices).
    pub dropped: u64,
    /// Frames shorter than 64 bytes (RUC).
    pub undersize: u64,
    /// Frames longer than the port takes (ROC).
    pub oversize: u64,
}

/// What the handles of a device share.
type Shared = crate::handle::Shared<Model>;

/// A software 82599. Clones are handles to the same device.
#[derive(Clone)]
pub struct Nic {
    shared: Arc<Shared>,
}

impl fmt::Debug for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nic")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Nic {
    /// A device after power-on, with its port plugged into `wire`. It keeps its own time, which
    /// passes with steps, accesses and waits.
    pub fn new(config: NicConfig, wire: impl Wire + 'static) -> Self {
        let name = config.name.clone();
        Self {
            shared: Shared::new(name, Model::new(config, Plug::new(wire))),
        }
    }

    /// The device as a driver finds it on its bus.
    pub fn function(&self) -> NicFunction {
        NicFunction::new(Arc::clone(&self.shared))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Does one bounded piece of work: takes doorbells, sends and receives some frames, does what
    /// falls due. True if anything happened. With the same accesses and steps in the same order the
    /// same happens.
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

    /// Plugs the cable in or out. The link follows a while later, as LINKS and EICR.LSC show.
    pub fn set_cable(&self, plugged: bool) {
        self.shared.access().set_cable(plugged);
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
    /// [`NicConfig::tolerate`] is off.
    pub fn exceptions(&self) -> Vec<Tolerated> {
        self.shared.access().exceptions.met()
    }

    /// The device's time.
    pub fn now(&self) -> Nanos {
        self.shared.access().now
    }

    /// The state of the link.
    pub fn link(&self) -> LinkState {
        let model = self.shared.access();
        let up = model.link.is_up();
        let mbits = match model.link_speed() {
            _ if !up => 0,
            link_speed::GBIT_10 => 10_000,
            link_speed::GBIT_1 => 1_000,
            _ => 100,
        };
        LinkState { up, mbits }
    }

    /// What the device's registers count, without clearing it.
    pub fn counters(&self) -> NicCounters {
        let model = self.shared.access();
        counters(|counter, index| model.statistics.peek(counter, index))
    }

    /// What the device has counted since it was made, whatever software has cleared meanwhile.
    pub fn totals(&self) -> NicCounters {
        let model = self.shared.access();
        counters(|counter, index| model.statistics.total(counter, index))
    }

    /// Nothing is on its way: the wire has nothing to offer, no frame waits in the packet buffer,
    /// nothing waits to be sent. Frames that the driver holds are not the device's to know.
    pub fn is_idle(&self) -> bool {
        let mut model = self.shared.access();
        model.absorb(&self.shared.doorbells);
        model.is_idle()
    }

    /// Lets `look` see the wire that the port is plugged into.
    pub fn with_wire<R>(&self, look: impl FnOnce(&mut dyn Wire) -> R) -> R {
        look(&mut self.shared.access().wire)
    }

    /// Unplugs the port from its wire and plugs it into another; returns the old one.
    pub fn replace_wire(&self, wire: impl Wire + 'static) -> Box<dyn Wire> {
        Box::new(std::mem::replace(
            &mut self.shared.access().wire,
            Plug::new(wire),
        ))
    }
}

/// Reads the counters by `read`, which takes a counter and its statistics index.
fn counters(read: impl Fn(Counter, usize) -> u64) -> NicCounters {
    NicCounters {
        received: read(Counter::Gprc, 0),
        sent: read(Counter::Gptc, 0),
        missed: read(Counter::Mpc, 0),
        dropped: (0..statistics::INDICES)
            .map(|index| read(Counter::Qprdc, index))
            .sum(),
        undersize: read(Counter::Ruc, 0),
        oversize: read(Counter::Roc, 0),
    }
}
