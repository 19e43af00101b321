//! Which network interfaces the machine's way to the world goes over.

use std::collections::BTreeSet;

use super::{names, text};
use crate::{Host, PciDevice};

/// The kernel's flag of a route that leads nowhere (`RTF_REJECT`).
const REJECT: u32 = 0x0200;
/// The kernel's flag of a route that is in use (`RTF_UP`).
const UP: u32 = 0x0001;

impl Host {
    /// The interface with a default route that goes over `device`, if there is one: one of the
    /// device's own, or a bond, bridge or VLAN above it.
    pub fn default_route_over(&self, device: &PciDevice) -> Option<String> {
        let own: BTreeSet<_> = device
            .interfaces
            .iter()
            .map(|interface| interface.name.as_str())
            .collect();
        let v4 = text(&self.path("proc/net/route")).unwrap_or_default();
        let v6 = text(&self.path("proc/net/ipv6_route")).unwrap_or_default();
        let mut routes = v4.lines().filter_map(v4_default);
        let mut routes_v6 = v6.lines().filter_map(v6_default);
        let over = |name: &&str| self.is_over(name, &own);
        let found = routes.find(over).or_else(|| routes_v6.find(over));
        found.map(str::to_owned)
    }

    /// Whether the interface is one of `own` or is built on one of them.
    fn is_over(&self, name: &str, own: &BTreeSet<&str>) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            if own.contains(name.as_str()) {
                return true;
            }
            let folder = self.path("sys/class/net").join(&name);
            if seen.insert(name) {
                let below = names(&folder).unwrap_or_default();
                let below = below.iter().filter_map(|name| name.strip_prefix("lower_"));
                next.extend(below.map(str::to_owned));
            }
        }
        false
    }
}

/// The interface of a line of `/proc/net/route` that is a default route.
fn v4_default(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let interface = fields.next()?;
    let destination = fields.next()?;
    let flags = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    let mask = fields.nth(3)?;
    let is_default = destination == "00000000" && mask == "00000000";
    (is_default && flags & UP != 0 && flags & REJECT == 0).then_some(interface)
}

/// The interface of a line of `/proc/net/ipv6_route` that is a default route.
fn v6_default(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let destination = fields.next()?;
    let length = fields.next()?;
    let flags = u32::from_str_radix(fields.nth(6)?, 16).ok()?;
    let interface = fields.next()?;
    let is_default = length == "00" && destination.bytes().all(|digit| digit == b'0');
    (is_default && flags & UP != 0 && flags & REJECT == 0).then_some(interface)
}

#[cfg(test)]
mod tests {
    use crate::sysfs::made_up::Tree;

    const HEADER: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn over(tree: &Tree) -> Option<String> {
        let host = tree.host();
        host.default_route_over(&host.device("03:00.0".parse().unwrap()).unwrap())
    }

    #[test]
    fn only_the_default_route_counts() {
        let tree = Tree::new();
        tree.card("0000:03:00.0").interface("eth0", "1", "10000");
        assert_eq!(over(&tree), None);
        let local = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let other = "eth1\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        tree.write("proc/net/route", &format!("{HEADER}{local}{other}"));
        assert_eq!(over(&tree), None);
        let default = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        tree.write("proc/net/route", &format!("{HEADER}{local}{default}"));
        assert_eq!(over(&tree).as_deref(), Some("eth0"));
    }

    #[test]
    fn ipv6_counts_and_routes_to_nowhere_do_not() {
        let tree = Tree::new();
        tree.card("0000:03:00.0").interface("eth0", "1", "10000");
        let zeros = "0".repeat(32);
        let line = |flags: &str| {
            format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 {flags}     eth0\n")
        };
        tree.write("proc/net/ipv6_route", &line("00200200"));
        assert_eq!(over(&tree), None);
        tree.write("proc/net/ipv6_route", &line("00000003"));
        assert_eq!(over(&tree).as_deref(), Some("eth0"));
    }

    #[test]
    fn a_bridge_over_a_bond_is_followed_and_circles_end() {
        let tree = Tree::new();
        tree.card("0000:03:00.0").interface("eth0", "1", "10000");
        let default = "br0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        tree.write("proc/net/route", &format!("{HEADER}{default}"));
        tree.write("sys/class/net/br0/lower_bond0/x", "");
        tree.write("sys/class/net/bond0/lower_br0/x", "");
        assert_eq!(over(&tree), None);
        tree.write("sys/class/net/bond0/lower_eth0/x", "");
        assert_eq!(over(&tree).as_deref(), Some("br0"));
    }

    #[test]
    fn nonsense_is_no_route() {
        let tree = Tree::new();
        tree.card("0000:03:00.0").interface("eth0", "1", "10000");
        tree.write(
            "proc/net/route",
            "eth0\neth0\t00000000\neth0 00000000 0 zz 0 0 0 00000000\n",
        );
        tree.write("proc/net/ipv6_route", "eth0\n0 00 eth0\n");
        assert_eq!(over(&tree), None);
    }
}
