//! Cards served by `barewire nic serve`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::children::{LOOK, Running, check_stopped, command, last_lines};

/// How long a server may take until its socket is there, and to answer a signal.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server can be held still; QEMU would take it for dead after a minute.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// What begins the line in which a server tells its counters while it runs.
const STATUS: &str = "status: ";

/// A running server.
pub(crate) struct Served {
    running: Running,
    /// Where QEMU finds it.
    pub(crate) socket: PathBuf,
    report: PathBuf,
    log: PathBuf,
    /// When a server that is held still goes on.
    held: Option<Instant>,
}

/// What to serve.
pub(crate) struct Order<'a> {
    pub(crate) program: &'a Path,
    /// What `--device` of `barewire nic serve` takes.
    pub(crate) device: &'a str,
    pub(crate) address: &'a str,
    /// What the port is plugged into.
    pub(crate) wire: &'a str,
    pub(crate) socket: PathBuf,
    /// Where the logs go, and the start of their names.
    pub(crate) logs: PathBuf,
    pub(crate) trace: bool,
}

impl Served {
    /// Starts a server, and waits until it can be reached.
    pub(crate) fn start(order: &Order<'_>) -> Result<Self> {
        let mut serve = command(order.program);
        serve
            .args(["nic", "serve", "--strict", "--json"])
            .args(["--device", order.device, "--mac", order.address])
            .arg("--socket")
            .arg(&order.socket)
            .args(["--wire", order.wire]);
        if order.trace {
            serve.arg("--trace").arg(order.logs.with_extension("trace"));
        }
        let report = order.logs.with_extension("json");
        let log = order.logs.with_extension("log");
        let mut served = Self {
            running: Running::split("barewire nic serve", &mut serve, &report, &log)?,
            socket: order.socket.clone(),
            report,
            log,
            held: None,
        };
        let deadline = Instant::now() + PATIENCE;
        while !served.socket.exists() {
            check_stopped()?;
            if let Some(status) = served.running.ended()? {
                bail!(
                    "barewire nic serve ended ({status})\n{}",
                    last_lines(&served.log, 8)
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "barewire nic serve made no socket\n{}",
                    last_lines(&served.log, 8)
                );
            }
            sleep(LOOK);
        }
        Ok(served)
    }

    /// Holds the server still for a while. The guest may stand still with it, so it can't be the
    /// one that ends this.
    pub(crate) fn hold(&mut self, time: Duration) -> Result<()> {
        if time > LONGEST_HOLD {
            bail!("a card is held for {LONGEST_HOLD:?} at most");
        }
        self.running.signal(Signal::STOP)?;
        self.held = Some(Instant::now() + time);
        Ok(())
    }

    /// Lets a server go on whose time is over.
    pub(crate) fn release_in_time(&mut self) -> Result<()> {
        if self.held.is_some_and(|until| Instant::now() >= until) {
            self.held = None;
            self.running.signal(Signal::CONT)?;
        }
        Ok(())
    }

    /// Kills the server: for the guest, the card is gone without a word.
    pub(crate) fn kill(mut self) {
        self.running.kill();
    }

    /// What the server has counted so far.
    pub(crate) fn counters(&mut self) -> Result<Value> {
        let lines = |text: &str| text.lines().filter(|line| line.starts_with(STATUS)).count();
        let before = lines(&self.text()?);
        self.running.signal(Signal::USR1)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text()?;
            if text.ends_with('\n')
                && lines(&text) > before
                && let Some(line) = text
                    .lines()
                    .rev()
                    .find_map(|line| line.strip_prefix(STATUS))
            {
                return serde_json::from_str(line).context("the server's status is no JSON");
            }
            check_stopped()?;
            if Instant::now() >= deadline || self.running.ended()?.is_some() {
                bail!(
                    "barewire nic serve tells no counters\n{}",
                    last_lines(&self.log, 8)
                );
            }
            sleep(LOOK);
        }
    }

    fn text(&self) -> Result<String> {
        let bytes =
            fs::read(&self.log).with_context(|| format!("can't read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Ends the server, and returns its report.
    pub(crate) fn end(mut self) -> Result<Report> {
        let status = self.running.terminate()?;
        let text = fs::read_to_string(&self.report)
            .with_context(|| format!("can't read {}", self.report.display()))?;
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            bail!(
                "barewire nic serve ended ({status}) without a report\n{}",
                last_lines(&self.log, 8)
            );
        };
        let report = Report {
            violations: count(&value["violations"])
                .context("the server's report names no number of violations")?,
            exceptions: count(&value["exceptions"]).unwrap_or(0),
            broken: texts(&value["violation_list"]),
            file: self.report.clone(),
            log: self.log.clone(),
        };
        if !status.success() && report.violations == 0 {
            bail!(
                "barewire nic serve ended ({status})\n{}",
                last_lines(&self.log, 8)
            );
        }
        Ok(report)
    }
}

/// What a server said at its end.
pub(crate) struct Report {
    pub(crate) violations: u64,
    pub(crate) exceptions: u64,
    /// The first of the violations, as they were printed.
    pub(crate) broken: Vec<String>,
    pub(crate) file: PathBuf,
    pub(crate) log: PathBuf,
}

fn texts(value: &Value) -> Vec<String> {
    let entries = value.as_array().into_iter().flatten();
    let texts = entries.filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// A number, or how often the entries of a list happened.
fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Array(entries) => Some(
            entries
                .iter()
                .map(|entry| entry["count"].as_u64().unwrap_or(1))
                .sum(),
        ),
        other => other.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_counted_as_number_or_list() {
        assert_eq!(count(&serde_json::json!(3)), Some(3));
        assert_eq!(count(&serde_json::json!([])), Some(0));
        assert_eq!(count(&serde_json::json!(["a", "b"])), Some(2));
        assert_eq!(count(&serde_json::json!([{ "count": 5 }, {}])), Some(6));
        assert_eq!(count(&Value::Null), None);
    }
}
