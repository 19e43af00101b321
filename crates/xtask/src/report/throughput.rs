//! Frames per second, end to end.

use anyhow::Result;

use super::html::{Of, Table, figure, note, paragraph};
use super::paper::{FORWARDING, LINE_RATE};
use super::plot::{self, Axis, Line, Scale, above};
use super::{NONE, head};
use crate::bench::machine::Machine;
use crate::bench::throughput::{Report, Row, Work};

const COLOUR: &str = "#c2410c";
const SOFT: &str = "#78716c";
const PAPER: &str = "#1d4ed8";

pub(super) fn section(report: &Report) -> Result<(String, Machine)> {
    let mut text = paragraph(
        "barewire forward between two software 82599s: every frame is generated, received, touched, sent, and \
         compared at the far end with what it should be. Devices, generators and checkers share the machine's \
         processors with the driver, so this measures the software devices more than the driver.",
    );
    let at = |row: &&Row, varied: &str| {
        row.work == Work::Forward
            && (varied == "queues" || !row.alone)
            && (varied == "batch" || row.batch == 32)
            && (varied == "size" || row.size == 60)
            && (varied == "queues" || row.queues == 1)
    };
    let rows = |varied: &str| -> Vec<&Row> {
        let mut rows: Vec<&Row> = report.rows.iter().filter(|row| at(row, varied)).collect();
        rows.sort_by_key(|row| (row.batch, row.size, row.queues, row.processors));
        rows
    };
    text.push_str(&chart(&rows("batch"))?);
    text.push_str(&table(
        "By batch size: 60-byte frames, one queue",
        "batch",
        &rows("batch"),
        |row| row.batch.to_string(),
        true,
    ));
    text.push_str(&table(
        "By frame size: batches of 32, one queue",
        "bytes",
        &rows("size"),
        |row| row.size.to_string(),
        false,
    ));
    text.push_str(&table(
        "By number of queues, and of processors that forward them: 60-byte frames, batches of 32",
        "queues",
        &rows("queues"),
        |row| match row.processors {
            1 => format!("{}, on one processor", row.queues),
            more => format!("{}, on {more}", row.queues),
        },
        false,
    ));
    for (work, caption) in [
        (
            Work::Receive,
            "One port alone receives, and the program compares every byte: 60-byte frames, one thread",
        ),
        (
            Work::Send,
            "One port alone sends what the program writes, and the far end compares it: 60-byte frames, one thread",
        ),
    ] {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.work == work).collect();
        if !rows.is_empty() {
            text.push_str(&table(
                caption,
                "batch",
                &rows,
                |row| row.batch.to_string(),
                false,
            ));
        }
    }
    let samples = report.rows.iter().map(|row| row.samples).max().unwrap_or(0);
    text.push_str(&note(&format!(
        "Frames that both ports sent, in millions per second: medians of {samples} interleaved runs of {} s.{} \
         The paper's {LINE_RATE} Mpps is the line rate of two 10 Gbit/s ports.",
        report.seconds,
        if report.quick { " A quick run." } else { "" },
    )));
    Ok((text, report.machine.clone()))
}

fn chart(rows: &[&Row]) -> Result<String> {
    let points: Vec<(f64, f64)> = rows
        .iter()
        .map(|row| (f64::from(row.batch), row.mpps))
        .collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Ok(String::new());
    };
    let (from, to) = (first.0, last.0);
    let all = points.iter().map(|point| point.1).chain([LINE_RATE]);
    let y = Axis {
        name: "Mpps, both directions",
        scale: Scale::Linear,
        from: 0.0,
        to: above(all),
    };
    let x = Axis {
        name: "frames at a time",
        scale: Scale::Twofold,
        from,
        to,
    };
    let lines = [
        Line {
            colour: PAPER,
            dashed: false,
            strong: false,
            marked: true,
            points: FORWARDING.iter().map(|(_, mpps)| (32.0, *mpps)).collect(),
        },
        Line {
            colour: COLOUR,
            dashed: false,
            strong: true,
            marked: true,
            points,
        },
        Line {
            colour: SOFT,
            dashed: true,
            strong: false,
            marked: false,
            points: vec![(from, LINE_RATE), (to, LINE_RATE)],
        },
    ];
    let legend = [
        ("barewire on software devices", COLOUR, false),
        (
            "the paper's C and Rust on hardware, batches of 32",
            PAPER,
            false,
        ),
        ("line rate of two 10 Gbit/s ports", SOFT, true),
    ];
    Ok(figure(
        &plot::lines(&x, &y, &lines)?,
        &legend,
        "Forwarding rate by batch size, 60-byte frames.",
    ))
}

fn table(
    caption: &str,
    name: &str,
    rows: &[&Row],
    of: impl Fn(&Row) -> String,
    with_paper: bool,
) -> String {
    let columns = [
        "Mpps",
        "lowest",
        "highest",
        "wire Gbit/s",
        "frames lost or wrong",
    ];
    let mut table = Table::new(caption, &head(name, &columns));
    for row in rows {
        let numbers =
            [row.mpps, row.lowest, row.highest, row.gbits].map(|number| format!("{number:.2}"));
        let cells = std::iter::once(of(row)).chain(numbers);
        let cells: Vec<String> = cells.chain([row.failures.to_string()]).collect();
        table.row(Of::Others, &cells);
    }
    if with_paper {
        for (language, mpps) in FORWARDING {
            let mut cells = vec![format!("the paper: {language}, 32"), format!("{mpps:.2}")];
            cells.extend(std::iter::repeat_n(NONE.to_owned(), 4));
            table.row(Of::Paper, &cells);
        }
    }
    table.finish()
}
