use super::*;
use crate::made_up::Tree;

const ORDINARY: &str = "CapEff:\t0000000000000000\n";
const ROOT: &str = "CapEff:\t000001ffffffffff\n";
const LIMIT: &str = "Max locked memory         8388608              8388608              bytes\n";

/// A machine where everything is as it should be.
fn healthy(capabilities: &str) -> Tree {
    let tree = Tree::new();
    tree.write("proc/self/status", capabilities);
    tree.write(
        "proc/self/limits",
        "Max locked memory  unlimited  unlimited  bytes\n",
    );
    tree.write("sys/class/iommu/dmar0/x", "");
    for (name, number) in [("nr", 64), ("free", 60), ("resv", 0)] {
        let path = format!("sys/kernel/mm/hugepages/hugepages-2048kB/{name}_hugepages");
        tree.write(&path, &format!("{number}\n"));
    }
    tree
}

fn doctor(tree: &Tree) -> (Diagnosis, String) {
    let diagnosis = diagnose(&tree.host(), None).unwrap();
    let text = people(&diagnosis);
    (diagnosis, text)
}

/// Asserts that exactly one thing is missing, and that this command mends it.
fn one_missing(tree: &Tree, check: &str, command: &str) {
    let (diagnosis, text) = doctor(tree);
    let findings = &diagnosis.devices[0].findings;
    let missing: Vec<_> = findings
        .iter()
        .filter(|found| found.state == State::Missing)
        .collect();
    assert_eq!(missing.len(), 1, "{text}");
    assert_eq!(missing[0].check, check, "{text}");
    assert!(text.contains(command), "{text}");
    assert!(!diagnosis.ready && !text.contains("ready:"), "{text}");
}

#[test]
fn nothing_is_missing() {
    let tree = healthy(ORDINARY);
    tree.card("0000:03:00.0", 0x10FB)
        .driver("vfio-pci")
        .group(17);
    tree.write("dev/vfio/17", "");
    let (diagnosis, text) = doctor(&tree);
    assert!(diagnosis.ready, "{text}");
    assert!(
        text.contains("ready: barewire forward 0000:03:00.0"),
        "{text}"
    );
    let json = serde_json::to_value(&diagnosis).unwrap();
    assert_eq!(json["ready"], true);
    assert_eq!(json["devices"][0]["findings"][0]["state"], "ok");
}

#[test]
fn a_driver_of_the_kernel_has_it() {
    let tree = healthy(ORDINARY);
    tree.card("0000:03:00.0", 0x10FB).driver("ixgbe").group(17);
    one_missing(&tree, "driver", "sudo modprobe vfio-pci\n");
    tree.write("sys/bus/pci/drivers/vfio-pci/bind", "");
    one_missing(
        &tree,
        "driver",
        "sudo barewire bind 0000:03:00.0 vfio-pci\n",
    );
    let (_, text) = doctor(&tree);
    assert!(!text.contains("modprobe"), "{text}");
}

#[test]
fn it_carries_the_default_route() {
    let tree = healthy(ORDINARY);
    let card = tree.card("0000:03:00.0", 0x10FB);
    card.driver("ixgbe").file("net/eth0/carrier", "1");
    let route = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    tree.write("proc/net/route", route);
    one_missing(&tree, "driver", "default route goes over it (eth0)");
    one_missing(&tree, "driver", "bind 0000:03:00.0 uio_pci_generic --force");
}

#[test]
fn its_group_is_shared() {
    let tree = healthy(ORDINARY);
    tree.card("0000:03:00.0", 0x10FB)
        .driver("vfio-pci")
        .group(17);
    tree.card("0000:03:00.1", 0x1572).driver("i40e").group(17);
    tree.write("dev/vfio/17", "");
    one_missing(&tree, "group", "sudo barewire bind 0000:03:00.1 vfio-pci");
}

#[test]
fn its_node_is_not_there() {
    let tree = healthy(ORDINARY);
    tree.card("0000:03:00.0", 0x10FB)
        .driver("vfio-pci")
        .group(17);
    one_missing(&tree, "node", "sudo modprobe vfio-pci");
}

