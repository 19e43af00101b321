//! Frames per second end to end through `barewire forward` on two software cards: the paper's
//! Figure 2, by batch size, and beside it by frame size, number of queues and of processors. And what
//! one port carries that only receives or only sends.

use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::datapath::pin;
use super::machine::{Machine, keep};
use super::programs;
use super::table::Table;

const BATCHES: &[u16] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];
const SIZES: &[u16] = &[60, 64, 128, 256, 512, 1024, 1514];
const QUEUES: &[u16] = &[1, 2, 4];
/// Numbers of queues at which one processor is compared with all.
const SCALED: &[u16] = &[1, 2];
/// Batches with which one port alone is measured.
const BY_ONE_PORT: &[u16] = &[1, 8, 32, 256];
/// What stays the same while something else varies.
const USUAL: Point = Point {
    work: Work::Forward,
    batch: 32,
    size: 60,
    queues: 1,
    alone: false,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// One short run of each, for a first look
    #[arg(long)]
    quick: bool,
    /// Seconds of a run
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Runs of each point
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// What is done with the frames.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// Two ports, each receives what the other sends on.
    #[default]
    Forward,
    /// One port receives, and the program compares every byte.
    Receive,
    /// One port sends what the program writes, and the far end compares every byte.
    Send,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    work: Work,
    batch: u16,
    size: u16,
    queues: u16,
    /// One processor forwards both directions.
    alone: bool,
}

/// A point, with the median of its runs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    #[serde(default)]
    pub(crate) work: Work,
    pub(crate) batch: u16,
    /// Bytes of a frame without FCS.
    pub(crate) size: u16,
    /// Queues of each port.
    pub(crate) queues: u16,
    /// Processors that forward, each with a thread.
    pub(crate) processors: usize,
    /// Whether it was to be one processor, for comparison.
    pub(crate) alone: bool,
    /// Millions of frames a second: forwarded by both ports together, or received or sent by one.
    pub(crate) mpps: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) samples: usize,
    /// Thousands of Mbit/s on the wires they came or went by, with preamble, FCS and gap.
    pub(crate) gbits: f64,
    /// Frames lost, reordered or corrupted in all runs.
    pub(crate) failures: u64,
}

/// What is kept of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) benchmark: String,
    pub(crate) unit: String,
    pub(crate) machine: Machine,
    pub(crate) level: String,
    pub(crate) quick: bool,
    pub(crate) seconds: u64,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let level = programs::level();
    let program = programs::barewire(level)?;
    let one_port = programs::one_port(level)?;
    let (seconds, runs) = if arguments.quick {
        (1, 1)
    } else {
        (arguments.seconds.max(1), arguments.runs.max(1))
    };
    let mut points: Vec<Point> = Vec::new();
    let varied = BATCHES
        .iter()
        .map(|batch| Point {
            batch: *batch,
            ..USUAL
        })
        .chain(SIZES.iter().map(|size| Point {
            size: *size,
            ..USUAL
        }))
        .chain(QUEUES.iter().map(|queues| Point {
            queues: *queues,
            ..USUAL
        }))
        .chain(SCALED.iter().map(|queues| Point {
            queues: *queues,
            alone: true,
            ..USUAL
        }))
        .chain([Work::Receive, Work::Send].into_iter().flat_map(|work| {
            BY_ONE_PORT.iter().map(move |batch| Point {
                work,
                batch: *batch,
                ..USUAL
            })
        }));
    for point in varied {
        if !points.contains(&point) {
            points.push(point);
        }
    }
    let mut measured: Vec<Vec<Forwarded>> = vec![Vec::new(); points.len()];
    for round in 0..runs {
        eprintln!(
            "round {} of {runs}: {} runs of {seconds} s",
            round + 1,
            points.len()
        );
        for (point, measured) in points.iter().zip(&mut measured) {
            let mut command = match point.work {
                Work::Forward => Command::new(&program),
                Work::Receive | Work::Send => Command::new(&one_port),
            };
            match point.work {
                Work::Forward => command
                    .args(["forward", "--json", "--quiet"])
                    .arg(format!("--duration={seconds}"))
                    .arg(format!("--queues={}", point.queues)),
                Work::Receive => command.arg("receive").arg(format!("--seconds={seconds}")),
                Work::Send => command.arg("send").arg(format!("--seconds={seconds}")),
            };
            command
                .arg(format!("--batch={}", point.batch))
                .arg(format!("--size={}", point.size));
            measured.push(if point.alone {
                alone(|| forward(&mut command))?
            } else {
                forward(&mut command)?
            });
        }
    }
    let rows = points.iter().zip(&measured);
    let report = Report {
        benchmark: "throughput".into(),
        unit: "millions of frames sent by both ports per second, median".into(),
        machine: Machine::describe(),
        level: level.into(),
        quick: arguments.quick,
        seconds,
        rows: rows
            .map(|(point, measured)| row(*point, measured))
            .collect(),
    };
    if !arguments.json {
        print(&report);
    }
    keep("throughput", &report, arguments.json)
}

