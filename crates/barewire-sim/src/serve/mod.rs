//! Serving a software device over the vfio-user protocol: to a virtual machine, or to a driver in
//! another process.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//! use barewire_sim::nic::{Nic, NicConfig};
//! use barewire_sim::serve::{ServeConfig, Server};
//! use barewire_sim::wire::Loopback;
//!
//! let nic = Nic::new(NicConfig::default(), Loopback::new());
//! let mut server = Server::bind("/tmp/nic.sock", Arc::new(nic.clone()), ServeConfig::default())?;
//! let stop = AtomicBool::new(false); // set by a signal handler
//! server.run(&stop)?;
//! println!("{} rules broken", nic.violation_count());
//! # Ok::<(), barewire_sim::serve::ServeError>(())
//! ```
//!
//! One thread does everything: it takes messages, works for the device, and sleeps when there is
//! nothing to do. One client is served at a time; others wait until it has gone. Whatever a client
//! sends, the server goes on; when a client leaves, its memory and its eventfds are let go and the
//! device is as after power-on.
//!
//! The protocol side is described in `docs/serving.md`.

mod dispatch;
mod idle;
mod interrupts;
mod listener;
mod memory;
mod pages;
mod peer;
mod regions;
mod served;
mod session;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idle::Idle;
pub(crate) use interrupts::Fired;
use listener::Listener;
pub(crate) use pages::Pages;
pub(crate) use regions::{read_words, write_words};
pub use served::Served;
use session::Session;

/// How tail registers, and the other registers of queues, reach the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doorbells {
    /// Trapped for a client that puts several writes into a message, as QEMU does: its frames need
    /// no message each either, and a driver finds every register as the datasheet has it. Mapped for
    /// all others.
    #[default]
    Auto,
    /// The client may map the pages that they are in. A write is a store then; the device finds it
    /// when it looks. It sees values, not writes: of two writes to a register it may see the second
    /// only, and a reserved bit reads as it was written until then.
    Mapped,
    /// Every access is a message, and the device sees every one.
    Trapped,
}

/// How a device is served.
#[derive(Clone, Copy, Debug)]
pub struct ServeConfig {
    /// Whether the pages with doorbells can be mapped.
    pub doorbells: Doorbells,
    /// How long a client may take for the rest of a message that it has begun, to say its version,
    /// to take a reply, or to answer for its memory. A client that takes longer is disconnected.
    /// QEMU gives a device 5 s to answer, so this must be shorter.
    pub patience: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            doorbells: Doorbells::default(),
            patience: Duration::from_secs(2),
        }
    }
}

/// Why a device can't be served, or not any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another process serves there.
    #[error("{path} is in use: another server listens there; stop it or choose another path")]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is something else where the socket would be.
    #[error("{path} is there already and is no socket: remove it or choose another path")]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket can't be made.
    #[error("can't listen at {path}: {source}")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Memory for the pages that clients map.
    #[error("no memory for the pages with doorbells: {0}")]
    Pages(#[from] barewire_dma::DmaError),
    /// Waiting for clients failed.
    #[error("waiting for clients failed: {0}")]
    Wait(io::Error),
}

/// A served device.
///
/// Dropping it removes the socket and leaves the device to its own time again.
#[derive(Debug)]
pub struct Server {
    device: Arc<dyn Served>,
    config: ServeConfig,
    listener: Listener,
    fired: Fired,
    idle: Idle,
}

impl Server {
    /// Makes a socket at `path` on which `device` is served once [`run`](Self::run) is called. The
    /// device follows the real clock from now on, and its interrupts go to clients.
    ///
    /// A socket that a server left behind when it was killed is replaced.
    ///
    /// # Errors
    /// [`ServeError::InUse`], [`ServeError::NotASocket`], [`ServeError::Listen`].
    pub fn bind(
        path: impl AsRef<Path>,
        device: Arc<dyn Served>,
        config: ServeConfig,
    ) -> Result<Self, ServeError> {
        let listener = Listener::bind(path.as_ref())?;
        let fired = Fired::default();
        device.take_interrupts(fired.clone());
        device.follow_clock(true);
        Ok(Self {
            device,
            config,
            listener,
            fired,
            idle: Idle::default(),
        })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Serves clients, one after the other, until `stop` is set. It is looked at at least ten times
    /// a second, and after each signal.
    ///
    /// # Errors
    /// [`ServeError`] when the server itself can't go on; no client can bring that about.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), ServeError> {
        let mut session = None;
        while !stop.load(Ordering::Relaxed) {
            session = self.turn(session)?;
        }
        if let Some(session) = session {
            Session::end(session);
        }
        Ok(())
    }

    /// One round: messages, work, sleep.
    fn turn(&mut self, session: Option<Session>) -> Result<Option<Session>, ServeError> {
        let Some(mut session) = session else {
            return self.welcome();
        };
        let mut busy = match session.serve() {
            Ok(busy) => busy,
            Err(reason) => {
                tracing::info!(%reason, "the client is gone");
                session.end();
                return Ok(None);
            }
        };
        session.look_at_pages();
        busy |= session.step();
        session.publish();
        busy |= session.interrupt();
        if busy {
            self.idle.reset();
        } else {
            let polls = session.has_mapped();
            let unmask = session.unmask_event();
            let connection = session.connection();
            self.idle
                .wait(&*self.device, polls, &connection, unmask)
                .map_err(ServeError::Wait)?;
        }
        Ok(Some(session))
    }

    /// Waits for a client, with the device at work: its link comes up, its frames are dropped.
    fn welcome(&mut self) -> Result<Option<Session>, ServeError> {
        while self.device.step() {}
        let Some(stream) = self.listener.accept().map_err(ServeError::Wait)? else {
            return Ok(None);
        };
        match Session::new(
            stream,
            Arc::clone(&self.device),
            self.config,
            self.fired.clone(),
        ) {
            Ok(session) => {
                tracing::info!("a client has come");
                self.idle.reset();
                Ok(Some(session))
            }
            Err(error) => {
                tracing::warn!(%error, "a client could not be taken");
                Ok(None)
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.device.follow_clock(false);
    }
}
