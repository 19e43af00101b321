//! What is true of all devices: the IOMMU and hugepages.

use std::fs;

use barewire_bus::Host;

use super::Finding;

/// Hugepages that forwarding between two ports takes with default settings.
pub(super) const HUGEPAGES: u64 = 8;
/// How many are worth having.
const PLENTY: u64 = 64;
/// Bytes of a hugepage.
const HUGEPAGE: u64 = 2 << 20;

/// What two ports need with default settings, in bytes.
pub(super) const MEMORY: u64 = HUGEPAGES * HUGEPAGE;

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    vec![iommu(host), hugepages(host, Need::Wish)]
}

/// Whether devices are in IOMMU groups with an IOMMU behind them.
fn has_iommu(host: &Host) -> bool {
    fs::read_dir(host.path("sys/class/iommu")).is_ok_and(|mut units| units.next().is_some())
}

fn iommu(host: &Host) -> Finding {
    const CHECK: &str = "iommu";
    if has_iommu(host) {
        return Finding::ok(CHECK, "the IOMMU is on");
    }
    let read = |name: &str| fs::read_to_string(host.path(name)).unwrap_or_default();
    let amd = read("proc/cpuinfo").contains("AuthenticAMD");
    let (unit, option) = if amd {
        ("AMD-Vi (IOMMU)", "amd_iommu=on")
    } else {
        ("VT-d", "intel_iommu=on")
    };
    let told = read("proc/cmdline").split_whitespace().any(|word| {
        word.strip_prefix("intel_iommu=")
            .or_else(|| word.strip_prefix("amd_iommu="))
            .is_some_and(|value| value.split(',').any(|value| value == "on"))
    });
    let without = "without it a device can reach all memory, and only root may drive it";
    if told || amd {
        // AMD's needs no option: it is on when the firmware describes it
        return Finding::hint(
            CHECK,
            format!("the IOMMU is off: turn {unit} on in the firmware's setup; {without}"),
        );
    }
    Finding::hint(CHECK, format!("the IOMMU is off: {without}"))
        .mend(format!(
            "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{option} /' /etc/default/grub && sudo update-grub"
        ))
        .mend("sudo reboot")
}

/// How much hugepages are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It is faster with them.
    Wish,
    /// Nothing goes without them.
    Must,
}

/// Whether there are free hugepages.
pub(super) fn hugepages(host: &Host, need: Need) -> Finding {
    const CHECK: &str = "hugepages";
    let number = |name: &str| -> u64 {
        let folder = host.path("sys/kernel/mm/hugepages/hugepages-2048kB");
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let free = number("free_hugepages").saturating_sub(number("resv_hugepages"));
    if free >= HUGEPAGES {
        return Finding::ok(CHECK, format!("{free} hugepages of 2 MiB are free"));
    }
    let used = number("nr_hugepages").saturating_sub(free);
    let found = format!("{free} hugepages of 2 MiB are free, two ports take {HUGEPAGES}");
    let finding = match need {
        Need::Must => Finding::missing(
            CHECK,
            format!("{found}, and without an IOMMU nothing else does"),
        ),
        Need::Wish => Finding::hint(CHECK, format!("{found}: ordinary pages do, but slower")),
    };
    finding.mend(format!("sudo sysctl vm.nr_hugepages={}", used + PLENTY))
}
