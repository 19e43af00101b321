//! What a PORT names: a device, how it is reached, and how its port is opened.
//!
//! A new kind of PORT is a variant here and in [`PortName`]; nothing else of the program knows how a
//! device is reached.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use barewire::{BusError, DmaError, Error, Port, PortConfig, driver_for};
use barewire_bus::vfio_user::RemoteFunction;
use barewire_bus::{Backend, Host, HostFunction, PciAddress};
use barewire_sim::device::Device as SimDevice;
use barewire_sim::nic::{NicConfig, NicFunction};
use barewire_sim::virtio::{VirtioConfig, VirtioFunction};

use super::far_end::Plug;
use super::software::{Order, Software};
use crate::arguments::Forward;
use crate::port_name::PortName;

/// A device that a PORT names.
#[derive(Debug)]
pub(super) enum Device {
    /// Software in this program.
    Sim(Software),
    /// Served by another program at this socket.
    Served(PathBuf),
    /// A PCI device of this machine, to be reached in this way.
    Pci(Host, PciAddress, Option<Backend>),
}

impl Device {
    /// The device for the port at `position`. `plug` makes a software one; one of this machine's is
    /// reached as the command line says.
    pub(super) fn new(
        name: &PortName,
        position: u8,
        plug: Plug,
        command: &Forward,
        host: &Host,
    ) -> Self {
        let label = name.label(usize::from(position));
        let mac = [0x02, 0x42, 0x57, 0x00, 0x00, position + 1];
        let backend = command.backend.map(Backend::from);
        match name {
            PortName::Pci(address) => Self::Pci(host.clone(), *address, backend),
            PortName::VfioUser(path) => Self::Served(path.clone()),
            PortName::Sim | PortName::NamedSim(_) => Self::Sim(plug(Order::Intel(NicConfig {
                name: label,
                mac,
                ..NicConfig::default()
            }))),
            PortName::Virtio(_, config) => Self::Sim(plug(Order::Virtio(VirtioConfig {
                name: label,
                mac,
                // no less than the program is about to ask for
                queue_pairs: config.queue_pairs.max(command.queues),
                queue_size: config.queue_size.max(command.ring.next_power_of_two()),
                ..(**config).clone()
            }))),
        }
    }

    /// Gets hold of the device. One of this machine's does no DMA from then on, whatever a program
    /// that was killed has left it doing.
    ///
    /// # Errors
    /// What the bus says, with a remedy where there is one.
    pub(super) fn reach(&self) -> Result<Reached> {
        let reached = match self {
            Self::Sim(Software::Intel(nic)) => Ok(Reached::Sim(nic.function())),
            Self::Sim(Software::Virtio(nic)) => Ok(Reached::Virtio(nic.function())),
            Self::Served(path) => RemoteFunction::connect(path)
                .map(Reached::Served)
                .map_err(Error::from),
            Self::Pci(host, address, backend) => check_driver(host, *address)
                .and_then(|()| Ok(Reached::Pci(host.open(*address, *backend)?))),
        };
        reached.map_err(with_remedy)
    }

    /// The device, if it is software of this program.
    pub(super) fn sim(&self) -> Option<Arc<dyn SimDevice>> {
        match self {
            Self::Sim(software) => Some(software.device()),
            Self::Served(_) | Self::Pci(..) => None,
        }
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Sim(software) => software.kind(),
            Self::Served(_) => "served device",
            Self::Pci(..) => "PCI device",
        }
    }
}

/// A device that this program has.
pub(super) enum Reached {
    Sim(NicFunction),
    Virtio(VirtioFunction),
    Served(RemoteFunction),
    Pci(HostFunction),
}

impl Reached {
    /// Opens the device's port.
    ///
    /// # Errors
    /// What the driver says, with a remedy where there is one.
    pub(super) fn open(self, config: &PortConfig) -> Result<Port> {
        let port = match self {
            Self::Sim(function) => Port::open(function, config),
            Self::Virtio(function) => Port::open(function, config),
            Self::Served(function) => Port::open(function, config),
            Self::Pci(function) => Port::open(function, config),
        };
        port.map_err(with_remedy)
    }
}

/// Refuses a device that no driver knows, before anything of it is touched.
fn check_driver(host: &Host, address: PciAddress) -> Result<(), Error> {
    let device = host.device(address)?;
    if driver_for(device.vendor, device.device).is_some() {
        return Ok(());
    }
    Err(Error::NotSupported {
        device: address.to_string(),
        vendor: device.vendor,
        id: device.device,
        known: "those that `barewire devices` shows a driver for",
    })
}

/// What the user can do about it.
pub(super) fn with_remedy(error: Error) -> anyhow::Error {
    let remedy = match &error {
        // it says itself what would help
        Error::Dma {
            source: DmaError::Map { .. },
            ..
        } => None,
        Error::Dma { .. } => Some("try a smaller --ring or fewer --queues"),
        Error::Bus(BusError::NoBar { .. }) => Some("is it a network card?"),
        _ => None,
    };
    match remedy {
        Some(remedy) => anyhow::anyhow!("{error}: {remedy}"),
        None => error.into(),
    }
}
