//! Latencies.

use anyhow::Result;

use super::html::{Of, Table, figure, note, paragraph};
use super::paper::LATENCY_1_MPPS;
use super::plot::{self, Axis, Line, Scale};
use super::{NONE, head};
use crate::bench::latency::{Report, Row, micros};
use crate::bench::machine::Machine;

/// From the lowest load to the highest.
const COLOURS: &[&str] = &[
    "#1d4ed8", "#0e7490", "#047857", "#a16207", "#c2410c", "#be123c", "#7e22ce",
];
/// The rarest that is drawn.
const RAREST: f64 = 1e-6;

pub(super) fn section(report: &Report) -> Result<(String, Machine)> {
    let mut text = paragraph(
        "Every frame carries the moment at which it was due on the wire; when it leaves the second port, what \
         has passed since is its latency. Loads are parts of what the same setup carries at most. Rings of \
         512, dropping when they are full.",
    );
    for capacity in &report.capacity {
        let rows: Vec<&Row> = report
            .rows
            .iter()
            .filter(|row| row.mode == capacity.mode)
            .collect();
        let caption = format!(
            "Mode {}: frames that took longer than a latency, by load in percent of {:.2} Mpps.",
            capacity.mode, capacity.mpps
        );
        text.push_str(&chart(&rows, &caption)?);
    }
    text.push_str(&table(report));
    let clock = report.rows.iter().map(|row| row.clock).fold(0.0, f64::max);
    text.push_str(&note(&format!(
        "Latencies in microseconds, kept to three digits; reading the clock takes {clock:.0} ns. The software \
         devices look at their wires in turns, so a frame may come and go later than with a card, and a \
         processor that the system takes away for a moment shows in the last percentiles.{} Batches of up to \
         {}.",
        if report.quick { " A quick run." } else { "" },
        report.batch
    )));
    Ok((text, report.machine.clone()))
}

fn chart(rows: &[&Row], caption: &str) -> Result<String> {
    let points = |row: &Row| -> Vec<(f64, f64)> {
        let points = row.ccdf.iter().filter(|(_, longer)| *longer >= RAREST);
        points
            .map(|(nanos, longer)| (crate::bench::samples::float(*nanos) / 1e3, *longer))
            .collect()
    };
    let mut lines = Vec::new();
    let mut names = Vec::new();
    for (row, colour) in rows.iter().zip(COLOURS) {
        lines.push(Line {
            colour,
            dashed: false,
            strong: false,
            marked: false,
            points: points(row),
        });
        names.push((format!("{} %: {:.2} Mpps", row.load, row.mpps), *colour));
    }
    let all = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.0)
    };
    let least = all().fold(f64::INFINITY, f64::min);
    let most = all().fold(0.0, f64::max);
    if !least.is_finite() || most <= 0.0 {
        return Ok(String::new());
    }
    let x = Axis {
        name: "latency in µs",
        scale: Scale::Tenfold,
        from: 10f64.powf(least.log10().floor()),
        to: 10f64.powf(most.log10().ceil()),
    };
    let y = Axis {
        name: "part of frames that took longer",
        scale: Scale::Tenfold,
        from: RAREST,
        to: 1.0,
    };
    let legend: Vec<(&str, &str, bool)> = names
        .iter()
        .map(|(name, colour)| (name.as_str(), *colour, false))
        .collect();
    Ok(figure(&plot::lines(&x, &y, &lines)?, &legend, caption))
}

fn table(report: &Report) -> String {
    let columns = [
        "load", "Mpps", "lost", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "p99.9999",
        "max",
    ];
    let mut table = Table::new("Latency in microseconds", &head("mode", &columns));
    for row in &report.rows {
        let mut cells = vec![
            row.mode.clone(),
            format!("{} %", row.load),
            format!("{:.2}", row.mpps),
            row.lost.to_string(),
        ];
        let percentiles = [
            (row.p50, 2),
            (row.p90, 10),
            (row.p99, 100),
            (row.p99_9, 1_000),
            (row.p99_99, 10_000),
            (row.p99_999, 100_000),
            (row.p99_9999, 1_000_000),
        ];
        // of fewer frames, none is as rare
        cells.extend(percentiles.map(|(nanos, one_in)| {
            if row.delivered >= one_in {
                micros(nanos)
            } else {
                NONE.to_owned()
            }
        }));
        cells.push(micros(row.max));
        table.row(Of::Others, &cells);
    }
    for (language, [median, p99_9, p99_99, most]) in LATENCY_1_MPPS {
        let none = || NONE.to_owned();
        let number = |value: &f64| format!("{value:.1}");
        let cells = [
            format!("the paper: {language}"),
            none(),
            "1.00".to_owned(),
            "0".to_owned(),
            number(median),
            none(),
            none(),
            number(p99_9),
            number(p99_99),
            none(),
            none(),
            number(most),
        ];
        table.row(Of::Paper, &cells);
    }
    table.finish()
}
