//! Cycles per packet: subjects take turns in one run, so that what disturbs one disturbs all.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::hugepages::Hugepages;
use super::machine::{Machine, keep};
use super::programs::Programs;
use super::samples::{Summary, Turn, quickest, summarise};
use super::subject::Subject;
use super::table::Table;

/// The ring of the paper's measurements.
const RING: u16 = 512;
/// The batch at which ring sizes are compared.
const BATCH: u16 = 32;
const BATCHES: &[u16] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];
const RINGS: &[u16] = &[64, 128, 256, 512, 1024, 2048, 4096];
/// Batches at which emptied caches are tried.
const COLD: &[u16] = &[8, 32];
/// Frames that each subject must forward whole before it is timed.
const VERIFIED: u64 = 20_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// A tenth of the turns, for a first look
    #[arg(long)]
    quick: bool,
    /// Batch sizes, at rings of 512
    #[arg(long, value_delimiter = ',', default_values_t = BATCHES)]
    batches: Vec<u16>,
    /// Ring sizes, at batches of 32
    #[arg(long, value_delimiter = ',', default_values_t = RINGS)]
    rings: Vec<u16>,
    /// Only these subjects
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
    /// Turns of each subject at each batch size, after two for warming up
    #[arg(long, default_value_t = 40)]
    turns: u32,
    /// Sections of a turn
    #[arg(long, default_value_t = 400)]
    sections: u32,
}

/// One subject at one batch and ring size.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) batch: u16,
    pub(crate) ring: u16,
    /// Whether its memory was on hugepages.
    pub(crate) hugepages: bool,
    #[serde(flatten)]
    pub(crate) summary: Summary,
}

/// What is kept of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) benchmark: String,
    pub(crate) unit: String,
    pub(crate) machine: Machine,
    /// The x86-64 level that all were built for.
    pub(crate) level: String,
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Row>,
    /// The same with the first two caches emptied before each section.
    pub(crate) evicted: Vec<Row>,
    /// What is missing, and why.
    pub(crate) notes: Vec<String>,
}

/// The quickest calibration of each subject so far.
type Calibrations = HashMap<&'static str, u64>;

/// A point to be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    batch: u16,
    cold: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut programs = Programs::build()?;
    if !arguments.subjects.is_empty() {
        programs.list.retain(|program| {
            arguments
                .subjects
                .iter()
                .any(|name| name == program.subject)
        });
    }
    let _hugepages = Hugepages::reserve();
    pin()?;
    let mut report = Report {
        benchmark: "datapath".into(),
        unit: "time-stamp counter cycles per forwarded packet, median".into(),
        machine: Machine::describe(),
        level: programs.level.into(),
        quick: arguments.quick,
        rows: Vec::new(),
        evicted: Vec::new(),
        notes: std::mem::take(&mut programs.missing),
    };
    let mut rings = arguments.rings.clone();
    if !rings.contains(&RING) {
        rings.push(RING);
    }
    rings.sort_unstable();
    let mut calibrations = Calibrations::new();
    for ring in rings {
        measure(arguments, &programs, ring, &mut calibrations, &mut report)?;
    }
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    if !arguments.json {
        print(&report);
    }
    keep("datapath", &report, arguments.json)
}

/// This process and all that it starts run on one processor, the last one.
///
/// # Errors
/// When the system does not allow it.
pub(super) fn pin() -> Result<()> {
    let allowed = sched_getaffinity(None).context("can't read which processors may be used")?;
    let last = (0..CpuSet::MAX_CPU).rfind(|cpu| allowed.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.unwrap_or(0));
    sched_setaffinity(None, &one).context("can't choose a processor")
}

