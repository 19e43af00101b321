//! Builds the subjects, all for the same kind of processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::dpdk;
use super::machine::{folder, root};
use super::subject::Program;

/// The level that bounds of instruction counts are recorded for.
pub(super) const COUNTED: &str = "x86-64-v3";
/// The subjects that the Rust program plays.
pub(super) const RUST: &[&str] = &[
    "barewire",
    "barewire-in-place",
    "virtio-split",
    "virtio-packed",
];

/// What was built.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) list: Vec<Program>,
    /// What could not be had, and why.
    pub(super) missing: Vec<String>,
    /// The level of the x86-64 architecture that all are built for.
    pub(super) level: &'static str,
}

/// The level that rustc and cc both know and this processor has. Not higher: valgrind does not
/// know AVX-512, and counts must not depend on the machine.
pub(super) fn level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("movbe")
    {
        return COUNTED;
    }
    "x86-64"
}

impl Programs {
    /// Builds all subjects.
    ///
    /// # Errors
    /// When one of ours can't be built. DPDK may be missing.
    pub(super) fn build() -> Result<Self> {
        let level = level();
        let rust = rust_subject(level, &[])?;
        let mut missing = Vec::new();
        let dpdk = dpdk::library()
            .map_err(|error| missing.push(format!("DPDK's library can't be had: {error:#}")))
            .ok();
        let c = c_subjects(level, dpdk.as_deref())?;
        let mut list = Vec::new();
        let mut add = |subject, path: &Path, smallest| {
            list.push(Program {
                subject,
                path: path.to_owned(),
                smallest,
            });
        };
        for subject in RUST {
            add(subject, &rust, 1);
        }
        add("c-reference", &c.join("c-reference"), 1);
        if dpdk.is_some() {
            // the vector path takes nothing below four
            add("dpdk-vector", &c.join("dpdk"), 4);
            add("dpdk-simple", &c.join("dpdk"), 1);
            add("dpdk-full", &c.join("dpdk"), 1);
        }
        add("floor", &c.join("floor"), 1);
        add("floor-in-place", &c.join("floor"), 1);
        Ok(Self {
            list,
            missing,
            level,
        })
    }
}

/// Builds the Rust subject, with these settings of the release profile.
///
/// # Errors
/// When cargo fails.
pub(super) fn rust_subject(level: &str, settings: &[(&str, &str)]) -> Result<PathBuf> {
    let built = cargo(
        level,
        &["--package", "barewire-bench"],
        "barewire-bench",
        settings,
    )?;
    // another build with other settings must not take its place
    let mut name = "barewire-bench".to_owned();
    for (key, value) in settings {
        name = format!("{name}-{}-{value}", key.to_lowercase().replace('_', "-"));
    }
    let kept = folder()?.join(name);
    fs::copy(&built, &kept).with_context(|| format!("can't copy to {}", kept.display()))?;
    Ok(kept)
}

/// Builds the program people use.
///
/// # Errors
/// When cargo fails.
pub(super) fn barewire(level: &str) -> Result<PathBuf> {
    cargo(level, &["--package", "barewire-cli"], "barewire", &[])
}

/// Builds the program that measures latencies.
///
/// # Errors
/// When cargo fails.
pub(super) fn latency(level: &str) -> Result<PathBuf> {
    let which = ["--package", "barewire-bench", "--features", "software-nic"];
    cargo(level, &which, "barewire-latency", &[])
}

/// Builds the program that measures one port alone.
///
/// # Errors
/// When cargo fails.
pub(super) fn one_port(level: &str) -> Result<PathBuf> {
    let which = ["--package", "barewire-bench", "--features", "software-nic"];
    cargo(level, &which, "barewire-one-port", &[])
}

/// Builds a program in a folder of its own.
fn cargo(level: &str, which: &[&str], program: &str, settings: &[(&str, &str)]) -> Result<PathBuf> {
    let target = folder()?.join("cargo");
    eprintln!("building {program} for {level}");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--release",
            "--quiet",
            "--locked",
            "--bin",
            program,
        ])
        .args(which)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", format!("-C target-cpu={level}"))
        // pieces that are compiled apart are inlined less
        .env("CARGO_INCREMENTAL", "0")
        .envs(settings.iter().copied())
        .current_dir(root());
    succeed(&mut cargo)?;
    Ok(target.join("release").join(program))
}

fn c_subjects(level: &str, dpdk: Option<&Path>) -> Result<PathBuf> {
    let folder = folder()?.join("c");
    eprintln!("building the C subjects for {level}");
    let mut make = Command::new("make");
    make.arg("--silent")
        .arg("-C")
        .arg(root().join("reference"))
        .arg(format!("OUT={}", folder.display()))
        .arg(format!("ARCH={level}"));
    if let Some(dpdk) = dpdk {
        make.arg(format!("DPDK={}", dpdk.display()));
    }
    succeed(&mut make)?;
    Ok(folder)
}

/// Runs a command whose output belongs on standard error.
///
/// # Errors
/// When it can't be run or fails.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("can't run {program}"))?;
    if !output.success() {
        bail!("{program} failed");
    }
    Ok(())
}
