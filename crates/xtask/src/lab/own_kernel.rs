//! A kernel of one's own, for guests that need what the distribution's kernel lacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::children::{Running, check_stopped, command, last_lines, output};
use super::description;
use super::packages::Packages;
use super::screen::{Screen, Task};

/// The package with the source. Its archive has the same name.
const SOURCE: &str = "linux-source-6.12";

/// Programs of the machine that are needed, and their packages.
const COMPILER: [(&str, &str); 5] = [
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("make", "make"),
    ("perl", "perl"),
    ("bc", "bc"),
];

/// Fetched where the machine has none: they run on the machine, so they come from its own release.
const TOOLS: [&str; 4] = ["bison", "flex", "libelf-dev", "m4"];

/// Part of every installation: another version of one would not fit the others.
const INSTALLED: [&str; 6] = [
    "libc6",
    "libc6-dev",
    "libc-dev-bin",
    "libgcc-s1",
    "libcrypt1",
    "linux-libc-dev",
];

/// Limits: unpacking, and compiling on a busy machine with two processors.
const UNPACK: Duration = Duration::from_mins(10);
const COMPILE: Duration = Duration::from_mins(45);

/// What compiling prints, in lines, more or less: for telling how far it is.
const LINES: usize = 1500;
/// Time between two looks how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// The folder with the kernel, built if no former run has.
pub(crate) fn fetch(packages: &Packages, cache: &Cache, screen: &Screen) -> Result<PathBuf> {
    let fragment = description::folder().join("own-kernel.config");
    let config = fs::read_to_string(&fragment)
        .with_context(|| format!("can't read {}", fragment.display()))?;
    cache.folder("kernel-own", &format!("{SOURCE}\n{config}"), |folder| {
        let task = screen.task("kernel");
        let log = folder.join("log");
        provide(&missing(&log), &task, &log)?;
        let tools = packages.of_this_machine("kernel-tools", &TOOLS, &INSTALLED)?;
        let source = packages.exactly("kernel-source", |_| Ok(vec![SOURCE.to_owned()]))?;
        let busybox = packages.program("busybox")?;
        let work = folder.join("work");
        fs::create_dir_all(&work)?;
        let build = Build {
            tools: &tools,
            tree: &work.join(SOURCE),
            log: &log,
        };
        task.doing("unpacking the source");
        let mut unpack = command(busybox.root.join(busybox.path));
        unpack
            .args(["tar", "-xJf"])
            .arg(source.join("usr/src").join(format!("{SOURCE}.tar.xz")))
            .arg("-C")
            .arg(&work);
        output("busybox tar", &mut unpack, build.log, UNPACK)?;
        task.doing("configuring");
        build.make(&[
            &format!("KCONFIG_ALLCONFIG={}", fragment.display()),
            "allnoconfig",
        ])?;
        check(&config, &fs::read_to_string(build.tree.join(".config"))?)?;
        build.compile(&task)?;
        let release = build.make(&["-s", "kernelrelease"])?;
        let release = release.trim();
        install(build.tree, folder, release)?;
        fs::remove_dir_all(&work).context("can't remove the source")
    })
}

/// The packages of the programs that the machine lacks.
fn missing(log: &Path) -> Vec<&'static str> {
    let lacks = |program: &str| {
        let mut version = command(program);
        output("a compiler", version.arg("--version"), log, UNPACK).is_err()
    };
    let missing = COMPILER.iter().filter(|(program, _)| lacks(program));
    missing.map(|(_, package)| *package).collect()
}

/// Installs packages, which root may; others are told to.
fn provide(packages: &[&'static str], task: &Task<'_>, log: &Path) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a guest's kernel must be built, and the machine lacks what for: \
             `sudo apt-get install {names}`"
        );
    }
    task.doing(&format!("installing {names}"));
    output(
        "apt-get update",
        command("apt-get").arg("update"),
        log,
        UNPACK,
    )?;
    let mut install = command("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    output("apt-get install", &mut install, log, UNPACK)
        .map(drop)
        .with_context(|| format!("can't install {names}"))
}