/// All points of one ring size, the subjects taking turns.
fn measure(
    arguments: &Arguments,
    programs: &Programs,
    ring: u16,
    calibrations: &mut Calibrations,
    report: &mut Report,
) -> Result<()> {
    let most = ring / 2;
    let batches: &[u16] = if ring == RING {
        &arguments.batches
    } else {
        &[BATCH]
    };
    let fitting = batches.iter().filter(|batch| **batch <= most);
    let mut points: Vec<Point> = fitting
        .map(|batch| Point {
            batch: *batch,
            cold: false,
        })
        .collect();
    if ring == RING {
        points.extend(COLD.iter().map(|batch| Point {
            batch: *batch,
            cold: true,
        }));
    }
    let mut subjects = start(programs, ring, report);
    let turns = if arguments.quick {
        (arguments.turns / 10).max(3)
    } else {
        arguments.turns
    };
    eprintln!(
        "ring {ring}: {} subjects, {} points, {turns} turns each",
        subjects.len(),
        points.len()
    );
    let mut taken: Vec<Vec<Vec<Turn>>> = vec![vec![Vec::new(); points.len()]; subjects.len()];
    for round in 0..turns + 2 {
        for (at, point) in points.iter().enumerate() {
            for step in 0..subjects.len() {
                // each round begins with another subject
                let who = (step + round as usize) % subjects.len();
                let subject = &mut subjects[who];
                if point.batch < subject.program.smallest {
                    continue;
                }
                let sections = if point.cold {
                    (arguments.sections / 8).max(1)
                } else {
                    arguments.sections
                };
                let turn = subject.run(point.batch, sections, point.cold)?;
                if round >= 2 {
                    taken[who][at].push(turn);
                }
            }
        }
    }
    for (subject, taken) in subjects.iter().zip(taken) {
        let best = calibrations
            .entry(subject.program.subject)
            .or_insert(u64::MAX);
        *best = quickest(taken.iter().flatten()).min(*best);
        for (point, turns) in points.iter().zip(taken) {
            let Some(summary) = summarise(&turns, *best) else {
                continue;
            };
            let row = Row {
                subject: subject.program.subject.into(),
                batch: point.batch,
                ring,
                hugepages: subject.on_hugepages,
                summary,
            };
            if point.cold {
                report.evicted.push(row);
            } else {
                report.rows.push(row);
            }
        }
    }
    Ok(())
}

/// Starts the subjects and has each forward checked frames. One that can't is left out, with a
/// note.
fn start(programs: &Programs, ring: u16, report: &mut Report) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for program in &programs.list {
        let started = program.start(ring).and_then(|mut subject| {
            subject.verify(BATCH.min(ring / 2), VERIFIED)?;
            Ok(subject)
        });
        match started {
            Ok(subject) => subjects.push(subject),
            Err(error) => report.notes.push(format!(
                "{} with rings of {ring} is left out: {error:#}",
                program.subject
            )),
        }
    }
    subjects
}

fn names(rows: &[Row]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.subject.as_str()) {
            names.push(&row.subject);
        }
    }
    names
}

fn columns(rows: &[Row], of: impl Fn(&Row) -> u16) -> Vec<u16> {
    let mut columns: Vec<u16> = rows.iter().map(of).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

fn section(title: &str, rows: &[Row], of: impl Fn(&Row) -> u16) {
    let columns = columns(rows, &of);
    let head = std::iter::once(title.to_owned()).chain(columns.iter().map(u16::to_string));
    let mut table = Table::new(head);
    for name in names(rows) {
        let cell = |column: &u16| {
            let mut matching = rows.iter();
            let row = matching.find(|row| row.subject == name && of(row) == *column);
            row.map_or_else(|| "–".into(), |row| format!("{:.1}", row.summary.cycles))
        };
        table.row(std::iter::once(name.to_owned()).chain(columns.iter().map(cell)));
    }
    println!("{}", table.text());
}

fn print(report: &Report) {
    println!(
        "cycles per forwarded packet; {}\n",
        report.machine.processor
    );
    let of_ring: Vec<Row> = report
        .rows
        .iter()
        .filter(|row| row.ring == RING)
        .cloned()
        .collect();
    section("by batch, rings of 512", &of_ring, |row| row.batch);
    let of_batch: Vec<Row> = report
        .rows
        .iter()
        .filter(|row| row.batch == BATCH)
        .cloned()
        .collect();
    section("by ring, batches of 32", &of_batch, |row| row.ring);
    section("caches emptied, by batch", &report.evicted, |row| row.batch);
    let kept: usize = report.rows.iter().map(|row| row.summary.turns).sum();
    let disturbed: usize = report.rows.iter().map(|row| row.summary.disturbed).sum();
    println!("{kept} turns kept, {disturbed} left out because the processor was slower then");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_fields_that_others_rely_on() {
        let summary = Summary {
            cycles: 7.5,
            samples: 3,
            lowest: 7.0,
            highest: 8.0,
            turns: 2,
            disturbed: 1,
            short: 0,
        };
        let row = Row {
            subject: "barewire".into(),
            batch: 32,
            ring: 512,
            hugepages: true,
            summary,
        };
        let row = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&row["subject"], &row["batch"]),
            (&"barewire".into(), &32.into())
        );
        assert_eq!((&row["ring"], &row["samples"]), (&512.into(), &3.into()));
        assert_eq!(row["cycles"], 7.5);
    }
}
