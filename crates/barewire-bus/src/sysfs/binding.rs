//! Taking a device from one driver and giving it to another, and back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::text;
use crate::{BusError, Host, PciAddress, PciDevice};

/// What became of a device's binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The driver it was bound to.
    pub before: Option<String>,
    /// The driver it is bound to.
    pub now: Option<String>,
}

/// Writes a text to a file of sysfs, in one piece.
fn write_once(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

impl Host {
    /// Binds a device to `driver`, taking it away from the driver that has it. What it was bound to
    /// is remembered in `/run/barewire/bound`, once, until [`unbind`](Self::unbind).
    ///
    /// # Errors
    /// [`BusError::NoDevice`]; [`BusError::Refused`] where the driver is not loaded or does not take
    /// the device, with what would help. The device is given back to the driver it had then.
    pub fn bind(&self, address: PciAddress, driver: &str) -> Result<Binding, BusError> {
        Change::new(self, address, &write_once)?.bind(driver)
    }

    /// Gives a device back to what it was bound to before [`bind`](Self::bind); where nothing is
    /// remembered, to whichever driver of the kernel wants it.
    ///
    /// # Errors
    /// [`BusError::NoDevice`]; [`BusError::WrongDriver`] where a driver of the kernel has it and
    /// there is nothing to undo; [`BusError::Refused`], with what would help.
    pub fn unbind(&self, address: PciAddress) -> Result<Binding, BusError> {
        Change::new(self, address, &write_once)?.unbind()
    }
}

/// What a device was bound to before it was given to programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remembered {
    driver: Option<String>,
    driver_override: Option<String>,
}

impl Remembered {
    fn read(path: &Path) -> Option<Self> {
        let text = text(path)?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            let name = line.strip_prefix('=')?.trim();
            // it becomes a part of a path
            let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            (name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(sane))
                .then(|| name.to_owned())
        };
        Some(Self {
            driver: value("driver"),
            driver_override: value("driver_override"),
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let or_nothing = |name: &Option<String>| name.clone().unwrap_or_default();
        let (driver, only) = (or_nothing(&self.driver), or_nothing(&self.driver_override));
        fs::write(path, format!("driver={driver}\ndriver_override={only}\n"))
    }
}

/// A change of one device's binding.
struct Change<'a> {
    host: &'a Host,
    device: PciDevice,
    /// Writes to sysfs: the kernel, or what plays its part in tests.
    write: &'a dyn Fn(&Path, &str) -> io::Result<()>,
}

impl<'a> Change<'a> {
    fn new(
        host: &'a Host,
        address: PciAddress,
        write: &'a dyn Fn(&Path, &str) -> io::Result<()>,
    ) -> Result<Self, BusError> {
        Ok(Self {
            host,
            device: host.device(address)?,
            write,
        })
    }

    fn name(&self) -> String {
        self.device.address.to_string()
    }

    fn memory(&self) -> PathBuf {
        self.host.path("run/barewire/bound").join(self.name())
    }

    fn driver_folder(&self, driver: &str) -> PathBuf {
        self.host.path("sys/bus/pci/drivers").join(driver)
    }

    fn refused(&self, what: String, source: io::Error, remedy: impl Into<String>) -> BusError {
        let remedy = match source.kind() {
            io::ErrorKind::PermissionDenied => "only root may: use sudo".to_owned(),
            _ => remedy.into(),
        };
        BusError::Refused {
            device: self.name(),
            what,
            source,
            remedy,
        }
    }

    fn bind(self, driver: &str) -> Result<Binding, BusError> {
        let before = self.device.driver.clone();
        if before.as_deref() == Some(driver) {
            return Ok(Binding {
                now: before.clone(),
                before,
            });
        }
        self.check(driver)?;
        self.check_unused()?;
        let memory = self.memory();
        let remembered = Remembered {
            driver: before.clone(),
            driver_override: self.device.driver_override.clone(),
        };
        let known = memory.exists();
        if !known {
            remembered.write(&memory).map_err(|error| {
                self.refused(
                    format!("remember its driver in {}", memory.display()),
                    error,
                    "",
                )
            })?;
        }
        let moved = self.give_to(Some(driver), Some(driver));
        if moved.is_err() {
            let (driver, only) = (&remembered.driver, &remembered.driver_override);
            if let Err(error) = self.give_to(driver.as_deref(), only.as_deref()) {
                tracing::warn!(%error, "the device could not be given back to its driver");
            } else if !known {
                let _ = fs::remove_file(&memory);
            }
        }
        moved.map(|now| Binding { before, now })
    }

