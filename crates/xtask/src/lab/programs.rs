//! The workspace's own programs that the lab uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::children::{command, output};
use super::description::{Card, Guest};
use super::screen::Screen;

/// Programs for another target than the machine's own can do without shared libraries, though it is
/// the same: the flag for that must not reach what runs while they are built.
const TARGET: &str = "x86_64-unknown-linux-gnu";

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

/// The name under which a guest asks for the program `barewire`.
pub(crate) const BAREWIRE: &str = "barewire";

/// The workspace's programs, without shared libraries: for guests, and `barewire` for the lab too, so
/// that it is built once.
pub(crate) struct Own {
    folder: PathBuf,
}

impl Own {
    /// Builds what these guests need: `lab-guest`, and `barewire` where a card is served or the guest
    /// asks for it.
    pub(crate) fn build(guests: &[Guest], screen: &Screen, logs: &Path) -> Result<Self> {
        let mut packages = vec!["--package", "lab-guest"];
        let served = |guest: &Guest| guest.needs.cards.iter().any(Card::is_served);
        if guests.iter().any(|guest| served(guest) || asks(guest)) {
            packages.extend(["--package", "barewire-cli"]);
        }
        screen.task("barewire").doing("building");
        let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(workspace())
            .args(["build", "--release", "--locked", "--target", TARGET])
            .args(packages)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        output("cargo build", &mut cargo, &logs.join("build.log"), BUILD)?;
        Ok(Self {
            folder: target().join(TARGET).join("release"),
        })
    }

    /// The program `barewire`, which serves cards.
    pub(crate) fn barewire(&self) -> PathBuf {
        self.folder.join("barewire")
    }

    /// What runs in one guest, with its place there.
    pub(crate) fn of(&self, guest: &Guest) -> Vec<(&'static str, PathBuf)> {
        let mut programs = vec![("usr/bin/lab-guest", self.folder.join("lab-guest"))];
        if asks(guest) {
            programs.push(("usr/bin/barewire", self.barewire()));
        }
        programs
    }
}

fn asks(guest: &Guest) -> bool {
    guest.needs.programs.iter().any(|name| name == BAREWIRE)
}
