//! `barewire devices`: the network devices of this machine.

mod table;

use std::io::{self, Write};

use anyhow::{Context, Result};
use barewire::driver_for;
use barewire_bus::{Backend, Host, PciDevice};
use barewire_spec::pci;
use clap::Args;
use serde::Serialize;

use table::Table;

/// List network devices: driver, IOMMU group, NUMA node, link, and whether barewire can drive them
#[derive(Args, Debug)]
pub(crate) struct Devices {
    /// Print one JSON object, and nothing else, on standard output
    #[arg(long)]
    json: bool,
}

/// Lists the devices.
///
/// # Errors
/// When `/sys` can't be read or the output can't be written.
pub(crate) fn run(command: &Devices) -> Result<()> {
    let devices = rows(&Host::default())?;
    let mut output = io::stdout().lock();
    let written = if command.json {
        serde_json::to_writer(&mut output, &List { devices: &devices })
            .map_err(io::Error::from)
            .and_then(|()| writeln!(output))
    } else {
        write!(output, "{}", people(&devices))
    };
    written
        .and_then(|()| output.flush())
        .context("cannot write to standard output")
}

/// What people call a device: its name, or its IDs.
pub(crate) fn name(device: &PciDevice) -> String {
    match pci::identify(device.vendor, device.device) {
        Some(identity) => identity.name.to_owned(),
        None => format!("{:04x}:{:04x}", device.vendor, device.device),
    }
}

#[derive(Serialize)]
struct List<'a> {
    devices: &'a [Row],
}

/// What is told of a device.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    address: String,
    name: String,
    vendor: u16,
    device: u16,
    /// The driver it is bound to.
    driver: Option<String>,
    iommu_group: Option<u32>,
    numa_node: Option<u32>,
    interfaces: Vec<Interface>,
    pcie: Option<Pcie>,
    /// Barewire's driver for it.
    barewire_driver: Option<&'static str>,
    /// How barewire can reach it as it is bound now.
    backend: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Interface {
    name: String,
    link: Option<bool>,
    mbits: Option<u32>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Pcie {
    speed: String,
    width: u32,
}

fn rows(host: &Host) -> Result<Vec<Row>> {
    let devices = host.devices()?;
    let devices = devices.into_iter().filter(PciDevice::is_network);
    Ok(devices.map(row).collect())
}

fn row(device: PciDevice) -> Row {
    Row {
        address: device.address.to_string(),
        name: name(&device),
        vendor: device.vendor,
        device: device.device,
        barewire_driver: driver_for(device.vendor, device.device),
        backend: device.backend().map(|backend| match backend {
            Backend::Vfio => "vfio",
            Backend::Uio => "uio",
        }),
        driver: device.driver,
        iommu_group: device.iommu_group.map(|group| group.number),
        numa_node: device.numa_node,
        interfaces: device
            .interfaces
            .into_iter()
            .map(|interface| Interface {
                name: interface.name,
                link: interface.carrier,
                mbits: interface.mbits,
            })
            .collect(),
        pcie: device.link.map(|link| Pcie {
            speed: link.speed,
            width: link.width,
        }),
    }
}

fn people(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no network devices on the PCI bus of this machine; \
                `barewire forward` runs on software cards\n"
            .to_owned();
    }
    let mut table = Table::new([
        "ADDRESS",
        "DEVICE",
        "DRIVER",
        "GROUP",
        "NUMA",
        "INTERFACE",
        "LINK",
        "BAREWIRE",
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        let interfaces = row.interfaces.iter();
        let names: Vec<_> = interfaces
            .map(|interface| interface.name.as_str())
            .collect();
        table.row([
            row.address.clone(),
            row.name.clone(),
            or_dash(row.driver.clone()),
            or_dash(row.iommu_group.map(|group| group.to_string())),
            or_dash(row.numa_node.map(|node| node.to_string())),
            or_dash((!names.is_empty()).then(|| names.join(","))),
            or_dash(row.interfaces.first().and_then(link)),
            verdict(row),
        ]);
    }
    table.to_string()
}

fn link(interface: &Interface) -> Option<String> {
    match (interface.link?, interface.mbits) {
        (false, _) => Some("down".to_owned()),
        (true, Some(mbits)) => Some(format!("{mbits} Mbit/s")),
        (true, None) => Some("up".to_owned()),
    }
}

fn verdict(row: &Row) -> String {
    match (row.barewire_driver, row.backend) {
        (None, _) => "no driver for it".to_owned(),
        (Some(driver), Some(backend)) => format!("{driver}, by {backend}"),
        (Some(driver), None) => format!("{driver}, once bound to vfio-pci"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    #[test]
    fn people_and_programs_are_told_the_same() {
        let tree = Tree::new();
        let kernel = tree.card("0000:03:00.0", 0x10FB);
        kernel.driver("ixgbe").group(17);
        kernel.file("net/eth0/carrier", "1");
        kernel.file("net/eth0/speed", "10000");
        tree.card("0000:03:00.1", 0x10FB)
            .driver("vfio-pci")
            .group(18);
        tree.card("0000:04:00.0", 0x1528);
        let other = tree.card("0000:05:00.0", 0x1572);
        other.driver("i40e");
        let bridge = tree.card("0000:00:01.0", 0x1234);
        bridge.file("class", "0x060400");

        let rows = rows(&tree.host()).unwrap();
        let expected = "\
ADDRESS       DEVICE                   DRIVER    GROUP  NUMA  INTERFACE  LINK          BAREWIRE
0000:03:00.0  82599ES SFI/SFP+ (X520)  ixgbe     17     -     eth0       10000 Mbit/s  ixgbe, once bound to vfio-pci
0000:03:00.1  82599ES SFI/SFP+ (X520)  vfio-pci  18     -     -          -             ixgbe, by vfio
0000:04:00.0  X540-AT2                 -         -      -     -          -             ixgbe, by uio
0000:05:00.0  8086:1572                i40e      -      -     -          -             no driver for it
";
        assert_eq!(people(&rows), expected);
        let json = serde_json::to_value(List { devices: &rows }).unwrap();
        let first = &json["devices"][0];
        assert_eq!(first["address"], "0000:03:00.0");
        assert_eq!(first["interfaces"][0]["mbits"], 10_000);
        assert_eq!(first["backend"], serde_json::Value::Null);
        assert_eq!(json["devices"][1]["backend"], "vfio");
        assert_eq!(
            json["devices"][3]["barewire_driver"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn a_machine_without_cards_is_told_what_runs_there() {
        let text = people(&rows(&Tree::new().host()).unwrap());
        assert!(text.contains("software cards"), "{text}");
    }
}
