//! `cargo xtask report`: the last measurements as one page that needs nothing else.

mod datapath;
mod html;
mod instructions;
mod latency;
mod paper;
mod plot;
mod safety;
mod throughput;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::bench::machine::{Machine, folder};
use html::{Of, escape, note, paragraph, push};

const STYLE: &str = include_str!("style.css");
const PAPER: &str = "The paper: Emmerich et al., The Case for Writing Network Drivers in High-Level \
                     Programming Languages, ANCS 2019. Its numbers are from hardware: two ports of an Intel \
                     X520, one core of a Xeon E3-1230 v2 (latency: E5-2620 v3), 64-byte frames in both \
                     directions.";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to write the page [default: report.html among the results]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// One part of the page.
struct Section {
    id: &'static str,
    title: &'static str,
    /// What makes the numbers.
    command: &'static str,
    /// The part, and the machine that was measured on; `None` when nothing was measured yet.
    found: Option<(String, Machine)>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let sections = [
        Section {
            id: "datapath",
            title: "Cycles per packet",
            command: "datapath",
            found: part("datapath", datapath::section)?,
        },
        Section {
            id: "instructions",
            title: "What a packet takes",
            command: "instructions",
            found: part("instructions", |report| Ok(instructions::section(report)))?,
        },
        Section {
            id: "safety",
            title: "What checks cost",
            command: "safety",
            found: part("safety", |report| Ok(safety::section(report)))?,
        },
        Section {
            id: "throughput",
            title: "Frames per second",
            command: "throughput",
            found: part("throughput", throughput::section)?,
        },
        Section {
            id: "latency",
            title: "Latency",
            command: "latency",
            found: part("latency", latency::section)?,
        },
    ];
    let file = match &arguments.output {
        Some(file) => file.clone(),
        None => folder()?.join("report.html"),
    };
    fs::write(&file, page(&sections)).with_context(|| format!("can't write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// A part of the page from its result, if there is one.
fn part<R: DeserializeOwned>(
    name: &str,
    section: impl Fn(&R) -> Result<(String, Machine)>,
) -> Result<Option<(String, Machine)>> {
    let file = folder()?.join(format!("{name}.json"));
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(None);
    };
    let result = serde_json::from_str(&text);
    let result = result
        .with_context(|| format!("{} is of another version: measure again", file.display()))?;
    section(&result).map(Some)
}

fn page(sections: &[Section]) -> String {
    let mut page =
        String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    push(
        &mut page,
        &format_args!("<title>barewire, measured</title>\n<style>\n{STYLE}</style>\n"),
    );
    page.push_str("</head>\n<body>\n<h1>barewire, measured</h1>\n");
    page.push_str(
        "<p class=\"lead\">Network card drivers in safe Rust beside C, DPDK and what is possible by hand: \
         the same device, the same run, every check in place.</p>\n<nav>",
    );
    for section in sections {
        let (id, title) = (section.id, section.title);
        push(&mut page, &format_args!("<a href=\"#{id}\">{title}</a>"));
    }
    page.push_str("</nav>\n");
    let machines = sections.iter().filter_map(|section| section.found.as_ref());
    if let Some((_, machine)) = machines.max_by_key(|(_, machine)| machine.time) {
        page.push_str(&facts(machine));
    }
    page.push_str(&paragraph(
        "No card of silicon was measured: there is no PCIe here, no DMA into the cache, no doorbell that \
         leaves the processor. What is compared is what the drivers themselves do. docs/performance.md \
         says how each number came about and what it does not show.",
    ));
    page.push_str(&note(PAPER));
    for section in sections {
        let (id, title) = (section.id, escape(section.title));
        push(&mut page, &format_args!("<h2 id=\"{id}\">{title}</h2>\n"));
        match &section.found {
            Some((text, machine)) => {
                page.push_str(text);
                page.push_str(&note(&format!(
                    "cargo xtask bench {}, {}, commit {}.",
                    section.command,
                    date(machine.time),
                    machine.commit
                )));
            }
            None => page.push_str(&paragraph(&format!(
                "Not measured yet: cargo xtask bench {}.",
                section.command
            ))),
        }
    }
    page.push_str(
        "<footer>Made by cargo xtask report. Medians are of interleaved turns.</footer>\n",
    );
    page.push_str("</body>\n</html>\n");
    page
}

fn facts(machine: &Machine) -> String {
    let kind = if machine.virtualised {
        "a virtual machine"
    } else {
        "no virtual machine"
    };
    let rows = [
        ("Processor", machine.processor.clone()),
        ("Processors", format!("{}, {kind}", machine.processors)),
        ("Memory", format!("{} GiB", machine.memory_gib)),
        ("Kernel", machine.kernel.clone()),
        ("Compilers", format!("{}; {}", machine.rustc, machine.cc)),
        ("Date", date(machine.time)),
        ("Commit", machine.commit.clone()),
    ];
    let mut text = String::from("<table class=\"facts\">\n");
    for (name, value) in rows {
        let value = escape(&value);
        push(
            &mut text,
            &format_args!("<tr><td>{name}</td><td>{value}</td></tr>\n"),
        );
    }
    text.push_str("</table>\n");
    text
}

/// Seconds since 1970 as a date and a time of day, in UTC.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // years begin in March here, so that the leap day is the last one
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        rest / 3600,
        rest / 60 % 60
    )
}

/// How a subject is drawn everywhere.
struct Look {
    subject: &'static str,
    colour: &'static str,
    dashed: bool,
}

const LOOKS: &[Look] = &[
    look("barewire", "#c2410c", false),
    look("barewire-in-place", "#c2410c", true),
    look("virtio-split", "#a21caf", false),
    look("virtio-packed", "#a21caf", true),
    look("c-reference", "#1d4ed8", false),
    look("dpdk-vector", "#047857", false),
    look("dpdk-simple", "#65a30d", false),
    look("dpdk-full", "#0e7490", false),
    look("floor", "#78716c", false),
    look("floor-in-place", "#78716c", true),
];

const fn look(subject: &'static str, colour: &'static str, dashed: bool) -> Look {
    Look {
        subject,
        colour,
        dashed,
    }
}

fn look_of(subject: &str) -> &'static Look {
    const OTHER: Look = look("", "#000000", false);
    let found = LOOKS.iter().find(|look| look.subject == subject);
    found.unwrap_or(&OTHER)
}

/// Whose numbers these are.
fn of(subject: &str) -> Of {
    if subject.starts_with("barewire") {
        Of::Ours
    } else {
        Of::Others
    }
}

/// What an empty cell shows.
const NONE: &str = "–";

/// A head of a table: a name and one column for each number.
fn head<T: ToString>(name: &str, columns: &[T]) -> Vec<String> {
    let columns = columns.iter().map(ToString::to_string);
    std::iter::once(name.to_owned()).chain(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_782_907_199), "2026-07-01 11:59 UTC");
    }

    #[test]
    fn a_page_without_measurements_says_how_to_measure() {
        let section = Section {
            id: "latency",
            title: "Latency",
            command: "latency",
            found: None,
        };
        let page = page(&[section]);
        assert!(page.contains("cargo xtask bench latency") && page.ends_with("</html>\n"));
        assert!(!page.contains("http"), "nothing from elsewhere");
    }
}
