//! What came of a run.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Arguments;
use crate::ticks::Ticks;
use crate::traffic::Shared;

/// Two neighbouring points of the curve differ at least by this factor in one of both directions.
const FINENESS: f64 = 1.03;

/// A run's latencies, in nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    mode: String,
    seconds: f64,
    /// Frames a second that were asked for, of both wires; 0 for whenever there was room.
    asked: u64,
    offered: u64,
    delivered: u64,
    lost: u64,
    mpps: f64,
    mean: f64,
    min: u64,
    max: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    #[serde(rename = "p99.9")]
    p99_9: u64,
    #[serde(rename = "p99.99")]
    p99_99: u64,
    #[serde(rename = "p99.999")]
    p99_999: u64,
    #[serde(rename = "p99.9999")]
    p99_9999: u64,
    /// How many times the forwarding thread went to sleep.
    sleeps: u64,
    /// Nanoseconds between two readings of the clock, one right after the other.
    clock: f64,
    /// Points of the complementary cumulative distribution: a latency, and the part of all frames
    /// that took longer.
    ccdf: Vec<(u64, f64)>,
}

impl Measured {
    /// Puts the histograms of both wires together.
    ///
    /// # Errors
    /// When a frame was damaged, or none arrived.
    pub(crate) fn new(
        shared: &Shared,
        ticks: Ticks,
        seconds: Duration,
        sleeps: u64,
        arguments: &Arguments,
    ) -> Result<Self> {
        let damaged = shared.damaged();
        if damaged > 0 {
            bail!("{damaged} frames were damaged on the way");
        }
        let histograms = shared.histograms.lock();
        let (first, others) = histograms.split_first().context("no wire was unplugged")?;
        let mut all = first.clone();
        for other in others {
            all.add(other).context("histograms of different shapes")?;
        }
        let delivered = all.len();
        if delivered == 0 {
            bail!("no frame arrived in {seconds:?}");
        }
        let offered = shared.offered();
        let at = |quantile: f64| all.value_at_quantile(quantile);
        Ok(Self {
            mode: format!("{:?}", arguments.mode).to_lowercase(),
            seconds: seconds.as_secs_f64(),
            asked: arguments.rate.saturating_mul(2),
            offered,
            delivered,
            lost: offered.saturating_sub(delivered),
            mpps: float(delivered) / seconds.as_secs_f64() / 1e6,
            mean: all.mean(),
            min: all.min(),
            max: all.max(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            p99_999: at(0.99999),
            p99_9999: at(0.999_999),
            sleeps,
            clock: clock(ticks),
            ccdf: ccdf(&all),
        })
    }
}

/// Counts here are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

fn clock(ticks: Ticks) -> f64 {
    const READINGS: u64 = 1000;
    let begin = ticks.now();
    for _ in 0..READINGS {
        std::hint::black_box(ticks.now());
    }
    float(ticks.nanos((ticks.now() - begin) * 1000)) / float(READINGS) / 1000.0
}

fn ccdf(histogram: &Histogram<u64>) -> Vec<(u64, f64)> {
    let all = float(histogram.len());
    let mut points = Vec::new();
    let (mut latency, mut part) = (0.0, 2.0);
    let mut counted = 0;
    for step in histogram.iter_recorded() {
        counted += step.count_since_last_iteration();
        let longer = float(histogram.len() - counted) / all;
        let value = step.value_iterated_to();
        let far = float(value) >= latency * FINENESS || longer * FINENESS <= part;
        if far || counted == histogram.len() {
            points.push((value, longer));
            (latency, part) = (float(value), longer);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_falls_from_one_to_nothing() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        for value in 1..=1000 {
            histogram.record(value).unwrap();
        }
        let points = ccdf(&histogram);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1)
        );
        assert_eq!(points.last(), Some(&(1000, 0.0)));
        let middle = points.iter().find(|(value, _)| *value >= 500).unwrap();
        assert!((middle.1 - 0.5).abs() < 0.03, "{middle:?}");
        assert!(points.len() < 400, "{}", points.len());
    }
}
