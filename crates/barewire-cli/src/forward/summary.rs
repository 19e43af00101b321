//! What people read before and after a run.

use std::io::{self, Write};

use super::report::{PortReport, Report, WireReport, float, plural, wire_mbits};

/// Prints the result of a run.
///
/// # Errors
/// Those of writing.
pub(super) fn print(output: &mut dyn Write, report: &Report, notes: &[String]) -> io::Result<()> {
    ports(output, &report.ports)?;
    writeln!(output)?;
    speed(output, report)?;
    if let Some(found) = &report.wire {
        wire(output, found)?;
    }
    let broken = report.broken_rules();
    if broken.is_empty() && report.violations.is_some() {
        writeln!(output, "datasheet  no rule broken by the driver")?;
    }
    for violation in broken {
        writeln!(output, "datasheet  {violation}")?;
    }
    for note in notes {
        writeln!(output, "note       {note}")?;
    }
    output.flush()
}

fn ports(output: &mut dyn Write, ports: &[PortReport]) -> io::Result<()> {
    let mut rows = vec![
        [
            "port", "driver", "link", "received", "sent", "dropped", "errors",
        ]
        .map(str::to_owned),
    ];
    rows.extend(ports.iter().map(|port| {
        [
            port.port.clone(),
            port.driver.clone(),
            speed_of_link(port.link_mbits),
            grouped(port.rx_packets),
            grouped(port.tx_packets),
            grouped(port.rx_dropped),
            grouped(port.rx_errors + port.tx_errors),
        ]
    }));
    table(output, &rows, 2)
}

fn speed_of_link(mbits: u32) -> String {
    if mbits >= 1_000 && mbits.is_multiple_of(1_000) {
        format!("{} Gbit/s", mbits / 1_000)
    } else {
        format!("{mbits} Mbit/s")
    }
}

/// Prints columns as wide as they need to be, the first `left` of them flush left.
fn table<const N: usize>(
    output: &mut dyn Write,
    rows: &[[String; N]],
    left: usize,
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < left {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        writeln!(output, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn speed(output: &mut dyn Write, report: &Report) -> io::Result<()> {
    let (packets, bytes) = report.ports.iter().fold((0, 0), |(packets, bytes), port| {
        (packets + port.tx_packets, bytes + port.tx_bytes)
    });
    let mbits = if report.seconds > 0.0 {
        wire_mbits(packets, bytes) / report.seconds
    } else {
        0.0
    };
    writeln!(
        output,
        "speed      {:.3} Mpps, {mbits:.1} wire Mbit/s sent by both ports, in {:.3} s",
        report.mpps, report.seconds
    )
}

fn wire(output: &mut dyn Write, wire: &WireReport) -> io::Result<()> {
    writeln!(
        output,
        "frames     {} offered, {} delivered",
        grouped(wire.offered),
        grouped(wire.delivered)
    )?;
    let share = if wire.offered > 0 && wire.lost > 0 {
        let share = float(wire.lost) / float(wire.offered) * 100.0;
        format!(" ({share:.2} %)")
    } else {
        String::new()
    };
    writeln!(
        output,
        "           {} lost{share}, {} reordered, {} corrupted",
        grouped(wire.lost),
        grouped(wire.reordered),
        grouped(wire.corrupted)
    )?;
    for (count, what) in [
        (wire.undersize_padded, "padded to 60 bytes"),
        (
            wire.oversize_dropped,
            "dropped by the port: larger than it takes (see --mtu)",
        ),
        (
            wire.source_skipped,
            "skipped: the capture holds only their beginning",
        ),
    ] {
        if count > 0 {
            writeln!(output, "           {} {what}", grouped(count))?;
        }
    }
    Ok(())
}

/// `12,345,678`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 frame`, `12,345 frames`.
pub(super) fn frames(count: u64) -> String {
    format!("{} {}", grouped(count), plural(count, "frame", "frames"))
}

#[cfg(test)]
mod tests {
    use super::super::report::Violations;
    use super::*;

    fn report() -> Report {
        let port = |port: &str| PortReport {
            port: port.into(),
            driver: "ixgbe".into(),
            rx_packets: 2_147_483_648,
            tx_packets: 2_147_483_648,
            rx_bytes: 128_849_018_880,
            tx_bytes: 128_849_018_880,
            rx_dropped: 1_234_567,
            rx_errors: 1_000,
            tx_errors: 1,
            link_mbits: 10_000,
        };
        Report {
            seconds: 600.25,
            mpps: 7.155,
            ports: vec![port("sim0"), port("sim:right")],
            wire: Some(WireReport {
                offered: 4_294_967_296,
                delivered: 4_292_498_162,
                lost: 2_469_134,
                oversize_dropped: 7,
                ..WireReport::default()
            }),
            violations: Some(Violations::new(vec!["sim0: RDT[0] = 0x1".into()])),
        }
    }

    #[test]
    fn thousands_are_grouped() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(count), text);
        }
        assert_eq!(
            (frames(1), frames(1_540)),
            ("1 frame".into(), "1,540 frames".into())
        );
    }

    #[test]
    fn the_summary_fits_a_terminal_and_names_what_was_found() {
        let mut output = Vec::new();
        print(&mut output, &report(), &["look here".to_owned()]).unwrap();
        let text = String::from_utf8(output).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for part in [
            "sim:right  ixgbe   10 Gbit/s",
            "7.155 Mpps, 4808.4 wire Mbit/s",
            "2,469,134 lost (0.06 %)",
            "7 dropped by the port",
            "datasheet  sim0: RDT[0] = 0x1",
            "note       look here",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("padded"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut output = Vec::new();
        let report = Report {
            wire: None,
            violations: None,
            ..report()
        };
        print(&mut output, &report, &[]).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert!(
            !text.contains("frames ") && !text.contains("datasheet"),
            "{text}"
        );
    }

    #[test]
    fn a_run_of_no_time_has_no_speed() {
        let mut output = Vec::new();
        let report = Report {
            seconds: 0.0,
            mpps: 0.0,
            ..report()
        };
        print(&mut output, &report, &[]).unwrap();
        assert!(
            String::from_utf8(output)
                .unwrap()
                .contains("0.000 Mpps, 0.0 wire Mbit/s")
        );
    }
}
