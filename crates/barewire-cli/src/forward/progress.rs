//! A line for each port and second, while it runs.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use barewire::Statistics;

use super::report::Moved;

/// Time between two looks at the counters.
const PERIOD: Duration = Duration::from_secs(1);

/// Prints how fast it goes.
pub(super) struct Progress {
    labels: [String; 2],
    began: Instant,
    last: Instant,
    earlier: [Statistics; 2],
    lines: bool,
}

impl Progress {
    /// Begins now; without `lines` it prints nothing.
    pub(super) fn new(labels: [String; 2], earlier: [Statistics; 2], lines: bool) -> Self {
        let now = Instant::now();
        Self {
            labels,
            began: now,
            last: now,
            earlier,
            lines,
        }
    }

    /// Whether it is time to look at the counters again.
    pub(super) fn is_due(&self) -> bool {
        self.last.elapsed() >= PERIOD
    }

    /// Whether enough has passed since the last line for another one.
    pub(super) fn is_worthwhile(&self) -> bool {
        self.last.elapsed() >= PERIOD / 4
    }

    /// Prints what happened since the last time.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn print(&mut self, output: &mut dyn Write, now: [Statistics; 2]) -> io::Result<()> {
        let seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        let earlier = std::mem::replace(&mut self.earlier, now);
        if !self.lines {
            return Ok(());
        }
        let time = self.began.elapsed();
        let width = self.labels.iter().map(String::len).max().unwrap_or(0);
        for (label, (earlier, now)) in self.labels.iter().zip(earlier.iter().zip(&now)) {
            let moved = Moved::between(earlier, now, seconds);
            line(output, time, &format!("{label:width$}"), moved)?;
        }
        output.flush()
    }
}

fn line(output: &mut dyn Write, time: Duration, label: &str, moved: Moved) -> io::Result<()> {
    let (rx_mpps, rx_mbits) = moved.rx;
    let (tx_mpps, tx_mbits) = moved.tx;
    writeln!(
        output,
        "{:5.1} s  {label}  rx {rx_mpps:6.3} Mpps {rx_mbits:7.1} Mbit/s  \
         tx {tx_mpps:6.3} Mpps {tx_mbits:7.1} Mbit/s",
        time.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(packets: u64) -> Statistics {
        Statistics {
            rx_packets: packets,
            rx_bytes: packets * 60,
            tx_packets: packets / 2,
            tx_bytes: packets / 2 * 60,
            ..Statistics::default()
        }
    }

    #[test]
    fn a_line_fits_a_terminal() {
        let mut output = Vec::new();
        let moved = Moved::between(&at(0), &at(14_880_952), 1.0);
        line(&mut output, Duration::from_secs(1), "sim0", moved).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(
            text,
            "  1.0 s  sim0  rx 14.881 Mpps 10000.0 Mbit/s  tx  7.440 Mpps  5000.0 Mbit/s\n"
        );
        assert!(text.len() <= 80);
    }

    #[test]
    fn two_ports_give_two_lines_of_what_is_new() {
        let mut output = Vec::new();
        let labels = ["sim0".to_owned(), "sim:right".to_owned()];
        let mut progress = Progress::new(labels.clone(), [at(5), at(5)], true);
        progress.print(&mut output, [at(5), at(5)]).unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("sim0       rx  0.000 Mpps"), "{text}");
        assert!(lines[1].contains("sim:right  rx  0.000 Mpps"), "{text}");

        let mut output = Vec::new();
        let mut silent = Progress::new(labels, [at(5), at(5)], false);
        silent.print(&mut output, [at(9), at(9)]).unwrap();
        assert!(output.is_empty());
    }
}