struct Build<'a> {
    tools: &'a Path,
    tree: &'a Path,
    log: &'a Path,
}

impl Build<'_> {
    /// Runs make to its end and returns what it prints.
    fn make(&self, arguments: &[&str]) -> Result<String> {
        output("make", &mut self.command(arguments), self.log, COMPILE)
    }

    /// Compiles the kernel, and tells how far it is.
    fn compile(&self, task: &Task<'_>) -> Result<()> {
        let jobs = std::thread::available_parallelism().map_or(2, usize::from);
        let mut make = self.command(&[&format!("-j{jobs}"), "bzImage"]);
        let printed = self.log.with_extension("compiled");
        let mut running = Running::split("make", &mut make, &printed, self.log)?;
        let deadline = Instant::now() + COMPILE;
        let mut told = None;
        loop {
            if let Some(status) = running.ended()? {
                if status.success() {
                    return Ok(());
                }
                bail!("make failed ({status})\n{}", last_lines(self.log, 12));
            }
            check_stopped()?;
            if Instant::now() >= deadline {
                bail!("the kernel was not compiled within {COMPILE:?}");
            }
            let lines = fs::read_to_string(&printed).map_or(0, |text| text.lines().count());
            let tenths = (lines * 10 / LINES).min(9);
            if told.replace(tenths) != Some(tenths) {
                task.doing(&format!("compiling, once: {} %", tenths * 10));
            }
            sleep(PROGRESS);
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let tools = self.tools.display();
        let libraries = format!("{tools}/usr/lib/x86_64-linux-gnu");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut make = command("make");
        make.arg("-C")
            .arg(self.tree)
            .args(arguments)
            .arg(format!("HOSTCFLAGS=-I{tools}/usr/include"))
            .arg(format!("HOSTLDFLAGS=-L{libraries} -Wl,-rpath,{libraries}"))
            .env("PATH", format!("{tools}/usr/bin:{path}"))
            .env("M4", format!("{tools}/usr/bin/m4"))
            .env("BISON_PKGDATADIR", format!("{tools}/usr/share/bison"))
            .env("KBUILD_BUILD_USER", "lab")
            .env("KBUILD_BUILD_HOST", "barewire")
            .env("LC_ALL", "C");
        make
    }
}

/// Every option that was asked for must be there: one whose needs are not met is left out silently.
fn check(wanted: &str, got: &str) -> Result<()> {
    let missing: Vec<_> = wanted
        .lines()
        .filter(|line| line.starts_with("CONFIG_") && !line.ends_with("=n"))
        .filter(|line| !got.lines().any(|other| other == *line))
        .collect();
    if !missing.is_empty() {
        bail!("the kernel can't be configured with {}", missing.join(", "));
    }
    Ok(())
}

/// Puts the kernel where one of the distribution's packages has it.
fn install(tree: &Path, folder: &Path, release: &str) -> Result<()> {
    let boot = folder.join("boot");
    let modules = folder.join("lib/modules").join(release);
    fs::create_dir_all(&boot)?;
    fs::create_dir_all(&modules)?;
    fs::copy(
        tree.join("arch/x86/boot/bzImage"),
        boot.join(format!("vmlinuz-{release}")),
    )
    .context("the build made no bzImage")?;
    for name in ["modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(tree.join(name), modules.join(name))
            .with_context(|| format!("the build made no {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_is_named_to_who_may_not_install_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let screen = Screen::new();
        assert!(provide(&[], &screen.task("kernel"), &log).is_ok());
        if !rustix::process::geteuid().is_root() {
            let error = provide(&["no-such"], &screen.task("kernel"), &log).unwrap_err();
            assert!(error.to_string().ends_with("install no-such`"), "{error}");
        }
    }

    #[test]
    fn an_option_that_was_left_out_is_named() {
        let wanted = "# a comment\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\n";
        assert!(check(wanted, "CONFIG_B=y\nCONFIG_A=y\n").is_ok());
        let error = check(wanted, "CONFIG_A=y\n# CONFIG_B is not set\n").unwrap_err();
        assert!(error.to_string().ends_with("with CONFIG_B=y"), "{error}");
    }
}
