//! The driver for virtio network devices: what virtual machines have, and some cards of silicon.
//!
//! Read it in the order of a device's life:
//!
//! 1. `interface`: how its registers are reached, modern or legacy; `transport`: what they do;
//!    `negotiation`: what it can do and what of that is used.
//! 2. `queues`: memory for rings, split or packed; `control`: commands.
//! 3. `rx`, `tx`: the data path, over [`VirtRx`](barewire_dma::VirtRx) and
//!    [`VirtTx`](barewire_dma::VirtTx).
//! 4. `totals`, `held`: what happened, and how it ends.
//!
//! The order of initialisation is that of VIRTIO 1.2 §3.1 and §5.1.5. Clauses named without a
//! document are that specification's.

mod control;
mod held;
mod interface;
mod negotiation;
mod queues;
mod rx;
mod totals;
mod transport;
mod tx;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use barewire_bus::{BusError, Event, InterruptKind, PciFunction};
use barewire_spec::virtio::{feature, net, status};

use crate::device::LinkEvent;
use crate::drivers::{self, Known};
use crate::mac::{check_count, check_multicast, check_unicast, is_unicast};
use crate::patience::link_up;
use crate::{Driver, Error, Link, Offloads, PortConfig, RxQueue, Statistics, TxQueue};
use control::Control;
use queues::Queues;
use totals::Totals;
use transport::Transport;

/// A virtio device, reached in the way of `P`.
type Device<P> = crate::device::Device<P, Transport<<P as PciFunction>::Bar>>;

/// An open device.
pub struct VirtioNet<P: PciFunction> {
    device: Arc<Device<P>>,
    control: Option<Control<P>>,
    mac_address: [u8; 6],
    unicast: Vec<[u8; 6]>,
    multicast: Vec<[u8; 6]>,
    totals: Totals,
    link_event: LinkEvent,
    /// The device wants the program to announce itself.
    announce: bool,
    rx: Vec<Option<RxQueue>>,
    tx: Vec<Option<TxQueue>>,
}

impl<P: PciFunction> VirtioNet<P> {
    /// Opens a device: resets it, negotiates features, sets it up as `config` says and starts its
    /// queues.
    ///
    /// # Errors
    /// [`Error::NotSupported`] unless it is a virtio network device, with nothing touched;
    /// [`Error::Config`] for a configuration it can't have; [`Error::Timeout`], [`Error::Broken`] or
    /// [`Error::Gone`] when it does not do its part. It is stopped then.
    pub fn open(function: P, config: &PortConfig) -> Result<Self, Error> {
        drivers::identify(&function, |known| match known {
            Known::VirtioNet => Some(()),
            Known::Ixgbe(_) => None,
        })?;
        config.check(function.name())?;
        let translated = function.is_translated();
        let transport = Transport::find(&function)?;
        if transport.is_legacy() && cfg!(target_endian = "big") {
            let what = "its legacy interface is driven on little-endian processors only";
            return Err(Error::broken(transport.device(), what));
        }
        let device = Arc::new(Device::new(function, transport));
        device.set_bus_master(false)?;
        device.chip().reset()?;
        let started = Self::start(&device, config, translated);
        if started.is_err() {
            device.chip().fail();
        }
        started
    }

