//! The machine that the program runs on, and its PCI devices.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sysfs;
use crate::uio::{self, UioFunction};
use crate::vfio::{self, VfioFunction};
use crate::{BusError, DeviceBar, PciAddress, PciDevice, PciFunction};

/// The machine that the program runs on.
///
/// Devices that are opened through one `Host`, or its clones, share the addresses of their memory.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    vfio: Arc<vfio::Shared>,
}

/// How a program reaches a device of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// VFIO: the device is bound to `vfio-pci`.
    Vfio,
    /// UIO: the device is bound to `uio_pci_generic` or to no driver. Root only.
    Uio,
}

/// A device of this machine, open.
pub type HostFunction = Box<dyn PciFunction<Bar = DeviceBar>>;

impl Default for Host {
    fn default() -> Self {
        Self::at("/")
    }
}

impl Host {
    /// A machine whose `/sys`, `/dev`, `/proc` and `/run` are below `root`: for tests, on trees
    /// that are made up.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            vfio: Arc::default(),
        }
    }

    /// `name` below the root, such as `dev/vfio`.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn vfio(&self) -> &vfio::Shared {
        &self.vfio
    }

    pub(crate) fn device_folder(&self, address: PciAddress) -> PathBuf {
        let devices = self.path("sys/bus/pci/devices");
        devices.join(address.to_string())
    }

    /// Whether VFIO was told to give devices away that no IOMMU confines.
    pub fn vfio_may_do_without_iommu(&self) -> bool {
        let mode = self.path("sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
        matches!(sysfs::text(&mode).as_deref(), Some("Y" | "1"))
    }

    /// All PCI devices, by address.
    ///
    /// # Errors
    /// [`BusError::Refused`] when `/sys` can't be read.
    pub fn devices(&self) -> Result<Vec<PciDevice>, BusError> {
        let folder = self.path("sys/bus/pci/devices");
        let names = sysfs::names(&folder).map_err(|source| BusError::Refused {
            device: "PCI".to_owned(),
            what: format!("list {}", folder.display()),
            source,
            remedy: String::new(),
        })?;
        let mut addresses: Vec<PciAddress> =
            names.iter().filter_map(|name| name.parse().ok()).collect();
        addresses.sort_unstable();
        // one that was unplugged in between is no device
        let devices = addresses
            .into_iter()
            .filter_map(|address| self.device(address).ok());
        Ok(devices.collect())
    }

    /// The device at `address`.
    ///
    /// # Errors
    /// [`BusError::NoDevice`].
    pub fn device(&self, address: PciAddress) -> Result<PciDevice, BusError> {
        PciDevice::read(&self.device_folder(address), address).ok_or_else(|| BusError::NoDevice {
            device: address.to_string(),
        })
    }

    /// Opens the device at `address` by what it is bound to. A given `backend` must be that one.
    ///
    /// The device does no DMA when this returns, whatever it did before.
    ///
    /// # Errors
    /// [`BusError::WrongDriver`] where it is bound to something else, [`BusError::GroupShared`],
    /// [`BusError::Refused`]: each with what would help.
    pub fn open(
        &self,
        address: PciAddress,
        backend: Option<Backend>,
    ) -> Result<HostFunction, BusError> {
        let device = self.device(address)?;
        let bound = device.backend();
        match (bound, backend) {
            (Some(Backend::Vfio), None | Some(Backend::Vfio)) => {
                Ok(Box::new(VfioFunction::open(self, &device)?))
            }
            (Some(Backend::Uio), None | Some(Backend::Uio)) => {
                Ok(Box::new(UioFunction::open(self, device)?))
            }
            _ => Err(wrong_driver(&device, backend)),
        }
    }
}

impl PciDevice {
    /// How the device can be reached as it is bound now; `None` while a driver of the kernel has
    /// it.
    pub fn backend(&self) -> Option<Backend> {
        match self.driver.as_deref() {
            _ if self.is_on_vfio() => Some(Backend::Vfio),
            None | Some(uio::DRIVER) => Some(Backend::Uio),
            Some(_) => None,
        }
    }
}

fn wrong_driver(device: &PciDevice, backend: Option<Backend>) -> BusError {
    let address = device.address;
    let state = match &device.driver {
        Some(driver) => format!("is bound to {driver}"),
        None => "is bound to no driver".to_owned(),
    };
    let driver = match backend {
        None | Some(Backend::Vfio) => "vfio-pci",
        Some(Backend::Uio) => uio::DRIVER,
    };
    BusError::WrongDriver {
        device: address.to_string(),
        state,
        remedy: format!("give it to programs with `sudo barewire bind {address} {driver}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::made_up::Tree;

    #[test]
    fn devices_are_sorted_and_what_is_no_device_is_left_out() {
        let tree = Tree::new();
        tree.card("0000:81:00.0");
        tree.card("0000:03:00.0");
        tree.card("10000:01:00.0");
        tree.write("sys/bus/pci/devices/nonsense/vendor", "0x8086");
        let devices = tree.host().devices().unwrap();
        let names: Vec<_> = devices
            .iter()
            .map(|device| device.address.to_string())
            .collect();
        assert_eq!(names, ["0000:03:00.0", "0000:81:00.0", "10000:01:00.0"]);
    }

    #[test]
    fn a_machine_without_pci_has_no_devices() {
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(Host::at(nothing.path()).devices().unwrap(), []);
    }

    #[test]
    fn what_is_in_the_way_comes_with_the_command_against_it() {
        let tree = Tree::new();
        tree.card("0000:03:00.0").driver("ixgbe");
        tree.card("0000:04:00.0");
        let open = |address: &str, backend| {
            let result = tree.host().open(address.parse().unwrap(), backend);
            result.err().unwrap().to_string()
        };
        let kernel = open("03:00.0", None);
        assert!(kernel.contains("is bound to ixgbe"), "{kernel}");
        assert!(
            kernel.contains("barewire bind 0000:03:00.0 vfio-pci"),
            "{kernel}"
        );
        let uio = open("03:00.0", Some(Backend::Uio));
        assert!(uio.contains("bind 0000:03:00.0 uio_pci_generic"), "{uio}");
        let free = open("04:00.0", Some(Backend::Vfio));
        assert!(free.contains("is bound to no driver"), "{free}");
        let absent = open("05:00.0", None);
        assert!(absent.contains("no PCI device 0000:05:00.0"), "{absent}");
    }

    #[test]
    fn vfio_without_nodes_says_how_to_get_them() {
        let tree = Tree::new();
        tree.card("0000:03:00.0").driver("vfio-pci").group(12);
        let open = || {
            let result = tree.host().open("03:00.0".parse().unwrap(), None);
            result.err().unwrap().to_string()
        };
        let missing = open();
        assert!(
            missing.contains("dev/vfio/12") && missing.contains("modprobe vfio-pci"),
            "{missing}"
        );
        // a node that is no VFIO node
        tree.write("dev/vfio/12", "");
        let nonsense = open();
        assert!(nonsense.contains("group's status"), "{nonsense}");
    }
}
