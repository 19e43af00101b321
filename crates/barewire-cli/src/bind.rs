//! `barewire bind` and `barewire unbind`: which driver has a device.

use std::io::{self, Write};
use std::process::Command;

use anyhow::{Context, Result, bail};
use barewire::driver_for;
use barewire_bus::{Binding, Host, PciAddress, PciDevice};
use clap::{Args, ValueEnum};

/// Give a device to programs
///
/// The device is taken from the driver that has it and bound to vfio-pci or another driver that gives
/// devices to programs, so that barewire can drive it. What it was bound to is remembered until `barewire unbind`, or until the
/// machine starts anew, when the kernel binds it as ever. Needs root.
#[derive(Args, Debug)]
pub(crate) struct Bind {
    /// Its PCI address: 0000:03:00.0, or 03:00.0
    device: PciAddress,

    /// With an IOMMU, vfio-pci: safe, with interrupts, and for ordinary users
    driver: DriverName,

    /// Even if it carries this machine's default route, or barewire has no driver for it
    #[arg(long)]
    force: bool,
}

/// Give a device back to the driver that it had before `barewire bind`
#[derive(Args, Debug)]
pub(crate) struct Unbind {
    /// Its PCI address: 0000:03:00.0, or 03:00.0
    device: PciAddress,
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

/// Binds a device.
///
/// # Errors
/// What stands in the way, with what would help.
pub(crate) fn bind(command: &Bind) -> Result<()> {
    let host = Host::default();
    let driver = command.driver.name();
    check(&host, command)?;
    if !host.path("sys/bus/pci/drivers").join(driver).is_dir() {
        load(driver);
    }
    let binding = host.bind(command.device, driver)?;
    let device = host.device(command.device)?;
    let mut lines = vec![change(command.device, &binding)];
    lines.extend(next_steps(&device, std::env::var("SUDO_USER").ok()));
    print(&lines)
}

/// Unbinds a device.
///
/// # Errors
/// What stands in the way, with what would help.
pub(crate) fn unbind(command: &Unbind) -> Result<()> {
    let binding = Host::default().unbind(command.device)?;
    print(&[change(command.device, &binding)])
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
fn check(host: &Host, command: &Bind) -> Result<()> {
    if command.force {
        return Ok(());
    }
    let address = command.device;
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
fn next_steps(device: &PciDevice, user: Option<String>) -> Vec<String> {
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
    if !group.no_iommu {
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
    use super::*;
    use crate::made_up::Tree;

    fn bind(device: &str, force: bool) -> Bind {
        Bind {
            device: device.parse().unwrap(),
            driver: DriverName::Vfio,
            force,
        }
    }

    #[test]
    fn the_way_to_the_world_is_kept_unless_forced() {
        let tree = Tree::new();
        let card = tree.card("0000:03:00.0", 0x10FB);
        card.file("net/eth0/carrier", "1");
        let route = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        tree.write("proc/net/route", route);
        let refusal = check(&tree.host(), &bind("03:00.0", false))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("default route (eth0)") && refusal.contains("--force"),
            "{refusal}"
        );
        assert!(check(&tree.host(), &bind("03:00.0", true)).is_ok());
        tree.write("proc/net/route", "");
        assert!(check(&tree.host(), &bind("03:00.0", false)).is_ok());
    }

    #[test]
    fn other_devices_are_not_taken_by_mistake() {
        let tree = Tree::new();
        tree.card("0000:03:00.0", 0x1572);
        let refusal = check(&tree.host(), &bind("03:00.0", false))
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("8086:1572"), "{refusal}");
        let absent = check(&tree.host(), &bind("04:00.0", false))
            .unwrap_err()
            .to_string();
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
        let steps = next_steps(&device, Some("alice".into()));
        assert!(
            steps[0].contains("barewire bind 0000:03:00.1 vfio-pci"),
            "{steps:?}"
        );
        assert!(steps[1].contains("chown alice /dev/vfio/17"), "{steps:?}");
        let steps = next_steps(&device, Some("root".into()));
        assert!(steps[1].contains("chown $USER /dev/vfio/17"), "{steps:?}");
    }
}
