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
        let stepper = Stepper {
            nics: nics.clone(),
            next: 0,
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("barewire-sim".into())
            .spawn(move || run(stepper, &stopped));
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

    /// A handle to step the devices with from another thread. It does nothing harmful after the
    /// runner has stopped, and nothing useful either.
    pub fn stepper(&self) -> Stepper {
        Stepper {
            nics: self.nics.clone(),
            next: 0,
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

/// Steps a runner's devices from another thread, so that a program that waits for frames spends the
/// time on their coming.
///
/// On a machine with few processors this is what balances the load: the runner's thread and the
/// program's share the devices, each stepping whichever the other is not at.
///
/// The default has no devices.
#[derive(Clone, Debug, Default)]
pub struct Stepper {
    nics: Vec<Nic>,
    next: usize,
}

impl Stepper {
    /// Steps one device that no other thread is at; true if it did anything.
    #[inline]
    pub fn step(&mut self) -> bool {
        self.next = (self.next + 1) % self.nics.len().max(1);
        self.nics.get(self.next).is_some_and(Nic::try_step)
    }
}

fn run(mut stepper: Stepper, stop: &AtomicBool) {
    let mut quiet = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut busy = false;
        for _ in 0..stepper.nics.len() {
            busy |= stepper.step();
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
