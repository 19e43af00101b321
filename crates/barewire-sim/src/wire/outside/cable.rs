//! A cable of Unix datagram sockets, one Ethernet frame a datagram.

use super::socket_file::{Bound, Taken};
use super::{Frames, Line, OutsideCounters};
use crate::time::Nanos;
use crate::wire::Wire;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// One end of a cable to another process: another served NIC, or QEMU's `-netdev dgram`.
///
/// It receives at the socket `local` and sends to the socket `remote`, which need not exist yet. As
/// long as nobody is there the cable is not plugged in: frames are dropped and counted. A far end
/// that does not read is waited for with a bounded queue and for a bounded time, never by blocking.
///
/// Frames are those of the NIC, without FCS. What arrives with fewer than 60 bytes is padded, as
/// not everyone who sends into a cable does.
///
/// The socket file is removed when the end is dropped.
#[derive(Debug)]
pub struct SocketCable {
    frames: Frames<Ends>,
}

/// Why a cable can't be plugged in at this end.
#[derive(Debug, Error)]
pub enum SocketCableError {
    /// Another program has this end of the cable.
    #[error(
        "{}: another program has this end of the cable: end it, or take the other end", path.display()
    )]
    InUse {
        /// The socket of this end.
        path: PathBuf,
    },
    /// There is something else.
    #[error("{} is no socket and is left alone: choose another name", path.display())]
    NotASocket {
        /// The socket of this end.
        path: PathBuf,
    },
    /// The name can't be that of a socket.
    #[error("{} can't be a socket's name: {cause}: the limit is 107 bytes", path.display())]
    Name {
        /// The socket of this end or of the other.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The socket can't be made.
    #[error(
        "cannot make the socket {}: {cause}: its directory must exist and be writable", path.display()
    )]
    Create {
        /// The socket of this end.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

#[derive(Debug)]
struct Ends {
    local: Bound<UnixDatagram>,
    remote: SocketAddr,
}

impl SocketCable {
    /// Plugs in the end that receives at `local` and sends to `remote`.
    ///
    /// A socket file that a dead program has left at `local` is replaced.
    ///
    /// # Errors
    /// If `local` is in use, is something else, or cannot be made.
    pub fn open(local: &Path, remote: &Path) -> Result<Self, SocketCableError> {
        let name = |path: &Path| {
            SocketAddr::from_pathname(path).map_err(|cause| SocketCableError::Name {
                path: path.to_path_buf(),
                cause,
            })
        };
        name(local)?;
        let remote = name(remote)?;
        let path = local.to_path_buf();
        let create = |cause| SocketCableError::Create {
            path: path.clone(),
            cause,
        };
        let probe = |path: &Path| UnixDatagram::unbound()?.connect(path);
        let local = match Bound::bind(local, probe, |path| UnixDatagram::bind(path)) {
            Ok(bound) => bound,
            Err(Taken::Live) => return Err(SocketCableError::InUse { path }),
            Err(Taken::Other) => return Err(SocketCableError::NotASocket { path }),
            Err(Taken::Failed(cause)) => return Err(create(cause)),
        };
        local.socket().set_nonblocking(true).map_err(create)?;
        Ok(Self {
            frames: Frames::new(Ends { local, remote }),
        })
    }

    /// What this end counts, readable from any thread.
    pub fn counters(&self) -> Arc<OutsideCounters> {
        Arc::clone(&self.frames.counters)
    }
}

impl Line for Ends {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.local.socket().recv(into)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let socket = self.local.socket();
        socket.send_to_addr(message, &self.remote).map(drop)
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.local.socket().as_fd()
    }
}

impl Wire for SocketCable {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.frames.pull(now, room, frame)
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        self.frames.push(now, frame);
    }

    fn idle(&self) -> bool {
        self.frames.idle()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.frames.readiness()
    }
}