    fn start(
        device: &Arc<Device<P>>,
        config: &PortConfig,
        translated: bool,
    ) -> Result<Self, Error> {
        let transport = device.chip();
        transport.advance(status::ACKNOWLEDGE);
        transport.advance(status::DRIVER);
        negotiation::negotiate(transport, config, translated)?;
        let events = device.events(config, |transport, connected| {
            if connected.kind() != InterruptKind::MsiX {
                return Err(Error::Bus(BusError::NoInterrupts {
                    device: transport.device().to_owned(),
                    reason: "it has no MSI-X: poll".to_owned(),
                }));
            }
            transport.msix_is_on();
            Ok(())
        })?;
        // behind those of the queues
        if events.link.is_signalled() && !transport.set_config_vector(config.rx_queues) {
            let what = "it can't interrupt for changes of its configuration: poll";
            return Err(Error::broken(transport.device(), what));
        }
        let has_mac = transport.has(feature::NET_MAC);
        let mac_address = if has_mac {
            transport.config(net::MAC)?
        } else {
            random_address()
        };
        if !is_unicast(mac_address) {
            let what = format!(
                "its MAC address is {}, which is none",
                crate::mac::Mac(mac_address)
            );
            return Err(Error::broken(transport.device(), what));
        }
        check_mtu(transport, config)?;
        let mut totals = Totals::default();
        let queues = Queues::start(device, config, &events, &mut totals)?;
        device.set_bus_master(true)?;
        transport.advance(status::DRIVER_OK);
        let mut port = Self {
            device: Arc::clone(device),
            control: queues.control,
            mac_address,
            unicast: Vec::new(),
            multicast: Vec::new(),
            totals,
            link_event: events.link,
            announce: false,
            rx: Vec::new(),
            tx: queues.tx.into_iter().map(Some).collect(),
        };
        for start in queues.rx {
            port.rx.push(Some(start()?));
        }
        port.configure(config, queues.pairs)?;
        device.check()?;
        Ok(port)
    }

    /// What is told to a device that runs.
    fn configure(&mut self, config: &PortConfig, pairs: u16) -> Result<(), Error> {
        let transport = self.device.chip();
        let Some(control) = &mut self.control else {
            return Ok(());
        };
        if transport.has(feature::NET_RSS) {
            control.set_rss(&config.rss, pairs)?;
        } else if pairs > 1 {
            control.set_pairs(pairs)?;
        }
        if transport.has(feature::NET_CTRL_VLAN) {
            for vlan in config.vlans.iter().flatten() {
                control.set_vlan(*vlan, true)?;
            }
        }
        if !transport.has(feature::NET_MAC) && transport.has(feature::NET_CTRL_MAC_ADDR) {
            control.set_mac_address(self.mac_address)?;
        }
        control.set_modes(config.promiscuous, config.all_multicast)
    }

    /// What was negotiated, as bits of VIRTIO §6 and §5.1.3.
    pub fn has_features(&self, bits: u64) -> bool {
        self.device.chip().has(bits)
    }

    /// The control queue, if the device can do with it what `features` says.
    fn control(&mut self, features: u64, what: &'static str) -> Result<&mut Control<P>, Error> {
        let transport = self.device.chip();
        match &mut self.control {
            Some(control) if transport.has(features) => Ok(control),
            _ => Err(Error::config(
                transport.device(),
                what,
                "something else",
                "what the device was made with: it can't be told otherwise",
            )),
        }
    }

    fn set_filters(&mut self) -> Result<(), Error> {
        let (unicast, multicast) = (self.unicast.clone(), self.multicast.clone());
        let control = self.control(feature::NET_CTRL_RX, "address filter")?;
        control.set_filters(&unicast, &multicast)
    }
}

/// Refuses an MTU above the device's (§5.1.4.2).
fn check_mtu<B: barewire_bus::Bar>(
    transport: &Transport<B>,
    config: &PortConfig,
) -> Result<(), Error> {
    if !transport.has(feature::NET_MTU) {
        return Ok(());
    }
    let most = u16::from_le_bytes(transport.config(net::MTU)?);
    if config.mtu > most {
        let allowed = format!("68 to {most} on this device");
        return Err(Error::config(
            transport.device(),
            "MTU",
            config.mtu,
            allowed,
        ));
    }
    Ok(())
}

/// An address of one's own for a device that has none: locally administered (§5.1.5).
fn random_address() -> [u8; 6] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut address = RandomState::new().build_hasher().finish().to_le_bytes();
    address[0] = 2;
    let [address @ .., _, _] = address;
    address
}

