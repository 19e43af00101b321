//! `barewire bind` and `barewire unbind`: which driver has a device.

use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::process::Command;

use anyhow::{Context, Result, bail};
use barewire::driver_for;
use barewire_bus::{Binding, Host, PciAddress, PciDevice};
use clap::{Args, ValueEnum};

/// Give devices to programs
///
/// Each device is taken from the driver that has it and bound to vfio-pci or another driver that
/// gives devices to programs, so that barewire can drive it. What it was bound to is remembered until
/// `barewire unbind`, or until the machine starts anew, when the kernel binds it as ever. Needs root.
#[derive(Args, Debug)]
pub(crate) struct Bind {
    /// PCI addresses: 0000:03:00.0, or 03:00.0
    #[arg(value_name = "DEVICE", required = true)]
    devices: Vec<PciAddress>,

    /// With an IOMMU, vfio-pci: safe, with interrupts, and for ordinary users
    driver: DriverName,

    /// Let the user who called sudo drive them: their VFIO nodes become this user's
    #[arg(long)]
    mine: bool,

    /// Even if one carries this machine's default route, or barewire has no driver for it
    #[arg(long)]
    force: bool,
}

/// Give devices back to the drivers that they had before `barewire bind`
#[derive(Args, Debug)]
pub(crate) struct Unbind {
    /// PCI addresses: 0000:03:00.0, or 03:00.0
    #[arg(value_name = "DEVICE", required = true)]
    devices: Vec<PciAddress>,
}

/// Drivers that give devices to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DriverName {
    #[value(name = "vfio-pci")]
    Vfio,
    #[value(name = "uio_pci_generic")]
    Uio,
}

impl DriverName {
    const fn name(self) -> &'static str {
        match self {
            Self::Vfio => "vfio-pci",
            Self::Uio => "uio_pci_generic",
        }
    }
}

/// Binds devices: all, or none if one of them is refused beforehand.
///
/// # Errors
/// What stands in the way, with what would help.
pub(crate) fn bind(command: &Bind) -> Result<()> {
    let host = Host::default();
    let driver = command.driver.name();
    let owner = match (command.mine, command.driver) {
        (false, _) => None,
        (true, DriverName::Vfio) => Some(Owner::caller(|name| std::env::var(name).ok())?),
        (true, DriverName::Uio) => {
            bail!("--mine needs vfio-pci: without an IOMMU only root may drive a device")
        }
    };
    for device in &command.devices {
        check(&host, *device, command.force)?;
    }
    if !host.path("sys/bus/pci/drivers").join(driver).is_dir() {
        load(driver);
    }
    for address in &command.devices {
        let binding = host.bind(*address, driver)?;
        let device = host.device(*address)?;
        let mut lines = vec![change(*address, &binding)];
        let given = owner.as_ref().map(|owner| owner.take(&host, &device));
        lines.extend(given.transpose()?.flatten());
        let user = std::env::var("SUDO_USER").ok();
        lines.extend(next_steps(&device, user, owner.is_some()));
        print(&lines)?;
    }
    Ok(())
}

/// Unbinds devices.
///
/// # Errors
/// What stands in the way, with what would help.
pub(crate) fn unbind(command: &Unbind) -> Result<()> {
    let host = Host::default();
    for address in &command.devices {
        let binding = host.unbind(*address)?;
        print(&[change(*address, &binding)])?;
    }
    Ok(())
}

/// Who is to drive a device.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// The user who called sudo.
    fn caller(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let number = |name| variable(name).and_then(|text| text.parse().ok());
        match (number("SUDO_UID"), number("SUDO_GID")) {
            (Some(user), Some(group)) => Ok(Self { user, group }),
            _ => bail!("--mine is for `sudo barewire bind`: it can't be seen who called"),
        }
    }

    /// Gives this user the node of a device's group; says which.
    fn take(&self, host: &Host, device: &PciDevice) -> Result<Option<String>> {
        let Some(group) = &device.iommu_group else {
            return Ok(None);
        };
        if group.no_iommu {
            return Ok(Some(
                "no IOMMU confines it, so only root may drive it".to_owned(),
            ));
        }
        let name = format!("dev/vfio/{}", group.number);
        chown(host.path(&name), Some(self.user), Some(self.group))
            .with_context(|| format!("cannot give /{name} to user {}", self.user))?;
        Ok(Some(format!("/{name} belongs to user {} now", self.user)))
    }
}

fn print(lines: &[String]) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", lines.join("\n"))
        .and_then(|()| output.flush())
        .context("cannot write to standard output")
}

/// Loads a kernel module. What comes of it shows when the driver is looked for.
fn load(module: &str) {
    match Command::new("modprobe").arg(module).output() {
        Ok(output) if output.status.success() => tracing::info!(module, "loaded"),
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            tracing::info!(module, error = error.trim(), "modprobe failed");
        }
        Err(error) => tracing::info!(module, %error, "modprobe can't be run"),
    }
}

