//! Made-up machines for tests: trees in place of `/sys`, `/dev` and `/proc`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use barewire_bus::Host;

/// A machine without devices.
pub(crate) struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn host(&self) -> Host {
        Host::at(self.root.path())
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// An Intel network card that is bound to nothing.
    pub(crate) fn card(&self, address: &str, device: u16) -> Card<'_> {
        let card = Card {
            tree: self,
            address: address.to_owned(),
        };
        card.file("vendor", "0x8086");
        card.file("device", &format!("{device:#06x}"));
        card.file("class", "0x020000");
        card.file("driver_override", "(null)");
        card
    }

    /// The command register in a device's configuration space.
    pub(crate) fn command(&self, address: &str) -> u16 {
        let path = format!("sys/bus/pci/devices/{address}/config");
        let space = fs::read(self.root.path().join(path)).unwrap();
        u16::from_le_bytes([space[4], space[5]])
    }
}

/// A device in a [`Tree`].
pub(crate) struct Card<'a> {
    tree: &'a Tree,
    address: String,
}

impl Card<'_> {
    fn folder(&self) -> PathBuf {
        let devices = self.tree.root.path().join("sys/bus/pci/devices");
        devices.join(&self.address)
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = format!("sys/bus/pci/devices/{}/{name}", self.address);
        self.tree.write(&path, &format!("{text}\n"));
    }

    /// Configuration space with this command register, and without capabilities.
    pub(crate) fn configuration(&self, device: u16, command: u16) {
        let mut space = [0; 4096];
        space[..2].copy_from_slice(&0x8086u16.to_le_bytes());
        space[2..4].copy_from_slice(&device.to_le_bytes());
        space[4..6].copy_from_slice(&command.to_le_bytes());
        fs::write(self.folder().join("config"), space).unwrap();
    }

    pub(crate) fn driver(&self, name: &str) -> &Self {
        self.tree
            .write(&format!("sys/bus/pci/drivers/{name}/bind"), "");
        symlink(
            format!("../../drivers/{name}"),
            self.folder().join("driver"),
        )
        .unwrap();
        self
    }

    pub(crate) fn group(&self, number: u32) -> &Self {
        let groups = self.tree.root.path().join("sys/kernel/iommu_groups");
        let members = groups.join(number.to_string()).join("devices");
        fs::create_dir_all(&members).unwrap();
        symlink(
            format!("../../../../bus/pci/devices/{}", self.address),
            members.join(&self.address),
        )
        .unwrap();
        symlink(
            format!("../../../../kernel/iommu_groups/{number}"),
            self.folder().join("iommu_group"),
        )
        .unwrap();
        self
    }
}
