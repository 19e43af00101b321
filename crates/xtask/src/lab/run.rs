//! One guest, from its cards to its verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::children::{Running, check_stopped, last_lines};
use super::control::{Control, Line};
use super::description::Guest;
use super::exchange::Exchange;
use super::qemu::{Ends, Files, Place, Qemu, add_card};
use super::screen::Task;
use super::served::{Order, Served};

/// How long a guest that has ended may take to power off.
const POWER_OFF: Duration = Duration::from_secs(30);

/// How long a server has to answer all that a QEMU that was stopped has sent.
const SETTLED: Duration = Duration::from_millis(200);

/// What a guest needs besides its script.
pub(crate) struct Setting<'a> {
    pub(crate) qemu: &'a Qemu,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// Where logs go.
    pub(crate) folder: PathBuf,
    /// The program `barewire`, which serves cards.
    pub(crate) barewire: PathBuf,
    pub(crate) device: &'a str,
    pub(crate) trace: bool,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) notes: Vec<String>,
    /// Broken rules that the model counted; none where no card is served.
    pub(crate) violations: Option<u64>,
    /// Broken rules that are let through, with a reason.
    pub(crate) exceptions: u64,
}

/// Runs a guest to its end. Nothing of it runs afterwards, whatever the outcome.
pub(crate) fn run(guest: &Guest, setting: &Setting<'_>, task: &Task<'_>) -> Result<Outcome> {
    let deadline = Instant::now() + Duration::from_secs(guest.needs.timeout);
    // paths of sockets are short: at most 107 bytes
    let sockets = tempfile::Builder::new().prefix("barewire-lab-").tempdir()?;
    let console = setting.folder.join("console.log");
    let control_path = sockets.path().join("control");
    let mut machine = setting.qemu.machine(
        &guest.needs,
        &Files {
            kernel: &setting.kernel,
            initramfs: &setting.initramfs,
            console: &console,
            control: &control_path,
        },
    );
    task.doing("starting");
    let mut served = Vec::new();
    let mut cables = Vec::new();
    for (index, card) in guest.needs.cards.iter().enumerate() {
        let first = guest
            .needs
            .cards
            .iter()
            .position(|other| other.cable == card.cable);
        let mut ends = Ends {
            local: sockets.path().join(&card.cable),
            remote: sockets.path().join(format!("{}.peer", card.cable)),
        };
        if first != Some(index) {
            std::mem::swap(&mut ends.local, &mut ends.remote);
        }
        let address = format!("02:00:00:00:00:{:02x}", index + 1);
        if let Some(device) = card.served(setting.device) {
            let cable = format!("cable:{},{}", ends.local.display(), ends.remote.display());
            let one = Served::start(&Order {
                program: &setting.barewire,
                device,
                address: &address,
                wire: card.wire.as_deref().unwrap_or(&cable),
                socket: sockets.path().join(format!("card{index}")),
                logs: setting.folder.join(format!("card{index}")),
                trace: setting.trace,
            })?;
            add_card(
                &mut machine,
                index,
                card,
                &address,
                Place::Served(&one.socket),
            );
            served.push(Some(one));
            cables.push(card.wire.is_none().then_some(ends));
        } else {
            add_card(&mut machine, index, card, &address, Place::Cable(&ends));
            served.push(None);
            cables.push(Some(ends));
        }
    }
    let log = setting.folder.join("qemu.log");
    fs::write(
        setting.folder.join("qemu.command"),
        format!("{machine:?}\n"),
    )?;
    let mut control = Control::listen(&control_path)?;
    let mut running = Running::logged("QEMU", &mut machine, &log)?;
    task.doing("booting");
    let mut outcome = Outcome::default();
    let mut cards = Cards {
        served,
        cables,
        exchange: None,
    };
    let verdict = listen(
        &mut control,
        &mut running,
        &mut cards,
        &mut outcome,
        task,
        deadline,
    )
    .with_context(|| trouble(&console, &log));
    // the servers' reports count after a failure too: a violation may be its cause
    if verdict.is_err() {
        running.kill();
    }
    let reports = end_all(cards.served, &guest.needs.broken, &mut outcome);
    match (verdict, reports) {
        (Ok(()), reports) => reports?,
        (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(more)) => return Err(error.context(format!("{more:#}"))),
    }
    Ok(outcome)
}

