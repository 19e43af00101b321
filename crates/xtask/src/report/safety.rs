//! What checks cost.

use super::html::{Of, Table, note, paragraph};
use super::{NONE, head};
use crate::bench::machine::Machine;
use crate::bench::safety::{Report, Row};

pub(super) fn section(report: &Report) -> (String, Machine) {
    let mut text = paragraph(
        "Overflow checks are a setting of the compiler, off in release builds. Bounds checks can't be \
         switched off; so the conditional jumps to a panic are found in the program, those that packets pass \
         are counted, and a copy of the program has them overwritten, the comparisons before them staying.",
    );
    let columns = [
        "batch",
        "cycles",
        "against release",
        "instructions",
        "branches",
    ];
    let mut table = Table::new("Per packet", &head("", &columns));
    for row in &report.rows {
        let base = report
            .rows
            .iter()
            .find(|base| base.variant == "release" && base.batch == row.batch);
        let cells = vec![
            row.variant.clone(),
            row.batch.to_string(),
            format!("{:.2}", row.summary.cycles),
            base.map_or_else(String::new, |base| change(row, base)),
            format!("{:.2}", row.instructions),
            format!("{:.2}", row.branches),
        ];
        let of = if row.variant == "release" {
            Of::Ours
        } else {
            Of::Others
        };
        table.row(of, &cells);
    }
    text.push_str(&table.finish());
    for passed in &report.checks {
        if passed.places.is_empty() {
            text.push_str(&paragraph(&format!(
                "At batches of {} a packet passes no bounds check that could panic: types and masks have \
                 removed them all.",
                passed.batch
            )));
            continue;
        }
        let mut table = Table::new(
            &format!(
                "Bounds checks that a packet passes at batches of {}: {:.2} in all",
                passed.batch, passed.bounds
            ),
            &head("function", &["passed per packet"]),
        );
        let mut functions: Vec<(String, f64)> = Vec::new();
        for place in &passed.places {
            match functions
                .iter_mut()
                .find(|(name, _)| *name == place.function)
            {
                Some((_, sum)) => *sum += place.passed,
                None => functions.push((place.function.clone(), place.passed)),
            }
        }
        functions.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (name, sum) in functions.iter().take(6) {
            table.row(Of::Others, &[shortened(name), format!("{sum:.3}")]);
        }
        text.push_str(&table.finish());
    }
    text.push_str(&note(
        "The paper: overflow checks took 0.8 % of throughput at batches of 8, nothing measurable at larger \
         ones, for 9 more instructions per packet, 8 of them branches; bounds checks were held to be the main \
         reason for Rust's 65 % more instructions and 6 % more cycles than C at batches of 32.",
    ));
    (text, report.machine.clone())
}

fn change(row: &Row, base: &Row) -> String {
    if row.variant == base.variant {
        return NONE.to_owned();
    }
    let change = (row.summary.cycles / base.summary.cycles - 1.0) * 100.0;
    format!("{change:+.1} %")
}

/// A function's name without the beginning of a very long path.
fn shortened(name: &str) -> String {
    const MOST: usize = 90;
    let length = name.chars().count();
    if length <= MOST {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - MOST).collect();
    format!("…{end}")
}
