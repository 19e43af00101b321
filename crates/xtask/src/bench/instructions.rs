//! What a packet costs in instructions, branches and memory accesses: the paper's Table 8, counted
//! by valgrind's callgrind, which simulates a processor. The same binary gives the same counts,
//! whatever else the machine does.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::machine::{Machine, folder, keep};
use super::programs::Programs;
use super::samples::{Turn, float};
use super::subject::Program;
use super::table::Table;

const RING: u16 = 512;
const BATCHES: &[u16] = &[8, 32];
/// Sections of the shorter and the longer of two runs. The difference is free of everything that
/// is done once.
const SECTIONS: [u32; 2] = [100, 600];
/// Sections that a subject forwards beforehand.
const WARM_UP: u32 = 200;
/// The function whose counts are collected, with all that it calls.
const COLLECT: &str = "--toggle-collect=*forward_section*";
/// The simulated caches: those of most processors of the last ten years.
const CACHES: &[&str] = &["--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_values_t = BATCHES)]
    batches: Vec<u16>,
    /// Only these subjects
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
}

/// Events per packet.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) batch: u16,
    pub(crate) instructions: f64,
    pub(crate) branches: f64,
    pub(crate) mispredictions: f64,
    pub(crate) loads: f64,
    pub(crate) stores: f64,
    /// Loads and stores that missed the first data cache.
    pub(crate) l1_misses: f64,
    /// Loads and stores that missed the last cache.
    pub(crate) ll_misses: f64,
    /// Instruction fetches that missed the first instruction cache.
    pub(crate) l1i_misses: f64,
}

/// What is kept of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) benchmark: String,
    pub(crate) unit: String,
    pub(crate) machine: Machine,
    pub(crate) level: String,
    pub(crate) valgrind: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let valgrind = valgrind()?;
    let mut programs = Programs::build()?;
    if !arguments.subjects.is_empty() {
        let wanted = |name: &str| arguments.subjects.iter().any(|subject| subject == name);
        programs.list.retain(|program| wanted(program.subject));
    }
    let mut report = Report {
        benchmark: "instructions".into(),
        unit: "events per forwarded packet".into(),
        machine: Machine::describe(),
        level: programs.level.into(),
        valgrind,
        rows: Vec::new(),
        notes: std::mem::take(&mut programs.missing),
    };
    for program in &programs.list {
        for batch in &arguments.batches {
            eprintln!("counting {} at batches of {batch}", program.subject);
            match count(program, *batch) {
                Ok(row) => report.rows.push(row),
                Err(error) => {
                    let note = format!("{} is left out: {error:#}", program.subject);
                    eprintln!("note: {note}");
                    report.notes.push(note);
                    break;
                }
            }
        }
    }
    if !arguments.json {
        print(&report);
    }
    keep("instructions", &report, arguments.json)
}

