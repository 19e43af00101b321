//! One PCI device as the kernel knows it.

use std::path::Path;

use super::group::is_vfio;
use super::{BarInfo, IommuGroup, NetInterface, bars, group, interface, link_name, number, text};
use crate::PciAddress;

/// A PCI device, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciDevice {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code: class, subclass, programming interface, 8 bits each.
    pub class: u32,
    /// The driver it is bound to.
    pub driver: Option<String>,
    /// The only driver it may be bound to, if the administrator said so.
    pub driver_override: Option<String>,
    /// The memory and processors it is close to; `None` on a machine with one such node.
    pub numa_node: Option<u32>,
    /// Its IOMMU group; `None` where there is no IOMMU or it is off.
    pub iommu_group: Option<IommuGroup>,
    /// Its windows.
    pub bars: Vec<BarInfo>,
    /// Its PCI Express link.
    pub link: Option<PcieLink>,
    /// The kernel's network interfaces on it.
    pub interfaces: Vec<NetInterface>,
    /// Its VFIO node in `/dev/vfio/devices`, on kernels with iommufd.
    pub vfio_node: Option<String>,
    /// Its UIO node in `/dev`.
    pub uio_node: Option<String>,
}

/// A PCI Express link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcieLink {
    /// Transfers a second on each lane, as the kernel writes it: `5.0 GT/s PCIe`.
    pub speed: String,
    /// Number of lanes.
    pub width: u32,
}

impl PciDevice {
    /// Reads what the folder `device` says of the device at `address`; `None` if there is none.
    pub(crate) fn read(device: &Path, address: PciAddress) -> Option<Self> {
        let id = |name: &str| number::<u16>(&device.join(name));
        let first = |folder: &str| super::names(&device.join(folder)).ok()?.into_iter().next();
        let link_override = text(&device.join("driver_override"));
        Some(Self {
            address,
            vendor: id("vendor")?,
            device: id("device")?,
            class: number::<u32>(&device.join("class"))?,
            driver: link_name(&device.join("driver")),
            driver_override: link_override.filter(|name| !name.is_empty() && name != "(null)"),
            numa_node: number::<u32>(&device.join("numa_node")),
            iommu_group: group::read(device),
            bars: text(&device.join("resource")).map_or_else(Vec::new, |text| bars::parse(&text)),
            link: link(device),
            interfaces: interface::read(device),
            vfio_node: first("vfio-dev"),
            uio_node: first("uio"),
        })
    }

    /// Whether it is a network device.
    pub fn is_network(&self) -> bool {
        self.class >> 16 == 0x02
    }

    /// Whether it is bound to VFIO.
    pub fn is_on_vfio(&self) -> bool {
        self.driver.as_deref().is_some_and(is_vfio)
    }
}

fn link(device: &Path) -> Option<PcieLink> {
    Some(PcieLink {
        speed: text(&device.join("current_link_speed")).filter(|speed| speed != "Unknown")?,
        width: number::<u32>(&device.join("current_link_width")).filter(|width| *width > 0)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::sysfs::made_up::Tree;
    use crate::sysfs::{BarKind, GroupMember, NetInterface, PcieLink};

    #[test]
    fn everything_the_kernel_says_of_a_card() {
        let tree = Tree::new();
        let card = tree.card("0000:03:00.0");
        card.driver("ixgbe")
            .group(17)
            .interface("eth7", "1", "10000");
        card.file("numa_node", "1");
        card.file("current_link_speed", "5.0 GT/s PCIe");
        card.file("current_link_width", "8");
        card.file("vfio-dev/vfio4/dev", "511:4");
        tree.card("0000:03:00.1").group(17);

        let device = tree.host().device("0000:03:00.0".parse().unwrap()).unwrap();
        assert_eq!((device.vendor, device.device), (0x8086, 0x10FB));
        assert!(device.is_network() && !device.is_on_vfio());
        assert_eq!(device.driver.as_deref(), Some("ixgbe"));
        assert_eq!(device.driver_override, None);
        assert_eq!(device.numa_node, Some(1));
        let group = device.iommu_group.unwrap();
        let member = |address: &str, driver: Option<&str>| GroupMember {
            address: address.parse().unwrap(),
            driver: driver.map(str::to_owned),
        };
        assert_eq!((group.number, group.no_iommu), (17, false));
        assert_eq!(
            group.members,
            [
                member("0000:03:00.0", Some("ixgbe")),
                member("0000:03:00.1", None)
            ]
        );
        assert!(matches!(device.bars[0].kind, BarKind::Memory { .. }));
        assert_eq!(device.bars[0].size, 0x8_0000);
        assert_eq!(
            device.link,
            Some(PcieLink {
                speed: "5.0 GT/s PCIe".into(),
                width: 8
            })
        );
        let interface = NetInterface {
            name: "eth7".into(),
            carrier: Some(true),
            mbits: Some(10_000),
        };
        assert_eq!(device.interfaces, [interface]);
        assert_eq!(device.vfio_node.as_deref(), Some("vfio4"));
    }

    #[test]
    fn what_the_kernel_does_not_know_is_nothing() {
        let tree = Tree::new();
        let card = tree.card("0000:03:00.0");
        card.file("numa_node", "-1");
        card.file("driver_override", "(null)");
        card.file("current_link_speed", "Unknown");
        card.file("current_link_width", "0");
        card.interface("eth0", "0", "-1");
        let device = tree.host().device("03:00.0".parse().unwrap()).unwrap();
        assert_eq!(device.numa_node, None);
        assert_eq!(device.iommu_group, None);
        assert_eq!(device.driver, None);
        assert_eq!(device.driver_override, None);
        assert_eq!(device.link, None);
        assert_eq!(device.interfaces[0].mbits, None);
        assert_eq!(device.interfaces[0].carrier, Some(false));
    }

    #[test]
    fn a_group_without_an_iommu_is_told_apart() {
        let tree = Tree::new();
        let card = tree.card("0000:03:00.0");
        card.driver("vfio-pci").group(0);
        tree.write("sys/kernel/iommu_groups/0/name", "vfio-noiommu\n");
        let device = tree.host().device("03:00.0".parse().unwrap()).unwrap();
        assert!(device.iommu_group.unwrap().no_iommu);
    }
}
