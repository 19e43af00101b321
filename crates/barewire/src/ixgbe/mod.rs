//! The driver for Intel's 10 Gbit/s cards from the 82599 on: X520, X540, X550, X552, X553.
//!
//! Read it in the order of a frame's life:
//!
//! 1. `reset`, `eeprom`, `link`: from whatever state the card is in to one that is known.
//! 2. `filters`, `rss`, `receive_unit`, `transmit_unit`: what is received and where it goes.
//! 3. `rx`, `tx`: the data path; `in_place`: that of a program that only forwards; `interrupts`: what to do while nothing comes.
//! 4. `counters`, `device`: what happened, and how it ends.
//!
//! The order of initialisation is that of the 82599 datasheet, §4.6.3. Sections named without a
//! document are that datasheet's.
//!
//! # On hardware of one's own
//!
//! The driver is generic over how a device is reached. Here a program brings its own registers and
//! its own memory mapping; with a mapped BAR in place of these constants it would drive a card.
//!
//! ```
//! use std::sync::Arc;
//! use barewire::ixgbe::Ixgbe;
//! use barewire::{Bar, BusError, DmaError, DmaMap, DmaRegion, Error, Iova, Layout};
//! use barewire::{PciFunction, PortConfig};
//!
//! struct MyBar;
//! impl Bar for MyBar {
//!     fn size(&self) -> u32 { 0x20000 }
//!     fn read32(&self, _offset: u32) -> u32 { u32::MAX } // as if nobody answered
//!     fn write32(&self, _offset: u32, _value: u32) {}
//! }
//!
//! #[derive(Debug)]
//! struct MyMemory;
//! impl DmaMap for MyMemory {
//!     fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
//!         // a device that shares our address space
//!         Ok(Layout::Linear(Iova::new(region.address().get() as u64)))
//!     }
//!     fn unmap(&self, _region: &Arc<DmaRegion>, _layout: &Layout) {}
//! }
//!
//! struct MyFunction;
//! impl PciFunction for MyFunction {
//!     type Bar = MyBar;
//!     fn name(&self) -> &str { "mine" }
//!     fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
//!         Ok(if offset == 0 { 0x10fb_8086 } else { 0 })
//!     }
//!     fn config_write32(&self, _offset: u16, _value: u32) -> Result<(), BusError> { Ok(()) }
//!     fn bar(&self, _index: u8) -> Result<MyBar, BusError> { Ok(MyBar) }
//!     fn dma(&self) -> Arc<dyn DmaMap> { Arc::new(MyMemory) }
//! }
//!
//! let error = Ixgbe::open(MyFunction, &PortConfig::default()).unwrap_err();
//! assert!(matches!(error, Error::Gone { .. }));
//! ```

mod counters;
mod device;
mod eeprom;
mod filters;
mod in_place;
mod interrupts;
mod link;
mod receive_unit;
mod registers;
mod reset;
mod rss;
mod rx;
mod semaphore;
mod transmit_unit;
mod tx;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use barewire_bus::{Bar, Event, PciFunction};
use barewire_dma::{DescriptorRing, DmaError, Domain};
use barewire_spec::ixgbe::EICR;
use barewire_spec::pci::{Family, Identity};

use crate::device::LinkEvent;
use crate::drivers::{self, Known};
use crate::memory::{RingMemory, receive_pool};
use crate::{Driver, Error, Link, PortConfig, RxQueue, Statistics, TxQueue};
use counters::Counters;
use device::Device;
pub(crate) use in_place::IxgbeInPlace;
use registers::Registers;
pub(crate) use rx::IxgbeRx;
pub(crate) use tx::IxgbeTx;

/// Ethernet header and FCS: what a frame has beyond its MTU.
const FRAME_OVERHEAD: u16 = 18;
/// A VLAN tag, which the device's limit does not count.
const VLAN_TAG: u16 = 4;
/// Bytes of the FCS.
const FCS: u16 = 4;

/// An open card.
pub struct Ixgbe<P: PciFunction> {
    device: Arc<Device<P>>,
    identity: &'static Identity,
    mac_address: [u8; 6],
    counters: Counters,
    link_event: LinkEvent,
    rx: Vec<Option<RxQueue>>,
    tx: Vec<Option<TxQueue>>,
}

impl<P: PciFunction> Ixgbe<P> {
    /// Opens a card: resets it, sets it up as `config` says, starts its queues and its link.
    ///
    /// # Errors
    /// [`Error::NotSupported`] unless it is a physical function of this family, with nothing
    /// touched; [`Error::Config`] for a configuration it can't have; [`Error::Timeout`],
    /// [`Error::Broken`] or [`Error::Gone`] when the card does not do its part. The card is stopped
    /// then.
    pub fn open(function: P, config: &PortConfig) -> Result<Self, Error> {
        let identity = drivers::identify(&function, |known| match known {
            Known::Ixgbe(identity) => Some(identity),
            Known::VirtioNet => None,
        })?;
        let name = function.name().to_owned();
        let registers = Registers::new(function.bar(0)?, name);
        config.check(registers.device())?;
        check(&registers, config)?;
        let device = Arc::new(Device::new(function, registers));
        Self::start(&device, identity, config)
    }

