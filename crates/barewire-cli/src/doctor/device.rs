//! What one device needs.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use barewire::driver_for;
use barewire_bus::{Backend, Host, IommuGroup, PciDevice};

use super::Finding;
use super::machine::{self, Need};
use super::process::Process;

pub(super) fn findings(host: &Host, process: &Process, device: &PciDevice) -> Vec<Finding> {
    let mut found = vec![model(device)];
    match device.backend() {
        None => found.push(bound(host, device)),
        Some(Backend::Vfio) => vfio(host, process, device, &mut found),
        Some(Backend::Uio) => uio(host, process, device, &mut found),
    }
    found
}

fn model(device: &PciDevice) -> Finding {
    const CHECK: &str = "device";
    let (vendor, id) = (device.vendor, device.device);
    match driver_for(vendor, id) {
        Some(driver) => Finding::ok(CHECK, format!("barewire drives it with {driver}")),
        None => Finding::missing(
            CHECK,
            format!("barewire has no driver for {vendor:04x}:{id:04x}"),
        ),
    }
}

/// The driver to bind it to, and the commands for that.
fn bind(host: &Host, device: &PciDevice) -> Vec<String> {
    let confined = device.iommu_group.is_some() || host.vfio_may_do_without_iommu();
    let driver = if confined {
        "vfio-pci"
    } else {
        "uio_pci_generic"
    };
    let mut commands = Vec::new();
    if !host.path("sys/bus/pci/drivers").join(driver).is_dir() {
        commands.push(format!("sudo modprobe {driver}"));
    }
    commands.push(format!("sudo barewire bind {} {driver}", device.address));
    commands
}

fn bound(host: &Host, device: &PciDevice) -> Finding {
    let driver = device.driver.as_deref().unwrap_or("no driver");
    let mut what = format!("the kernel's driver {driver} has it");
    let mut commands = bind(host, device);
    if let Some(interface) = host.default_route_over(device) {
        what = format!(
            "{what}, and this machine's default route goes over it ({interface}): \
             use another card if you can"
        );
        if let Some(bind) = commands.last_mut() {
            bind.push_str(" --force");
        }
    }
    let mut finding = Finding::missing("driver", what);
    finding.mend = commands;
    finding
}

fn vfio(host: &Host, process: &Process, device: &PciDevice, found: &mut Vec<Finding>) {
    let driver = device.driver.as_deref().unwrap_or_default();
    found.push(Finding::ok("driver", format!("bound to {driver}")));
    let Some(group) = &device.iommu_group else {
        found.push(Finding::missing(
            "group",
            "it is in no IOMMU group: the IOMMU was off when it was bound",
        ));
        return;
    };
    if group.no_iommu {
        found.push(Finding::hint("iommu", "no IOMMU confines it"));
        found.push(root(process));
        found.push(machine::hugepages(host, Need::Must));
        return;
    }
    found.push(shared(device, group));
    found.push(node(host, device, group));
    found.push(memlock(process));
}

fn shared(device: &PciDevice, group: &IommuGroup) -> Finding {
    const CHECK: &str = "group";
    let number = group.number;
    let members = group.members.iter();
    let others: Vec<_> = members
        .filter(|member| member.address != device.address && !member.is_harmless())
        .collect();
    if others.is_empty() {
        return Finding::ok(CHECK, format!("IOMMU group {number} can be given away"));
    }
    let names: Vec<_> = others
        .iter()
        .map(|member| {
            let driver = member.driver.as_deref().unwrap_or("no driver");
            format!("{} ({driver})", member.address)
        })
        .collect();
    let what = format!(
        "it shares IOMMU group {number} with {}: all must be given away, or the card moved to \
         another slot",
        names.join(", ")
    );
    let mut finding = Finding::missing(CHECK, what);
    finding.mend = others
        .iter()
        .map(|member| format!("sudo barewire bind {} vfio-pci", member.address))
        .collect();
    finding
}

