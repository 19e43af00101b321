//! A port with nothing plugged in.

use super::{Counter, Wire};
use crate::time::Nanos;
use std::sync::Arc;

/// No peer: nothing ever arrives, and what leaves the NIC is dropped and counted.
#[derive(Debug, Default)]
pub struct Unplugged {
    dropped: Arc<Counter>,
}

impl Unplugged {
    /// A wire without a far end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the frames dropped, readable from any thread.
    pub fn dropped(&self) -> Arc<Counter> {
        Arc::clone(&self.dropped)
    }
}

impl Wire for Unplugged {
    fn pull(&mut self, _now: Nanos, _room: bool, _frame: &mut Vec<u8>) -> bool {
        false
    }

    fn push(&mut self, _now: Nanos, _frame: &[u8]) {
        self.dropped.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_dropped_and_counted() {
        let mut wire = Unplugged::new();
        let dropped = wire.dropped();
        let mut frame = Vec::new();
        wire.push(Nanos::ZERO, &[1; 60]);
        wire.push(Nanos::ZERO, &[2; 60]);
        assert!(!wire.pull(Nanos(1), true, &mut frame));
        assert_eq!(dropped.get(), 2);
    }
}
