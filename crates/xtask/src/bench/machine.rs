//! The machine that was measured on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a reader must know of the machine.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) virtualised: bool,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) cc: String,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// The commit that was measured; `+` behind it says that there were changes.
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn describe() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of_cpu = |name: &str| field(&cpuinfo, name);
        let flags = of_cpu("flags");
        let model = [
            of_cpu("model name"),
            format!("family {}", of_cpu("cpu family")),
            format!("model {}", of_cpu("model")),
        ];
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = field(&meminfo, "MemTotal");
        let kilobytes = kilobytes.split(' ').next().unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: model.join(", "),
            processors: processors(&cpuinfo),
            virtualised: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory_gib: kilobytes.parse::<u64>().unwrap_or(0).div_ceil(1 << 20),
            kernel: kernel.trim().to_owned(),
            rustc: first_line("rustc", &["--version"]),
            cc: first_line("cc", &["--version"]),
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            commit: commit(),
        }
    }
}

/// How many processors there are, whichever of them this process is held to at the moment.
fn processors(cpuinfo: &str) -> usize {
    let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let count = lines.filter(|(key, _)| key.trim() == "processor").count();
    let allowed = || std::thread::available_parallelism().map_or(1, usize::from);
    if count > 0 { count } else { allowed() }
}

fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find(|(key, _)| key.trim() == name);
    value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn commit() -> String {
    let commit = first_line("git", &["rev-parse", "--short=12", "HEAD"]);
    let changes = first_line("git", &["status", "--porcelain", "--untracked-files=no"]);
    if changes.is_empty() {
        commit
    } else {
        commit + "+"
    }
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text.unwrap_or_default();
    line.lines().next().unwrap_or_default().to_owned()
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or(here.clone(), PathBuf::from)
}

/// Where everything that measurements build and find is kept.
///
/// # Errors
/// When it can't be created.
pub(crate) fn folder() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
    Ok(folder)
}

/// Keeps a result for the report, and prints it as JSON if asked to.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn keep(name: &str, result: &impl Serialize, json: bool) -> Result<()> {
    let text = serde_json::to_string_pretty(result)?;
    let file = folder()?.join(format!("{name}.json"));
    fs::write(&file, &text).with_context(|| format!("can't write {}", file.display()))?;
    if json {
        println!("{text}");
    } else {
        eprintln!("kept as {}", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_those_of_the_machine() {
        let cpuinfo = "processor\t: 0\nmodel name\t: X\n\nprocessor\t: 1\nmodel name\t: X\n";
        assert_eq!(processors(cpuinfo), 2);
        assert!(processors("") >= 1);
    }
}
