//! What this process may do, as the kernel says in `/proc/self`.

use std::fs;

use barewire_bus::Host;

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Effective capabilities, a bit each.
    capabilities: u64,
    /// Bytes that it may lock; `None` for no limit.
    memlock: Option<u64>,
}

/// `CAP_IPC_LOCK`: the limit on locked memory does not count.
const IPC_LOCK: u32 = 14;
/// `CAP_SYS_RAWIO`: devices without an IOMMU may be had.
const SYS_RAWIO: u32 = 17;
/// `CAP_SYS_ADMIN`: physical addresses are shown.
const SYS_ADMIN: u32 = 21;

impl Process {
    pub(super) fn read(host: &Host) -> Self {
        let read = |name: &str| fs::read_to_string(host.path(name)).unwrap_or_default();
        Self {
            capabilities: capabilities(&read("proc/self/status")),
            memlock: memlock(&read("proc/self/limits")),
        }
    }

    fn may(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }

    /// Whether it may drive a device that no IOMMU confines.
    pub(super) fn may_do_without_iommu(&self) -> bool {
        self.may(SYS_RAWIO) && self.may(SYS_ADMIN)
    }

    /// The limit on locked memory in bytes, where it counts.
    pub(super) fn lockable(&self) -> Option<u64> {
        self.memlock.filter(|_| !self.may(IPC_LOCK))
    }
}

fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0)
}

/// The soft limit: the first of two columns behind the name.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_ordinary_users() {
        let ordinary = Process {
            capabilities: capabilities("CapPrm:\tffff\nCapEff:\t0000000000000000\n"),
            memlock: memlock("Max locked memory         8388608              8388608    bytes\n"),
        };
        assert!(!ordinary.may_do_without_iommu());
        assert_eq!(ordinary.lockable(), Some(8 << 20));
        let root = Process {
            capabilities: capabilities("CapEff:\t000001ffffffffff\n"),
            ..ordinary
        };
        assert!(root.may_do_without_iommu());
        assert_eq!(root.lockable(), None);
        let limits = "Max locked memory         unlimited            unlimited            bytes";
        assert_eq!(memlock(limits), None);
    }
}
