//! What sources and sinks count, readable from any thread while they run.

use std::ops::{Add, AddAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that one thread counts up and any thread may read.
///
/// There is one writer only, so adding needs no locked instruction: it costs a plain load and a
/// plain store. A reader sees each counter exactly, but two counters may be read a few frames apart.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `more`, saturating. Must only be called by the one owner of the counted thing.
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().saturating_add(more));
    }

    /// Replaces the count. Must only be called by the one owner of the counted thing.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What a [`Source`](super::Source) counts.
///
/// The alignment keeps the counters of two ports in different cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct SourceCounters {
    /// Frames given to the NIC, whether it had room for them or not.
    pub offered: Counter,
    /// Bytes of these frames, without FCS.
    pub offered_bytes: Counter,
    /// Frames shorter than [`MIN_FRAME`](super::MIN_FRAME) that were padded with zeros.
    pub undersize_padded: Counter,
    /// Records left out because the capture holds only their beginning.
    pub source_skipped: Counter,
    /// Nanoseconds a paced source fell so far behind its rate that it gave them up: more than zero
    /// means that the asked rate was not reached.
    pub forfeited_nanos: Counter,
}

impl SourceCounters {
    /// Counts frames given to the NIC, and their bytes.
    pub(super) fn count_offered(&self, frames: usize, bytes: usize) {
        self.offered.add(super::widen(frames));
        self.offered_bytes.add(super::widen(bytes));
    }
}

/// What a [`Sink`](super::Sink) counts.
///
/// The alignment keeps the counters of two ports in different cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct SinkCounters {
    /// Frames that arrived whole, each sequence number once.
    pub delivered: Counter,
    /// Bytes of these frames, without FCS.
    pub delivered_bytes: Counter,
    /// Sequence numbers passed over and not seen since. Frames lost at the end of a run are not
    /// among them, as nothing follows them: see [`WireTotals::drained`].
    pub lost: Counter,
    /// Frames that arrived after one with a higher sequence number of their flow.
    pub reordered: Counter,
    /// Frames that had arrived before.
    pub duplicated: Counter,
    /// Frames of the expected stream with a wrong byte or a wrong length.
    pub corrupted: Counter,
    /// Frames that the expected generator never sent.
    pub foreign: Counter,
}

/// Stops a source and reads its counters, from any thread.
#[derive(Clone, Debug, Default)]
pub struct SourceControl {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counters: SourceCounters,
    stop: AtomicBool,
}

impl SourceControl {
    /// The source offers nothing from its next pull on. It cannot be started again.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// True once [`stop`](Self::stop) was called.
    pub fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// What the source has counted.
    pub fn counters(&self) -> &SourceCounters {
        &self.shared.counters
    }
}

/// What happened on a wire, or, added up, on several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireTotals {
    /// As [`SourceCounters::offered`].
    pub offered: u64,
    /// As [`SinkCounters::delivered`].
    pub delivered: u64,
    /// As [`SinkCounters::lost`], until [`drained`](Self::drained).
    pub lost: u64,
    /// As [`SinkCounters::reordered`].
    pub reordered: u64,
    /// As [`SinkCounters::duplicated`].
    pub duplicated: u64,
    /// As [`SinkCounters::corrupted`].
    pub corrupted: u64,
    /// As [`SinkCounters::foreign`].
    pub foreign: u64,
    /// As [`SourceCounters::undersize_padded`].
    pub undersize_padded: u64,
    /// Frames the device dropped because they are longer than it takes. No source and no sink can
    /// know; whoever reads the device's counters fills it in.
    pub oversize_dropped: u64,
    /// As [`SourceCounters::source_skipped`].
    pub source_skipped: u64,
}

impl WireTotals {
    /// Reads the counters of a source and of the sink that its frames go to.
    pub fn read(source: &SourceCounters, sink: &SinkCounters) -> Self {
        // The sink is read first: a frame counted as delivered is then also counted as offered.
        let mut totals = Self {
            delivered: sink.delivered.get(),
            lost: sink.lost.get(),
            reordered: sink.reordered.get(),
            duplicated: sink.duplicated.get(),
            corrupted: sink.corrupted.get(),
            foreign: sink.foreign.get(),
            ..Self::default()
        };
        totals.offered = source.offered.get();
        totals.undersize_padded = source.undersize_padded.get();
        totals.source_skipped = source.source_skipped.get();
        totals
    }

    /// The totals of a run that has drained: whatever was offered and neither delivered nor too
    /// long for the device is lost, including the frames after the last one that arrived.
    #[must_use]
    pub const fn drained(mut self) -> Self {
        self.lost = self
            .offered
            .saturating_sub(self.delivered)
            .saturating_sub(self.oversize_dropped);
        self
    }
}

impl Add for WireTotals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            reordered: self.reordered + other.reordered,
            duplicated: self.duplicated + other.duplicated,
            corrupted: self.corrupted + other.corrupted,
            foreign: self.foreign + other.foreign,
            undersize_padded: self.undersize_padded + other.undersize_padded,
            oversize_dropped: self.oversize_dropped + other.oversize_dropped,
            source_skipped: self.source_skipped + other.source_skipped,
        }
    }
}

impl AddAssign for WireTotals {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_run_counts_the_tail_as_lost() {
        let source = SourceCounters::default();
        let sink = SinkCounters::default();
        source.offered.add(10);
        sink.delivered.add(7);
        sink.lost.add(1);
        let mut totals = WireTotals::read(&source, &sink);
        assert_eq!(totals.lost, 1);
        assert_eq!(totals.drained().lost, 3);
        totals.oversize_dropped = 2;
        assert_eq!(totals.drained().lost, 1);
        assert_eq!((totals + totals).offered, 20);
    }

    #[test]
    fn counters_saturate() {
        let counter = Counter::default();
        counter.set(u64::MAX);
        counter.add(1);
        assert_eq!(counter.get(), u64::MAX);
    }

    #[test]
    fn a_clone_of_the_control_stops_the_same_source() {
        let control = SourceControl::default();
        control.clone().stop();
        assert!(control.stopped());
    }
}
