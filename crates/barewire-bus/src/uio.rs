//! Devices reached through sysfs alone: bound to `uio_pci_generic`, or to no driver.
//!
//! Registers are mapped from `resourceN`, configuration space is the file `config`, and there is no
//! IOMMU between the device and memory. It needs root.
//!
//! # What a killed process leaves behind
//!
//! A device that goes on writing into memory that others have by then. The kernel turns bus
//! mastering off when the last user of `/dev/uioN` has gone, so that file is kept open where there
//! is one. A device without any driver has no such protection until it is opened again, when bus
//! mastering is turned off before anything else is done.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use barewire_dma::DmaMap;
use barewire_spec::pci::config::{self, command};
use rustix::fs::{FlockOperation, flock};

use crate::physical::PhysicalMemory;
use crate::{BarKind, BusError, DeviceBar, Host, Interrupts, PciDevice, PciFunction, capabilities};

/// The driver that gives devices to programs.
pub(crate) const DRIVER: &str = "uio_pci_generic";

/// A PCI function reached through sysfs.
#[derive(Debug)]
pub(crate) struct UioFunction {
    name: String,
    device: PciDevice,
    folder: PathBuf,
    config: File,
    /// The command register as it was found.
    found: u16,
    memory: Arc<PhysicalMemory>,
    /// While it is open, the kernel turns bus mastering off should the process die.
    _uio: Option<File>,
}

impl UioFunction {
    /// Opens the device and stops whatever it still does for a program that went before.
    pub(crate) fn open(host: &Host, device: PciDevice) -> Result<Self, BusError> {
        let name = device.address.to_string();
        let folder = host.device_folder(device.address);
        let refused = |what: String, source: io::Error| BusError::Refused {
            device: name.clone(),
            what,
            remedy: remedy(&source).to_owned(),
            source,
        };
        let path = folder.join("config");
        let config = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| refused(format!("open {}", path.display()), error))?;
        flock(&config, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let error = io::Error::from(error);
            match error.kind() {
                io::ErrorKind::WouldBlock => BusError::Refused {
                    device: name.clone(),
                    what: "have it alone".to_owned(),
                    source: error,
                    remedy: format!(
                        "another program drives it: `sudo fuser {}` names it",
                        path.display()
                    ),
                },
                _ => refused("lock its configuration space".to_owned(), error),
            }
        })?;
        let uio = device.uio_node.as_ref().and_then(|node| {
            let path = host.path("dev").join(node);
            let uio = OpenOptions::new().read(true).write(true).open(&path);
            uio.inspect_err(|error| {
                tracing::warn!(
                    device = name,
                    node = %path.display(),
                    %error,
                    "can't be opened: should this process die, the device goes on with its DMA"
                );
            })
            .ok()
        });
        let pagemap = host.path("proc/self/pagemap");
        let mut function = Self {
            memory: Arc::new(PhysicalMemory::new(name.clone(), pagemap)),
            name,
            device,
            folder,
            config,
            found: 0,
            _uio: uio,
        };
        function.found = function.command()?;
        function.quiesce()?;
        function.wake()?;
        Ok(function)
    }

    /// No DMA and no legacy interrupt; windows of each kind that it has are decoded.
    fn quiesce(&self) -> Result<(), BusError> {
        let command = self.command()? & !command::BUS_MASTER;
        let kinds = self.device.bars.iter().map(|bar| match bar.kind {
            BarKind::Memory { .. } => command::MEMORY_SPACE,
            BarKind::Ports => command::IO_SPACE,
        });
        let decoded = kinds.fold(0, |all, kind| all | kind);
        self.set_command(command | decoded | command::INTERRUPT_DISABLE)
    }

    fn command(&self) -> Result<u16, BusError> {
        let [low, high, ..] = self.config_read32(config::COMMAND)?.to_le_bytes();
        Ok(u16::from_le_bytes([low, high]))
    }

    fn set_command(&self, value: u16) -> Result<(), BusError> {
        // two bytes: the status register behind it is cleared by writing
        self.config
            .write_all_at(&value.to_le_bytes(), u64::from(config::COMMAND))
            .map_err(|error| self.unreachable("write its command register", &error))
    }

    /// A device without a driver may be asleep.
    fn wake(&self) -> Result<(), BusError> {
        const STATE: u16 = 0b11;
        let all = capabilities(self)?;
        let mut all = all.iter();
        let Some(capability) = all.find(|it| it.id == config::capability::POWER_MANAGEMENT) else {
            return Ok(());
        };
        let control = capability.offset + config::power_management::CONTROL;
        let mut state = [0; 2];
        let at = u64::from(control);
        let read = self.config.read_exact_at(&mut state, at);
        read.map_err(|error| self.unreachable("read its power state", &error))?;
        let state = u16::from_le_bytes(state);
        if state & STATE == 0 {
            return Ok(());
        }
        tracing::info!(device = self.name, "waking the device");
        let awake = (state & !STATE).to_le_bytes();
        let written = self.config.write_all_at(&awake, at);
        written.map_err(|error| self.unreachable("wake it", &error))?;
        // it may take 10 ms (PCI Power Management 1.2, §5.6.1)
        std::thread::sleep(Duration::from_millis(10));
        self.quiesce()
    }

    fn unreachable(&self, what: &str, error: &io::Error) -> BusError {
        BusError::Unreachable {
            device: self.name.clone(),
            reason: format!("cannot {what}: {error}"),
        }
    }
}