/// The end of what the guest and QEMU printed.
fn trouble(console: &Path, log: &Path) -> String {
    let mut text = last_lines(console, 15);
    if fs::metadata(log).is_ok_and(|data| data.len() > 0) {
        text.push('\n');
        text.push_str(&last_lines(log, 5));
    }
    text
}

/// Hears the guest out until it has powered off.
fn listen(
    control: &mut Control,
    running: &mut Running,
    cards: &mut Cards,
    outcome: &mut Outcome,
    task: &Task<'_>,
    mut deadline: Instant,
) -> Result<()> {
    let mut step = "booting".to_owned();
    let mut verdict = None;
    let mut killed = false;
    loop {
        check_stopped()?;
        for one in cards.served.iter_mut().flatten() {
            one.release_in_time()?;
        }
        match control.next()? {
            Some(Line::Step(text)) => {
                task.doing(&text);
                step = text;
            }
            Some(Line::Note(text)) => outcome.notes.push(text),
            Some(Line::Ask(words)) => {
                let answer = answer(&words, cards, running);
                killed |= answer.is_ok() && words.first().is_some_and(|verb| verb == "kill");
                control.reply(answer)?;
            }
            // a guest that has failed may still have something to print
            Some(line @ (Line::Done | Line::Fail(_))) if verdict.is_none() => {
                verdict = Some(match line {
                    Line::Fail(text) => Err(anyhow!("{step}: {text}")),
                    _ => Ok(()),
                });
                "powering off".clone_into(&mut step);
                deadline = Instant::now() + POWER_OFF;
            }
            Some(Line::Done | Line::Fail(_)) => {}
            None => {
                let ended = running.ended()?;
                let in_time = Instant::now() < deadline;
                match (ended, verdict.take()) {
                    (None, kept) if in_time => verdict = kept,
                    (_, Some(Err(error))) => return Err(error),
                    // once a card has died QEMU may crash when the guest powers off
                    (Some(status), Some(Ok(()))) if status.success() || killed => return Ok(()),
                    (Some(status), _) => bail!("{step}: QEMU ended ({status})"),
                    (None, _) => bail!("{step}: not done in time"),
                }
            }
        }
    }
}

/// A guest's cards, as the lab has them.
#[derive(Default)]
struct Cards {
    served: Vec<Option<Served>>,
    /// Their cables, but of those that have a wire.
    cables: Vec<Option<Ends>>,
    /// What the lab itself sends through two of them.
    exchange: Option<Exchange>,
}

