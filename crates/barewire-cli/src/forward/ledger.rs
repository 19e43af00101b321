//! Which frames of a capture are on their way, so that the far end knows what to expect.
//!
//! Generated frames carry a number and a check; a capture's frames carry what they carry. So each
//! is noted when it is offered, as the hash of what it must look like after it was forwarded, and
//! crossed out when it arrives. A hash of 64 bits takes a wrong frame for a right one once in 2⁶⁴
//! times the number of frames under way.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use barewire_sim::time::Nanos;
use barewire_sim::wire::{Sink, Source, Touch};
use parking_lot::Mutex;

use super::far_end::Arrivals;

/// The byte that forwarding touches: the last of the destination address.
pub(super) const TOUCHED: usize = 5;

/// The frames under way.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Positions in the capture of the frames with this hash, oldest first.
    under_way: HashMap<u64, VecDeque<u64>>,
    offered: u64,
    /// One more than the latest position that has arrived.
    latest: u64,
    arrivals: Arrivals,
}

impl Ledger {
    pub(super) fn arrivals(&self) -> Arrivals {
        self.pages.lock().arrivals
    }

    fn note(&self, frame: &[u8], touch: Touch) {
        let hash = hash(frame, |byte| touch.apply(byte));
        let mut pages = self.pages.lock();
        let position = pages.offered;
        pages.offered += 1;
        pages.under_way.entry(hash).or_default().push_back(position);
    }

    fn cross_out(&self, frame: &[u8]) {
        let hash = hash(frame, |byte| byte);
        let mut pages = self.pages.lock();
        let Some(positions) = pages.under_way.get_mut(&hash) else {
            pages.arrivals.corrupted += 1;
            return;
        };
        let position = positions.pop_front();
        if positions.is_empty() {
            pages.under_way.remove(&hash);
        }
        if let Some(position) = position {
            pages.arrivals.delivered += 1;
            if position < pages.latest {
                pages.arrivals.reordered += 1;
            } else {
                pages.latest = position + 1;
            }
        }
    }
}

fn hash(frame: &[u8], touch: impl Fn(u8) -> u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    match frame.split_at_checked(TOUCHED) {
        Some((before, [byte, after @ ..])) => {
            hasher.write(before);
            hasher.write_u8(touch(*byte));
            hasher.write(after);
        }
        _ => hasher.write(frame),
    }
    hasher.finish()
}

/// A source whose frames are noted.
#[derive(Debug)]
pub(super) struct Noted<S> {
    source: S,
    touch: Touch,
    ledger: Arc<Ledger>,
}

impl<S> Noted<S> {
    /// Notes the frames of `source` as they will be after `touch`.
    pub(super) fn new(source: S, touch: Touch, ledger: Arc<Ledger>) -> Self {
        Self {
            source,
            touch,
            ledger,
        }
    }
}

impl<S: Source> Source for Noted<S> {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        let pulled = self.source.pull(now, room, frame);
        if pulled {
            self.ledger.note(frame, self.touch);
        }
        pulled
    }

    fn idle(&self) -> bool {
        self.source.idle()
    }
}

/// Crosses frames out as they arrive.
#[derive(Debug)]
pub(super) struct Crossing(pub(super) Arc<Ledger>);

impl Sink for Crossing {
    fn push(&mut self, _now: Nanos, frame: &[u8]) {
        self.0.cross_out(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: u8) -> [u8; 60] {
        [content; 60]
    }

    fn touched(content: u8) -> [u8; 60] {
        let mut frame = frame(content);
        frame[TOUCHED] = content.wrapping_add(1);
        frame
    }

    fn after(offered: &[u8], arrived: &[[u8; 60]]) -> Arrivals {
        let ledger = Ledger::default();
        for content in offered {
            ledger.note(&frame(*content), Touch::Incremented);
        }
        let ledger = Arc::new(ledger);
        let mut sink = Crossing(Arc::clone(&ledger));
        for frame in arrived {
            sink.push(Nanos::ZERO, frame);
        }
        ledger.arrivals()
    }

    fn arrivals(delivered: u64, reordered: u64, corrupted: u64) -> Arrivals {
        Arrivals {
            delivered,
            reordered,
            corrupted,
        }
    }

    #[test]
    fn frames_in_order_are_delivered_also_where_some_are_equal() {
        let all = [touched(1), touched(255), touched(1), touched(1)];
        assert_eq!(after(&[1, 255, 1, 1], &all), arrivals(4, 0, 0));
    }

    #[test]
    fn a_gap_is_no_reordering_and_coming_late_is() {
        assert_eq!(
            after(&[1, 2, 3], &[touched(1), touched(3)]),
            arrivals(2, 0, 0)
        );
        let late = [touched(1), touched(3), touched(2)];
        assert_eq!(after(&[1, 2, 3], &late), arrivals(3, 1, 0));
    }

    #[test]
    fn what_was_not_sent_so_is_corrupted() {
        assert_eq!(after(&[1], &[frame(1)]), arrivals(0, 0, 1)); // not touched
        assert_eq!(after(&[1], &[touched(1), touched(1)]), arrivals(1, 0, 1)); // twice
        let mut damaged = touched(1);
        damaged[59] ^= 1;
        assert_eq!(after(&[1], &[damaged]), arrivals(0, 0, 1));
    }

    #[test]
    fn the_length_counts() {
        let ledger = Ledger::default();
        ledger.note(&[0; 61], Touch::Unchanged);
        ledger.cross_out(&[0; 60]);
        assert_eq!(ledger.arrivals(), arrivals(0, 0, 1));
    }
}
