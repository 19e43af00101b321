//! What checks cost: the paper's section 6.3.
//!
//! Overflow checks are a setting of the compiler: the subject is built with and without. Bounds
//! checks can't be switched off, and code without them would be other code. So they are found in
//! the program itself: a conditional jump to a call of the function that panics for an index out of
//! bounds is one. How often each is passed is counted under callgrind. What they cost in time shows
//! a copy of the program in which these jumps are overwritten, the comparison before them staying.

mod checks;
mod counts;
mod disassembly;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use self::checks::{Check, Kind};
use self::counts::Counts;
use super::datapath::pin;
use super::hugepages::Hugepages;
use super::instructions::{self, valgrind};
use super::machine::{Machine, folder, keep};
use super::programs;
use super::samples::{Summary, Turn, float, quickest, summarise};
use super::subject::Program;
use super::table::Table;

const RING: u16 = 512;
const BATCHES: &[u16] = &[8, 32];
const SUBJECT: &str = "barewire";
/// Frames that each variant must forward whole before it is timed.
const VERIFIED: u64 = 20_000;
const SECTIONS: u32 = 400;
/// Sections that are counted: enough to tell every packet's checks from those done once.
const COUNTED: u32 = 500;

/// As people build it.
const RELEASED: &str = "release";
const OVERFLOW: &str = "overflow-checks";
const NO_BOUNDS: &str = "without-bounds-branches";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// A tenth of the turns, for a first look
    #[arg(long)]
    quick: bool,
    /// Turns of each variant at each batch size
    #[arg(long, default_value_t = 60)]
    turns: u32,
}

/// One variant at one batch size.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) variant: String,
    pub(crate) batch: u16,
    pub(crate) instructions: f64,
    pub(crate) branches: f64,
    #[serde(flatten)]
    pub(crate) summary: Summary,
}

/// Checks of the released program that packets pass, at one batch size.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Passed {
    pub(crate) batch: u16,
    /// Passed per packet, all together.
    pub(crate) bounds: f64,
    /// Each jump: the function it is in and how often a packet passes it.
    pub(crate) places: Vec<Place>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Place {
    pub(crate) function: String,
    pub(crate) address: String,
    pub(crate) passed: f64,
}

/// What is kept of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) benchmark: String,
    pub(crate) unit: String,
    pub(crate) machine: Machine,
    pub(crate) level: String,
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) checks: Vec<Passed>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    valgrind()?;
    let level = programs::level();
    let released = programs::rust_subject(level, &[])?;
    let setting = ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    let overflow = programs::rust_subject(level, &[setting])?;
    let checks = checks::find(&disassembly::read(&released)?);
    let bounds: Vec<&Check> = checks
        .iter()
        .filter(|check| check.kind == Kind::Bounds)
        .collect();
    let patched = folder()?.join("barewire-bench-without-bounds-branches");
    checks::overwrite(&released, &bounds, &patched)?;
    let variants = [
        (RELEASED, program(&released)),
        (OVERFLOW, program(&overflow)),
        (NO_BOUNDS, program(&patched)),
    ];

    let mut report = Report {
        benchmark: "safety".into(),
        unit: "time-stamp counter cycles and events per forwarded packet".into(),
        machine: Machine::describe(),
        level: level.into(),
        quick: arguments.quick,
        rows: Vec::new(),
        checks: Vec::new(),
    };
    for batch in BATCHES {
        report.checks.push(passed(&released, &bounds, *batch)?);
    }
    let turns = if arguments.quick {
        (arguments.turns / 10).max(3)
    } else {
        arguments.turns
    };
    let summaries = take_turns(&variants, turns)?;
    for ((variant, program), summaries) in variants.iter().zip(summaries) {
        for (batch, summary) in BATCHES.iter().zip(summaries) {
            eprintln!("counting {variant} at batches of {batch}");
            let counts = instructions::count(program, *batch)?;
            report.rows.push(Row {
                variant: (*variant).to_owned(),
                batch: *batch,
                instructions: counts.instructions,
                branches: counts.branches,
                summary,
            });
        }
    }
    if !arguments.json {
        print(&report);
    }
    keep("safety", &report, arguments.json)
}

fn program(path: &Path) -> Program {
    Program {
        subject: SUBJECT,
        path: path.to_owned(),
        smallest: 1,
    }
}

/// Times the variants in turns, at each batch size.
fn take_turns(variants: &[(&str, Program)], turns: u32) -> Result<Vec<Vec<Summary>>> {
    let _hugepages = Hugepages::reserve();
    pin()?;
    let mut subjects = Vec::new();
    for (variant, program) in variants {
        let mut subject = program.start(RING)?;
        subject
            .verify(32, VERIFIED)
            .with_context(|| (*variant).to_owned())?;
        subjects.push(subject);
    }
    let mut taken: Vec<Vec<Vec<Turn>>> = vec![vec![Vec::new(); BATCHES.len()]; subjects.len()];
    for round in 0..turns + 2 {
        for (at, batch) in BATCHES.iter().enumerate() {
            for step in 0..subjects.len() {
                let who = (step + round as usize) % subjects.len();
                let turn = subjects[who].run(*batch, SECTIONS, false)?;
                if round >= 2 {
                    taken[who][at].push(turn);
                }
            }
        }
    }
    let all = taken.iter().map(|batches| {
        let best = quickest(batches.iter().flatten());
        let summaries = batches.iter().map(|turns| summarise(turns, best));
        summaries.collect::<Option<Vec<_>>>()
    });
    all.collect::<Option<Vec<_>>>()
        .context("a variant forwarded nothing")
}

/// How often packets pass each bounds check.
fn passed(path: &Path, bounds: &[&Check], batch: u16) -> Result<Passed> {
    let counts = Counts::take(&program(path), RING, batch, COUNTED)?;
    let per_packet = |count: u64| float(count) / float(counts.packets);
    let mut places: Vec<Place> = Vec::new();
    for check in bounds {
        let count = counts.at(check.address);
        if count > 0 {
            places.push(Place {
                function: check.function.clone(),
                address: format!("{:#x}", check.address),
                passed: per_packet(count),
            });
        }
    }
    places.sort_by(|a, b| b.passed.total_cmp(&a.passed));
    Ok(Passed {
        batch,
        // an empty sum is -0
        bounds: places.iter().map(|place| place.passed).sum::<f64>() + 0.0,
        places,
    })
}

fn print(report: &Report) {
    let mut table = Table::new(["per packet", "batch", "cycles", "instr.", "branches"]);
    for row in &report.rows {
        let numbers = [row.summary.cycles, row.instructions, row.branches];
        let numbers = numbers.map(|number| format!("{number:.2}"));
        let names = [row.variant.clone(), row.batch.to_string()];
        table.row(names.into_iter().chain(numbers));
    }
    println!("{}", table.text());
    for passed in &report.checks {
        println!(
            "batch {}: {:.2} bounds checks per packet, at {} places",
            passed.batch,
            passed.bounds,
            passed.places.len()
        );
        for place in passed.places.iter().take(8) {
            println!(
                "  {:6.3}  {} {}",
                place.passed, place.address, place.function
            );
        }
    }
}

/// Reads a file, naming it if that fails.
fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}
