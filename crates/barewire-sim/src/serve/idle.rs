//! Sleeping while there is nothing to do.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use barewire_bus::vfio_user::Connection;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::served::Served;

/// The longest sleep: how late a request to stop is noticed.
const LONGEST: Duration = Duration::from_millis(100);
/// How often what tells nothing by itself is looked at, by how long ago something happened there.
const LOOKS: [(Duration, Duration); 3] = [
    (Duration::from_micros(200), Duration::ZERO),
    (Duration::from_millis(5), Duration::from_micros(50)),
    (Duration::from_millis(50), Duration::from_micros(250)),
];
/// How often when nothing has happened for longer.
const LAZY: Duration = Duration::from_millis(1);
/// How often to look at a wire that says that it has nothing, and tells nothing.
const DOUBTFUL: Duration = Duration::from_millis(10);

/// Decides how long to sleep.
#[derive(Debug)]
pub(super) struct Idle {
    since: Instant,
    /// The wire's descriptor and a copy of it, so that the device is not locked while it is waited
    /// for.
    wire: Option<(RawFd, OwnedFd)>,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            wire: None,
        }
    }
}

impl Idle {
    /// Something happened.
    pub(super) fn reset(&mut self) {
        self.since = Instant::now();
    }

    /// Sleeps until a message, a frame or an event of the device may be there. `polled` says that
    /// there are doorbells which nothing tells of.
    pub(super) fn wait(
        &mut self,
        device: &dyn Served,
        polled: bool,
        connection: &Arc<Mutex<Connection>>,
        unmask: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut limit = device.quiet_for().unwrap_or(LONGEST).min(LONGEST);
        let silent = self.look_at_wire(device)?;
        if polled || silent {
            limit = limit.min(self.look());
        } else if self.wire.is_none() {
            limit = limit.min(DOUBTFUL);
        }
        let connection = connection.lock();
        if connection.has_kept() {
            return Ok(());
        }
        let mut fds = vec![PollFd::new(&*connection, PollFlags::IN)];
        if let Some((_, wire)) = &self.wire {
            fds.push(PollFd::new(wire, PollFlags::IN));
        }
        if let Some(unmask) = unmask {
            fds.push(PollFd::from_borrowed_fd(unmask, PollFlags::IN));
        }
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(0),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How soon to look again at what tells nothing.
    fn look(&self) -> Duration {
        let quiet = self.since.elapsed();
        LOOKS
            .iter()
            .find(|(until, _)| quiet < *until)
            .map_or(LAZY, |(_, every)| *every)
    }

    /// Finds out what tells of frames; true if nothing does although there may be some.
    fn look_at_wire(&mut self, device: &dyn Served) -> io::Result<bool> {
        let known = self.wire.as_ref().map(|(number, _)| *number);
        let mut silent = false;
        let mut found = Ok(None);
        device.look_at_wire(&mut |wire| {
            found = match wire.readiness() {
                None => {
                    silent = !wire.idle();
                    Ok(None)
                }
                Some(fd) if Some(fd.as_raw_fd()) == known => Ok(known.map(|number| (number, None))),
                Some(fd) => fd
                    .as_fd()
                    .try_clone_to_owned()
                    .map(|copy| Some((fd.as_raw_fd(), Some(copy)))),
            };
        });
        match found? {
            None => self.wire = None,
            Some((number, Some(copy))) => self.wire = Some((number, copy)),
            Some((_, None)) => {}
        }
        Ok(silent)
    }
}
