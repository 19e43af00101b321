//! `cargo xtask lab`: Linux guests in QEMU, whose drivers judge the software cards.

mod apt;
mod cache;
mod children;
mod control;
mod description;
mod exchange;
mod initramfs;
mod kernel;
mod libraries;
mod own_kernel;
mod packages;
mod programs;
mod qemu;
mod run;
mod screen;
mod served;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use cache::Cache;
use description::Guest;
use initramfs::Initramfs;
use kernel::Kernel;
use packages::Packages;
use programs::Own;
use qemu::Qemu;
use run::{Outcome, Setting};
use screen::Screen;

/// Guests at once: two virtual processors each, on the two that a small machine has.
const JOBS: usize = 2;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Arguments {
    /// Guests to run; all without names
    names: Vec<String>,
    /// List the guests and end
    #[arg(long)]
    list: bool,
    /// What `barewire nic serve` serves: 82599, X540 or X550
    #[arg(long, default_value = "82599")]
    device: String,
    /// Kernel instead of the guests' own choice: stock, backports, own, an image, or a folder
    /// with boot and lib/modules
    #[arg(long, value_name = "CHOICE|PATH")]
    kernel: Option<kernel::Choice>,
    /// QEMU to use (10.1 or later); otherwise the one on PATH, if it is new enough, or the
    /// distribution's
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// Debian mirror; otherwise the one that this machine's apt uses
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Guests at once
    #[arg(long, default_value_t = JOBS)]
    jobs: usize,
    /// Have the served cards write a trace of registers and DMA beside the logs
    #[arg(long)]
    trace: bool,
    /// Keep the guests' file systems beside the logs
    #[arg(long)]
    keep: bool,
    /// Fetch and build all anew
    #[arg(long)]
    refresh: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

/// A guest that can be started.
struct Prepared<'a> {
    guest: &'a Guest,
    setting: Setting<'a>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let guests = description::named(&arguments.names)?;
    if arguments.list {
        for guest in &guests {
            println!("{:18} {}", guest.name, guest.needs.about);
        }
        return Ok(());
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("the lab's guests and cards need Linux on x86-64");
    }
    children::catch_signals()?;
    let screen = Screen::new();
    let logs = programs::target().join("lab");
    fs::create_dir_all(&logs).with_context(|| format!("can't create {}", logs.display()))?;
    let lock = File::create(logs.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another lab runs guests in {}", logs.display());
    }
    let qemu;
    let own = Own::build(&guests, &screen, &logs)?;
    let prepared = {
        let cache = Cache::open(&screen)?;
        if arguments.refresh {
            cache.clear()?;
        }
        let packages = Packages::new(&cache, &screen, arguments.mirror.as_deref());
        qemu = Qemu::find(arguments.qemu.as_deref(), &packages)?;
        let mut prepared = Vec::new();
        for guest in &guests {
            check_stopped_before(&guest.name)?;
            let choice = arguments.kernel.as_ref().unwrap_or(&guest.needs.kernel);
            let kernel = Kernel::fetch(choice, &packages, &cache, &screen)?;
            let folder = logs.join(&guest.name);
            if folder.exists() {
                fs::remove_dir_all(&folder)
                    .with_context(|| format!("can't remove {}", folder.display()))?;
            }
            fs::create_dir_all(&folder)?;
            let initramfs = folder.join("initramfs.cpio");
            Initramfs::of(guest, &kernel, &packages, &own)
                .with_context(|| format!("can't build the file system of {}", guest.name))?
                .write(&initramfs)?;
            prepared.push(Prepared {
                guest,
                setting: Setting {
                    qemu: &qemu,
                    kernel: kernel.image,
                    initramfs,
                    folder,
                    barewire: own.barewire(),
                    device: &arguments.device,
                    trace: arguments.trace,
                },
            });
        }
        prepared
    };
    screen.say(&qemu.version);
    let verdicts = run_all(&prepared, arguments, &screen);
    if arguments.json {
        print_json(&prepared, &verdicts)?;
    }
    children::check_stopped()?;
    let failed = verdicts
        .iter()
        .filter(|verdict| !matches!(verdict, Some((_, Ok(_)))))
        .count();
    if failed > 0 {
        bail!("{failed} of {} guests failed", prepared.len());
    }
    Ok(())
}

/// Seconds and outcome of a guest; none where it was not started any more.
type Verdict = Option<(f64, Result<Outcome>)>;

/// Runs the guests, some at once, and prints a line for each.
fn run_all(prepared: &[Prepared<'_>], arguments: &Arguments, screen: &Screen) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut verdicts = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(Prepared { guest, setting }) = prepared.get(index) else {
                return verdicts;
            };
            if children::stopped() {
                return verdicts;
            }
            let started = Instant::now();
            let task = screen.task(&guest.name);
            let outcome = run::run(guest, setting, &task);
            drop(task);
            let seconds = started.elapsed().as_secs_f64();
            if !arguments.keep {
                // a file of a run that may be gone already
                let _gone = fs::remove_file(&setting.initramfs);
            }
            let line = line(&guest.name, seconds, &outcome, &setting.folder);
            if arguments.json {
                screen.say(&line);
            } else {
                screen.result(&line);
            }
            verdicts.push((index, (seconds, outcome)));
        }
    };
    let mut all: Vec<Verdict> = prepared.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.jobs.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        for thread in threads {
            for (index, verdict) in thread.join().unwrap_or_default() {
                if let Some(place) = all.get_mut(index) {
                    *place = Some(verdict);
                }
            }
        }
    });
    all
}

fn line(name: &str, seconds: f64, outcome: &Result<Outcome>, folder: &Path) -> String {
    match outcome {
        Ok(outcome) => {
            let mut words = outcome.notes.clone();
            if let Some(violations) = outcome.violations {
                words.push(format!("{violations} violations"));
                words.push(format!("{} exceptions", outcome.exceptions));
            }
            format!("{name:18} ok      {seconds:6.1} s  {}", words.join(", "))
        }
        Err(error) => {
            // innermost first: what went wrong, then the logs that show it
            let mut causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            causes.reverse();
            format!(
                "{name:18} FAILED  {seconds:6.1} s  {}\n  logs: {}",
                causes.join("\n"),
                folder.display()
            )
        }
    }
}

fn print_json(prepared: &[Prepared<'_>], verdicts: &[Verdict]) -> Result<()> {
    let guests: Vec<_> = prepared
        .iter()
        .zip(verdicts)
        .map(|(Prepared { guest, setting }, verdict)| {
            let (seconds, outcome) = match verdict {
                Some((seconds, outcome)) => (Some(*seconds), outcome.as_ref().ok()),
                None => (None, None),
            };
            serde_json::json!({
                "guest": guest.name,
                "passed": outcome.is_some(),
                "seconds": seconds,
                "violations": outcome.and_then(|outcome| outcome.violations),
                "exceptions": outcome.map(|outcome| outcome.exceptions),
                "notes": outcome.map(|outcome| &outcome.notes),
                "logs": setting.folder,
            })
        })
        .collect();
    println!(
        "{}",
        serde_json::to_string(&serde_json::json!({ "guests": guests }))?
    );
    Ok(())
}

fn check_stopped_before(name: &str) -> Result<()> {
    children::check_stopped().with_context(|| format!("{name} was not started"))
}
