//! IOMMU groups: devices that the IOMMU can't tell apart, or that could reach each other past it.

use std::path::Path;

use super::{link_name, names, text};
use crate::PciAddress;

/// The IOMMU group of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IommuGroup {
    /// The group's number.
    pub number: u32,
    /// There is no IOMMU behind it: VFIO made the group up, to give the device away unprotected.
    pub no_iommu: bool,
    /// All devices of the group, the device itself included.
    pub members: Vec<GroupMember>,
}

/// A device of an IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its address.
    pub address: PciAddress,
    /// The driver it is bound to.
    pub driver: Option<String>,
}

impl GroupMember {
    /// Whether the group can be given to a program while the member is as it is: it is bound to
    /// VFIO, or to nothing, or it is a port of a bridge, whose driver does no DMA.
    pub fn is_harmless(&self) -> bool {
        match self.driver.as_deref() {
            None => true,
            Some(driver) => driver == "pci-stub" || driver == "pcieport" || is_vfio(driver),
        }
    }
}

/// `vfio-pci`, or one of its variants for particular devices (`mlx5_vfio_pci`).
pub(super) fn is_vfio(driver: &str) -> bool {
    driver == "vfio-pci" || driver.ends_with("_vfio_pci") || driver.ends_with("-vfio-pci")
}

/// The group of the device whose folder is `device`.
pub(super) fn read(device: &Path) -> Option<IommuGroup> {
    let group = device.join("iommu_group");
    let number = link_name(&group)?.parse().ok()?;
    let members = names(&group.join("devices")).ok()?;
    let members = members.iter().filter_map(|name| {
        let member = group.join("devices").join(name);
        Some(GroupMember {
            address: name.parse().ok()?,
            driver: link_name(&member.join("driver")),
        })
    });
    Some(IommuGroup {
        number,
        no_iommu: text(&group.join("name")).as_deref() == Some("vfio-noiommu"),
        members: members.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_do_no_dma_do_not_spoil_a_group() {
        for (driver, harmless) in [
            (None, true),
            (Some("vfio-pci"), true),
            (Some("mlx5_vfio_pci"), true),
            (Some("pcieport"), true),
            (Some("pci-stub"), true),
            (Some("ixgbe"), false),
            (Some("uio_pci_generic"), false),
        ] {
            let member = GroupMember {
                address: "00:00.0".parse().unwrap(),
                driver: driver.map(str::to_owned),
            };
            assert_eq!(member.is_harmless(), harmless, "{driver:?}");
        }
    }
}
