//! The devices that this program makes itself.

use std::sync::Arc;

use barewire_sim::device::Device;
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::virtio::{VirtioConfig, VirtioNic};
use barewire_sim::wire::Wire;

/// What is to be made.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Intel(NicConfig),
    Virtio(VirtioConfig),
}

/// A device that was made.
#[derive(Clone, Debug)]
pub(super) enum Software {
    Intel(Nic),
    Virtio(VirtioNic),
}

impl Software {
    /// Makes a device with its port plugged into `wire`.
    pub(super) fn new(order: Order, wire: impl Wire + 'static) -> Self {
        match order {
            Order::Intel(config) => Self::Intel(Nic::new(config, wire)),
            Order::Virtio(config) => Self::Virtio(VirtioNic::new(config, wire)),
        }
    }

    /// The device for whoever steps it and asks it about rules.
    pub(super) fn device(&self) -> Arc<dyn Device> {
        match self {
            Self::Intel(nic) => Arc::new(nic.clone()),
            Self::Virtio(nic) => Arc::new(nic.clone()),
        }
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Intel(_) => "software 82599",
            Self::Virtio(_) => "software virtio device",
        }
    }
}
