//! A thread that runs software devices at full speed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::nic::Nic;

/// Rounds without work after which the thread gives its turn away, and after which it sleeps.
const SPIN: u32 = 64;
const YIELD: u32 = 2_048;
/// How long it sleeps then: short against any rate at which a program would notice.
const NAP: Duration = Duration::from_micros(20);

/// Runs devices on a thread, against the real clock, until it is stopped or dropped.
#[derive(Debug)]
pub struct Runner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    nics: Vec<Nic>,
}

impl Runner {
    /// Starts a thread that steps `nics` in turns. Their time is the real clock's from now on.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(nics: Vec<Nic>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for nic in &nics {
            nic.follow_clock(true);
        }
        let running = nics.clone();
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("barewire-sim".into())
            .spawn(move || run(&running, &stopped));
        match thread {
            Ok(thread) => Ok(Self {
                stop,
                thread: Some(thread),
                nics,
            }),
            Err(error) => {
                for nic in &nics {
                    nic.follow_clock(false);
                }
                Err(error)
            }
        }
    }

    /// No device has anything on its way; see [`Nic::is_idle`].
    pub fn idle(&self) -> bool {
        self.nics.iter().all(Nic::is_idle)
    }

    /// Stops the thread. The devices keep their state, and their own time from now on.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                tracing::error!("the thread of the software devices panicked");
            }
            for nic in &self.nics {
                nic.follow_clock(false);
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.halt();
    }
}

fn run(nics: &[Nic], stop: &AtomicBool) {
    let mut quiet = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut busy = false;
        for nic in nics {
            busy |= nic.step_fairly();
        }
        quiet = if busy { 0 } else { quiet + 1 };
        match quiet {
            0..SPIN => std::hint::spin_loop(),
            SPIN..YIELD => thread::yield_now(),
            _ => {
                quiet = YIELD;
                thread::sleep(NAP);
            }
        }
    }
}
