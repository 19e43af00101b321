//! Both ends of a wire: a source that stamps, and a sink that reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use barewire_sim::time::Nanos;
use barewire_sim::wire::Wire;
use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::ticks::Ticks;

const FRAME: usize = 60;
/// The byte that the forwarder increments.
pub(crate) const TOUCHED: usize = 5;
/// Where the moment at which it was due stands in a frame.
const STAMP: std::ops::Range<usize> = 16..24;
/// For local experiments: nobody looks further.
const ETHERTYPE: [u8; 2] = [0x88, 0xB5];
/// The longest latency that is kept apart from longer ones: ten seconds.
const LONGEST: u64 = 10_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// What all wires share with the thread that measures.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    running: AtomicBool,
    started: AtomicU64,
    /// Frames that were due from here on are recorded.
    pub(crate) record_from: AtomicU64,
    /// Frames that were due from here on are not.
    record_to: AtomicU64,
    /// Of each wire.
    counters: [Counters; 2],
    /// Latencies in nanoseconds, of each wire that has been unplugged.
    pub(crate) histograms: Mutex<Vec<Histogram<u64>>>,
}

/// Of one wire. One thread at a time drives it, so nothing is counted twice.
#[derive(Debug, Default)]
struct Counters {
    offered: AtomicU64,
    /// Of the recorded time.
    recorded: AtomicU64,
    arrived: AtomicU64,
    damaged: AtomicU64,
}

impl Shared {
    pub(crate) fn run(&self, now: u64) {
        self.record_from.store(u64::MAX, Ordering::Relaxed);
        self.record_to.store(u64::MAX, Ordering::Relaxed);
        self.started.store(now, Ordering::Relaxed);
        self.running.store(true, Ordering::Release);
    }

    pub(crate) fn stop(&self, now: u64) {
        self.record_to.store(now, Ordering::Relaxed);
        self.running.store(false, Ordering::Release);
    }

    fn sum(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        let counts = self.counters.iter().map(of);
        counts.map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// Frames that were offered and did not arrive so far.
    pub(crate) fn on_the_way(&self) -> u64 {
        let arrived = self.sum(|wire| &wire.arrived);
        self.sum(|wire| &wire.offered).saturating_sub(arrived)
    }

    /// Frames that were due in the recorded time.
    pub(crate) fn offered(&self) -> u64 {
        self.sum(|wire| &wire.recorded)
    }

    /// Frames that did not arrive as they should.
    pub(crate) fn damaged(&self) -> u64 {
        self.sum(|wire| &wire.damaged)
    }

    fn recorded(&self, due: u64) -> bool {
        due >= self.record_from.load(Ordering::Relaxed)
            && due < self.record_to.load(Ordering::Relaxed)
    }
}

/// The far end of one port.
pub(crate) struct Traffic {
    ticks: Ticks,
    shared: Arc<Shared>,
    /// Ticks between two frames, times 2²⁴; 0 if the port's room sets the pace.
    interval: u64,
    /// Parts of a tick that the next frame is due after `due`, times 2²⁴.
    rest: u64,
    due: u64,
    frame: [u8; FRAME],
    /// Which of the two wires this is.
    number: usize,
    offered: u64,
    recorded: u64,
    arrived: u64,
    damaged: u64,
    histogram: Option<Histogram<u64>>,
}

impl Traffic {
    /// For so many frames a second.
    pub(crate) fn new(ticks: Ticks, rate: u64, number: u8, shared: &Arc<Shared>) -> Self {
        let mut frame = [0; FRAME];
        frame[..6].copy_from_slice(&[0x02, 0, 0, 0, number, 0]);
        frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, number, 1]);
        frame[12..14].copy_from_slice(&ETHERTYPE);
        let second = u128::from(ticks.rate()) * 1_000_000_000;
        let interval = second.checked_div(u128::from(rate)).unwrap_or(0);
        Self {
            ticks,
            shared: Arc::clone(shared),
            interval: u64::try_from(interval).unwrap_or(u64::MAX),
            rest: 0,
            due: 0,
            frame,
            number: usize::from(number) % 2,
            offered: 0,
            recorded: 0,
            arrived: 0,
            damaged: 0,
            histogram: Histogram::new_with_bounds(1, LONGEST, DIGITS).ok(),
        }
    }

    /// The moment at which the next frame is due, if that is not after `now`.
    #[inline]
    fn next_due(&mut self, now: u64, room: bool) -> Option<u64> {
        if self.interval == 0 {
            return room.then_some(now);
        }
        if self.due == 0 {
            self.due = self.shared.started.load(Ordering::Relaxed);
        }
        if self.due > now {
            return None;
        }
        let due = self.due;
        let step = self.interval + self.rest;
        self.due += step >> 24;
        self.rest = step & ((1 << 24) - 1);
        Some(due)
    }
}

impl Wire for Traffic {
    #[inline]
    fn pull(&mut self, _: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        if !self.shared.running.load(Ordering::Acquire) {
            return false;
        }
        let now = self.ticks.now();
        let Some(due) = self.next_due(now, room) else {
            return false;
        };
        self.frame[STAMP].copy_from_slice(&due.to_le_bytes());
        frame.clear();
        frame.extend_from_slice(&self.frame);
        self.offered += 1;
        self.recorded += u64::from(self.shared.recorded(due));
        let counters = &self.shared.counters[self.number];
        counters.recorded.store(self.recorded, Ordering::Release);
        counters.offered.store(self.offered, Ordering::Release);
        true
    }

    #[inline]
    fn push(&mut self, _: Nanos, frame: &[u8]) {
        let now = self.ticks.now();
        self.arrived += 1;
        let counters = &self.shared.counters[self.number];
        counters.arrived.store(self.arrived, Ordering::Release);
        let stamp = frame.get(STAMP).and_then(|stamp| stamp.first_chunk::<8>());
        let touched = frame.get(TOUCHED) == Some(&1);
        let (Some(stamp), true) = (stamp, touched) else {
            self.damaged += 1;
            counters.damaged.store(self.damaged, Ordering::Release);
            return;
        };
        let due = u64::from_le_bytes(*stamp);
        if self.shared.recorded(due)
            && let Some(histogram) = &mut self.histogram
        {
            histogram.saturating_record(self.ticks.nanos(now.saturating_sub(due)).max(1));
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.histograms.lock().extend(self.histogram.take());
    }
}