    fn start(
        device: &Arc<Device<P>>,
        identity: &'static Identity,
        config: &PortConfig,
    ) -> Result<Self, Error> {
        let registers = device.chip();
        device.set_bus_master(false)?;
        reset::reset(registers)?;
        // on the X550 family EERD is the firmware's, which verifies the EEPROM itself
        if matches!(identity.family, Family::I82599 | Family::X540) {
            eeprom::verify(registers)?;
        }
        device.set_bus_master(true)?;
        let mac_address = filters::mac_address(registers)?;
        link::start(registers, identity.media)?;
        let mut counters = Counters::default();
        Counters::assign_queues(registers);
        counters.clear(registers)?;

        let frame_max = config.mtu + FRAME_OVERHEAD; // `check` bounds the MTU
        receive_unit::initialise(registers, frame_max, config.crc_strip);
        filters::initialise(registers, mac_address, config);
        rss::initialise(registers, &config.rss, config.rx_queues)?;
        transmit_unit::initialise(registers);
        let events = device.events(config, |registers, connected| {
            interrupts::initialise(registers, connected, config);
            Ok(())
        })?;

        let dma_error = Error::dma(registers.device());
        let mut memory = allocate(device.domain(), config).map_err(&dma_error)?;
        let mut port = Self {
            device: Arc::clone(device),
            identity,
            mac_address,
            counters,
            link_event: events.link,
            rx: Vec::new(),
            tx: Vec::new(),
        };
        for (index, event) in (0..config.rx_queues).zip(events.queues) {
            let ring = ring(&mut memory, config.rx_ring).map_err(&dma_error)?;
            let pool = receive_pool(config, 0).map_err(&dma_error)?;
            let queue = IxgbeRx::start(device, index, ring, &pool, (event, events.kind), config)?;
            port.rx.push(Some(RxQueue::ixgbe(queue)));
        }
        receive_unit::enable(registers);
        for index in 0..config.tx_queues {
            let ring = ring(&mut memory, config.tx_ring).map_err(&dma_error)?;
            let queue = IxgbeTx::start(device, index, ring, frame_max - FCS)?;
            port.tx.push(Some(TxQueue::ixgbe(queue)));
        }
        Ok(port)
    }

    /// Which card it is, and what its port is wired to.
    pub fn identity(&self) -> &'static Identity {
        self.identity
    }
}

/// Refuses a configuration before the device is touched.
fn check<B: Bar>(registers: &Registers<B>, config: &PortConfig) -> Result<(), Error> {
    interrupts::check(registers, config)?;
    if config.rx_queues > rss::QUEUES {
        tracing::warn!(
            device = registers.device(),
            "RSS spreads over 16 receive queues: queues 16 and above receive nothing"
        );
    }
    Ok(())
}

/// The memory of all rings.
fn allocate(domain: &Domain, config: &PortConfig) -> Result<RingMemory, DmaError> {
    let descriptors = usize::from(config.rx_queues) * usize::from(config.rx_ring)
        + usize::from(config.tx_queues) * usize::from(config.tx_ring);
    // one more, for the gap that alignment may leave between rings of different sizes
    let descriptors = descriptors + usize::from(config.rx_ring.max(config.tx_ring));
    RingMemory::allocate(domain, descriptors * DescriptorRing::DESCRIPTOR, config)
}

/// The next ring.
fn ring(memory: &mut RingMemory, count: u16) -> Result<DescriptorRing, DmaError> {
    let bytes = usize::from(count) * DescriptorRing::DESCRIPTOR;
    // aligned to its size, which is a power of two: a ring never crosses the end of a page that is
    // larger, and is a multiple of the 128 bytes that the device asks for
    let (mapping, offset) = memory.next(bytes, bytes);
    DescriptorRing::new(mapping, offset, usize::from(count))
}

impl<P: PciFunction> Driver for Ixgbe<P> {
    fn name(&self) -> &str {
        self.device.chip().device()
    }

    fn driver(&self) -> &'static str {
        "ixgbe"
    }

    fn take_rx(&mut self, index: u16) -> Option<RxQueue> {
        self.rx.get_mut(usize::from(index))?.take()
    }

    fn take_tx(&mut self, index: u16) -> Option<TxQueue> {
        self.tx.get_mut(usize::from(index))?.take()
    }

    fn link(&mut self) -> Result<Link, Error> {
        self.device.check()?;
        link::state(self.device.chip(), self.identity.family)
    }

    fn wait_for_link(&mut self, limit: Duration) -> Result<Link, Error> {
        link::wait(self.device.chip(), self.identity.family, limit)
    }

    fn link_change(&mut self) -> Result<Option<Link>, Error> {
        if self.link_event.take(self.name())? {
            // its cause after its signal: a change in between signals again
            self.device.chip().read(&EICR);
            return self.link().map(Some);
        }
        Ok(None)
    }

    fn link_event(&self) -> &Event {
        self.link_event.event()
    }

    fn statistics(&mut self) -> Result<Statistics, Error> {
        self.device.check()?;
        self.counters.update(self.device.chip())?;
        Ok(self.counters.statistics())
    }

    fn extended_statistics(&mut self) -> Result<Vec<(String, u64)>, Error> {
        self.counters.update(self.device.chip())?;
        Ok(self.counters.extended())
    }

    fn mac_address(&self) -> [u8; 6] {
        self.mac_address
    }

    fn set_mac_address(&mut self, address: [u8; 6]) -> Result<(), Error> {
        filters::set_mac_address(self.device.chip(), address)?;
        self.mac_address = address;
        Ok(())
    }

    fn set_promiscuous(&mut self, unicast: bool, multicast: bool) -> Result<(), Error> {
        let registers = self.device.chip();
        registers.check()?;
        receive_unit::paused(registers, || {
            filters::write_modes(registers, unicast, multicast);
        })
    }

    fn set_unicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        filters::set_unicast(self.device.chip(), addresses)
    }

    fn set_multicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        filters::set_multicast(self.device.chip(), addresses)
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.device.stop()
    }
}

impl<P: PciFunction> fmt::Debug for Ixgbe<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ixgbe")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