/// Does what a guest asks for.
fn answer(words: &[String], cards: &mut Cards, running: &mut Running) -> Result<String> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let [verb, card, ref rest @ ..] = words[..] else {
        bail!("the lab does not understand {words:?}");
    };
    let index: usize = card.parse().context("which card?")?;
    match (verb, rest) {
        ("exchange", [other, frames]) => {
            // of one before, so that its sockets are free
            cards.exchange = None;
            let cable = |index: usize| {
                let cable = cards.cables.get(index).and_then(Option::as_ref);
                cable.with_context(|| format!("card {index} has no cable"))
            };
            let both = [cable(index)?, cable(other.parse().context("which card?")?)?];
            let frames = frames.parse().context("how many frames?")?;
            cards.exchange = Some(Exchange::start(both, frames)?);
            return Ok(String::new());
        }
        ("exchanged", []) => {
            let exchange = cards.exchange.as_ref().context("no exchange was begun")?;
            return exchange.look();
        }
        _ => {}
    }
    let place = cards.served.get_mut(index);
    if let ("kill", []) = (verb, rest) {
        let served = place.and_then(Option::take);
        let served = served.with_context(|| format!("card {index} is not served by barewire"))?;
        // QEMU crashes over a server that dies with a message unread
        running.signal(Signal::STOP)?;
        sleep(SETTLED);
        served.kill();
        running.signal(Signal::CONT)?;
        return Ok(String::new());
    }
    let Some(Some(served)) = place else {
        bail!("card {index} is not served by barewire");
    };
    match (verb, rest) {
        ("counters", []) => Ok(flat(&served.counters()?)),
        ("hold", [time]) => {
            let time = Duration::from_millis(time.parse().context("how many milliseconds?")?);
            served.hold(time).map(|()| String::new())
        }
        _ => bail!(
            "the lab can't {verb}: it knows `counters CARD`, `hold CARD MILLISECONDS`, `kill CARD`, \
             `exchange CARD CARD FRAMES` and `exchanged CARD`"
        ),
    }
}

/// Numbers of an object and of those inside it, as `a.b=1` with spaces between.
fn flat(value: &Value) -> String {
    fn add(prefix: &str, value: &Value, words: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                for (name, entry) in entries {
                    let name = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    add(&name, entry, words);
                }
            }
            Value::Number(number) => words.push(format!("{prefix}={number}")),
            Value::Array(entries) => words.push(format!("{prefix}={}", entries.len())),
            _ => {}
        }
    }
    let mut words = Vec::new();
    add("", value, &mut words);
    words.join(" ")
}

/// Ends the servers and adds up what they report. Violations are a failure, and so is one that was
/// to be and is not.
fn end_all(served: Vec<Option<Served>>, wanted: &[String], outcome: &mut Outcome) -> Result<()> {
    let mut failures = Vec::new();
    let mut missing: Vec<_> = wanted.iter().collect();
    for one in served.into_iter().flatten() {
        match one.end() {
            Ok(report) => {
                let broken = report.broken.iter();
                let is_wanted = |line: &&String| wanted.iter().any(|part| line.contains(part));
                let known = broken.clone().filter(is_wanted).count() as u64;
                // the list is cut off after some hundred, all of which would have to be known
                let others = if broken.len() as u64 == known && known > 0 {
                    0
                } else {
                    report.violations - known
                };
                missing.retain(|part| !broken.clone().any(|line| line.contains(*part)));
                outcome.exceptions += report.exceptions;
                *outcome.violations.get_or_insert(0) += others;
                if others > 0 {
                    failures.push(format!(
                        "{} violations: see {}\n{}",
                        report.violations,
                        report.file.display(),
                        last_lines(&report.log, 10)
                    ));
                }
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    for part in missing {
        failures.push(format!("no card has seen what was to be seen: {part}"));
    }
    if failures.is_empty() {
        Ok(())
    } else {
        bail!("{}", failures.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::children::command;
    use super::*;

    #[test]
    fn counters_are_flat() {
        let value = serde_json::json!({ "nic": { "rx": 1, "name": "x" }, "list": [1, 2], "n": 0 });
        let mut words: Vec<_> = flat(&value).split(' ').map(str::to_owned).collect();
        words.sort();
        assert_eq!(words, ["list=2", "n=0", "nic.rx=1"]);
    }

    #[test]
    fn only_what_the_lab_can_do_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let mut sleep = command("sleep");
        let log = folder.path().join("log");
        let mut qemu = Running::logged("sleep", sleep.arg("600"), &log).unwrap();
        for words in [
            "counters 0",
            "counters",
            "kill 0",
            "kill 7",
            "reboot 0",
            "exchange 0 1 5",
            "exchanged 0",
        ] {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            assert!(
                answer(&words, &mut Cards::default(), &mut qemu).is_err(),
                "{words:?}"
            );
        }
    }
}
