//! What a thread does while nothing arrives.
//!
//! | mode | rule | costs |
//! |---|---|---|
//! | [`WaitMode::Poll`] | it looks again, always | a processor, all the time |
//! | [`WaitMode::Interrupt`] | it sleeps as soon as its queues are empty | a wake-up for each gap between frames |
//! | [`WaitMode::Adaptive`] | it polls for [`PATIENCE`] after the last frame, then sleeps | at most twice what would have been best |
//!
//! The adaptive rule is that of a skier who rents until the rent has cost as much as a pair of skis.
//! Going to sleep and being woken costs about as much processor time as polling for `PATIENCE`. A gap
//! between frames that is shorter costs what polling through it costs, which is the least there is. A
//! longer one costs `PATIENCE` for the polling and as much for the sleep, which is twice the least.
//! So frames that come less than `PATIENCE` apart are met by a thread that is awake, and a thread
//! without frames sleeps, whatever the traffic will be.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Error, RxQueue};

/// How long an adaptive thread polls empty queues before it sleeps.
pub const PATIENCE: Duration = Duration::from_micros(50);

/// How a thread waits for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitMode {
    /// It never sleeps.
    #[default]
    Poll,
    /// It sleeps whenever there is nothing to do. Needs [`PortConfig::interrupts`].
    ///
    /// [`PortConfig::interrupts`]: crate::PortConfig::interrupts
    Interrupt,
    /// It polls under load and sleeps when idle. Needs [`PortConfig::interrupts`].
    ///
    /// [`PortConfig::interrupts`]: crate::PortConfig::interrupts
    Adaptive,
}

/// The waiting of one thread that serves receive queues.
///
/// ```
/// use std::time::Duration;
/// use barewire::{Batch, Error, RxQueue, Waiter};
///
/// fn count(rx: &mut RxQueue, waiter: &mut Waiter, batch: &mut Batch) -> Result<usize, Error> {
///     let frames = rx.receive(batch)?;
///     batch.clear();
///     // at most so long, to see whether the program is to end
///     waiter.after(frames > 0, [rx], Duration::from_millis(100))?;
///     Ok(frames)
/// }
/// ```
#[derive(Debug)]
pub struct Waiter {
    mode: WaitMode,
    idle_since: Option<Instant>,
    sleeps: u64,
}

impl Waiter {
    /// A thread that waits in this way.
    pub fn new(mode: WaitMode) -> Self {
        Self {
            mode,
            idle_since: None,
            sleeps: 0,
        }
    }

    /// To be called after each round over the thread's `queues`, all of them; `busy` if there was
    /// anything to do, or still is. Sleeps, if it is time to, until a frame is there, but no longer
    /// than `limit`.
    ///
    /// # Errors
    /// As [`RxQueue::arm`].
    #[inline]
    pub fn after<'a>(
        &mut self,
        busy: bool,
        queues: impl IntoIterator<Item = &'a mut RxQueue>,
        limit: Duration,
    ) -> Result<(), Error> {
        if busy {
            self.idle_since = None;
            return Ok(());
        }
        match self.mode {
            WaitMode::Poll => return Ok(()),
            WaitMode::Interrupt => {}
            WaitMode::Adaptive => {
                let since = *self.idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() < PATIENCE {
                    std::hint::spin_loop();
                    return Ok(());
                }
            }
        }
        self.sleeps += 1;
        wait_any(queues, Some(limit)).map(drop)
    }

    /// How many times the thread has gone to sleep.
    pub fn sleeps(&self) -> u64 {
        self.sleeps
    }
}

/// Waits until one of the queues may have frames, at most for `limit` (`None`: for ever), and says
/// whether one may. A handled Unix signal ends the wait early: false.
///
/// # Errors
/// As [`RxQueue::arm`].
pub fn wait_any<'a>(
    queues: impl IntoIterator<Item = &'a mut RxQueue>,
    limit: Option<Duration>,
) -> Result<bool, Error> {
    let mut events = Vec::new();
    for queue in queues {
        if !queue.arm()? {
            return Ok(true);
        }
        let armed: &'a RxQueue = queue;
        events.push(PollFd::from_borrowed_fd(armed.as_fd(), PollFlags::IN));
    }
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut events, limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Error::Wait(error.into())),
    }
}
