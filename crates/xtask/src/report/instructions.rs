//! Instructions, branches and memory accesses per packet.

use super::html::{Of, Table, note, paragraph};
use super::paper::TABLE_8;
use super::{NONE, head, of};
use crate::bench::instructions::Report;
use crate::bench::machine::Machine;

pub(super) fn section(report: &Report) -> (String, Machine) {
    let mut text = paragraph(
        "The same forwarding, counted by valgrind's callgrind on a simulated processor with 32 KiB of first \
         and 8 MiB of last cache: the difference of a longer and a shorter run, per packet. The counts do not \
         depend on what else the machine does. The paper read a real processor's counters.",
    );
    let mut batches: Vec<u16> = report.rows.iter().map(|row| row.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    for batch in batches {
        let columns = [
            "instructions",
            "branches",
            "mispredicted",
            "loads",
            "stores",
            "L1 data misses",
            "last cache misses",
        ];
        let caption = format!("Events per packet at batches of {batch}");
        let mut table = Table::new(&caption, &head("", &columns));
        for row in report.rows.iter().filter(|row| row.batch == batch) {
            let counts = [
                row.instructions,
                row.branches,
                row.mispredictions,
                row.loads,
                row.stores,
            ];
            let counts = counts.iter().chain([&row.l1_misses, &row.ll_misses]);
            let cells = counts.map(|count| decimal(*count));
            let cells: Vec<String> = std::iter::once(row.subject.clone()).chain(cells).collect();
            table.row(of(&row.subject), &cells);
        }
        for row in TABLE_8.iter().filter(|row| row.batch == batch) {
            let counts = [
                row.instructions,
                row.branches,
                row.mispredictions,
                row.loads,
                row.stores,
            ];
            let cells = counts.map(decimal);
            let name = format!("the paper: {}", row.language);
            let mut cells: Vec<String> = std::iter::once(name).chain(cells).collect();
            cells.extend([NONE.to_owned(), NONE.to_owned()]);
            table.row(Of::Paper, &cells);
        }
        text.push_str(&table.finish());
    }
    text.push_str(&note(&format!(
        "Counted by {}, built for {}.",
        report.valgrind, report.level
    )));
    for missing in &report.notes {
        text.push_str(&note(missing));
    }
    (text, report.machine.clone())
}

fn decimal(count: f64) -> String {
    if count >= 10.0 {
        format!("{count:.1}")
    } else {
        format!("{count:.2}")
    }
}
