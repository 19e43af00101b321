//! What the guests and the lab are made of: packages of the distribution, unpacked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{Apt, BACKPORTS};
use super::cache::Cache;
use super::screen::Screen;

/// Packages that are fetched together and unpacked into one folder.
struct Kit {
    name: &'static str,
    /// Fetched with all that they need.
    packages: &'static [&'static str],
    /// Fetched without what is named in `left_out`.
    alone: &'static [&'static str],
    left_out: &'static [&'static str],
    suite: Option<&'static str>,
}

const QEMU: Kit = Kit {
    name: "qemu",
    packages: &["qemu-system-x86"],
    alone: &[],
    left_out: &[],
    suite: Some(BACKPORTS),
};

const TOOLS: Kit = Kit {
    name: "tools",
    packages: &[
        "busybox-static",
        "ethtool",
        "iproute2",
        "iputils-ping",
        "kmod",
    ],
    alone: &[],
    left_out: &[],
    suite: None,
};

const DPDK: Kit = Kit {
    name: "dpdk",
    packages: &[
        "coreutils",
        "libgcc-s1",
        "librte-mempool-ring25",
        "librte-net-e1000-25",
        "librte-net-virtio25",
    ],
    // testpmd is in the package for developers, whose headers and Python are not needed
    alone: &["dpdk-dev"],
    left_out: &["libdpdk-dev", "python3"],
    suite: None,
};

/// A program for guests.
struct Program {
    name: &'static str,
    kit: &'static Kit,
    /// Inside the kit, and in the guest.
    path: &'static str,
    /// Libraries that it loads while it runs.
    loads: &'static [&'static str],
    /// Other files that it needs.
    files: &'static [&'static str],
    /// Links in the guest, and where they lead.
    links: &'static [(&'static str, &'static str)],
}

/// The link of a DPDK driver to its library.
macro_rules! driver {
    ($name:literal) => {
        (
            concat!("usr/lib/dpdk/librte_", $name, ".so"),
            concat!("/usr/lib/x86_64-linux-gnu/librte_", $name, ".so.25"),
        )
    };
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "busybox",
        kit: &TOOLS,
        path: "usr/bin/busybox",
        loads: &[],
        files: &[],
        links: &[],
    },
    Program {
        name: "kmod",
        kit: &TOOLS,
        path: "usr/bin/kmod",
        loads: &[],
        files: &[],
        links: &[],
    },
    Program {
        name: "ip",
        kit: &TOOLS,
        path: "usr/bin/ip",
        loads: &[],
        files: &[],
        links: &[],
    },
    Program {
        name: "ethtool",
        kit: &TOOLS,
        path: "usr/sbin/ethtool",
        loads: &[],
        files: &[],
        links: &[],
    },
    Program {
        name: "ping",
        kit: &TOOLS,
        path: "usr/bin/ping",
        loads: &[],
        files: &[],
        links: &[],
    },
    Program {
        name: "testpmd",
        kit: &DPDK,
        path: "usr/bin/dpdk-testpmd",
        loads: &[
            "libgcc_s.so.1",
            "librte_bus_pci.so.25",
            "librte_bus_vdev.so.25",
            "librte_mempool_ring.so.25",
            "librte_net_e1000.so.25",
            "librte_net_ixgbe.so.25",
            "librte_net_virtio.so.25",
        ],
        // has it print lines when they are complete, though it is not at a terminal
        files: &["usr/libexec/coreutils/libstdbuf.so"],
        // it loads drivers from a folder; two copies of one would not do
        links: &[
            driver!("bus_pci"),
            driver!("bus_vdev"),
            driver!("mempool_ring"),
            driver!("net_e1000"),
            driver!("net_ixgbe"),
            driver!("net_virtio"),
        ],
    },
];

/// A program that has been fetched.
pub(crate) struct Fetched {
    /// The folder its kit was unpacked into.
    pub(crate) root: PathBuf,
    /// The program inside `root`, and in the guest.
    pub(crate) path: &'static str,
    /// Libraries that it loads while it runs.
    pub(crate) loads: &'static [&'static str],
    /// Other files that it needs.
    pub(crate) files: &'static [&'static str],
    /// Links in the guest, and where they lead.
    pub(crate) links: &'static [(&'static str, &'static str)],
}

