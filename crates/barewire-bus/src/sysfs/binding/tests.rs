use super::*;
use crate::sysfs::made_up::Tree;
use std::cell::RefCell;
use std::os::unix::fs::symlink;

const CARD: &str = "0000:03:00.0";

/// Plays the kernel's part in binding, on a made-up tree, and writes down what was asked of it.
struct Kernel {
    tree: Tree,
    /// A driver that takes no device.
    refuses: Option<&'static str>,
    /// The driver that wants devices nobody was chosen for.
    natural: &'static str,
    log: RefCell<Vec<String>>,
}

impl Kernel {
    fn new(driver: Option<&str>) -> Self {
        let tree = Tree::new();
        let card = tree.card(CARD);
        card.group(4);
        for name in ["vfio-pci", "uio_pci_generic", "ixgbe"] {
            tree.write(&format!("sys/bus/pci/drivers/{name}/bind"), "");
        }
        if let Some(driver) = driver {
            card.driver(driver);
        }
        Self {
            tree,
            refuses: None,
            natural: "ixgbe",
            log: RefCell::default(),
        }
    }

    fn link(&self) -> PathBuf {
        self.tree
            .path("sys/bus/pci/devices")
            .join(CARD)
            .join("driver")
    }

    fn chosen(&self) -> String {
        let path = self.tree.path("sys/bus/pci/devices").join(CARD);
        fs::read_to_string(path.join("driver_override"))
            .unwrap()
            .trim()
            .to_owned()
    }

    fn take(&self, driver: &str) -> io::Result<()> {
        if self.refuses == Some(driver) {
            return Err(io::Error::from(rustix::io::Errno::NODEV));
        }
        symlink(format!("../../drivers/{driver}"), self.link())
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let parent = path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        self.log
            .borrow_mut()
            .push(format!("{parent}/{name}: {}", text.trim()));
        match name.as_str() {
            "driver_override" => fs::write(path, text),
            "unbind" => fs::remove_file(self.link()),
            "bind" => {
                let chosen = self.chosen();
                if !chosen.is_empty() && chosen != parent {
                    return Err(io::Error::from(rustix::io::Errno::NODEV));
                }
                self.take(parent)
            }
            "drivers_probe" => self.take(self.natural),
            other => panic!("{other}"),
        }
    }

    fn bind(&self, driver: &str) -> Result<Binding, BusError> {
        let write = |path: &Path, text: &str| self.write(path, text);
        Change::new(&self.tree.host(), CARD.parse().unwrap(), &write)?.bind(driver)
    }

    fn unbind(&self) -> Result<Binding, BusError> {
        let write = |path: &Path, text: &str| self.write(path, text);
        Change::new(&self.tree.host(), CARD.parse().unwrap(), &write)?.unbind()
    }

    fn driver(&self) -> Option<String> {
        super::super::link_name(&self.link())
    }

    fn remembers(&self) -> bool {
        self.tree.path("run/barewire/bound").join(CARD).exists()
    }
}

fn binding(before: Option<&str>, now: Option<&str>) -> Binding {
    Binding {
        before: before.map(str::to_owned),
        now: now.map(str::to_owned),
    }
}

#[test]
fn there_and_back() {
    let kernel = Kernel::new(Some("ixgbe"));
    let bound = kernel.bind("vfio-pci").unwrap();
    assert_eq!(bound, binding(Some("ixgbe"), Some("vfio-pci")));
    assert_eq!(kernel.chosen(), "vfio-pci");
    let log = [
        "0000:03:00.0/driver_override: vfio-pci",
        "ixgbe/unbind: 0000:03:00.0",
        "vfio-pci/bind: 0000:03:00.0",
    ];
    assert_eq!(*kernel.log.borrow(), log);
    let bound = kernel.unbind().unwrap();
    assert_eq!(bound, binding(Some("vfio-pci"), Some("ixgbe")));
    assert_eq!(kernel.chosen(), "");
    assert!(!kernel.remembers());
}

#[test]
fn the_first_driver_is_the_one_that_is_remembered() {
    let kernel = Kernel::new(Some("ixgbe"));
    kernel.bind("vfio-pci").unwrap();
    kernel.bind("uio_pci_generic").unwrap();
    assert_eq!(
        kernel.bind("uio_pci_generic").unwrap().before.as_deref(),
        Some("uio_pci_generic")
    );
    assert_eq!(kernel.unbind().unwrap().now.as_deref(), Some("ixgbe"));
}

