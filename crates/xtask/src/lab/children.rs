//! Programs that the lab starts: each has an end in time, and none outlives the lab.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often a wait looks again.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// How long a program has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// `setpriv` of util-linux has the kernel kill a program when the thread that started it ends: the
/// only way to leave nothing behind when the lab itself is killed.
static TIED: LazyLock<bool> = LazyLock::new(|| {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});

/// From now on Ctrl-C, SIGTERM and SIGHUP end every wait of the lab. Once in a process.
pub(crate) fn catch_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("can't catch Ctrl-C")?;
    }
    Ok(())
}

/// Whether a signal asked the lab to end.
pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// An error once a signal came.
pub(crate) fn check_stopped() -> Result<()> {
    if stopped() {
        bail!("stopped by a signal");
    }
    Ok(())
}

/// A command for `program` that dies with the thread that starts it.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    if *TIED {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// A running program. Dropping it ends it, and what it started.
pub(crate) struct Running {
    child: Child,
    name: &'static str,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts a program with both its outputs going to the file `log`. `name` is for messages.
    pub(crate) fn logged(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = create(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        Self::start(name, command)
    }

    /// Starts a program with standard output and standard error going to two files.
    pub(crate) fn split(
        name: &'static str,
        command: &mut Command,
        stdout: &Path,
        stderr: &Path,
    ) -> Result<Self> {
        command.stdout(create(stdout)?).stderr(create(stderr)?);
        Self::start(name, command)
    }

    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        Ok(Self {
            child,
            name,
            status: None,
        })
    }

    /// Sends a signal to the program and what it started.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            bail!("{} has ended", self.name);
        }
        kill_process_group(self.group(), signal)
            .with_context(|| format!("can't send a signal to {}", self.name))
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for the end, until `deadline` or a signal to the lab.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            check_stopped()?;
            if Instant::now() >= deadline {
                bail!("{} did not end in time", self.name);
            }
            sleep(LOOK);
        }
    }

    /// Asks the program to end and waits for it; kills it when it takes too long.
    pub(crate) fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::CONT)?;
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill();
                bail!("{} did not end after SIGTERM", self.name);
            }
            sleep(LOOK);
        }
    }

    /// Kills the program at once.
    pub(crate) fn kill(&mut self) {
        if self.status.is_none() {
            // it may have ended in between; then there is nothing to kill
            let _gone = kill_process_group(self.group(), Signal::KILL);
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("can't create {}", path.display()))
}

/// Runs a program to its end, at most `limit`, and returns its standard output. What it says on
/// standard error goes to the file `log`, whose last lines are in the error.
pub(crate) fn output(
    name: &'static str,
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> Result<String> {
    let stdout = log.with_extension("out");
    let mut running = Running::split(name, command, &stdout, log)?;
    let status = running.wait(Instant::now() + limit)?;
    let text =
        std::fs::read(&stdout).with_context(|| format!("can't read {}", stdout.display()))?;
    let _left = std::fs::remove_file(&stdout);
    if !status.success() {
        bail!("{name} failed ({status})\n{}", last_lines(log, 12));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The last lines of a log, indented, and where it is.
pub(crate) fn last_lines(log: &Path, count: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let start = lines.len().saturating_sub(count);
    let mut shown = format!("  {} ends with:", log.display());
    for line in lines.get(start..).unwrap_or_default() {
        shown.push_str("\n    ");
        shown.extend(
            line.chars()
                .filter(|character| !character.is_control())
                .take(300),
        );
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let error = output(
            "sleep",
            command("sleep").arg("600"),
            &folder.path().join("log"),
            Duration::from_millis(50),
        )
        .unwrap_err();
        assert!(error.to_string().contains("did not end in time"), "{error}");
        assert!(started.elapsed() < Duration::from_mins(10));
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = command("sh");
        shell.args(["-c", "echo out; echo first >&2; echo the cause >&2; exit 3"]);
        let error = output("sh", &mut shell, &folder.path().join("log"), GRACE).unwrap_err();
        assert!(error.to_string().contains("    the cause"), "{error}");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn what_a_program_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut shell = command("sh");
        shell.args(["-c", "sleep 600 & echo $!; wait"]);
        let mut running = Running::logged("sh", &mut shell, &log).unwrap();
        let started = Instant::now();
        let grandchild = loop {
            if let Ok(pid) = std::fs::read_to_string(&log).unwrap().trim().parse::<u32>() {
                break pid;
            }
            assert!(started.elapsed() < Duration::from_mins(1));
            sleep(LOOK);
        };
        running.kill();
        let stat = format!("/proc/{grandchild}/stat");
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(started.elapsed() < Duration::from_mins(1));
            sleep(LOOK);
        }
    }
}
