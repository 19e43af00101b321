//! One client, from its coming to its going.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barewire_bus::vfio_user::{Connection, ConnectionError, Kind, MAX_DATA};
use parking_lot::Mutex;

use super::interrupts::{Fired, Interrupts};
use super::memory::GuestMemory;
use super::pages::{Look, Pages};
use super::peer::Peer;
use super::served::Served;
use super::{Doorbells, ServeConfig, ServeError};

/// Messages that are taken before the device gets its turn.
const MESSAGES: usize = 64;

/// Why a client is let go.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the rest of a message did not come within {0:?}")]
    Stalled(Duration),
    #[error("no version came within {0:?}")]
    Silent(Duration),
    #[error("it speaks version {0}.{1} of the protocol")]
    Version(u16, u16),
    #[error("it does not answer for its memory")]
    MemoryLost,
}

/// A client and what it has set up.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Arc<Mutex<Connection>>,
    pub(super) device: Arc<dyn Served>,
    pub(super) memory: GuestMemory,
    pub(super) peer: Arc<Peer>,
    pub(super) interrupts: Interrupts,
    pub(super) doorbells: Doorbells,
    pub(super) pages: Option<Pages>,
    pub(super) patience: Duration,
    pub(super) begun: Instant,
    /// Versions are exchanged.
    pub(super) agreed: bool,
    /// Bytes of data that the client takes in one message.
    pub(super) most_data: usize,
    /// Several writes may come in one message.
    pub(super) write_multiple: bool,
    /// No message was left when the last one had been taken.
    drained: bool,
}

impl Session {
    pub(super) fn new(
        stream: UnixStream,
        device: Arc<dyn Served>,
        config: ServeConfig,
        fired: Fired,
    ) -> Result<Self, ServeError> {
        let wait = |error: ConnectionError| ServeError::Wait(std::io::Error::other(error));
        let connection = Arc::new(Mutex::new(Connection::new(stream).map_err(wait)?));
        let pages = match config.doorbells {
            Doorbells::Auto | Doorbells::Mapped => device.pages()?,
            Doorbells::Trapped => None,
        };
        let peer = Arc::new(Peer::new(Arc::clone(&connection), config.patience));
        Ok(Self {
            memory: GuestMemory::new(Arc::clone(&device), Arc::clone(&peer)),
            peer,
            interrupts: Interrupts::new(fired, device.vectors()),
            connection,
            device,
            doorbells: config.doorbells,
            pages,
            patience: config.patience,
            begun: Instant::now(),
            agreed: false,
            most_data: MAX_DATA,
            write_multiple: false,
            drained: false,
        })
    }

    pub(super) fn connection(&self) -> Arc<Mutex<Connection>> {
        Arc::clone(&self.connection)
    }

    /// Takes the messages that are there, up to a bound; true if there were any.
    pub(super) fn serve(&mut self) -> Result<bool, Gone> {
        self.drained = false;
        for count in 0..MESSAGES {
            if self.peer.is_lost() {
                return Err(Gone::MemoryLost);
            }
            let received = self.connection.lock().try_receive()?;
            let Some(message) = received else {
                self.check_patience()?;
                self.drained = true;
                return Ok(count > 0);
            };
            match message.header.kind {
                Kind::Request { .. } => self.handle(message)?,
                Kind::Reply { .. } => self.peer.answer(&message),
            }
        }
        Ok(true)
    }

    fn check_patience(&self) -> Result<(), Gone> {
        let since = self.connection.lock().incomplete_since();
        if since.is_some_and(|since| since.elapsed() > self.patience) {
            return Err(Gone::Stalled(self.patience));
        }
        if !self.agreed && self.begun.elapsed() > self.patience {
            return Err(Gone::Silent(self.patience));
        }
        Ok(())
    }

    /// Takes what drivers have written to mapped pages.
    pub(super) fn look_at_pages(&mut self) {
        let look = if self.drained {
            Look::Everything
        } else {
            Look::Stopping
        };
        if let Some(pages) = &mut self.pages {
            pages.look(look);
        }
    }

    /// Shows in mapped pages what the device has changed.
    pub(super) fn publish(&mut self) {
        if let Some(pages) = &mut self.pages {
            pages.publish();
        }
    }

    /// The client may have mapped pages.
    pub(super) fn has_mapped(&self) -> bool {
        self.pages.as_ref().is_some_and(Pages::is_shared)
    }

    /// Lets the device do a piece of work; true if it did anything.
    pub(super) fn step(&mut self) -> bool {
        if self.peer.is_full() {
            return false;
        }
        let busy = self.device.step();
        self.peer.end_step();
        // What it waits for comes by message.
        busy && !self.peer.is_awaited()
    }

    /// Tells the client what interrupts have fired; true if there were any.
    pub(super) fn interrupt(&mut self) -> bool {
        if self.peer.is_behind() {
            return false;
        }
        let device = &self.device;
        self.interrupts.deliver(|| device.interrupt_line())
    }

    pub(super) fn unmask_event(&self) -> Option<BorrowedFd<'_>> {
        self.interrupts.unmask_event()
    }

    /// Lets go of everything that was the client's.
    pub(super) fn end(mut self) {
        self.memory.unmap_all();
        self.device.power_cycle();
    }
}