/// Fetches packages when they are asked for, and not before.
pub(crate) struct Packages<'a> {
    cache: &'a Cache,
    screen: &'a Screen,
    mirror: Option<&'a str>,
    apt: std::cell::OnceCell<Apt>,
}

impl<'a> Packages<'a> {
    /// Packages in `cache`, from `mirror` or from where the machine gets its own.
    pub(crate) fn new(cache: &'a Cache, screen: &'a Screen, mirror: Option<&'a str>) -> Self {
        Self {
            cache,
            screen,
            mirror,
            apt: std::cell::OnceCell::new(),
        }
    }

    /// apt, set up at the first call.
    pub(crate) fn apt(&self) -> Result<&Apt> {
        if self.apt.get().is_none() {
            let task = self.screen.task("packages");
            task.doing("looking Debian's packages up");
            let _first = self.apt.set(Apt::open(self.cache, self.mirror)?);
        }
        self.apt.get().context("apt is not set up")
    }

    /// The folder with QEMU.
    pub(crate) fn qemu(&self) -> Result<PathBuf> {
        self.kit(&QEMU)
    }

    /// A program for a guest, by the name that guests use.
    pub(crate) fn program(&self, name: &str) -> Result<Fetched> {
        let Some(program) = PROGRAMS.iter().find(|program| program.name == name) else {
            let names: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
            bail!(
                "no program for guests is called {name:?}: there are {}",
                names.join(", ")
            );
        };
        Ok(Fetched {
            root: self.kit(program.kit)?,
            path: program.path,
            loads: program.loads,
            files: program.files,
            links: program.links,
        })
    }

    /// Fetches exactly these packages into the folder `name` of the cache.
    pub(crate) fn exactly(
        &self,
        name: &str,
        choose: impl FnOnce(&Apt) -> Result<Vec<String>>,
    ) -> Result<PathBuf> {
        self.cache.folder(name, name, |folder| {
            let apt = self.apt()?;
            self.unpack(name, &choose(apt)?, folder)
        })
    }

    /// Fetches packages of the release that this machine runs, and what they need but for
    /// `installed`, into the folder `name` of the cache.
    pub(crate) fn of_this_machine(
        &self,
        name: &str,
        packages: &[&str],
        installed: &[&str],
    ) -> Result<PathBuf> {
        self.exactly(name, |apt| {
            let wanted: Vec<_> = packages.iter().map(|&name| name.to_owned()).collect();
            let mut all = apt.closure(&wanted, Some(apt.release()))?;
            all.retain(|package| {
                let name = package.split('=').next().unwrap_or_default();
                !installed.contains(&name)
            });
            Ok(all)
        })
    }

    fn kit(&self, kit: &Kit) -> Result<PathBuf> {
        let definition = format!(
            "{:?} {:?} {:?} {:?}",
            kit.packages, kit.alone, kit.left_out, kit.suite
        );
        self.cache.folder(kit.name, &definition, |folder| {
            let apt = self.apt()?;
            let mut wanted: Vec<String> =
                kit.packages.iter().map(|&name| name.to_owned()).collect();
            for name in kit.alone {
                let needed = apt.dependencies(name, kit.suite)?;
                wanted.extend(needed.into_iter().filter(|need| {
                    // a name in <> is virtual: something else in the list provides it
                    !need.starts_with('<') && !kit.left_out.contains(&need.as_str())
                }));
            }
            let mut packages = apt.closure(&wanted, kit.suite)?;
            packages.extend(kit.alone.iter().map(|&name| name.to_owned()));
            self.unpack(kit.name, &packages, folder)
        })
    }

    fn unpack(&self, name: &str, packages: &[String], folder: &Path) -> Result<()> {
        let task = self.screen.task("packages");
        task.doing(&format!("fetching {name}: {} packages", packages.len()));
        self.apt()?.unpack(packages, folder)
    }
}
