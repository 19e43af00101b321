//! What a run found, and whether that is a success.

use barewire::Statistics;
use serde::Serialize;

/// Bytes that a frame takes on the wire beyond those counted: preamble, gap and FCS.
const WIRE_OVERHEAD: u64 = 24;

/// The result of a run, and its JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// From the opening of the wires to the last frame's arrival.
    pub(super) seconds: f64,
    /// Packets sent by both ports per microsecond.
    pub(super) mpps: f64,
    pub(super) ports: Vec<PortReport>,
    /// `None` where the far end of a wire is not this program's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wire: Option<WireReport>,
    /// `None` where no device is software of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) violations: Option<Violations>,
}

/// What a port counted.
#[derive(Debug, Serialize)]
pub(super) struct PortReport {
    pub(super) port: String,
    pub(super) driver: String,
    pub(super) rx_packets: u64,
    pub(super) tx_packets: u64,
    /// Without FCS, as all bytes.
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) rx_dropped: u64,
    pub(super) rx_errors: u64,
    pub(super) tx_errors: u64,
    pub(super) link_mbits: u32,
}

/// What the far ends of both wires saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct WireReport {
    /// Frames put on a wire.
    pub(super) offered: u64,
    /// Frames that came out as they were sent.
    pub(super) delivered: u64,
    /// Frames that were offered and neither delivered nor too large for the port.
    pub(super) lost: u64,
    /// Delivered frames that came after one that was sent later.
    pub(super) reordered: u64,
    /// Frames that came out and that nobody sent so: changed, twice, or from nowhere.
    pub(super) corrupted: u64,
    /// Frames of a capture that were padded to 60 bytes.
    pub(super) undersize_padded: u64,
    /// Frames that a port dropped because they are larger than it takes.
    pub(super) oversize_dropped: u64,
    /// Records of a capture that were left out, because it holds only their beginning.
    pub(super) source_skipped: u64,
}

/// The rules of the datasheet that the driver broke: 0, or the list.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Violations {
    None(u8),
    List(Vec<String>),
}

/// What the command line says about how to judge a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms {
    /// Frames come whether the port is ready or not, and may be dropped where that is counted.
    pub(super) open_loop: bool,
    /// Frames of different flows may overtake each other.
    pub(super) any_order: bool,
}

impl Violations {
    pub(super) fn new(list: Vec<String>) -> Self {
        if list.is_empty() {
            Self::None(0)
        } else {
            Self::List(list)
        }
    }

    pub(super) fn list(&self) -> &[String] {
        match self {
            Self::None(_) => &[],
            Self::List(list) => list,
        }
    }
}

impl Report {
    /// The rules that the driver broke, as far as this program can know.
    pub(super) fn broken_rules(&self) -> &[String] {
        self.violations.as_ref().map_or(&[], Violations::list)
    }

    /// Why the run was no success; empty if it was one.
    pub(super) fn failures(&self, terms: Terms) -> Vec<String> {
        let wire = self.wire.unwrap_or_default();
        let dropped: u64 = self.ports.iter().map(|port| port.rx_dropped).sum();
        let lost = if terms.open_loop {
            wire.lost.saturating_sub(dropped)
        } else {
            wire.lost
        };
        let reordered = if terms.any_order { 0 } else { wire.reordered };
        let broken = self.broken_rules().len() as u64;
        let unexplained = if terms.open_loop {
            " that no counter of the device explains"
        } else {
            ""
        };
        [
            (lost, format!("lost{unexplained}")),
            (reordered, "reordered".to_owned()),
            (wire.corrupted, "corrupted".to_owned()),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {} {what}", plural(count, "frame", "frames")))
        .chain((broken > 0).then(|| {
            format!(
                "the driver broke {broken} {} of the datasheet",
                plural(broken, "rule", "rules")
            )
        }))
        .collect()
    }
}

pub(super) fn plural<'a>(count: u64, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

/// Megabits on the wire of so many frames.
pub(super) fn wire_mbits(packets: u64, bytes: u64) -> f64 {
    float(bytes + packets * WIRE_OVERHEAD) * 8.0 / 1e6
}

/// Frames and wire megabits that a port moved between two looks at its counters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) rx: (f64, f64),
    pub(super) tx: (f64, f64),
}

