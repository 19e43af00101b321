//! The threads that forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use barewire::{Batch, Error, RxCounters, RxQueue, TxCounters, TxQueue};

use barewire_sim::runner::Hand;

use super::ledger::TOUCHED;

/// Turns without a frame before the thread lets others run: some ten microseconds. Other programs
/// may keep the processor for milliseconds once they have it, which is a thousand frames.
const PATIENCE: u32 = 1024;

/// One receive queue and the transmit queue that its frames leave by.
#[derive(Debug)]
pub(super) struct Lane {
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch,
    touch: bool,
    /// Position of the port whose receive queue this is.
    port: usize,
    hand: Hand,
    /// The last batch was not full: the device has no more.
    caught_up: bool,
}

impl Lane {
    /// A lane from the port at position `port`, `batch` frames at a time.
    ///
    /// # Errors
    /// When the sending device can't be given the receiving one's buffers.
    pub(super) fn new(
        port: usize,
        rx: RxQueue,
        mut tx: TxQueue,
        batch: u16,
        touch: bool,
    ) -> Result<Self, Error> {
        tx.attach(rx.pool())?;
        Ok(Self {
            rx,
            tx,
            batch: Batch::new(usize::from(batch)),
            touch,
            port,
            hand: Hand::default(),
            caught_up: true,
        })
    }

    /// With a hand for the software devices on the frames' way.
    pub(super) fn by(mut self, hand: Hand) -> Self {
        self.hand = hand;
        self
    }

    /// Forwards a batch; returns the number of frames sent. Frames for which the ring has no room stay in the
    /// batch, and nothing is received before they are gone.
    #[inline]
    fn turn(&mut self) -> Result<usize, Error> {
        if self.batch.is_empty() {
            // Frames that wait in the ring are taken first, while the caches have them.
            if self.caught_up {
                self.hand.receive();
            }
            let received = self.rx.receive(&mut self.batch)?;
            self.caught_up = received < self.batch.capacity();
            if received == 0 {
                self.tx.reclaim();
                self.hand.send();
                return Ok(0);
            }
            if self.touch {
                for mut packet in self.batch.iter_mut() {
                    if let Some(byte) = packet.bytes_mut().get_mut(TOUCHED) {
                        *byte = byte.wrapping_add(1);
                    }
                }
            }
        }
        let sent = self.tx.send(&mut self.batch)?;
        self.hand.send();
        Ok(sent)
    }

    /// Position of the port it receives from.
    pub(super) fn port(&self) -> usize {
        self.port
    }

    pub(super) fn counters(&self) -> (RxCounters, TxCounters) {
        (self.rx.counters(), self.tx.counters())
    }
}

/// What a thread hands back: its lanes, and what went wrong.
type Finished = (Vec<Lane>, Result<(), Error>);

/// Frames that a thread has forwarded, by the position of the port they came from. The alignment
/// keeps the counts of two threads in different cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Forwarded([AtomicU64; 2]);

impl Forwarded {
    /// Adds `more` frames from the port at `position`. Only the thread whose count it is may.
    #[inline]
    fn add(&self, position: usize, more: usize) {
        if let Some(count) = self.0.get(position) {
            let sum = count.load(Ordering::Relaxed) + more as u64;
            count.store(sum, Ordering::Relaxed);
        }
    }
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Workers {
    stop: Arc<AtomicBool>,
    forwarded: Vec<Arc<Forwarded>>,
    threads: Vec<JoinHandle<Finished>>,
}

impl Workers {
    /// Starts forwarding, on as many threads as there are processors, or lanes if they are fewer.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub(super) fn start(lanes: Vec<Lane>) -> Result<Self> {
        let mut workers = Self {
            stop: Arc::default(),
            forwarded: Vec::new(),
            threads: Vec::new(),
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = lanes.len().min(processors);
        let mut shares: Vec<Vec<Lane>> = (0..count).map(|_| Vec::new()).collect();
        for (position, lane) in lanes.into_iter().enumerate() {
            shares[position % count].push(lane);
        }
        for (number, share) in shares.into_iter().enumerate() {
            let stop = Arc::clone(&workers.stop);
            let forwarded = Arc::new(Forwarded::default());
            workers.forwarded.push(Arc::clone(&forwarded));
            let thread = thread::Builder::new()
                .name(format!("forward-{number}"))
                .spawn(move || forward(share, &forwarded, &stop))
                .context("cannot start a thread")?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Frames forwarded up to now, by the position of the port they came from.
    pub(super) fn forwarded(&self) -> [u64; 2] {
        [0, 1].map(|position| {
            let counts = self.forwarded.iter().filter_map(|by| by.0.get(position));
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        })
    }

    /// Whether a thread has given up.
    pub(super) fn any_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends all threads and returns the lanes, with the first error that one of them met.
    pub(super) fn stop(mut self) -> (Vec<Lane>, Result<()>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut lanes = Vec::new();
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok((share, outcome)) => {
                    lanes.extend(share);
                    result = result.and(outcome.context("cannot forward"));
                }
                Err(_) => result = result.and(Err(anyhow!("a forwarding thread has crashed"))),
            }
        }
        (lanes, result)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Forwards until `stop`.
fn forward(mut lanes: Vec<Lane>, forwarded: &Forwarded, stop: &AtomicBool) -> Finished {
    let mut quiet = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut moved = 0;
        for lane in &mut lanes {
            match lane.turn() {
                Ok(0) => {}
                Ok(more) => {
                    forwarded.add(lane.port, more);
                    moved += more;
                }
                Err(error) => return (lanes, Err(error)),
            }
        }
        if moved > 0 {
            quiet = 0;
        } else if quiet < PATIENCE {
            quiet += 1;
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
    (lanes, Ok(()))
}
