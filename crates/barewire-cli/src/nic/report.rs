//! What a served card has seen.

use std::io::{self, Write};

use barewire_sim::nic::{NicCounters, Tolerated};
use serde::{Serialize, Serializer};

/// The result of serving a card, and its JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) socket: String,
    pub(super) device: String,
    pub(super) mac: String,
    /// The word that names what the port was plugged into.
    pub(super) far_end: String,
    pub(super) seconds: f64,
    pub(super) counters: Counters,
    /// Every statistics register, by the datasheet's name.
    #[serde(serialize_with = "as_object")]
    pub(super) statistics: Vec<(String, u64)>,
    #[serde(serialize_with = "as_object")]
    pub(super) wire: Vec<(&'static str, u64)>,
    /// Known exceptions that the driver made use of.
    pub(super) exceptions: Vec<Met>,
    /// How many times a rule was broken; the first ones are listed.
    pub(super) violations: u64,
    pub(super) violation_list: Vec<String>,
}

/// What the card counted, from beginning to end.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Counters {
    /// Frames that passed the filters.
    rx_packets: u64,
    /// Frames sent.
    tx_packets: u64,
    /// Frames that found the packet buffer full.
    missed: u64,
    /// Frames that found no descriptor.
    dropped: u64,
    undersize: u64,
    oversize: u64,
}

/// A known exception, and how often it was met.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Met {
    exception: String,
    count: u64,
}

impl From<&Tolerated> for Met {
    fn from(tolerated: &Tolerated) -> Self {
        Self {
            exception: tolerated.exception.to_string(),
            count: tolerated.count,
        }
    }
}

impl From<NicCounters> for Counters {
    fn from(counted: NicCounters) -> Self {
        Self {
            rx_packets: counted.received,
            tx_packets: counted.sent,
            missed: counted.missed,
            dropped: counted.dropped,
            undersize: counted.undersize,
            oversize: counted.oversize,
        }
    }
}

/// A card's name as it is in a sentence.
pub(super) fn with_article(card: &str) -> String {
    let article = if card.starts_with('v') { "a" } else { "an" };
    format!("{article} {card}")
}

fn as_object<S: Serializer, N: Serialize>(
    counts: &[(N, u64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(name, count)| (name, count)))
}

impl Report {
    /// Prints it for people.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn print(&self, output: &mut dyn Write) -> io::Result<()> {
        writeln!(
            output,
            "served     {} at {} for {:.1} s",
            with_article(&self.device),
            self.socket,
            self.seconds
        )?;
        let counters = &self.counters;
        writeln!(
            output,
            "card       {} received, {} sent, {} missed, {} dropped, {} undersize, {} oversize",
            counters.rx_packets,
            counters.tx_packets,
            counters.missed,
            counters.dropped,
            counters.undersize,
            counters.oversize
        )?;
        let counts: Vec<_> = self
            .wire
            .iter()
            .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
            .collect();
        writeln!(output, "wire       {}: {}", self.far_end, counts.join(", "))?;
        if self.violations == 0 {
            writeln!(output, "datasheet  no rule broken by the driver")?;
        } else {
            writeln!(output, "datasheet  {} rules broken", self.violations)?;
        }
        for violation in &self.violation_list {
            writeln!(output, "           {violation}")?;
        }
        for met in &self.exceptions {
            writeln!(output, "exception  {} times {}", met.count, met.exception)?;
        }
        let listed = u64::try_from(self.violation_list.len()).unwrap_or(u64::MAX);
        if self.violations > listed {
            writeln!(output, "           and {} more", self.violations - listed)?;
        }
        output.flush()
    }

    /// Prints it for programs that ask while it runs: one line that begins with `status: `.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn print_status(&self, output: &mut dyn Write) -> io::Result<()> {
        // in one piece, so that a reader never finds half a line
        let mut line = b"status: ".to_vec();
        self.print_json(&mut line)?;
        output.write_all(&line)
    }

    /// Prints it for programs.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn print_json(&self, output: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *output, self)?;
        writeln!(output)?;
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(violations: u64, listed: usize) -> Report {
        Report {
            socket: "/run/nic".into(),
            device: "82599".into(),
            mac: "02:42:57:00:00:01".into(),
            far_end: "cable:/run/c".into(),
            seconds: 1.25,
            counters: NicCounters {
                received: 7,
                missed: 3,
                ..NicCounters::default()
            }
            .into(),
            statistics: vec![("GPRC".into(), 7)],
            wire: vec![("received", 10), ("full_dropped", 0)],
            exceptions: vec![Met {
                exception: "FCTRL: reserved bits changed".into(),
                count: 3,
            }],
            violations,
            violation_list: vec!["RDT[0] = 0x1: tail not allowed".into(); listed],
        }
    }

    fn printed(report: &Report) -> String {
        let mut output = Vec::new();
        report.print(&mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn the_summary_names_everything() {
        let text = printed(&report(0, 0));
        for part in [
            "an 82599 at /run/nic for 1.2 s",
            "7 received, 0 sent, 3 missed",
            "cable:/run/c: 10 received, 0 full dropped",
            "no rule broken",
            "exception  3 times FCTRL",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let text = printed(&report(300, 256));
        assert!(text.contains("300 rules broken") && text.contains("and 44 more"));
    }

    #[test]
    fn the_json_form_is_one_line_of_numbers_and_names() {
        let mut output = Vec::new();
        report(1, 1).print_json(&mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["wire"]["received"], 10);
        assert_eq!(value["statistics"]["GPRC"], 7);
        assert_eq!(value["exceptions"][0]["count"], 3);
        assert_eq!(value["counters"]["missed"], 3);
        assert_eq!(value["violations"], 1);
        assert_eq!(value["violation_list"][0], "RDT[0] = 0x1: tail not allowed");
    }
}