    fn unbind(self) -> Result<Binding, BusError> {
        let memory = self.memory();
        let remembered = Remembered::read(&memory);
        let before = self.device.driver.clone();
        if self.device.backend().is_none() {
            let known = remembered.is_some_and(|remembered| remembered.driver == before);
            if !known {
                return Err(BusError::WrongDriver {
                    device: self.name(),
                    state: format!("is bound to {}", before.unwrap_or_default()),
                    remedy: "a driver of the kernel has it, so there is nothing to undo".to_owned(),
                });
            }
            let _ = fs::remove_file(&memory);
            return Ok(Binding {
                now: before.clone(),
                before,
            });
        }
        self.check_unused()?;
        let now = if let Some(remembered) = remembered {
            if let Some(driver) = &remembered.driver {
                self.check_loaded(driver)?;
            }
            let only = remembered.driver_override.as_deref();
            self.give_to(remembered.driver.as_deref(), only)?
        } else {
            self.give_to(None, None)?;
            let probe = self.host.path("sys/bus/pci/drivers_probe");
            (self.write)(&probe, &self.name()).map_err(|error| {
                self.refused("look for a driver of the kernel".to_owned(), error, "")
            })?;
            self.host.device(self.device.address)?.driver
        };
        let _ = fs::remove_file(&memory);
        Ok(Binding { before, now })
    }

    fn check_loaded(&self, driver: &str) -> Result<(), BusError> {
        if self.driver_folder(driver).is_dir() {
            return Ok(());
        }
        Err(self.refused(
            format!("bind it to {driver}"),
            io::Error::new(io::ErrorKind::NotFound, "the driver is not loaded"),
            format!("load it with `sudo modprobe {driver}`"),
        ))
    }

    /// Whether the driver can take the device at all.
    fn check(&self, driver: &str) -> Result<(), BusError> {
        self.check_loaded(driver)?;
        let no_group = self.device.iommu_group.is_none();
        if driver == "vfio-pci" && no_group && !self.host.vfio_may_do_without_iommu() {
            return Err(self.refused(
                format!("bind it to {driver}"),
                io::Error::other("the device is in no IOMMU group"),
                "turn the IOMMU on (in the firmware, and with intel_iommu=on or amd_iommu=on on the \
                 kernel's command line); or do without its protection: \
                 `echo 1 | sudo tee /sys/module/vfio/parameters/enable_unsafe_noiommu_mode`, \
                 or bind it to uio_pci_generic",
            ));
        }
        Ok(())
    }

    /// VFIO waits for the program that has the device, for ever if need be.
    fn check_unused(&self) -> Result<(), BusError> {
        let Some(group) = &self.device.iommu_group else {
            return Ok(());
        };
        if !self.device.is_on_vfio() {
            return Ok(());
        }
        let node = self
            .host
            .path("dev/vfio")
            .join(crate::vfio::node_name(group));
        match OpenOptions::new().read(true).write(true).open(&node) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(self.refused(
                "take it from its driver".to_owned(),
                error,
                format!(
                    "a program uses it: end it first (`sudo fuser {}` names it)",
                    node.display()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Takes the device from the driver that has it now and gives it to `driver`, with `only` as
    /// the only driver that it may be bound to.
    fn give_to(
        &self,
        driver: Option<&str>,
        only: Option<&str>,
    ) -> Result<Option<String>, BusError> {
        let address = self.device.address;
        let folder = self.host.device_folder(address);
        let only = format!("{}\n", only.unwrap_or_default());
        (self.write)(&folder.join("driver_override"), &only)
            .map_err(|error| self.refused("choose its driver".to_owned(), error, ""))?;
        let now = self.host.device(address)?.driver;
        if let Some(now) = now.filter(|now| Some(now.as_str()) != driver) {
            let unbind = self.driver_folder(&now).join("unbind");
            (self.write)(&unbind, &self.name())
                .map_err(|error| self.refused(format!("take it from {now}"), error, ""))?;
        }
        let Some(driver) = driver else {
            return Ok(self.host.device(address)?.driver);
        };
        if self.host.device(address)?.driver.as_deref() != Some(driver) {
            let bind = self.driver_folder(driver).join("bind");
            (self.write)(&bind, &self.name()).map_err(|error| {
                self.refused(format!("bind it to {driver}"), error, why_not(driver))
            })?;
        }
        let now = self.host.device(address)?.driver;
        if now.as_deref() == Some(driver) {
            return Ok(now);
        }
        Err(self.refused(
            format!("bind it to {driver}"),
            io::Error::other("the driver did not take it"),
            why_not(driver),
        ))
    }
}

/// Why a driver may not take a device.
fn why_not(driver: &str) -> &'static str {
    if driver == crate::uio::DRIVER {
        "uio_pci_generic takes only devices with a legacy interrupt: \
         leave this one without a driver, barewire drives it too"
    } else {
        "the kernel's log (`sudo dmesg | tail`) may say why"
    }
}

#[cfg(test)]
mod tests;
