//! Devices reached through VFIO: bound to `vfio-pci`, confined by the IOMMU, and given to whoever
//! owns their node, root or not.
//!
//! The kernel has two interfaces, and a third way without protection:
//!
//! - **Groups and containers** ([`container`]): `/dev/vfio/N` for each IOMMU group.
//! - **Nodes and iommufd** ([`iommufd`]): `/dev/vfio/devices/vfioN` for each device. Used where both
//!   its node and `/dev/iommu` can be opened.
//! - **No IOMMU**: `/dev/vfio/noiommu-N`, where the machine has none. Physical addresses, as with
//!   UIO, but with interrupts.
//!
//! All devices that a program opens through one [`Host`] share an address space, as far as the
//! IOMMUs allow it. Whatever way the process ends, the kernel unmaps its memory and resets the
//! devices.

mod abi;
mod address_space;
mod capabilities;
mod container;
mod device;
mod iommufd;
mod iova;
mod request;

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use barewire_dma::DmaMap;

use self::address_space::DeviceMemory;
use self::container::{Container, Group, GroupError};
use self::device::Device;
use self::iommufd::Iommufd;
use crate::physical::PhysicalMemory;
use crate::{BusError, DeviceBar, Host, Interrupts, IommuGroup, PciDevice, PciFunction};

/// What the devices of a program have in common, as long as one of them is open.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    container: Weak<Container>,
    iommufd: Weak<Iommufd>,
    groups: Vec<(u32, Weak<Group>)>,
}

/// A PCI function reached through VFIO. Fields are dropped in this order: the device before the
/// group that lends it.
pub(crate) struct VfioFunction {
    name: String,
    device: Device,
    memory: Arc<dyn DmaMap>,
    /// An IOMMU confines it.
    translated: bool,
    _membership: Arc<dyn Send + Sync>,
}

impl VfioFunction {
    /// Opens the device by whichever interface there is.
    pub(crate) fn open(host: &Host, device: &PciDevice) -> Result<Self, BusError> {
        let name = device.address.to_string();
        if let Some(function) = Self::open_node(host, device, &name) {
            return function;
        }
        let Some(group) = &device.iommu_group else {
            return Err(BusError::WrongDriver {
                device: name,
                state: "is bound to VFIO but in no IOMMU group".to_owned(),
                remedy: "turn the IOMMU on (intel_iommu=on or amd_iommu=on on the kernel's \
                         command line)"
                    .to_owned(),
            });
        };
        let open = host.vfio().group(host, group);
        let open = open.map_err(|error| explain(&name, group, error))?;
        let refused = |what: &str| {
            let (device, what) = (name.clone(), what.to_owned());
            move |source| BusError::Refused {
                device,
                what,
                source,
                remedy: String::new(),
            }
        };
        let file = CString::new(name.as_str())
            .map_err(io::Error::from)
            .and_then(|name| request::device_fd(std::os::fd::AsFd::as_fd(&open.file), &name))
            .map_err(refused("take it out of its VFIO group"))?;
        let device = Device::new(file).map_err(refused("ask VFIO about it"))?;
        let translated = matches!(&*open.container, Container::Translated(..));
        let memory: Arc<dyn DmaMap> = match &*open.container {
            Container::Translated(_, space) => Arc::new(DeviceMemory {
                device: name.clone(),
                space: Arc::clone(space),
                _membership: Arc::clone(&open) as Arc<dyn Send + Sync>,
            }),
            Container::Untranslated(_) => {
                let pagemap = host.path("proc/self/pagemap");
                Arc::new(PhysicalMemory::new(name.clone(), pagemap))
            }
        };
        tracing::info!(
            device = name,
            group = group.number,
            iommu = !group.no_iommu,
            "open through a VFIO group"
        );
        Ok(Self {
            name,
            device,
            memory,
            translated,
            _membership: open,
        })
    }

