//! The thread that forwards between two ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use barewire::{Batch, Error, Port, RxQueue, TxQueue, WaitMode, Waiter};

use crate::traffic::TOUCHED;

/// How long the thread sleeps at most, to see whether it is to end.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// One direction.
struct Lane {
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch,
}

/// The running thread.
pub(crate) struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64, Error>>>,
}

impl Lane {
    /// Forwards a batch; false if there was nothing to do and nothing is left to do.
    fn turn(&mut self) -> Result<bool, Error> {
        if self.batch.is_empty() {
            self.rx.receive(&mut self.batch)?;
            for mut packet in self.batch.iter_mut() {
                if let Some(byte) = packet.bytes_mut().get_mut(TOUCHED) {
                    *byte = byte.wrapping_add(1);
                }
            }
        }
        let sent = self.tx.send(&mut self.batch)?;
        Ok(sent > 0 || !self.batch.is_empty())
    }
}

impl Forwarder {
    /// Forwards in both directions between the first two ports.
    ///
    /// # Errors
    /// When there are no queues, or no thread to be had.
    pub(crate) fn start(ports: &mut [Port], batch: u16, mode: WaitMode) -> Result<Self> {
        let [first, second, ..] = ports else {
            return Err(anyhow!("there are no two ports"));
        };
        let mut lanes = [lane(first, second, batch)?, lane(second, first, batch)?];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("forward".into())
            .spawn(move || {
                let mut waiter = Waiter::new(mode);
                while !stopped.load(Ordering::Relaxed) {
                    let mut busy = false;
                    for lane in &mut lanes {
                        busy |= lane.turn()?;
                    }
                    let queues = lanes.iter_mut().map(|lane| &mut lane.rx);
                    waiter.after(busy, queues, LONGEST_SLEEP)?;
                }
                Ok(waiter.sleeps())
            })
            .context("can't start a thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops forwarding, and says how many times the thread has slept.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => Ok(result?),
            Some(Err(_)) => Err(anyhow!("the forwarding thread has crashed")),
            None => Ok(0),
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lane(from: &mut Port, to: &mut Port, batch: u16) -> Result<Lane> {
    let rx = from.take_rx(0).context("there is no receive queue")?;
    let mut tx = to.take_tx(0).context("there is no transmit queue")?;
    tx.attach(rx.pool())?;
    Ok(Lane {
        rx,
        tx,
        batch: Batch::new(usize::from(batch)),
    })
}
