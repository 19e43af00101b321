//! A plug that leads a port's transmit side back to its receive side.

use super::{CABLE_CAPACITY, CableCounters, CableEnd, Wire, cable::loop_end};
use crate::time::Nanos;
use std::sync::Arc;

/// What leaves the NIC comes back to it, in order.
///
/// It holds at most [`CABLE_CAPACITY`] frames; when the NIC takes none for so long that it is full,
/// further frames are dropped and counted.
#[derive(Debug)]
pub struct Loopback {
    end: CableEnd,
}

impl Loopback {
    /// An empty loop.
    pub fn new() -> Self {
        Self {
            end: loop_end(CABLE_CAPACITY),
        }
    }

    /// Frames that went around and frames dropped, readable from any thread.
    pub fn counters(&self) -> Arc<CableCounters> {
        self.end.counters()
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}

impl Wire for Loopback {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.end.pull(now, room, frame)
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        self.end.push(now, frame);
    }

    fn idle(&self) -> bool {
        self.end.idle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order_and_a_full_loop_drops() {
        let mut wire = Loopback::new();
        let mut frame = Vec::new();
        for number in 0..CABLE_CAPACITY + 3 {
            let byte = u8::try_from(number % 251).unwrap();
            wire.push(Nanos::ZERO, &[byte; 60]);
        }
        assert_eq!(wire.counters().dropped.get(), 3);
        assert!(!wire.idle());
        for number in 0..CABLE_CAPACITY {
            assert!(wire.pull(Nanos::ZERO, true, &mut frame));
            assert_eq!(usize::from(frame[0]), number % 251);
        }
        assert!(!wire.pull(Nanos::ZERO, true, &mut frame));
        assert!(wire.idle());
    }
}