impl<P: PciFunction> Driver for VirtioNet<P> {
    fn name(&self) -> &str {
        self.device.chip().device()
    }

    fn driver(&self) -> &'static str {
        drivers::VIRTIO_NET
    }

    fn take_rx(&mut self, index: u16) -> Option<RxQueue> {
        self.rx.get_mut(usize::from(index))?.take()
    }

    fn take_tx(&mut self, index: u16) -> Option<TxQueue> {
        self.tx.get_mut(usize::from(index))?.take()
    }

    fn offloads(&self) -> Offloads {
        negotiation::offloads(self.device.chip())
    }

    fn link(&mut self) -> Result<Link, Error> {
        self.device.check()?;
        let transport = self.device.chip();
        let link = state(transport)?;
        if transport.has(feature::NET_GUEST_ANNOUNCE | feature::NET_STATUS) {
            let wish = u16::from_le_bytes(transport.config(net::STATUS)?) & net::ANNOUNCE != 0;
            if let Some(control) = self.control.as_mut().filter(|_| wish) {
                control.acknowledge_announcement()?;
                self.announce = true;
            }
        }
        Ok(link)
    }

    fn wait_for_link(&mut self, limit: Duration) -> Result<Link, Error> {
        let transport = self.device.chip();
        link_up(transport.bar(), limit, || {
            self.device.check()?;
            state(transport)
        })
    }

    fn link_change(&mut self) -> Result<Option<Link>, Error> {
        if self.link_event.take(self.name())? {
            return self.link().map(Some);
        }
        Ok(None)
    }

    fn link_event(&self) -> &Event {
        self.link_event.event()
    }

    fn take_announcement(&mut self) -> bool {
        std::mem::take(&mut self.announce)
    }

    fn statistics(&mut self) -> Result<Statistics, Error> {
        self.device.check()?;
        Ok(self.totals.statistics())
    }

    fn extended_statistics(&mut self) -> Result<Vec<(String, u64)>, Error> {
        self.device.check()?;
        Ok(self.totals.extended())
    }

    fn mac_address(&self) -> [u8; 6] {
        self.mac_address
    }

    fn set_mac_address(&mut self, address: [u8; 6]) -> Result<(), Error> {
        check_unicast(self.name(), address)?;
        let control = self.control(feature::NET_CTRL_MAC_ADDR, "MAC address")?;
        control.set_mac_address(address)?;
        self.mac_address = address;
        Ok(())
    }

    fn set_promiscuous(&mut self, unicast: bool, multicast: bool) -> Result<(), Error> {
        let control = self.control(feature::NET_CTRL_RX, "receive modes")?;
        control.set_modes(unicast, multicast)
    }

    fn set_unicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        check_count(self.name(), addresses, control::ADDRESSES)?;
        for address in addresses {
            check_unicast(self.name(), *address)?;
        }
        self.unicast = addresses.to_vec();
        self.set_filters()
    }

    fn set_multicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        check_count(self.name(), addresses, control::ADDRESSES)?;
        for address in addresses {
            check_multicast(self.name(), *address)?;
        }
        self.multicast = addresses.to_vec();
        self.set_filters()
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.device.stop()
    }
}

/// The link as the device sees it now (§5.1.4). One that does not tell is up.
fn state<B: barewire_bus::Bar>(transport: &Transport<B>) -> Result<Link, Error> {
    let up = if transport.has(feature::NET_STATUS) {
        u16::from_le_bytes(transport.config(net::STATUS)?) & net::LINK_UP != 0
    } else {
        true
    };
    let mut mbits = 0;
    if up && transport.has(feature::NET_SPEED_DUPLEX) {
        let speed = u32::from_le_bytes(transport.config(net::SPEED)?);
        // all ones, and whatever is no speed: unknown (§5.1.4)
        mbits = if speed > 0x7fff_ffff { 0 } else { speed };
    }
    Ok(Link { up, mbits })
}

impl<P: PciFunction> fmt::Debug for VirtioNet<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioNet")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
