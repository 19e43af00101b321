//! From turns to a number: which turns count, and their median.

use serde::{Deserialize, Serialize};

/// One turn of a subject: so many sections in a row, timed one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    /// Packets of each section.
    pub(super) packets: u32,
    /// Cycles of an empty section.
    pub(super) overhead: u64,
    /// Cycles of a fixed piece of arithmetic, done before and after.
    pub(super) calibration: u64,
    /// Sections that forwarded less than they should and were left out.
    pub(super) short: u64,
    pub(super) cycles: Vec<u64>,
}

/// A turn whose calibration took more than this part of the subject's quickest counts as disturbed.
const DISTURBED: f64 = 1.10;
/// At least this part of the turns is kept, the least disturbed ones.
const KEPT: usize = 4;

/// What came of all turns.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Median cycles per packet.
    pub(crate) cycles: f64,
    /// Sections that it is the median of.
    pub(crate) samples: usize,
    /// Medians of the turns: the lowest and the highest of those kept.
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    /// Turns kept and turns left out as disturbed.
    pub(crate) turns: usize,
    pub(crate) disturbed: usize,
    /// Sections left out because they forwarded less than they should.
    pub(crate) short: u64,
}

impl Turn {
    fn per_packet(&self, cycles: u64) -> f64 {
        float(cycles.saturating_sub(self.overhead)) / f64::from(self.packets)
    }

    fn median(&self) -> Option<f64> {
        let mut cycles = self.cycles.clone();
        cycles.sort_unstable();
        let middle = cycles.get(cycles.len() / 2)?;
        Some(self.per_packet(*middle))
    }
}

/// The numbers here are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The quickest calibration of some turns; nothing is quicker than that of none.
pub(super) fn quickest<'t>(turns: impl IntoIterator<Item = &'t Turn>) -> u64 {
    let calibrations = turns.into_iter().map(|turn| turn.calibration);
    calibrations.min().unwrap_or(u64::MAX)
}

/// The median of the sections of all turns that were not disturbed; `None` without any section.
/// `quickest` is the quickest calibration of the subject in the whole run.
pub(super) fn summarise(turns: &[Turn], quickest: u64) -> Option<Summary> {
    let mut turns: Vec<&Turn> = turns
        .iter()
        .filter(|turn| !turn.cycles.is_empty())
        .collect();
    turns.sort_by_key(|turn| turn.calibration);
    let limit = float(quickest) * DISTURBED;
    let quiet = turns
        .iter()
        .filter(|turn| float(turn.calibration) <= limit)
        .count();
    let kept = quiet.max(turns.len().div_ceil(KEPT));
    let disturbed = turns.len() - kept;
    turns.truncate(kept);
    let mut all: Vec<f64> = Vec::new();
    for turn in &turns {
        all.extend(turn.cycles.iter().map(|cycles| turn.per_packet(*cycles)));
    }
    all.sort_by(f64::total_cmp);
    let medians: Vec<f64> = turns.iter().filter_map(|turn| turn.median()).collect();
    Some(Summary {
        cycles: *all.get(all.len() / 2)?,
        samples: all.len(),
        lowest: medians.iter().copied().fold(f64::INFINITY, f64::min),
        highest: medians.iter().copied().fold(0.0, f64::max),
        turns: kept,
        disturbed,
        short: turns.iter().map(|turn| turn.short).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(calibration: u64, cycles: &[u64]) -> Turn {
        Turn {
            packets: 10,
            overhead: 20,
            calibration,
            short: 0,
            cycles: cycles.to_vec(),
        }
    }

    #[test]
    fn the_median_is_per_packet_and_without_the_overhead() {
        let summary = summarise(&[turn(100, &[120, 20, 220])], 100).unwrap();
        assert!((summary.cycles - 10.0).abs() < 1e-9);
        assert_eq!(
            (summary.samples, summary.turns, summary.disturbed),
            (3, 1, 0)
        );
    }

    #[test]
    fn turns_of_a_slowed_processor_do_not_count() {
        let turns = [
            turn(100, &[120; 9]),
            turn(105, &[140; 9]),
            turn(150, &[920; 90]),
        ];
        let summary = summarise(&turns, quickest(&turns)).unwrap();
        assert_eq!(
            (summary.samples, summary.turns, summary.disturbed),
            (18, 2, 1)
        );
        assert!((summary.lowest - 10.0).abs() < 1e-9 && (summary.highest - 12.0).abs() < 1e-9);
    }

    #[test]
    fn a_quarter_of_the_turns_is_kept_in_any_case() {
        let turns: Vec<Turn> = (0..8).map(|n| turn(100 + 50 * n, &[120])).collect();
        assert_eq!(summarise(&turns, quickest(&turns)).unwrap().turns, 2);
        assert_eq!(summarise(&turns, 10).unwrap().turns, 2);
    }

    #[test]
    fn nothing_measured_is_nothing() {
        assert_eq!(summarise(&[], 1), None);
        assert_eq!(summarise(&[turn(1, &[])], 1), None);
    }
}
