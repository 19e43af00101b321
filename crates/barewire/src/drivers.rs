//! Which driver is for which device.

use barewire_bus::PciFunction;
use barewire_spec::pci::{self, Identity, config};
use barewire_spec::virtio::pci as virtio;

use crate::{Error, Port, PortConfig, ixgbe, virtio_net};

/// A device that a driver knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    Ixgbe(&'static Identity),
    VirtioNet,
}

/// The name of the driver for virtio network devices.
pub(crate) const VIRTIO_NET: &str = "virtio-net";

/// What can be driven, for people.
const ALL: &str = "Intel 82599 (X520), X540, X550, X552 and X553, and virtio network devices";

impl Known {
    fn find(vendor: u16, device: u16) -> Option<Self> {
        if vendor == virtio::VENDOR
            && matches!(device, virtio::DEVICE_NET | virtio::DEVICE_NET_TRANSITIONAL)
        {
            return Some(Self::VirtioNet);
        }
        let identity = pci::identify(vendor, device)?;
        (!identity.family.is_virtual_function()).then_some(Self::Ixgbe(identity))
    }
}

/// The name of the driver that [`Port::open`] would use for a PCI device with these IDs; `None` for
/// a device that no driver knows.
pub fn driver_for(vendor: u16, device: u16) -> Option<&'static str> {
    Some(match Known::find(vendor, device)? {
        Known::Ixgbe(_) => "ixgbe",
        Known::VirtioNet => VIRTIO_NET,
    })
}

/// Finds out from its IDs alone whether a device is one that `mine` accepts.
pub(crate) fn identify<P: PciFunction, T>(
    function: &P,
    mine: impl FnOnce(Known) -> Option<T>,
) -> Result<T, Error> {
    let [vendor_low, vendor_high, id_low, id_high] =
        function.config_read32(config::VENDOR_ID)?.to_le_bytes();
    let vendor = u16::from_le_bytes([vendor_low, vendor_high]);
    let id = u16::from_le_bytes([id_low, id_high]);
    let known = Known::find(vendor, id).and_then(mine);
    known.ok_or_else(|| Error::NotSupported {
        device: function.name().to_owned(),
        vendor,
        id,
        known: ALL,
    })
}

/// Opens a device with the driver for it.
pub(crate) fn open<P: PciFunction>(function: P, config: &PortConfig) -> Result<Port, Error> {
    match identify(&function, Some)? {
        Known::Ixgbe(_) => ixgbe::Ixgbe::open(function, config).map(Port::from_driver),
        Known::VirtioNet => virtio_net::VirtioNet::open(function, config).map(Port::from_driver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_of_the_family_but_not_their_virtual_functions_nor_others() {
        assert_eq!(driver_for(0x8086, 0x10FB), Some("ixgbe"));
        assert_eq!(driver_for(0x8086, 0x1563), Some("ixgbe"));
        assert_eq!(driver_for(0x8086, 0x10ED), None);
        assert_eq!(driver_for(0x8086, 0x1572), None);
        assert_eq!(driver_for(0x10EC, 0x10FB), None);
        assert_eq!(driver_for(0x1AF4, 0x1000), Some("virtio-net"));
        assert_eq!(driver_for(0x1AF4, 0x1041), Some("virtio-net"));
        // a virtio block device
        assert_eq!(driver_for(0x1AF4, 0x1042), None);
    }
}
