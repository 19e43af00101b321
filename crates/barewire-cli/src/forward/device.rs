//! What a PORT names: a device, and how its port is opened.
//!
//! A new kind of PORT is a variant here and in [`PortName`]; nothing else of the program knows how a
//! device is reached.

use std::path::PathBuf;

use anyhow::Result;
use barewire::{BusError, Error, Port, PortConfig};
use barewire_bus::vfio_user::RemoteFunction;
use barewire_sim::nic::{Nic, NicConfig};

use super::far_end::Plug;
use crate::port_name::PortName;

/// A device that a PORT names.
#[derive(Debug)]
pub(super) enum Device {
    /// Software in this program.
    Sim(Nic),
    /// Served by another program at this socket.
    Served(PathBuf),
}

impl Device {
    /// The device for the port at `position`. `plug` makes a software one.
    pub(super) fn new(name: &PortName, position: u8, plug: Plug) -> Self {
        match name {
            PortName::VfioUser(path) => Self::Served(path.clone()),
            PortName::Sim | PortName::NamedSim(_) => Self::Sim(plug(NicConfig {
                name: name.label(usize::from(position)),
                mac: [0x02, 0x42, 0x57, 0x00, 0x00, position + 1],
                ..NicConfig::default()
            })),
        }
    }

    /// Opens the device's port.
    ///
    /// # Errors
    /// What the bus or the driver says, with a remedy where there is one.
    pub(super) fn open(&self, config: &PortConfig) -> Result<Port> {
        let port = match self {
            Self::Sim(nic) => Port::open(nic.function(), config),
            Self::Served(path) => {
                Port::open(RemoteFunction::connect(path).map_err(Error::from)?, config)
            }
        };
        port.map_err(with_remedy)
    }

    /// The device, if it is software of this program.
    pub(super) const fn sim(&self) -> Option<&Nic> {
        match self {
            Self::Sim(nic) => Some(nic),
            Self::Served(_) => None,
        }
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Sim(_) => "software 82599",
            Self::Served(_) => "served device",
        }
    }
}

/// What the user can do about it.
pub(super) fn with_remedy(error: Error) -> anyhow::Error {
    let remedy = match &error {
        Error::Dma { .. } => Some("try a smaller --ring or fewer --queues"),
        Error::Bus(BusError::NoBar { .. }) => Some("is it a network card?"),
        _ => None,
    };
    match remedy {
        Some(remedy) => anyhow::anyhow!("{error}: {remedy}"),
        None => error.into(),
    }
}
