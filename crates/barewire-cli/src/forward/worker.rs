//! The threads that forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use barewire::{Batch, Error, RxCounters, RxQueue, TxCounters, TxQueue, WaitMode, Waiter};

use barewire_sim::runner::Hand;

use super::ledger::TOUCHED;
use super::losses::{Losses, close_aside};

/// Turns without a frame before the thread lets others run: some ten microseconds. Other programs
/// may keep the processor for milliseconds once they have it, which is a thousand frames.
const PATIENCE: u32 = 1024;

/// How long a thread sleeps without looking whether the run is over.
const LOOK: Duration = Duration::from_millis(100);

/// One receive queue and the transmit queue that its frames leave by.
///
/// A queue whose port is lost is given up. Without the receive queue nothing comes any more;
/// without the transmit queue what comes is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    rx: Option<RxQueue>,
    tx: Option<TxQueue>,
    /// By queues that were given up.
    counted: (RxCounters, TxCounters),
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
            rx: Some(rx),
            tx: Some(tx),
            counted: Default::default(),
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

    /// Forwards a batch; returns the number of frames sent. Frames for which the ring has no room
    /// stay in the batch, and nothing is received before they are gone. An error comes with the
    /// position of the port whose it is.
    #[inline]
    fn turn(&mut self) -> Result<usize, (usize, Error)> {
        if self.batch.is_empty() {
            let Some(rx) = &mut self.rx else {
                return Ok(0);
            };
            // Frames that wait in the ring are taken first, while the caches have them.
            if self.caught_up {
                self.hand.receive();
            }
            let received = rx.receive(&mut self.batch);
            let received = received.map_err(|error| (self.port, error))?;
            self.caught_up = received < self.batch.capacity();
            if received == 0 {
                if let Some(tx) = &mut self.tx {
                    tx.reclaim();
                }
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
        let Some(tx) = &mut self.tx else {
            let dropped = self.batch.len();
            self.batch.clear();
            return Ok(dropped);
        };
        let sent = tx.send(&mut self.batch);
        let sent = sent.map_err(|error| (1 - self.port, error))?;
        self.hand.send();
        Ok(sent)
    }

    /// Gives up the queues of ports that are lost, so that their devices can be closed.
    #[inline]
    fn give_up(&mut self, losses: &Losses) {
        if losses.is_lost(self.port)
            && let Some(rx) = self.rx.take()
        {
            self.counted.0 = rx.counters();
            close_aside(rx);
        }
        if losses.is_lost(1 - self.port)
            && let Some(tx) = self.tx.take()
        {
            self.counted.1 = tx.counters();
            close_aside(tx);
        }
    }

    /// Position of the port it receives from.
    pub(super) fn port(&self) -> usize {
        self.port
    }

    pub(super) fn counters(&self) -> (RxCounters, TxCounters) {
        let (rx, tx) = self.counted;
        (
            self.rx.as_ref().map_or(rx, RxQueue::counters),
            self.tx.as_ref().map_or(tx, TxQueue::counters),
        )
    }
}

/// What a thread hands back: its lanes, and how many times it has slept.
type Finished = (Vec<Lane>, u64);

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
    losses: Arc<Losses>,
    threads: Vec<JoinHandle<Finished>>,
}

impl Workers {
    /// Starts forwarding, on as many threads as there are processors, or lanes if they are fewer.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub(super) fn start(lanes: Vec<Lane>, mode: WaitMode, losses: &Arc<Losses>) -> Result<Self> {
        let mut workers = Self {
            stop: Arc::default(),
            forwarded: Vec::new(),
            losses: Arc::clone(losses),
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
            let losses = Arc::clone(losses);
            let forwarded = Arc::new(Forwarded::default());
            workers.forwarded.push(Arc::clone(&forwarded));
            let thread = thread::Builder::new()
                .name(format!("forward-{number}"))
                .spawn(move || forward(share, mode, &forwarded, &losses, &stop))
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

    /// Whether there is nothing left to forward from: no port, or no thread.
    pub(super) fn have_ended(&self) -> bool {
        self.losses.lost() == [true; 2] || self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends all threads and returns the lanes, how many times the threads have slept, and whether
    /// one of them has crashed.
    pub(super) fn stop(mut self) -> (Vec<Lane>, u64, Result<()>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut lanes = Vec::new();
        let mut slept = 0;
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok((share, sleeps)) => {
                    lanes.extend(share);
                    slept += sleeps;
                }
                Err(_) => result = result.and(Err(anyhow!("a forwarding thread has crashed"))),
            }
        }
        (lanes, slept, result)
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
fn forward(
    mut lanes: Vec<Lane>,
    waiting: WaitMode,
    forwarded: &Forwarded,
    losses: &Losses,
    stop: &AtomicBool,
) -> Finished {
    let mut waiter = Waiter::new(waiting);
    let mut quiet = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut moved = 0;
        for lane in &mut lanes {
            lane.give_up(losses);
            match lane.turn() {
                Ok(0) => {}
                Ok(more) => {
                    forwarded.add(lane.port, more);
                    moved += more;
                }
                Err((port, error)) => losses.lose(port, error),
            }
        }
        if waiting != WaitMode::Poll {
            wait(&mut lanes, &mut waiter, moved > 0, losses);
        } else if moved > 0 {
            quiet = 0;
        } else if quiet < PATIENCE {
            quiet += 1;
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
    (lanes, waiter.sleeps())
}

/// Sleeps, if it is time to, until there are frames.
fn wait(lanes: &mut [Lane], waiter: &mut Waiter, moved: bool, losses: &Losses) {
    let busy = moved || lanes.iter().any(|lane| !lane.batch.is_empty());
    let queues = lanes.iter_mut().filter_map(|lane| lane.rx.as_mut());
    if waiter.after(busy, queues, LOOK).is_ok() {
        return;
    }
    // the queue whose error it was says it again
    for lane in lanes {
        if let Some(Err(error)) = lane.rx.as_mut().map(RxQueue::arm) {
            losses.lose(lane.port, error);
        }
    }
}
