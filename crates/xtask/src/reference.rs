//! The C reference under test: with sanitizers, on the device of memory and between served cards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::bench::machine::{folder, root};
use crate::bench::programs::succeed;
use crate::bench::subject::Program;

/// Frames that each subject must forward whole, at each of these batches.
const FRAMES: u64 = 20_000;
const BATCHES: &[u16] = &[1, 7, 32, 256];
const RING: u16 = 512;
/// How long a server may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds that it forwards between two served cards
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let built = build()?;
    for (subject, program) in [
        ("c-reference", "c-reference"),
        ("floor", "floor"),
        ("floor-in-place", "floor"),
    ] {
        let program = Program {
            subject,
            path: built.join(program),
            smallest: 1,
        };
        let mut started = program.start(RING)?;
        for batch in BATCHES {
            started.verify(*batch, FRAMES)?;
        }
        println!("{subject}: {FRAMES} frames whole at batches of {BATCHES:?}");
    }
    between_served_cards(&built.join("ixgbe-forward"), arguments.seconds)
}

/// Builds everything with the address and undefined behaviour sanitizers.
fn build() -> Result<PathBuf> {
    let folder = folder()?.join("c-sanitized");
    let mut make = Command::new("make");
    make.args(["--silent", "SANITIZE=1", "-C"])
        .arg(root().join("reference"))
        .arg(format!("OUT={}", folder.display()));
    succeed(&mut make)?;
    Ok(folder)
}

/// A served card, and what it printed when it ended.
struct Served {
    child: Child,
    socket: PathBuf,
}

/// What `barewire nic serve --json` says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Report {
    wire: Wire,
    violations: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Wire {
    delivered: u64,
    reordered: u64,
    corrupted: u64,
}

impl Served {
    fn start(program: &Path, socket: PathBuf) -> Result<Self> {
        let child = Command::new(program)
            .args([
                "nic",
                "serve",
                "--json",
                "--quiet",
                "--wire=generator:touch=on",
            ])
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't run barewire")?;
        let mut served = Self { child, socket };
        let began = Instant::now();
        while !served.socket.exists() {
            if let Some(status) = served.child.try_wait()? {
                bail!("barewire nic serve ended: {status}");
            }
            if began.elapsed() > PATIENCE {
                bail!("barewire nic serve made no socket");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(served)
    }

    fn end(mut self) -> Result<Report> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context("can't end barewire nic serve")?;
        let output = self.child.stdout.take().context("no pipe")?;
        let report = serde_json::from_reader(output);
        self.child.wait()?;
        report.context("what barewire nic serve printed can't be read")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // one that was ended is gone already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Forwards in C between two cards whose generators check what comes back.
fn between_served_cards(forwarder: &Path, seconds: u64) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "barewire-cli",
        ])
        .current_dir(root());
    succeed(&mut cargo)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let barewire = target.join("release/barewire");

    let place = tempfile::tempdir()?;
    let cards = [
        Served::start(&barewire, place.path().join("a.sock"))?,
        Served::start(&barewire, place.path().join("b.sock"))?,
    ];
    let mut forward = Command::new(forwarder);
    forward
        .args(cards.each_ref().map(|card| card.socket.clone()))
        .arg(seconds.to_string());
    succeed(&mut forward)?;
    for card in cards {
        let name = card.socket.file_name().unwrap_or_default().to_owned();
        let name = name.to_string_lossy().into_owned();
        let report = card.end()?;
        println!("{name}: {} frames verified", report.wire.delivered);
        let wire = &report.wire;
        if wire.delivered == 0 || wire.reordered + wire.corrupted > 0 {
            bail!("{name}: {wire:?}");
        }
        if report.violations != 0 {
            bail!("{name}: the driver broke rules: {}", report.violations);
        }
    }
    // sockets that are left behind would be an error of the servers
    if fs::read_dir(place.path())?.next().is_some() {
        bail!("something is left in {}", place.path().display());
    }
    Ok(())
}
