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

use barewire_bus::{Event, InterruptKind, PciFunction};
use barewire_dma::{DescriptorRing, DmaRegion, Pool, PoolConfig};
use barewire_spec::pci::{self, Family, Identity};

use crate::{Driver, Error, Link, PortConfig, RxQueue, Statistics, TxQueue};
use counters::Counters;
use device::{Card, Device};
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
    /// Signalled when the link has changed, if `link_interrupts`.
    link_event: Arc<Event>,
    link_interrupts: bool,
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
        let identity = identify(&function)?;
        let name = function.name().to_owned();
        let registers = Registers::new(function.bar(0)?, name);
        check(&registers, config)?;
        let device = Arc::new(Device::new(function, registers));
        Self::start(&device, identity, config)
    }

    fn start(
        device: &Arc<Device<P>>,
        identity: &'static Identity,
        config: &PortConfig,
    ) -> Result<Self, Error> {
        let registers = device.registers();
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
        let (promiscuous, multicast) = (config.promiscuous, config.all_multicast);
        filters::initialise(registers, mac_address, promiscuous, multicast);
        rss::initialise(registers, &config.rss, config.rx_queues)?;
        transmit_unit::initialise(registers);
        let events = Events::connect(device, config)?;

        let mut rings = Rings::allocate(device, config)?;
        let mut port = Self {
            device: Arc::clone(device),
            identity,
            mac_address,
            counters,
            link_event: events.link,
            link_interrupts: events.link_interrupts,
            rx: Vec::new(),
            tx: Vec::new(),
        };
        for (index, event) in (0..config.rx_queues).zip(events.queues) {
            let ring = rings
                .next(config.rx_ring)
                .map_err(|error| device.dma_error(error))?;
            let pool = receive_pool(config).map_err(|error| device.dma_error(error))?;
            let queue = IxgbeRx::start(device, index, ring, &pool, (event, events.kind), config)?;
            port.rx.push(Some(RxQueue::ixgbe(queue)));
        }
        receive_unit::enable(registers);
        for index in 0..config.tx_queues {
            let ring = rings
                .next(config.tx_ring)
                .map_err(|error| device.dma_error(error))?;
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

/// Finds out whether this driver is for the device, from its IDs alone.
fn identify<P: PciFunction>(function: &P) -> Result<&'static Identity, Error> {
    let [vendor_low, vendor_high, id_low, id_high] = function
        .config_read32(pci::config::VENDOR_ID)?
        .to_le_bytes();
    let vendor = u16::from_le_bytes([vendor_low, vendor_high]);
    let id = u16::from_le_bytes([id_low, id_high]);
    match pci::identify(vendor, id) {
        Some(identity) if !identity.family.is_virtual_function() => Ok(identity),
        _ => Err(Error::NotSupported {
            device: function.name().to_owned(),
            vendor,
            id,
            known: "Intel 82599 (X520), X540, X550, X552 and X553",
        }),
    }
}

/// The events of a port. All of them exist, signalled or not, so that there always is a file
/// descriptor to wait for.
struct Events {
    /// How queues interrupt, if they do.
    kind: Option<InterruptKind>,
    queues: Vec<Arc<Event>>,
    link: Arc<Event>,
    /// Whether the link's is signalled.
    link_interrupts: bool,
}

impl Events {
    fn connect<P: PciFunction>(device: &Device<P>, config: &PortConfig) -> Result<Self, Error> {
        let own = || Event::new().map(Arc::new).map_err(Error::Wait);
        if !config.interrupts {
            let queues = (0..config.rx_queues).map(|_| own());
            return Ok(Self {
                kind: None,
                queues: queues.collect::<Result<_, _>>()?,
                link: own()?,
                link_interrupts: false,
            });
        }
        let connected = device.interrupts(config)?;
        interrupts::initialise(device.registers(), connected, config);
        let link = interrupts::of_link(connected, config);
        Ok(Self {
            kind: Some(connected.kind()),
            queues: connected.vectors().to_vec(),
            link_interrupts: link.is_some(),
            link: link.map_or_else(own, |link| Ok(Arc::clone(link)))?,
        })
    }
}

/// Refuses a configuration before the device is touched.
fn check<B: barewire_bus::Bar>(registers: &Registers<B>, config: &PortConfig) -> Result<(), Error> {
    for (what, queues) in [
        ("receive queues", config.rx_queues),
        ("transmit queues", config.tx_queues),
    ] {
        if !(1..=64).contains(&queues) {
            return Err(registers.config_error(what, queues, "1 to 64"));
        }
    }
    for (what, ring) in [
        ("receive ring", config.rx_ring),
        ("transmit ring", config.tx_ring),
    ] {
        if !ring.is_power_of_two() || !(64..=4096).contains(&ring) {
            return Err(registers.config_error(what, ring, "a power of two from 64 to 4096"));
        }
    }
    if !(68..=9710).contains(&config.mtu) {
        return Err(registers.config_error("MTU", config.mtu, "68 to 9710"));
    }
    interrupts::check(registers, config)?;
    if config.rx_queues > rss::QUEUES {
        tracing::warn!(
            device = registers.device(),
            "RSS spreads over 16 receive queues: queues 16 and above receive nothing"
        );
    }
    Ok(())
}

fn receive_pool(config: &PortConfig) -> Result<Pool, barewire_dma::DmaError> {
    if let Some(pool) = &config.pool {
        return Ok(pool.clone());
    }
    let needed =
        usize::from(config.rx_ring) + usize::from(config.tx_ring) + 2 * barewire_dma::Batch::MOST;
    Pool::new(PoolConfig {
        buffers: config.buffers.unwrap_or(needed),
        pages: config.pages,
        ..PoolConfig::default()
    })
}

/// The memory of all rings of a port, in one region.
struct Rings {
    mapping: Arc<barewire_dma::Mapping>,
    offset: usize,
}

impl Rings {
    fn allocate<P: PciFunction>(device: &Device<P>, config: &PortConfig) -> Result<Self, Error> {
        let descriptors = usize::from(config.rx_queues) * usize::from(config.rx_ring)
            + usize::from(config.tx_queues) * usize::from(config.tx_ring);
        // one more, for the gap that alignment may leave between rings of different sizes
        let descriptors = descriptors + usize::from(config.rx_ring.max(config.tx_ring));
        let bytes = descriptors * DescriptorRing::DESCRIPTOR;
        let region = DmaRegion::allocate(bytes, config.pages);
        let region = region.map_err(|error| device.dma_error(error))?;
        let mapping = device
            .domain()
            .map(&region)
            .map_err(|error| device.dma_error(error))?;
        Ok(Self { mapping, offset: 0 })
    }

    fn next(&mut self, count: u16) -> Result<DescriptorRing, barewire_dma::DmaError> {
        let bytes = usize::from(count) * DescriptorRing::DESCRIPTOR;
        // aligned to its size, which is a power of two: a ring never crosses the end of a page that
        // is larger, and is a multiple of the 128 bytes that the device asks for
        let offset = self.offset.next_multiple_of(bytes);
        let ring = DescriptorRing::new(Arc::clone(&self.mapping), offset, usize::from(count))?;
        self.offset = offset + bytes;
        Ok(ring)
    }
}

impl<P: PciFunction> Driver for Ixgbe<P> {
    fn name(&self) -> &str {
        self.device.registers().device()
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
        link::state(self.device.registers(), self.identity.family)
    }

    fn wait_for_link(&mut self, limit: Duration) -> Result<Link, Error> {
        link::wait(self.device.registers(), self.identity.family, limit)
    }

    fn link_change(&mut self) -> Result<Option<Link>, Error> {
        let registers = self.device.registers();
        if !self.link_interrupts {
            return Err(Error::NoInterrupts {
                device: registers.device().to_owned(),
            });
        }
        if interrupts::take_link_change(registers, &self.link_event) {
            return self.link().map(Some);
        }
        Ok(None)
    }

    fn link_event(&self) -> &Event {
        &self.link_event
    }

    fn statistics(&mut self) -> Result<Statistics, Error> {
        self.device.check()?;
        self.counters.update(self.device.registers())?;
        Ok(self.counters.statistics())
    }

    fn extended_statistics(&mut self) -> Result<Vec<(String, u64)>, Error> {
        self.counters.update(self.device.registers())?;
        Ok(self.counters.extended())
    }

    fn mac_address(&self) -> [u8; 6] {
        self.mac_address
    }

    fn set_mac_address(&mut self, address: [u8; 6]) -> Result<(), Error> {
        filters::set_mac_address(self.device.registers(), address)?;
        self.mac_address = address;
        Ok(())
    }

    fn set_promiscuous(&mut self, unicast: bool, multicast: bool) -> Result<(), Error> {
        let registers = self.device.registers();
        registers.check()?;
        receive_unit::paused(registers, || {
            filters::write_modes(registers, unicast, multicast);
        })
    }

    fn set_unicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        filters::set_unicast(self.device.registers(), addresses)
    }

    fn set_multicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        filters::set_multicast(self.device.registers(), addresses)
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
