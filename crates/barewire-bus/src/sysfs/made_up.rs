//! Made-up trees in place of `/sys`, `/dev`, `/proc` and `/run`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Host;

/// A tree that is removed with its last use.
pub(crate) struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("sys/bus/pci/devices")).unwrap();
        fs::create_dir_all(root.path().join("sys/bus/pci/drivers")).unwrap();
        Self { root }
    }

    pub(crate) fn host(&self) -> Host {
        Host::at(self.root.path())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A network card, an X520 bound to nothing.
    pub(crate) fn card(&self, address: &str) -> Card<'_> {
        let folder = self.path("sys/bus/pci/devices").join(address);
        fs::create_dir_all(&folder).unwrap();
        let card = Card { tree: self, folder };
        card.file("vendor", "0x8086");
        card.file("device", "0x10fb");
        card.file("class", "0x020000");
        card.file("driver_override", "(null)");
        card.file(
            "resource",
            "0x00000000fe000000 0x00000000fe07ffff 0x000000000014220c",
        );
        card
    }
}

/// A device in a [`Tree`].
pub(crate) struct Card<'a> {
    tree: &'a Tree,
    folder: PathBuf,
}

impl Card<'_> {
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// Binds it to a driver.
    pub(crate) fn driver(&self, name: &str) -> &Self {
        self.tree
            .write(&format!("sys/bus/pci/drivers/{name}/unbind"), "");
        self.tree
            .write(&format!("sys/bus/pci/drivers/{name}/bind"), "");
        link(
            &format!("../../drivers/{name}"),
            &self.folder.join("driver"),
        );
        self
    }

    /// Puts it into an IOMMU group.
    pub(crate) fn group(&self, number: u32) -> &Self {
        let group = self.tree.path(&format!("sys/kernel/iommu_groups/{number}"));
        fs::create_dir_all(group.join("devices")).unwrap();
        let name = self.folder.file_name().unwrap().to_str().unwrap();
        link(
            &format!("../../../../bus/pci/devices/{name}"),
            &group.join("devices").join(name),
        );
        link(
            &format!("../../../../kernel/iommu_groups/{number}"),
            &self.folder.join("iommu_group"),
        );
        self
    }

    /// Gives it a network interface.
    pub(crate) fn interface(&self, name: &str, carrier: &str, speed: &str) -> &Self {
        self.file(&format!("net/{name}/carrier"), carrier);
        self.file(&format!("net/{name}/speed"), speed);
        self
    }
}

fn link(target: &str, at: &Path) {
    let _ = fs::remove_file(at);
    symlink(target, at).unwrap();
}