/// Which valgrind there is.
///
/// # Errors
/// When there is none, with the remedy.
pub(super) fn valgrind() -> Result<String> {
    let output = Command::new("valgrind").arg("--version").output();
    let Ok(output) = output else {
        bail!("there is no valgrind: apt-get install valgrind");
    };
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Events per packet of one subject.
///
/// # Errors
/// When the subject does not run under valgrind.
pub(super) fn count(program: &Program, batch: u16) -> Result<Row> {
    let [few, many] = SECTIONS;
    let (fewer, packets) = totals(program, batch, few)?;
    let (more, _) = totals(program, batch, many)?;
    let packets = float(u64::from(packets) * u64::from(many - few));
    let per_packet = |events: &[&str]| {
        let total = |run: &Totals| events.iter().map(|event| run.of(event)).sum::<u64>();
        float(total(&more).saturating_sub(total(&fewer))) / packets
    };
    Ok(Row {
        subject: program.subject.into(),
        batch,
        instructions: per_packet(&["Ir"]),
        branches: per_packet(&["Bc", "Bi"]),
        mispredictions: per_packet(&["Bcm", "Bim"]),
        loads: per_packet(&["Dr"]),
        stores: per_packet(&["Dw"]),
        l1_misses: per_packet(&["D1mr", "D1mw"]),
        ll_misses: per_packet(&["DLmr", "DLmw"]),
        l1i_misses: per_packet(&["I1mr"]),
    })
}

/// The events of one run, and the packets of each section.
fn totals(program: &Program, batch: u16, sections: u32) -> Result<(Totals, u32)> {
    let arguments = [["--cache-sim=yes", "--branch-sim=yes"].as_slice(), CACHES].concat();
    let (text, turn) = callgrind(program, &arguments, RING, batch, sections)?;
    let totals = Totals::parse(&text).context("valgrind's counts can't be read")?;
    if totals.of("Ir") == 0 {
        bail!("no function of the name that {COLLECT} asks for has run");
    }
    Ok((totals, turn.packets))
}

/// What callgrind writes about each instruction, and the packets that were forwarded meanwhile.
///
/// # Errors
/// When the subject does not run under valgrind.
pub(super) fn trace(
    program: &Program,
    ring: u16,
    batch: u16,
    sections: u32,
) -> Result<(String, u64)> {
    let arguments = [
        "--dump-instr=yes",
        "--compress-pos=no",
        "--compress-strings=no",
    ];
    let (text, turn) = callgrind(program, &arguments, ring, batch, sections)?;
    let sections = u64::from(sections + WARM_UP);
    Ok((text, u64::from(turn.packets) * sections))
}

fn callgrind(
    program: &Program,
    arguments: &[&str],
    ring: u16,
    batch: u16,
    sections: u32,
) -> Result<(String, Turn)> {
    let file = folder()?.join("callgrind.out");
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(&file);
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind", COLLECT])
        .args(arguments)
        .arg(out)
        .stderr(Stdio::null());
    let mut subject = program.start_under(command, ring)?;
    let turn = subject.run(batch, sections, false)?;
    if turn.cycles.len() != sections as usize {
        bail!("{} sections were not forwarded whole", turn.short);
    }
    drop(subject);
    let text = fs::read_to_string(&file).context("valgrind wrote no counts")?;
    fs::remove_file(&file)?;
    Ok((text, turn))
}

/// Counts by callgrind's names of events.
#[derive(Debug)]
struct Totals(Vec<(String, u64)>);

impl Totals {
    fn parse(text: &str) -> Option<Self> {
        let after = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let names = after("events:")?.split_whitespace();
        let counts = after("totals:")?.split_whitespace();
        let pairs = names.zip(counts);
        let pairs = pairs.map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
        pairs.collect::<Option<_>>().map(Self)
    }

    fn of(&self, event: &str) -> u64 {
        let found = self.0.iter().find(|(name, _)| name == event);
        found.map_or(0, |(_, count)| *count)
    }
}

fn print(report: &Report) {
    let head = [
        "per packet",
        "batch",
        "instr.",
        "branches",
        "mispred.",
        "loads",
        "stores",
        "L1 misses",
    ];
    let mut table = Table::new(head);
    for row in &report.rows {
        let cells = [
            row.instructions,
            row.branches,
            row.mispredictions,
            row.loads,
            row.stores,
        ];
        let counts = cells.iter().chain([&row.l1_misses]);
        let counts = counts.map(|count| format!("{count:.2}"));
        let names = [row.subject.clone(), row.batch.to_string()];
        table.row(names.into_iter().chain(counts));
    }
    println!("{}", table.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_by_the_name_of_the_event() {
        let text = "version: 1\nevents: Ir Dr Bcm\nfn=(1) x\n1 2 3\ntotals: 100 20 3\n";
        let totals = Totals::parse(text).unwrap();
        assert_eq!(
            (totals.of("Ir"), totals.of("Bcm"), totals.of("Dw")),
            (100, 3, 0)
        );
        assert!(Totals::parse("events: Ir\n").is_none());
    }
}
