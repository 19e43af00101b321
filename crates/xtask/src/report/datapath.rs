//! Cycles per packet.

use anyhow::Result;

use super::html::{Of, Table, figure, note, paragraph};
use super::paper::TABLE_8;
use super::plot::{self, Axis, Line, Scale, above};
use super::{NONE, head, look_of, of};
use crate::bench::datapath::{Report, Row};
use crate::bench::machine::Machine;

const RING: u16 = 512;
const BATCH: u16 = 32;

pub(super) fn section(report: &Report) -> Result<(String, Machine)> {
    let mut text = paragraph(
        "Receive a batch, increment one byte of each frame, send the batch: one queue pair, 60-byte frames. \
         The device's registers are plain memory; between two timed sections a device made for this \
         purpose completes descriptors. Subjects take turns in one run. dpdk-vector, dpdk-simple and \
         dpdk-full are the paths of DPDK's driver; floor is a loop by hand over two rings without pool or \
         checks, floor-in-place one over a single ring for both directions.",
    );
    let of_ring: Vec<&Row> = report.rows.iter().filter(|row| row.ring == RING).collect();
    let of_batch: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.batch == BATCH)
        .collect();
    text.push_str(&chart(
        &of_ring,
        |row| row.batch,
        "frames at a time",
        "By batch size, rings of 512.",
    )?);
    text.push_str(&table(
        "Cycles per packet by batch size, rings of 512",
        &of_ring,
        |row| row.batch,
    ));
    text.push_str(&ratios(&of_ring));
    text.push_str(&chart(
        &of_batch,
        |row| row.ring,
        "descriptors of each ring",
        "By ring size, batches of 32.",
    )?);
    text.push_str(&table(
        "Cycles per packet by ring size, batches of 32",
        &of_batch,
        |row| row.ring,
    ));
    let evicted: Vec<&Row> = report.evicted.iter().collect();
    if !evicted.is_empty() {
        text.push_str(&table(
            "Cycles per packet by batch size when 3 MiB were read between sections, so that rings, buffers and \
             the driver's own memory come from the last cache",
            &evicted,
            |row| row.batch,
        ));
    }
    text.push_str(&method(report));
    for missing in &report.notes {
        text.push_str(&note(missing));
    }
    Ok((text, report.machine.clone()))
}

fn subjects<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut subjects: Vec<&str> = Vec::new();
    for row in rows {
        if !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
    }
    subjects
}

fn columns(rows: &[&Row], column: impl Fn(&Row) -> u16) -> Vec<u16> {
    let mut columns: Vec<u16> = rows.iter().map(|row| column(row)).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

fn find<'a>(
    rows: &[&'a Row],
    subject: &str,
    column: impl Fn(&Row) -> u16,
    value: u16,
) -> Option<&'a Row> {
    let mut matching = rows.iter().filter(|row| row.subject == subject);
    matching.find(|row| column(row) == value).copied()
}

fn chart(
    rows: &[&Row],
    column: impl Fn(&Row) -> u16 + Copy,
    name: &'static str,
    caption: &str,
) -> Result<String> {
    let mut lines = Vec::new();
    let mut legend = Vec::new();
    for subject in subjects(rows) {
        let look = look_of(subject);
        let points = rows.iter().filter(|row| row.subject == subject);
        let mut points: Vec<(f64, f64)> = points
            .map(|row| (f64::from(column(row)), row.summary.cycles))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        lines.push(Line {
            colour: look.colour,
            dashed: look.dashed,
            strong: of(subject) == Of::Ours,
            marked: true,
            points,
        });
        legend.push((subject, look.colour, look.dashed));
    }
    // the first subject is ours, and drawn over the others
    lines.reverse();
    let columns = columns(rows, column);
    let (Some(first), Some(last)) = (columns.first(), columns.last()) else {
        return Ok(String::new());
    };
    let x = Axis {
        name,
        scale: Scale::Twofold,
        from: f64::from(*first),
        to: f64::from(*last),
    };
    let y = Axis {
        name: "cycles per packet",
        scale: Scale::Linear,
        from: 0.0,
        to: above(rows.iter().map(|row| row.summary.cycles)),
    };
    Ok(figure(&plot::lines(&x, &y, &lines)?, &legend, caption))
}

fn table(caption: &str, rows: &[&Row], column: impl Fn(&Row) -> u16 + Copy) -> String {
    let columns = columns(rows, column);
    let mut table = Table::new(caption, &head("", &columns));
    for subject in subjects(rows) {
        let mut cells = vec![subject.to_owned()];
        for value in &columns {
            let found = find(rows, subject, column, *value);
            cells.push(
                found.map_or_else(|| NONE.into(), |row| format!("{:.1}", row.summary.cycles)),
            );
        }
        table.row(of(subject), &cells);
    }
    table.finish()
}

/// How much of the others' cycles ours takes.
fn ratios(rows: &[&Row]) -> String {
    let columns = columns(rows, |row| row.batch);
    let mut table = Table::new(
        "Cycles per packet in relation to others",
        &head("", &columns),
    );
    for ours in ["barewire", "barewire-in-place"] {
        for other in ["c-reference", "dpdk-vector", "floor", "floor-in-place"] {
            let mut cells = vec![format!("{ours} / {other}")];
            for batch in &columns {
                let cycles = |subject| find(rows, subject, |row| row.batch, *batch);
                let both = cycles(ours).zip(cycles(other));
                cells.push(both.map_or_else(
                    || NONE.into(),
                    |(ours, other)| format!("{:.2}", ours.summary.cycles / other.summary.cycles),
                ));
            }
            if cells.iter().skip(1).any(|cell| cell != NONE) {
                table.row(Of::Others, &cells);
            }
        }
    }
    table.finish()
}

fn method(report: &Report) -> String {
    let rows = || report.rows.iter().chain(&report.evicted);
    let turns: usize = rows().map(|row| row.summary.turns).sum();
    let disturbed: usize = rows().map(|row| row.summary.disturbed).sum();
    let samples: usize = rows().map(|row| row.summary.samples).sum();
    let spread = rows().map(|row| row.summary.highest / row.summary.lowest.max(0.1) - 1.0);
    let mut spread: Vec<f64> = spread.collect();
    spread.sort_by(f64::total_cmp);
    let spread = spread.get(spread.len() / 2).copied().unwrap_or(0.0) * 100.0;
    let pages = if rows().all(|row| row.hugepages) {
        "All memory lay on hugepages."
    } else {
        "Not all memory lay on hugepages, which DPDK suffers from most."
    };
    let quick = if report.quick {
        " A quick run: few samples."
    } else {
        ""
    };
    let paper = TABLE_8.iter().map(|row| {
        format!(
            "{} cycles in {} at batches of {}",
            row.cycles, row.language, row.batch
        )
    });
    let paper: Vec<String> = paper.collect();
    note(&format!(
        "Time-stamp counter cycles, medians of {samples} sections in {turns} turns; {disturbed} more turns were \
         left out because the processor was slower than at its best by 10 % or more during them. Half of the \
         points spread by less than {spread:.0} % between their lowest and highest turn. All built for {}. \
         {pages}{quick} The paper's Table 8, with a real card on the bus: {}.",
        report.level,
        paper.join(", ")
    ))
}