/// Refuses what the user would be sorry for.
fn check(host: &Host, address: PciAddress, force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    let device = host.device(address)?;
    if let Some(interface) = host.default_route_over(&device) {
        bail!(
            "{address} carries this machine's default route ({interface}): without it the machine \
             may be out of reach; --force does it all the same"
        );
    }
    if driver_for(device.vendor, device.device).is_none() {
        bail!(
            "{address} is {:04x}:{:04x}, which barewire has no driver for; --force binds it all \
             the same",
            device.vendor,
            device.device
        );
    }
    Ok(())
}

fn change(address: PciAddress, binding: &Binding) -> String {
    let name = |driver: &Option<String>| driver.clone().unwrap_or_else(|| "no driver".to_owned());
    let (before, now) = (name(&binding.before), name(&binding.now));
    if before == now {
        format!("{address} is bound to {now} already")
    } else {
        format!("{address}: from {before} to {now}")
    }
}

/// What is left to do until an ordinary user can drive the device.
fn next_steps(device: &PciDevice, user: Option<String>, owned: bool) -> Vec<String> {
    let Some(group) = &device.iommu_group else {
        return Vec::new();
    };
    if !device.is_on_vfio() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let others = group.members.iter().filter(|member| !member.is_harmless());
    for member in others {
        steps.push(format!(
            "its IOMMU group {} is shared with {} ({}), which must be given away too: \
             `sudo barewire bind {} vfio-pci`",
            group.number,
            member.address,
            member.driver.as_deref().unwrap_or("no driver"),
            member.address,
        ));
    }
    if !group.no_iommu && !owned {
        let user = user.filter(|user| user != "root");
        steps.push(format!(
            "an ordinary user may drive it after `sudo chown {} /dev/vfio/{}`",
            user.as_deref().unwrap_or("$USER"),
            group.number
        ));
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::made_up::Tree;

    fn refusal(tree: &Tree, device: &str) -> String {
        let error = check(&tree.host(), device.parse().unwrap(), false).unwrap_err();
        error.to_string()
    }

    #[test]
    fn the_way_to_the_world_is_kept_unless_forced() {
        let tree = Tree::new();
        let card = tree.card("0000:03:00.0", 0x10FB);
        card.file("net/eth0/carrier", "1");
        let route = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        tree.write("proc/net/route", route);
        let refusal = refusal(&tree, "03:00.0");
        assert!(
            refusal.contains("default route (eth0)") && refusal.contains("--force"),
            "{refusal}"
        );
        let address: PciAddress = "03:00.0".parse().unwrap();
        assert!(check(&tree.host(), address, true).is_ok());
        tree.write("proc/net/route", "");
        assert!(check(&tree.host(), address, false).is_ok());
    }

    #[test]
    fn other_devices_are_not_taken_by_mistake() {
        let tree = Tree::new();
        tree.card("0000:03:00.0", 0x1572);
        let unknown = refusal(&tree, "03:00.0");
        assert!(unknown.contains("8086:1572"), "{unknown}");
        let absent = refusal(&tree, "04:00.0");
        assert!(absent.contains("no PCI device 0000:04:00.0"), "{absent}");
    }

    #[test]
    fn what_is_left_to_do_is_said() {
        let tree = Tree::new();
        tree.card("0000:03:00.0", 0x10FB)
            .driver("vfio-pci")
            .group(17);
        tree.card("0000:03:00.1", 0x10FB).driver("ixgbe").group(17);
        let device = tree.host().device("03:00.0".parse().unwrap()).unwrap();
        let steps = next_steps(&device, Some("alice".into()), false);
        assert!(
            steps[0].contains("barewire bind 0000:03:00.1 vfio-pci"),
            "{steps:?}"
        );
        assert!(steps[1].contains("chown alice /dev/vfio/17"), "{steps:?}");
        let steps = next_steps(&device, Some("root".into()), false);
        assert!(steps[1].contains("chown $USER /dev/vfio/17"), "{steps:?}");
        assert_eq!(next_steps(&device, None, true).len(), 1);
    }
    #[test]
    fn the_node_goes_to_whoever_called_sudo() {
        let none = Owner::caller(|_| None).unwrap_err().to_string();
        assert!(none.contains("sudo barewire bind"), "{none}");
        let tree = Tree::new();
        let own = std::fs::metadata(tree.host().path("")).unwrap();
        let owner = Owner::caller(|name| match name {
            "SUDO_UID" => Some(own.uid().to_string()),
            "SUDO_GID" => Some(own.gid().to_string()),
            _ => None,
        });
        let owner = owner.unwrap();
        tree.card("0000:03:00.0", 0x10FB)
            .driver("vfio-pci")
            .group(17);
        let device = tree.host().device("03:00.0".parse().unwrap()).unwrap();
        let missing = owner.take(&tree.host(), &device).unwrap_err().to_string();
        assert!(missing.contains("/dev/vfio/17"), "{missing}");
        tree.write("dev/vfio/17", "");
        let said = owner.take(&tree.host(), &device).unwrap().unwrap();
        assert!(said.contains("/dev/vfio/17 belongs to user"), "{said}");
    }
}
