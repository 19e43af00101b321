use super::*;
use crate::sysfs::made_up::{Card, Tree};
use crate::{Backend, Bar};
use barewire_dma::{DmaRegion, Pages};
use std::fs;

const ADDRESS: &str = "0000:03:00.0";

/// A card whose configuration space has a power management capability behind another one.
fn card(tree: &Tree, power_state: u8) -> Card<'_> {
    let card = tree.card(ADDRESS);
    let mut space = [0; 4096];
    space[..4].copy_from_slice(&[0x86, 0x80, 0xFB, 0x10]);
    space[0x04..0x08].copy_from_slice(&[0x07, 0x00, 0x10, 0x00]);
    space[0x34] = 0x50;
    space[0x50..0x52].copy_from_slice(&[0x05, 0x40]);
    space[0x40..0x46].copy_from_slice(&[0x01, 0x00, 0x23, 0x48, 0x08 | power_state, 0x20]);
    let folder = tree.path("sys/bus/pci/devices").join(ADDRESS);
    fs::write(folder.join("config"), space).unwrap();
    fs::write(folder.join("resource0"), vec![0x5A; 0x8_0000]).unwrap();
    fs::write(folder.join("resource2"), [7; 32]).unwrap();
    card.file(
        "resource",
        "0x00000000fe000000 0x00000000fe07ffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x000000000000e020 0x000000000000e03f 0x0000000000040101",
    );
    card
}

fn open(tree: &Tree) -> Result<crate::HostFunction, BusError> {
    tree.host()
        .open(ADDRESS.parse().unwrap(), Some(Backend::Uio))
}

/// Command register and power state as they are in the file.
fn state(tree: &Tree) -> (u16, u8) {
    let space = fs::read(
        tree.path("sys/bus/pci/devices")
            .join(ADDRESS)
            .join("config"),
    )
    .unwrap();
    (u16::from_le_bytes([space[4], space[5]]), space[0x44])
}

#[test]
fn a_device_left_running_is_quiet_once_it_is_open_and_after_it_is_closed() {
    let tree = Tree::new();
    card(&tree, 0);
    assert_eq!(state(&tree).0, 0x0007, "bus mastering was left on");
    let function = open(&tree).unwrap();
    assert_eq!(
        state(&tree).0,
        0x0403,
        "memory, ports, no legacy interrupt, no mastering"
    );
    function.config_write32(4, 0x0407).unwrap();
    assert_eq!(state(&tree).0, 0x0407);
    drop(function);
    assert_eq!(state(&tree).0, 0x0003);
}

#[test]
fn a_sleeping_device_is_woken() {
    let tree = Tree::new();
    card(&tree, 3);
    let function = open(&tree).unwrap();
    assert_eq!(state(&tree), (0x0403, 0x08));
    drop(function);
}

#[test]
fn memory_is_mapped_and_ports_are_read_through_their_file() {
    let tree = Tree::new();
    card(&tree, 0);
    let function = open(&tree).unwrap();
    assert_eq!(function.config_read32(0).unwrap(), 0x10FB_8086);
    let memory = function.bar(0).unwrap();
    assert_eq!(
        (memory.size(), memory.read32(0x7_FFFC)),
        (0x8_0000, 0x5A5A_5A5A)
    );
    memory.write32(8, 1);
    assert_eq!(memory.read32(8), 1);
    let ports = function.bar(2).unwrap();
    ports.write16(18, 0xABCD);
    assert_eq!(
        (ports.size(), ports.read8(19), ports.read32(32)),
        (32, 0xAB, u32::MAX)
    );
    assert!(matches!(
        function.bar(1),
        Err(BusError::NoBar { index: 1, .. })
    ));
}

#[test]
fn two_programs_cannot_have_one_device() {
    let tree = Tree::new();
    card(&tree, 0);
    let first = open(&tree).unwrap();
    let refusal = open(&tree).err().unwrap().to_string();
    assert!(refusal.contains("another program drives it"), "{refusal}");
    drop(first);
    assert!(open(&tree).is_ok());
}

#[test]
fn interrupts_and_ordinary_pages_are_refused_with_the_remedy() {
    let tree = Tree::new();
    card(&tree, 0);
    let function = open(&tree).unwrap();
    let refusal = function.interrupts(1).unwrap_err().to_string();
    assert!(
        refusal.contains("barewire bind 0000:03:00.0 vfio-pci"),
        "{refusal}"
    );
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    let refusal = function.dma().map(&region).unwrap_err().to_string();
    assert!(refusal.contains("hugepages"), "{refusal}");
}

#[test]
fn a_circle_of_capabilities_ends() {
    let tree = Tree::new();
    card(&tree, 0);
    let path = tree
        .path("sys/bus/pci/devices")
        .join(ADDRESS)
        .join("config");
    let mut space = fs::read(&path).unwrap();
    space[0x40] = 0x77;
    space[0x41] = 0x50;
    fs::write(&path, space).unwrap();
    assert!(open(&tree).is_ok());
}

#[test]
fn a_truncated_configuration_space_is_an_error() {
    let tree = Tree::new();
    card(&tree, 0);
    fs::write(
        tree.path("sys/bus/pci/devices")
            .join(ADDRESS)
            .join("config"),
        [0; 4],
    )
    .unwrap();
    assert!(matches!(open(&tree), Err(BusError::Unreachable { .. })));
}
