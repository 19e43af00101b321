//! A flag that the kernel, a device or another thread raises, and that a program can wait for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// An eventfd: readable from when it is signalled until it is cleared. Signals do not add up.
///
/// It can be waited for by `poll`, `epoll`, and everything built on them.
#[derive(Debug)]
pub struct Event {
    eventfd: OwnedFd,
}

impl Event {
    /// An event that is not signalled.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { eventfd })
    }

    /// Signals it. Called by a software device; a device of silicon does it through the kernel.
    pub fn signal(&self) {
        // it fails where the count is at its limit: then it is signalled already
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// Takes the signal back, and says whether there was one.
    pub fn clear(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.eventfd, &mut count).is_ok()
    }

    /// Waits for the signal, at most for `limit` (`None`: for ever), and says whether it came. It
    /// stays until [`clear`](Self::clear). A handled Unix signal ends the wait early: false.
    ///
    /// # Errors
    /// What `poll` says.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let limit = limit.map(Timespec::try_from).transpose();
        let limit = limit.map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut events = [PollFd::new(&self.eventfd, PollFlags::IN)];
        match poll(&mut events, limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_do_not_add_up_and_stay_until_cleared() {
        let event = Event::new().unwrap();
        assert!(!event.wait(Some(Duration::ZERO)).unwrap());
        event.signal();
        event.signal();
        assert!(event.wait(None).unwrap() && event.wait(None).unwrap());
        assert!(event.clear());
        assert!(!event.clear());
        assert!(!event.wait(Some(Duration::from_millis(1))).unwrap());
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let event = Event::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| event.signal());
            assert!(event.wait(None).unwrap());
        });
    }
}