#[test]
fn a_device_without_a_driver_is_left_without_one_again() {
    let kernel = Kernel::new(None);
    kernel.bind("uio_pci_generic").unwrap();
    assert_eq!(
        kernel.unbind().unwrap(),
        binding(Some("uio_pci_generic"), None)
    );
    assert_eq!(kernel.driver(), None);
}

#[test]
fn what_the_administrator_chose_is_chosen_again() {
    let kernel = Kernel::new(Some("ixgbe"));
    let only = kernel
        .tree
        .path("sys/bus/pci/devices")
        .join(CARD)
        .join("driver_override");
    fs::write(only, "ixgbe\n").unwrap();
    kernel.bind("vfio-pci").unwrap();
    kernel.unbind().unwrap();
    assert_eq!(
        (kernel.chosen().as_str(), kernel.driver().as_deref()),
        ("ixgbe", Some("ixgbe"))
    );
}

#[test]
fn where_nothing_is_remembered_the_kernel_chooses() {
    let kernel = Kernel::new(Some("vfio-pci"));
    assert_eq!(
        kernel.unbind().unwrap(),
        binding(Some("vfio-pci"), Some("ixgbe"))
    );
    assert!(
        kernel
            .log
            .borrow()
            .contains(&"pci/drivers_probe: 0000:03:00.0".to_owned())
    );
}

#[test]
fn nothing_is_undone_where_nothing_was_done() {
    let kernel = Kernel::new(Some("ixgbe"));
    let error = kernel.unbind().unwrap_err().to_string();
    assert!(
        error.contains("ixgbe") && error.contains("nothing to undo"),
        "{error}"
    );
    assert!(kernel.log.borrow().is_empty());
    // rebound by hand in the meantime
    kernel.bind("vfio-pci").unwrap();
    fs::remove_file(kernel.link()).unwrap();
    kernel.take("ixgbe").unwrap();
    assert_eq!(
        kernel.unbind().unwrap(),
        binding(Some("ixgbe"), Some("ixgbe"))
    );
    assert!(!kernel.remembers());
}

#[test]
fn a_driver_that_refuses_leaves_everything_as_it_was() {
    let mut kernel = Kernel::new(Some("ixgbe"));
    kernel.refuses = Some("uio_pci_generic");
    let error = kernel.bind("uio_pci_generic").unwrap_err().to_string();
    assert!(error.contains("legacy interrupt"), "{error}");
    assert_eq!(kernel.driver().as_deref(), Some("ixgbe"));
    assert_eq!(kernel.chosen(), "");
    assert!(!kernel.remembers());
}

#[test]
fn an_absent_driver_and_an_absent_iommu_are_named_before_anything_is_done() {
    let kernel = Kernel::new(Some("ixgbe"));
    let error = kernel.bind("mlx5_vfio_pci").unwrap_err().to_string();
    assert!(error.contains("modprobe mlx5_vfio_pci"), "{error}");
    fs::remove_file(
        kernel
            .tree
            .path("sys/bus/pci/devices")
            .join(CARD)
            .join("iommu_group"),
    )
    .unwrap();
    let error = kernel.bind("vfio-pci").unwrap_err().to_string();
    assert!(
        error.contains("intel_iommu=on") && error.contains("noiommu"),
        "{error}"
    );
    assert!(kernel.log.borrow().is_empty() && !kernel.remembers());
    kernel.tree.write(
        "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        "Y\n",
    );
    assert!(kernel.bind("vfio-pci").is_ok());
}

#[test]
fn names_that_could_lead_elsewhere_are_not_believed() {
    let kernel = Kernel::new(Some("vfio-pci"));
    for text in [
        "driver=../../x",
        "driver=",
        "driver=a b",
        "",
        "\u{0}",
        "driver=..",
    ] {
        kernel
            .tree
            .write(&format!("run/barewire/bound/{CARD}"), text);
        let path = kernel.tree.path("run/barewire/bound").join(CARD);
        assert_eq!(
            Remembered::read(&path),
            Some(Remembered::default()),
            "{text:?}"
        );
    }
}

#[test]
fn the_real_kernel_is_written_to() {
    let kernel = Kernel::new(Some("ixgbe"));
    // nobody plays the kernel here, so the device stays where it is
    let error = kernel
        .tree
        .host()
        .bind(CARD.parse().unwrap(), "vfio-pci")
        .unwrap_err();
    assert!(error.to_string().contains("did not take it"), "{error}");
    let unbind = kernel.tree.path("sys/bus/pci/drivers/ixgbe/unbind");
    assert_eq!(fs::read_to_string(unbind).unwrap(), CARD);
    let bind = kernel.tree.path("sys/bus/pci/drivers/vfio-pci/bind");
    assert_eq!(fs::read_to_string(bind).unwrap(), CARD);
}
