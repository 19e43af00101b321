//! DPDK's library, from Debian's archive, unpacked into the build folder: nothing is installed, and
//! no rights are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::machine::folder;

/// The library with its headers, and the three others that it is linked with.
const PACKAGES: &[&str] = &["libdpdk-dev", "libnuma-dev", "libbsd-dev", "libmd-dev"];
/// What says that it is there.
const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/librte_net_ixgbe.a";

/// Where the library is unpacked, as if this folder were `/`.
///
/// # Errors
/// When it can't be had: no Debian, no network, another processor.
pub(super) fn library() -> Result<PathBuf> {
    let folder = folder()?.join("dpdk");
    let root = folder.join("root");
    if root.join(LIBRARY).exists() {
        return Ok(root);
    }
    if !cfg!(target_arch = "x86_64") {
        bail!("it is fetched for x86-64 only");
    }
    eprintln!("fetching DPDK's library from Debian's archive");
    for part in ["state/lists/partial", "cache/archives/partial", "root"] {
        fs::create_dir_all(folder.join(part))?;
    }
    // lists and cache of its own, so that it needs no rights and changes nothing
    apt(&folder, &["update"])?;
    let download: Vec<&str> = ["download"].iter().chain(PACKAGES).copied().collect();
    apt(&folder, &download)?;
    for entry in fs::read_dir(&folder)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            quietly(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root))?;
            fs::remove_file(&package)?;
        }
    }
    fs::remove_dir_all(folder.join("state"))?;
    fs::remove_dir_all(folder.join("cache"))?;
    if !root.join(LIBRARY).exists() {
        bail!("the package libdpdk-dev has no {LIBRARY}");
    }
    Ok(root)
}

fn apt(folder: &Path, arguments: &[&str]) -> Result<()> {
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    let mut apt = Command::new("apt-get");
    apt.current_dir(folder)
        .args(["-o", "Dir::State::status=/var/lib/dpkg/status"])
        .args(["-o", "Debug::NoLocking=1"])
        .args(["-o", "APT::Sandbox::User="])
        .arg("-o")
        .arg(option("Dir::State", &folder.join("state")))
        .arg("-o")
        .arg(option("Dir::Cache", &folder.join("cache")))
        .args(arguments);
    quietly(&mut apt)
}

fn quietly(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("there is no {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().last().unwrap_or_default();
        bail!("{program} failed: {why}");
    }
    Ok(())
}