    /// Opens the device's own node; `None` where groups must do.
    fn open_node(host: &Host, device: &PciDevice, name: &str) -> Option<Result<Self, BusError>> {
        let node = device.vfio_node.as_ref()?;
        let path = host.path("dev/vfio/devices").join(node);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let iommufd = host.vfio().iommufd(&host.path("dev/iommu"));
        let (file, iommufd) = match (file, iommufd) {
            (Ok(file), Ok(iommufd)) => (file, iommufd),
            (Err(error), _) | (_, Err(error)) => {
                tracing::info!(device = name, %error, "no way through iommufd: trying its group");
                return None;
            }
        };
        let open = iommufd.adopt(&file).and_then(|()| Device::new(file));
        let function = open.map(|device| Self {
            name: name.to_owned(),
            device,
            memory: Arc::new(DeviceMemory {
                device: name.to_owned(),
                space: Arc::clone(&iommufd.space),
                _membership: Arc::clone(&iommufd) as Arc<dyn Send + Sync>,
            }),
            translated: true,
            _membership: iommufd,
        });
        tracing::info!(device = name, node, "open through VFIO and iommufd");
        Some(function.map_err(|source| BusError::Refused {
            device: name.to_owned(),
            what: "bind it to iommufd".to_owned(),
            remedy: match source.raw_os_error() {
                Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => format!(
                    "another program has it or its IOMMU group: `sudo fuser {}` may name it",
                    path.display()
                ),
                _ => String::new(),
            },
            source,
        }))
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn iommufd(&self, node: &Path) -> io::Result<Arc<Iommufd>> {
        let mut state = self.lock();
        if let Some(iommufd) = state.iommufd.upgrade() {
            return Ok(iommufd);
        }
        let iommufd = Arc::new(Iommufd::open(node)?);
        state.iommufd = Arc::downgrade(&iommufd);
        Ok(iommufd)
    }

    /// The group, which several devices may be members of.
    fn group(&self, host: &Host, group: &IommuGroup) -> Result<Arc<Group>, GroupError> {
        let mut state = self.lock();
        state.groups.retain(|(_, open)| open.strong_count() > 0);
        let open = state.groups.iter();
        let mut open = open.filter(|(number, _)| *number == group.number);
        if let Some(open) = open.find_map(|(_, open)| open.upgrade()) {
            return Ok(open);
        }
        let node = host.path("dev/vfio").join(node_name(group));
        let container = host.path("dev/vfio/vfio");
        let shared = state.container.upgrade();
        let open = Arc::new(Group::open(node, container, group.no_iommu, shared)?);
        state.container = Arc::downgrade(&open.container);
        state.groups.push((group.number, Arc::downgrade(&open)));
        Ok(open)
    }
}

/// The name of a group's node.
pub(crate) fn node_name(group: &IommuGroup) -> String {
    if group.no_iommu {
        format!("noiommu-{}", group.number)
    } else {
        group.number.to_string()
    }
}

fn explain(device: &str, group: &IommuGroup, error: GroupError) -> BusError {
    let device = device.to_owned();
    let refused = |what: String, source: io::Error, remedy: String| BusError::Refused {
        device: device.clone(),
        what,
        source,
        remedy,
    };
    match error {
        GroupError::Open(path, source) => {
            let node = path.display();
            let remedy = match source.kind() {
                io::ErrorKind::PermissionDenied if group.no_iommu => {
                    "without an IOMMU only root may have it: use sudo".to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    format!("give it to your user with `sudo chown $USER {node}`")
                }
                io::ErrorKind::NotFound => {
                    "load VFIO with `sudo modprobe vfio-pci` and bind the device again".to_owned()
                }
                io::ErrorKind::ResourceBusy => {
                    format!("another program has it: `sudo fuser {node}` names it")
                }
                _ => String::new(),
            };
            refused(format!("open {node}"), source, remedy)
        }
        GroupError::Request(what, source) => refused(what.to_owned(), source, String::new()),
        GroupError::NoExtension(what) => refused(
            format!("have {what}"),
            io::ErrorKind::Unsupported.into(),
            "load it with `sudo modprobe vfio_iommu_type1`".to_owned(),
        ),
        GroupError::NotViable => {
            let members = group.members.iter();
            let others: Vec<_> = members.filter(|member| !member.is_harmless()).collect();
            let named = others.iter().map(|member| {
                let driver = member.driver.as_deref().unwrap_or("no driver");
                format!("{} ({driver})", member.address)
            });
            let bind = others
                .iter()
                .map(|member| format!("`sudo barewire bind {} vfio-pci`", member.address));
            BusError::GroupShared {
                device,
                group: group.number,
                others: named.collect::<Vec<_>>().join(", "),
                remedy: format!(
                    "a group is given to a program as a whole: run {}, \
                     or move the card to another slot",
                    bind.collect::<Vec<_>>().join(" and ")
                ),
            }
        }
    }
}

impl VfioFunction {
    fn unreachable(&self, what: &str, error: &io::Error) -> BusError {
        if self.device.is_wanted_back() {
            return BusError::WantedBack {
                device: self.name.clone(),
            };
        }
        BusError::Unreachable {
            device: self.name.clone(),
            reason: format!("cannot {what}: {error}"),
        }
    }
}

impl PciFunction for VfioFunction {
    type Bar = DeviceBar;

    fn name(&self) -> &str {
        &self.name
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let read = self.device.config_read32(offset);
        read.map_err(|error| self.unreachable("read its configuration space", &error))
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        let written = self.device.config_write32(offset, value);
        written.map_err(|error| self.unreachable("write its configuration space", &error))
    }

    fn bar(&self, index: u8) -> Result<DeviceBar, BusError> {
        match self.device.bar(index) {
            Ok(Some(bar)) => Ok(bar),
            Ok(None) => Err(BusError::NoBar {
                device: self.name.clone(),
                index,
            }),
            Err(error) => Err(self.unreachable(&format!("map BAR{index}"), &error)),
        }
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::clone(&self.memory)
    }

    fn is_translated(&self) -> bool {
        self.translated
    }

    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        let no_interrupts = |reason| BusError::NoInterrupts {
            device: self.name.clone(),
            reason,
        };
        self.device
            .interrupts(vectors)
            .map_err(|error| no_interrupts(format!("the kernel refused them: {error}")))?
            .map_err(no_interrupts)
    }

    fn is_wanted_back(&self) -> bool {
        self.device.is_wanted_back()
    }
}
