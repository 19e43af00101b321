//! What queues count for their port: a virtio device has no counters of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Statistics;

/// The counters of one queue, written by its thread and read by the port's.
#[derive(Debug, Default)]
#[repr(align(128))] // what one thread writes is next to nothing that another does
pub(super) struct Count {
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) errors: AtomicU64,
}

impl Count {
    /// Adds to a counter that only the caller's thread writes.
    #[inline]
    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

/// The counters of all queues of a port.
#[derive(Debug, Default)]
pub(super) struct Totals {
    rx: Vec<Arc<Count>>,
    tx: Vec<Arc<Count>>,
}

impl Totals {
    pub(super) fn rx(&mut self) -> Arc<Count> {
        let count = Arc::default();
        self.rx.push(Arc::clone(&count));
        count
    }

    pub(super) fn tx(&mut self) -> Arc<Count> {
        let count = Arc::default();
        self.tx.push(Arc::clone(&count));
        count
    }

    pub(super) fn statistics(&self) -> Statistics {
        let sum = |counts: &[Arc<Count>], which: fn(&Count) -> &AtomicU64| {
            let each = counts.iter().map(|it| which(it).load(Ordering::Relaxed));
            each.sum::<u64>()
        };
        Statistics {
            rx_packets: sum(&self.rx, |it| &it.packets),
            rx_bytes: sum(&self.rx, |it| &it.bytes),
            rx_dropped: 0,
            rx_errors: sum(&self.rx, |it| &it.errors),
            tx_packets: sum(&self.tx, |it| &it.packets),
            tx_bytes: sum(&self.tx, |it| &it.bytes),
        }
    }

    /// Every counter that is not 0, with its queue.
    pub(super) fn extended(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (side, counts) in [("rx", &self.rx), ("tx", &self.tx)] {
            for (queue, count) in counts.iter().enumerate() {
                for (name, counter) in [
                    ("packets", &count.packets),
                    ("bytes", &count.bytes),
                    ("errors", &count.errors),
                ] {
                    all.push((
                        format!("{side}{queue}_{name}"),
                        counter.load(Ordering::Relaxed),
                    ));
                }
            }
        }
        all.retain(|(_, value)| *value > 0);
        all
    }
}
