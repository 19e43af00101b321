//! The latency of every frame at several loads: the paper's Figure 3.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::machine::{Machine, keep};
use super::programs;
use super::samples::float;
use super::table::Table;

/// Parts of the capacity, in percent.
const LOADS: &[u64] = &[10, 25, 50, 75, 90, 95];
/// Ways to wait for frames.
const MODES: &[&str] = &["poll", "interrupt", "adaptive"];
/// Runs that capacity is the median of.
const CAPACITY_RUNS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Short runs, for a first look
    #[arg(long)]
    quick: bool,
    /// Measured seconds at each load
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Loads, in percent of what can be carried
    #[arg(long, value_delimiter = ',', default_values_t = LOADS)]
    loads: Vec<u64>,
    /// Only these modes
    #[arg(long, value_delimiter = ',', default_values_t = MODES.iter().map(ToString::to_string))]
    modes: Vec<String>,
    /// Frames taken at a time, at most
    #[arg(long, default_value_t = 32)]
    batch: u16,
}

/// What `barewire-latency` prints: latencies in nanoseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) mode: String,
    /// Load in percent of the capacity.
    #[serde(default)]
    pub(crate) load: u64,
    pub(crate) seconds: f64,
    /// Frames a second that were asked for, of both wires.
    pub(crate) asked: u64,
    pub(crate) offered: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) mpps: f64,
    pub(crate) mean: f64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: u64,
    #[serde(rename = "p99.99")]
    pub(crate) p99_99: u64,
    #[serde(rename = "p99.999")]
    pub(crate) p99_999: u64,
    #[serde(rename = "p99.9999")]
    pub(crate) p99_9999: u64,
    /// How many times the forwarding thread went to sleep.
    pub(crate) sleeps: u64,
    /// Nanoseconds between two readings of the clock.
    pub(crate) clock: f64,
    pub(crate) ccdf: Vec<(u64, f64)>,
}

/// What one mode can carry.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Capacity {
    pub(crate) mode: String,
    /// Millions of frames a second, of both wires.
    pub(crate) mpps: f64,
}

/// What is kept of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) benchmark: String,
    pub(crate) unit: String,
    pub(crate) machine: Machine,
    pub(crate) level: String,
    pub(crate) quick: bool,
    pub(crate) batch: u16,
    pub(crate) capacity: Vec<Capacity>,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let level = programs::level();
    let program = programs::latency(level)?;
    let seconds = if arguments.quick {
        1
    } else {
        arguments.seconds
    };
    let measure = |mode: &str, rate: u64, seconds: u64| {
        measure(&program, mode, rate, seconds, arguments.batch)
    };
    let mut report = Report {
        benchmark: "latency".into(),
        unit: "nanoseconds from the moment a frame was due to the moment it left, every frame"
            .into(),
        machine: Machine::describe(),
        level: level.into(),
        quick: arguments.quick,
        batch: arguments.batch,
        capacity: Vec::new(),
        rows: Vec::new(),
    };
    for mode in &arguments.modes {
        let mut rates = Vec::new();
        for _ in 0..CAPACITY_RUNS {
            let row = measure(mode, 0, seconds.min(2))?;
            rates.push(float(row.delivered) / row.seconds);
        }
        rates.sort_by(f64::total_cmp);
        let capacity = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
        eprintln!("{mode}: {:.2} Mpps can be carried", capacity / 1e6);
        report.capacity.push(Capacity {
            mode: mode.clone(),
            mpps: capacity / 1e6,
        });
        for load in &arguments.loads {
            let rate = per_wire(capacity, *load);
            eprintln!("{mode} at {load} %: {seconds} s");
            let mut row = measure(mode, rate, seconds)?;
            row.load = *load;
            report.rows.push(row);
        }
    }
    if !arguments.json {
        print(&report);
    }
    keep("latency", &report, arguments.json)
}

/// Frames a second of one of the two wires.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // far below 2⁶³, and positive
fn per_wire(capacity: f64, load: u64) -> u64 {
    (capacity / 2.0 * float(load) / 100.0).max(1.0) as u64
}

fn measure(program: &Path, mode: &str, rate: u64, seconds: u64, batch: u16) -> Result<Row> {
    let output = Command::new(program)
        .arg(format!("--mode={mode}"))
        .arg(format!("--rate={rate}"))
        .arg(format!("--seconds={seconds}"))
        .arg(format!("--batch={batch}"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("can't run barewire-latency")?;
    if !output.status.success() {
        bail!("barewire-latency failed: it says why above");
    }
    serde_json::from_slice(&output.stdout).context("what barewire-latency printed can't be read")
}

/// Nanoseconds as microseconds.
pub(crate) fn micros(nanos: u64) -> String {
    format!("{:.1}", float(nanos) / 1e3)
}

fn print(report: &Report) {
    for capacity in &report.capacity {
        println!("{}: capacity {:.2} Mpps", capacity.mode, capacity.mpps);
    }
    println!("latencies in microseconds\n");
    let head = [
        "mode", "load %", "Mpps", "lost", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999",
        "p99.9999", "max",
    ];
    let mut table = Table::new(head);
    for row in &report.rows {
        let latencies = [
            row.p50,
            row.p90,
            row.p99,
            row.p99_9,
            row.p99_99,
            row.p99_999,
            row.p99_9999,
            row.max,
        ];
        let names = [
            row.mode.clone(),
            row.load.to_string(),
            format!("{:.2}", row.mpps),
            row.lost.to_string(),
        ];
        table.row(names.into_iter().chain(latencies.map(micros)));
    }
    println!("{}", table.text());
}
