//! What can go wrong with a peer.

use std::io;
use std::time::Duration;

/// A payload that is not what its command asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload ends too early.
    #[error("{what} takes {needed} bytes and {found} are there")]
    Short {
        /// The payload or the part of it.
        what: &'static str,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The payload has bytes behind its end.
    #[error("{what} has {surplus} bytes too many")]
    Surplus {
        /// The payload.
        what: &'static str,
        /// Bytes behind its end.
        surplus: usize,
    },
    /// A count or size above the limit.
    #[error("{what} is {value}, and at most {most} is taken")]
    TooMuch {
        /// What was counted.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The limit.
        most: u64,
    },
    /// A value without meaning.
    #[error("{what} has the value {value:#x}, which means nothing")]
    Meaningless {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Version data that is no JSON object as the protocol describes it.
    #[error("the version data can't be read: {reason}")]
    Json {
        /// What the parser said.
        reason: String,
    },
}

/// Why a connection can't be used, or not any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed the socket between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed the socket in the middle of a message.
    #[error("the peer closed the connection inside a message")]
    Cut,
    /// The peer did not do its part in time.
    #[error("the peer did not {what} within {limit:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The header of a message makes no sense, so where the next message begins is not known.
    #[error("a message has a header without meaning: {0}")]
    Header(#[from] DecodeError),
    /// The peer sends without waiting for answers, more than is kept.
    #[error("the peer has sent {messages} messages without waiting for answers")]
    Flooded {
        /// How many are kept.
        messages: usize,
    },
    /// A message of our own that does not fit the protocol's limits.
    #[error("a message of {bytes} bytes and {fds} file descriptors is more than one message takes")]
    TooLarge {
        /// Its bytes, with the header.
        bytes: usize,
        /// Its file descriptors.
        fds: usize,
    },
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
}

impl From<rustix::io::Errno> for ConnectionError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Socket(errno.into())
    }
}
