//! The workspace's own programs that the lab uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::children::{command, output};
use super::description::Guest;
use super::screen::Screen;

/// What guests run: programs without shared libraries.
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Limit of a build from nothing on a slow machine.
const BUILD: Duration = Duration::from_mins(20);

/// The workspace's folder for what is built.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// This package's folder: cargo names it to what it runs, since a clone may be moved.
pub(crate) fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}

fn workspace() -> PathBuf {
    let package = package();
    package.ancestors().nth(2).unwrap_or(&package).to_owned()
}

/// Builds `barewire` if a guest has served cards.
pub(crate) fn for_host(guests: &[Guest], screen: &Screen, logs: &Path) -> Result<Option<PathBuf>> {
    let mut cards = guests.iter().flat_map(|guest| &guest.needs.cards);
    if !cards.any(super::description::Card::is_served) {
        return Ok(None);
    }
    screen.task("barewire").doing("building");
    let arguments = ["--package", "barewire-cli", "--bin", "barewire"];
    build(&arguments, None, &logs.join("build-barewire.log"))?;
    Ok(Some(target().join("release/barewire")))
}

/// Builds the programs that run in guests, with their places there.
pub(crate) fn for_guests(screen: &Screen, logs: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    screen.task("lab-guest").doing("building");
    let arguments = ["--package", "lab-guest", "--target", GUEST_TARGET];
    build(
        &arguments,
        Some("-C target-feature=+crt-static"),
        &logs.join("build-lab-guest.log"),
    )?;
    let folder = target().join(GUEST_TARGET).join("release");
    Ok(vec![("usr/bin/lab-guest", folder.join("lab-guest"))])
}

fn build(arguments: &[&str], flags: Option<&str>, log: &Path) -> Result<()> {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace())
        .args(["build", "--release", "--locked"])
        .args(arguments);
    if let Some(flags) = flags {
        cargo
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", flags);
    }
    output("cargo build", &mut cargo, log, BUILD).map(drop)
}