/// Whether the device's node can be opened, by either of VFIO's interfaces.
fn node(host: &Host, device: &PciDevice, group: &IommuGroup) -> Finding {
    let by_group = format!("dev/vfio/{}", group.number);
    let tried = try_open(&host.path(&by_group));
    if tried.is_ok() {
        return Finding::ok("node", format!("/{by_group} can be opened"));
    }
    if let Some(node) = &device.vfio_node {
        let path = format!("dev/vfio/devices/{node}");
        let both = try_open(&host.path(&path)).and_then(|()| try_open(&host.path("dev/iommu")));
        if both.is_ok() {
            return Finding::ok("node", format!("/{path} and /dev/iommu can be opened"));
        }
    }
    explain_node(
        &format!("/{by_group}"),
        &tried.err().unwrap_or(io::ErrorKind::Other.into()),
    )
}

fn try_open(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map(drop)
}

fn explain_node(node: &str, error: &io::Error) -> Finding {
    const CHECK: &str = "node";
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Finding::missing(CHECK, format!("your user may not open {node}"))
                .mend(format!("sudo chown $USER {node}"))
        }
        io::ErrorKind::ResourceBusy => Finding::missing(
            CHECK,
            format!("another program uses it through {node}: end it"),
        )
        .mend(format!("sudo fuser -v {node}")),
        io::ErrorKind::NotFound => Finding::missing(
            CHECK,
            format!("there is no {node}: VFIO is not loaded as a whole"),
        )
        .mend("sudo modprobe vfio-pci"),
        _ => Finding::missing(CHECK, format!("{node} can't be opened: {error}")),
    }
}

fn memlock(process: &Process) -> Finding {
    const CHECK: &str = "memlock";
    match process.lockable() {
        Some(limit) if limit < machine::MEMORY => Finding::missing(
            CHECK,
            format!(
                "your user may lock {} MiB of memory, two ports take {}",
                limit >> 20,
                machine::MEMORY >> 20
            ),
        )
        .mend("sudo prlimit --memlock=unlimited --pid $$"),
        Some(limit) => Finding::ok(
            CHECK,
            format!("{} MiB of memory may be locked", limit >> 20),
        ),
        None => Finding::ok(CHECK, "any amount of memory may be locked"),
    }
}

fn root(process: &Process) -> Finding {
    const CHECK: &str = "root";
    if process.may_do_without_iommu() {
        Finding::ok(CHECK, "this user may drive devices that no IOMMU confines")
    } else {
        Finding::missing(CHECK, "only root may drive a device that no IOMMU confines")
            .mend("sudo barewire forward …")
    }
}

fn uio(host: &Host, process: &Process, device: &PciDevice, found: &mut Vec<Finding>) {
    const CHECK: &str = "driver";
    match &device.driver {
        Some(driver) => found.push(Finding::ok(CHECK, format!("bound to {driver}"))),
        None => found.push(Finding::ok(CHECK, "no driver has it")),
    }
    if device.iommu_group.is_some() {
        let mut hint = Finding::hint(
            "iommu",
            "there is an IOMMU that could confine it, and let an ordinary user drive it, with \
             interrupts",
        );
        hint.mend = bind(host, device);
        found.push(hint);
    } else {
        found.push(Finding::hint(
            "interrupts",
            "it can be polled only: UIO gives no message-signalled interrupts",
        ));
    }
    found.push(root(process));
    if let Some(finding) = lockdown(host) {
        found.push(finding);
    }
    found.push(machine::hugepages(host, Need::Must));
}

/// Whether the kernel keeps even root from devices' registers.
fn lockdown(host: &Host) -> Option<Finding> {
    let text = fs::read_to_string(host.path("sys/kernel/security/lockdown")).ok()?;
    let mode = text.split_once('[')?.1.split_once(']')?.0;
    (mode != "none").then(|| {
        Finding::missing(
            "lockdown",
            format!(
                "the kernel is locked down ({mode}, as with Secure Boot) and lets nobody map \
                 registers: use vfio-pci, or turn Secure Boot off in the firmware's setup"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn each_way_a_node_can_be_closed_has_its_command() {
        for (kind, word) in [
            (io::ErrorKind::PermissionDenied, "chown $USER /dev/vfio/9"),
            (io::ErrorKind::ResourceBusy, "fuser -v /dev/vfio/9"),
            (io::ErrorKind::NotFound, "modprobe vfio-pci"),
        ] {
            let finding = explain_node("/dev/vfio/9", &kind.into());
            assert_eq!(finding.state, State::Missing);
            assert!(finding.mend[0].contains(word), "{finding:?}");
        }
    }
}