impl Moved {
    /// Millions of packets, and megabits, a second.
    pub(super) fn between(earlier: &Statistics, later: &Statistics, seconds: f64) -> Self {
        let rate = |packets: u64, bytes: u64| {
            if seconds <= 0.0 {
                return (0.0, 0.0);
            }
            let mpps = float(packets) / 1e6 / seconds;
            (mpps, wire_mbits(packets, bytes) / seconds)
        };
        Self {
            rx: rate(
                later.rx_packets - earlier.rx_packets,
                later.rx_bytes - earlier.rx_bytes,
            ),
            tx: rate(
                later.tx_packets - earlier.tx_packets,
                later.tx_bytes - earlier.tx_bytes,
            ),
        }
    }
}

/// A count for a calculation of rates, where 53 bits are more than enough.
#[allow(clippy::cast_precision_loss)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wire: WireReport, rx_dropped: u64) -> Report {
        let port = |port: &str, rx_dropped| PortReport {
            port: port.into(),
            driver: "ixgbe".into(),
            rx_packets: 1,
            tx_packets: 2,
            rx_bytes: 60,
            tx_bytes: 120,
            rx_dropped,
            rx_errors: 0,
            tx_errors: 0,
            link_mbits: 10_000,
        };
        Report {
            seconds: 1.5,
            mpps: 2.0,
            ports: vec![port("sim0", rx_dropped), port("sim1", 0)],
            wire: Some(wire),
            violations: Some(Violations::new(Vec::new())),
        }
    }

    #[test]
    fn a_clean_run_is_a_success() {
        let clean = WireReport {
            offered: 10,
            delivered: 8,
            oversize_dropped: 2,
            undersize_padded: 1,
            source_skipped: 3,
            ..WireReport::default()
        };
        assert!(report(clean, 0).failures(Terms::default()).is_empty());
    }

    #[test]
    fn each_defect_fails_a_run_and_is_named() {
        let bad = WireReport {
            lost: 1,
            reordered: 2,
            corrupted: 3,
            ..WireReport::default()
        };
        let failures = report(bad, 0).failures(Terms::default());
        let expected = ["1 frame lost", "2 frames reordered", "3 frames corrupted"];
        assert_eq!(failures, expected);
        let mut broken = report(WireReport::default(), 0);
        broken.violations = Some(Violations::new(vec!["RDT".into()]));
        let expected = ["the driver broke 1 rule of the datasheet"];
        assert_eq!(broken.failures(Terms::default()), expected);
    }

    #[test]
    fn an_open_loop_may_lose_what_the_device_counted() {
        let open = Terms {
            open_loop: true,
            any_order: false,
        };
        let lost = WireReport {
            lost: 5,
            ..WireReport::default()
        };
        assert!(report(lost, 5).failures(open).is_empty());
        assert!(report(lost, 4).failures(open)[0].starts_with("1 frame lost that no counter"));
        assert_eq!(report(lost, 5).failures(Terms::default()).len(), 1);
    }

    #[test]
    fn several_queues_may_change_the_order_of_a_capture() {
        let terms = Terms {
            open_loop: false,
            any_order: true,
        };
        let reordered = WireReport {
            reordered: 5,
            ..WireReport::default()
        };
        assert!(report(reordered, 0).failures(terms).is_empty());
    }

    #[test]
    fn the_json_form_has_numbers_only() {
        let value = serde_json::to_value(report(WireReport::default(), 0)).unwrap();
        assert_eq!(value["violations"], 0);
        assert_eq!(value["seconds"], 1.5);
        assert_eq!(value["ports"][1]["tx_bytes"], 120);
        let wire = value["wire"].as_object().unwrap();
        assert!(wire.len() == 8 && wire.values().all(serde_json::Value::is_u64));
        let list = Violations::new(vec!["RDT".into()]);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"["RDT"]"#);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let strange = Report {
            wire: None,
            violations: None,
            ..report(WireReport::default(), 0)
        };
        assert!(strange.failures(Terms::default()).is_empty());
        let value = serde_json::to_value(strange).unwrap();
        assert!(value.get("wire").is_none() && value.get("violations").is_none());
    }

    #[test]
    fn the_wire_counts_preamble_gap_and_fcs() {
        // the line rate of the smallest frames
        assert!((wire_mbits(14_880_952, 14_880_952 * 60) - 10_000.0).abs() < 0.001);
    }
}