/// What `barewire forward --json` and `barewire-one-port` say, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
struct Forwarded {
    mpps: f64,
    wire: Wire,
}

#[derive(Clone, Debug, Deserialize)]
struct Wire {
    lost: u64,
    reordered: u64,
    corrupted: u64,
}

fn forward(command: &mut Command) -> Result<Forwarded> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't run {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        let program = command.get_program().to_string_lossy();
        bail!("{program} failed: it says why above");
    }
    serde_json::from_slice(&output.stdout).context("what it printed can't be read")
}

/// Does something on one processor only, the last one that may be used.
fn alone<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let all = sched_getaffinity(None).context("can't read which processors may be used")?;
    pin()?;
    let result = work();
    sched_setaffinity(None, &all).context("can't go back to all processors")?;
    result
}

/// How many processors are at work: each direction of each queue has a thread if there are so many,
/// one port alone has one.
fn processors(point: Point) -> usize {
    if point.work != Work::Forward {
        return 1;
    }
    let all = thread::available_parallelism().map_or(1, usize::from);
    let lanes = 2 * usize::from(point.queues);
    if point.alone { 1 } else { all.min(lanes) }
}

fn row(point: Point, measured: &[Forwarded]) -> Row {
    let mut rates: Vec<f64> = measured.iter().map(|run| run.mpps).collect();
    rates.sort_by(f64::total_cmp);
    let at = |place: usize| rates.get(place).copied().unwrap_or(0.0);
    let mpps = at(rates.len() / 2);
    let failures = |run: &Forwarded| run.wire.lost + run.wire.reordered + run.wire.corrupted;
    Row {
        work: point.work,
        batch: point.batch,
        size: point.size,
        queues: point.queues,
        processors: processors(point),
        alone: point.alone,
        mpps,
        lowest: at(0),
        highest: at(rates.len() - 1),
        samples: rates.len(),
        // 8 bytes of preamble, 4 of FCS, 12 of gap
        gbits: mpps * f64::from(point.size + 24) * 8.0 / 1e3,
        failures: measured.iter().map(failures).sum(),
    }
}

fn section(title: &str, rows: &[&Row], of: impl Fn(&Row) -> String) {
    let mut table = Table::new([
        title,
        "Mpps",
        "lowest",
        "highest",
        "wire Gbit/s",
        "failures",
    ]);
    for row in rows {
        let numbers = [row.mpps, row.lowest, row.highest, row.gbits];
        let numbers = numbers.map(|number| format!("{number:.2}"));
        table.row(
            std::iter::once(of(row))
                .chain(numbers)
                .chain([row.failures.to_string()]),
        );
    }
    println!("{}", table.text());
}

fn print(report: &Report) {
    let of = |work: Work, keep: &dyn Fn(&Row) -> bool| -> Vec<&Row> {
        let rows = report.rows.iter();
        let mut rows: Vec<&Row> = rows.filter(|row| row.work == work && keep(row)).collect();
        rows.sort_by_key(|row| (row.batch, row.size, row.queues, row.processors));
        rows
    };
    let rows = |keep: &dyn Fn(&Row) -> bool| of(Work::Forward, keep);
    let usual_batch = |row: &Row| row.batch == USUAL.batch;
    let usual_size = |row: &Row| row.size == USUAL.size;
    let usual_queues = |row: &Row| row.queues == USUAL.queues;
    let all = |row: &Row| !row.alone;
    section(
        "batch",
        &rows(&|row| all(row) && usual_size(row) && usual_queues(row)),
        |row| row.batch.to_string(),
    );
    section(
        "size",
        &rows(&|row| all(row) && usual_batch(row) && usual_queues(row)),
        |row| row.size.to_string(),
    );
    section(
        "queues, processors",
        &rows(&|row| usual_batch(row) && usual_size(row)),
        |row| format!("{}, {}", row.queues, row.processors),
    );
    for (title, work) in [
        ("one port receives, batch", Work::Receive),
        ("one port sends, batch", Work::Send),
    ] {
        section(title, &of(work, &|_| true), |row| row.batch.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_every_failure() {
        let run = |mpps: f64, lost| Forwarded {
            mpps,
            wire: Wire {
                lost,
                reordered: 0,
                corrupted: 1,
            },
        };
        let row = row(USUAL, &[run(9.0, 2), run(7.0, 0), run(14.880_952, 0)]);
        assert!((row.mpps - 9.0).abs() < 1e-9 && (row.highest - 14.880_952).abs() < 1e-9);
        assert_eq!((row.samples, row.failures), (3, 5));
        // 14.88 Mpps of the smallest frames are 10 Gbit/s
        let line = super::row(USUAL, &[run(14.880_952, 0)]);
        assert!((line.gbits - 10.0).abs() < 0.001);
    }
}