#[test]
fn the_other_interface_of_vfio_does_too() {
    let tree = healthy(ORDINARY);
    let card = tree.card("0000:03:00.0", 0x10FB);
    card.driver("vfio-pci").group(17);
    card.file("vfio-dev/vfio3/dev", "511:3");
    one_missing(&tree, "node", "sudo modprobe vfio-pci");
    tree.write("dev/vfio/devices/vfio3", "");
    tree.write("dev/iommu", "");
    let (diagnosis, text) = doctor(&tree);
    assert!(diagnosis.ready && text.contains("/dev/iommu"), "{text}");
}

#[test]
fn the_limit_on_locked_memory_is_low() {
    let tree = healthy(ORDINARY);
    tree.card("0000:03:00.0", 0x10FB)
        .driver("vfio-pci")
        .group(17);
    tree.write("dev/vfio/17", "");
    tree.write("proc/self/limits", LIMIT);
    one_missing(
        &tree,
        "memlock",
        "sudo prlimit --memlock=unlimited --pid $$",
    );
    tree.write("proc/self/status", ROOT);
    assert!(doctor(&tree).0.ready);
}

#[test]
fn only_root_drives_a_device_that_nothing_confines() {
    let tree = healthy(ORDINARY);
    tree.card("0000:03:00.0", 0x10FB).driver("uio_pci_generic");
    one_missing(&tree, "root", "sudo barewire forward");
    tree.write("proc/self/status", ROOT);
    let (diagnosis, text) = doctor(&tree);
    assert!(diagnosis.ready, "{text}");
}

#[test]
fn hugepages_are_a_must_without_an_iommu_and_a_wish_with_one() {
    let tree = healthy(ROOT);
    let path = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    tree.write(path, "2\n");
    let card = tree.card("0000:03:00.0", 0x10FB);
    card.driver("uio_pci_generic");
    // 62 are in use
    one_missing(&tree, "hugepages", "sudo sysctl vm.nr_hugepages=126");
    let tree = healthy(ROOT);
    tree.write(path, "2\n");
    tree.card("0000:03:00.0", 0x10FB)
        .driver("vfio-pci")
        .group(17);
    tree.write("dev/vfio/17", "");
    let (diagnosis, text) = doctor(&tree);
    assert!(
        diagnosis.ready && text.contains("hint    2 hugepages"),
        "{text}"
    );
}

#[test]
fn a_locked_kernel_is_named() {
    let tree = healthy(ROOT);
    tree.card("0000:03:00.0", 0x10FB);
    tree.write(
        "sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
    one_missing(&tree, "lockdown", "Secure Boot");
    tree.write(
        "sys/kernel/security/lockdown",
        "[none] integrity confidentiality\n",
    );
    assert!(doctor(&tree).0.ready);
}

#[test]
fn an_iommu_that_is_off_is_turned_on_in_the_right_place() {
    let tree = Tree::new();
    tree.write("proc/cpuinfo", "vendor_id\t: GenuineIntel\n");
    tree.write("proc/cmdline", "root=/dev/sda1 quiet\n");
    let (_, text) = doctor(&tree);
    assert!(
        text.contains("intel_iommu=on") && text.contains("update-grub"),
        "{text}"
    );
    tree.write("proc/cmdline", "root=/dev/sda1 intel_iommu=on,sm_on\n");
    let (_, text) = doctor(&tree);
    assert!(
        text.contains("turn VT-d on in the firmware") && !text.contains("grub"),
        "{text}"
    );
    tree.write("proc/cpuinfo", "vendor_id\t: AuthenticAMD\n");
    tree.write("proc/cmdline", "quiet\n");
    let (_, text) = doctor(&tree);
    assert!(text.contains("AMD-Vi"), "{text}");
}

#[test]
fn a_device_of_another_kind_is_said_to_be_one() {
    let tree = healthy(ROOT);
    tree.card("0000:03:00.0", 0x1572);
    let (diagnosis, text) = doctor(&tree);
    assert!(
        diagnosis.devices.is_empty() && text.contains("software cards"),
        "{text}"
    );
    let one = diagnose(&tree.host(), Some("03:00.0".parse().unwrap())).unwrap();
    assert!(!one.ready && people(&one).contains("no driver for 8086:1572"));
    assert!(diagnose(&tree.host(), Some("04:00.0".parse().unwrap())).is_err());
}
