//! QEMU: finding one, and the machine that a guest runs on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::children::command;
use super::description::{Card, Iommu, Needs};
use super::libraries;
use super::packages::Packages;

const PROGRAM: &str = "qemu-system-x86_64";

/// The first version with `vfio-user-pci`.
const OLDEST: (u32, u32) = (10, 1);

/// How long QEMU waits for a served card before it takes it for dead, in milliseconds: longer than
/// a busy machine keeps a server waiting.
const PATIENCE: u32 = 60_000;

/// A QEMU that can be run.
pub(crate) struct Qemu {
    program: PathBuf,
    /// Arguments before all others.
    first: Vec<OsString>,
    /// What it says of itself.
    pub(crate) version: String,
}

impl Qemu {
    /// The one asked for, one on PATH that is new enough, or the distribution's.
    pub(crate) fn find(asked: Option<&Path>, packages: &Packages) -> Result<Self> {
        if let Some(path) = asked {
            let qemu = Self::at(path.to_owned(), Vec::new())?;
            if !new_enough(&qemu.version) {
                bail!(
                    "{} is {}: the lab needs QEMU {}.{} or later",
                    path.display(),
                    qemu.version,
                    OLDEST.0,
                    OLDEST.1
                );
            }
            return Ok(qemu);
        }
        if let Ok(qemu) = Self::at(PROGRAM.into(), Vec::new())
            && new_enough(&qemu.version)
        {
            return Ok(qemu);
        }
        let root = packages.qemu()?;
        let path = root.join("usr/bin").join(PROGRAM);
        let mut first: Vec<OsString> = vec!["--library-path".into()];
        first.push(root.join("usr/lib/x86_64-linux-gnu").into());
        first.push(path.into());
        for data in ["usr/share/qemu", "usr/share/seabios"] {
            first.extend(["-L".into(), root.join(data).into()]);
        }
        Self::at(libraries::loader(&root)?, first)
    }

    fn at(program: PathBuf, first: Vec<OsString>) -> Result<Self> {
        let output = Command::new(&program)
            .args(&first)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("can't run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(version) = text.lines().next().filter(|_| output.status.success()) else {
            bail!(
                "{} does not run: {}",
                program.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        };
        Ok(Self {
            program,
            first,
            version: version.to_owned(),
        })
    }

    /// A command with what every machine of the lab has.
    pub(crate) fn machine(&self, needs: &Needs, files: &Files) -> Command {
        let mut qemu = command(&self.program);
        qemu.args(&self.first);
        let memory = needs.memory;
        // without KVM and with little of a CPU the timer's interrupts come too late for the kernel's
        // own test of them, which panics
        let mut append = "console=ttyS0 quiet panic=-1 no_timer_check".to_owned();
        if !needs.options.is_empty() {
            append.push(' ');
            append.push_str(&needs.options);
        }
        if needs.iommu == Iommu::Intel {
            append.push_str(" intel_iommu=on");
        }
        qemu.args([
            "-M",
            "q35,memory-backend=mem0",
            "-accel",
            "tcg,thread=multi",
        ])
        .args(["-cpu", "max", "-smp", "2"])
        .args(["-m", &format!("{memory}M"), "-object"])
        .arg(format!(
            "memory-backend-memfd,id=mem0,size={memory}M,share=on"
        ))
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-monitor", "none"])
        .arg("-serial")
        .arg(joined("file:", files.console))
        .arg("-chardev")
        .arg(joined("socket,id=control,path=", files.control))
        .args(["-serial", "chardev:control"])
        .arg("-kernel")
        .arg(files.kernel)
        .arg("-initrd")
        .arg(files.initramfs)
        .args(["-append", &append]);
        if needs.iommu == Iommu::Intel {
            qemu.args(["-device", "intel-iommu,intremap=on,caching-mode=on"]);
        }
        qemu
    }
}

/// The files of a machine.
pub(crate) struct Files<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Gets what the guest's console prints.
    pub(crate) console: &'a Path,
    /// The socket on which the lab waits for the guest's second serial port.
    pub(crate) control: &'a Path,
}

/// The two ends of a cable, as Unix datagram sockets.
pub(crate) struct Ends {
    pub(crate) local: PathBuf,
    pub(crate) remote: PathBuf,
}

/// Plugs the card `index` into a slot of its own.
pub(crate) fn add_card(
    qemu: &mut Command,
    index: usize,
    card: &Card,
    address: &str,
    place: Place<'_>,
) {
    let slot = format!("slot{index}");
    qemu.args([
        "-device",
        &format!("pcie-root-port,id={slot},chassis={}", index + 1),
    ]);
    match place {
        Place::Served(socket) => {
            let device = serde_json::json!({
                "driver": "vfio-user-pci",
                "id": format!("card{index}"),
                "bus": slot,
                "x-msg-timeout": PATIENCE,
                "socket": { "type": "unix", "path": socket.to_string_lossy() },
            });
            qemu.arg("-device").arg(device.to_string());
        }
        Place::Cable(ends) => {
            let mut cable = OsString::from(format!("dgram,id=net{index},local.type=unix"));
            cable.push(joined(",local.path=", &ends.local));
            cable.push(joined(",remote.type=unix,remote.path=", &ends.remote));
            qemu.arg("-netdev").arg(cable);
            qemu.arg("-device").arg(format!(
                "{},id=card{index},bus={slot},netdev=net{index},mac={address},romfile=",
                card.device
            ));
        }
    }
}

/// Where a card is.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// At a socket of a server.
    Served(&'a Path),
    /// In QEMU, with a cable.
    Cable(&'a Ends),
}

/// A path as the end of a QEMU option, in which a comma is written twice.
fn joined(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path.to_string_lossy().replace(',', ",,"));
    text
}

/// Reads `QEMU emulator version 10.1.2 (Debian …)`.
fn new_enough(version: &str) -> bool {
    let number = || {
        let mut parts = version.split("version ").nth(1)?.split('.');
        let major: u32 = parts.next()?.parse().ok()?;
        let minor: u32 = parts.next()?.parse().ok()?;
        Some((major, minor))
    };
    number().is_some_and(|number| number >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_qemu_will_do() {
        assert!(new_enough(
            "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)"
        ));
        assert!(new_enough("QEMU emulator version 10.1.0"));
        assert!(!new_enough("QEMU emulator version 7.2.17 (Debian 1:7.2)"));
        assert!(!new_enough("something else"));
    }

    #[test]
    fn a_comma_in_a_path_is_written_twice() {
        assert_eq!(joined("file:", Path::new("/a,b")), "file:/a,,b");
    }
}