/// What may help against an error of sysfs.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "only root may (and no one where the kernel is locked down, as with Secure Boot): \
             use sudo, or bind the device to vfio-pci, which lets an ordinary user drive it"
        }
        _ => "",
    }
}

impl PciFunction for UioFunction {
    type Bar = DeviceBar;

    fn name(&self) -> &str {
        &self.name
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let mut bytes = [0; 4];
        match self.config.read_exact_at(&mut bytes, u64::from(offset)) {
            Ok(()) => Ok(u32::from_le_bytes(bytes)),
            Err(error) => Err(self.unreachable("read its configuration space", &error)),
        }
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        self.config
            .write_all_at(&value.to_le_bytes(), u64::from(offset))
            .map_err(|error| self.unreachable("write its configuration space", &error))
    }

    fn bar(&self, index: u8) -> Result<DeviceBar, BusError> {
        let info = self.device.bars.iter().find(|bar| bar.index == index);
        let no_bar = || BusError::NoBar {
            device: self.name.clone(),
            index,
        };
        let info = info.ok_or_else(no_bar)?;
        let size = u32::try_from(info.size).map_err(|_| no_bar())?;
        let path = self.folder.join(format!("resource{index}"));
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let bar = file.and_then(|file| match info.kind {
            BarKind::Memory { .. } => DeviceBar::mapped(&file, 0, size),
            BarKind::Ports => DeviceBar::file(&Arc::new(file), 0, size, &[]),
        });
        bar.map_err(|source| BusError::Refused {
            device: self.name.clone(),
            what: format!("map {}", path.display()),
            remedy: remedy(&source).to_owned(),
            source,
        })
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::clone(&self.memory) as Arc<dyn DmaMap>
    }

    fn interrupts(&self, _: u16) -> Result<Interrupts, BusError> {
        Err(BusError::NoInterrupts {
            device: self.name.clone(),
            reason: format!(
                "only VFIO gives a program the messages of a device: \
                 poll, or run `sudo barewire bind {} vfio-pci`",
                self.name
            ),
        })
    }
}

impl Drop for UioFunction {
    fn drop(&mut self) {
        if let Err(error) = self.set_command(self.found & !command::BUS_MASTER) {
            tracing::debug!(%error, "bus mastering was not turned off");
        }
    }
}

#[cfg(test)]
mod tests;
