//! A socket with a name in the file system, which goes when the socket goes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A bound socket and its file.
#[derive(Debug)]
pub(super) struct Bound<S> {
    socket: S,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    identity: Option<(u64, u64)>,
}

/// Why a name can't be bound.
#[derive(Debug)]
pub(super) enum Taken {
    /// By a socket that somebody reads.
    Live,
    /// By something that is no socket.
    Other,
    /// The system refuses.
    Failed(io::Error),
}

impl<S> Bound<S> {
    /// Binds with `bind`. Where there is a socket file already, `probe` tries to reach its owner:
    /// if it is refused the file is a dead program's, and goes.
    pub(super) fn bind(
        path: &Path,
        probe: impl Fn(&Path) -> io::Result<()>,
        bind: impl Fn(&Path) -> io::Result<S>,
    ) -> Result<Self, Taken> {
        let socket = match bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                    return Err(Taken::Other);
                }
                match probe(path) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        fs::remove_file(path).map_err(Taken::Failed)?;
                    }
                    // gone in this moment
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    _ => return Err(Taken::Live),
                }
                bind(path)
            }
            result => result,
        };
        let socket = socket.map_err(Taken::Failed)?;
        Ok(Self {
            socket,
            path: path.to_path_buf(),
            identity: identity(path),
        })
    }

    pub(super) const fn socket(&self) -> &S {
        &self.socket
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl<S> Drop for Bound<S> {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // nothing to be done about a directory that has become read-only
            let _ = fs::remove_file(&self.path);
        }
    }
}
