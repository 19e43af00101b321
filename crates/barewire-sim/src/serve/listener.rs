//! The socket that clients come to.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::ServeError;

/// How long one look for a client lasts.
const LOOK: Duration = Duration::from_millis(50);

/// A listening socket, whose file goes with it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    identity: (u64, u64),
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            path: path.to_owned(),
            source,
        };
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Self::remove_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        }
        .map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            identity,
        })
    }

    /// Removes a socket on which nobody listens.
    fn remove_stale(path: &Path) -> Result<(), ServeError> {
        let failed = |source| ServeError::Listen {
            path: path.to_owned(),
            source,
        };
        let kind = std::fs::symlink_metadata(path).map_err(failed)?.file_type();
        if !kind.is_socket() {
            let path = path.to_owned();
            return Err(ServeError::NotASocket { path });
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)
            }
            // Connected, or busy: somebody is there.
            _ => {
                let path = path.to_owned();
                Err(ServeError::InUse { path })
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next client, if one comes within a moment.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match self.socket.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => {
                    // Too many open files, say: the client waits, and it may pass.
                    tracing::warn!(%error, "a client can't be accepted now");
                    std::thread::sleep(LOOK);
                    Ok(None)
                }
            },
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let status = std::fs::symlink_metadata(path)?;
    Ok((status.dev(), status.ino()))
}

impl Drop for Listener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nic.sock");
        let first = Listener::bind(&path).unwrap();
        assert!(matches!(
            Listener::bind(&path),
            Err(ServeError::InUse { .. })
        ));
        drop(first);
        assert!(!path.exists());
        // A server that was killed leaves its socket.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert!(second.accept().unwrap().is_some());
        // What is there now is somebody else's.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&path),
            Err(ServeError::NotASocket { .. })
        ));
        drop(second);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
