//! A device that another process serves, as a driver sees it.
//!
//! - [`RemoteFunction`] is the device: found at a socket, asked what it has, opened by a driver.
//! - [`link`] is the conversation with the server, and what is left when it ends.
//! - [`window`] is a BAR: memory that both share where the server allows it, messages elsewhere.
//! - [`memory`] gives the server our memory, and every region an address of its own.
//! - [`vectors`] are interrupts by eventfd.
//!
//! # What is assumed of the server
//!
//! That it is a device, which can say anything. Sizes, offsets, counts and descriptors are checked
//! before use; a wait ends after five seconds; what can't be understood ends the conversation, and
//! the device is gone then: registers read all ones.
//!
//! Memory of the server is mapped only if it is sealed against shrinking, since an access behind the
//! end of a file would end the process.

mod link;
mod memory;
mod vectors;
mod window;

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barewire_dma::DmaMap;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use self::link::Link;
use self::memory::Memory;
pub use self::window::RemoteBar;
use super::pci::{REGION_BAR0, REGION_BAR5, REGION_CONFIG};
use super::{ConnectionError, DEVICE_FLAG_PCI, DEVICE_FLAG_RESET};
use crate::{BusError, Interrupts, PciFunction};

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The regions that are looked at: the BARs, the ROM and configuration space.
const REGIONS: u32 = REGION_CONFIG + 1;

/// A PCI function behind a vfio-user socket.
///
/// Dropping it and its BARs closes the connection, on which the server resets the device.
pub struct RemoteFunction {
    link: Arc<Link>,
    memory: Arc<Memory>,
}

impl RemoteFunction {
    /// Connects to the server at `path`, asks for the device it serves and resets it.
    ///
    /// # Errors
    /// [`BusError::Unreachable`], with what to do about it.
    pub fn connect(path: &Path) -> Result<Self, BusError> {
        let name = format!("vfio-user:{}", path.display());
        match stream(path) {
            Ok(stream) => Self::over(stream, &name, PATIENCE),
            Err(error) => Err(BusError::Unreachable {
                device: name,
                reason: remedy(error),
            }),
        }
    }

    /// As [`connect`](Self::connect), over a socket that is connected already, and with `patience`
    /// for each answer. `name` is what people call the device.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn over(stream: UnixStream, name: &str, patience: Duration) -> Result<Self, BusError> {
        let unreachable = |reason| BusError::Unreachable {
            device: name.to_owned(),
            reason,
        };
        let link = Link::open(name.to_owned(), stream, patience).map_err(|error| match error {
            link::Failure::Connection(ConnectionError::Timeout { .. }) => unreachable(format!(
                "{error}: it may be busy with another client, or be no vfio-user server"
            )),
            error => unreachable(error.to_string()),
        })?;
        if link.flags() & DEVICE_FLAG_PCI == 0 {
            return Err(unreachable("the device it serves is no PCI device".into()));
        }
        if link.region(REGION_CONFIG).is_none() {
            return Err(unreachable("it serves no configuration space".into()));
        }
        let link = Arc::new(link);
        let function = Self {
            memory: Arc::new(Memory::new(Arc::clone(&link))),
            link,
        };
        if function.link.flags() & DEVICE_FLAG_RESET != 0 {
            function.reset()?;
        }
        Ok(function)
    }

    /// Resets the device, as at power-on.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] where the server refuses or has gone.
    pub fn reset(&self) -> Result<(), BusError> {
        self.link.reset().map_err(|error| self.unreachable(&error))
    }

    /// Whether the server has gone, or has said what can't be.
    pub fn is_gone(&self) -> bool {
        self.link.is_gone()
    }

    fn unreachable(&self, error: &link::Failure) -> BusError {
        BusError::Unreachable {
            device: self.link.name().to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Connects without waiting for a server that does not accept.
fn stream(path: &Path) -> rustix::io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Why a socket can't be connected to, and what to do.
fn remedy(error: Errno) -> String {
    let advice = match error {
        Errno::NOENT => "start the server first: barewire nic serve --socket PATH",
        Errno::CONNREFUSED => "the server that made this socket has ended: start it again",
        Errno::ACCESS | Errno::PERM => {
            "the socket belongs to somebody else: run the server as this user, or change its mode"
        }
        Errno::AGAIN => "too many clients wait for it already: end them",
        Errno::NAMETOOLONG => "a socket's name has at most 107 bytes: use a shorter path",
        _ => "it must be the socket of a vfio-user server",
    };
    let error = std::io::Error::from(error);
    format!("cannot connect: {error}: {advice}")
}

impl fmt::Debug for RemoteFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFunction")
            .field("name", &self.link.name())
            .finish_non_exhaustive()
    }
}

impl PciFunction for RemoteFunction {
    type Bar = RemoteBar;

    fn name(&self) -> &str {
        self.link.name()
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let read = self.link.read32(REGION_CONFIG, offset.into());
        read.map_err(|error| self.unreachable(&error))
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        let written = self.link.write32(REGION_CONFIG, offset.into(), value);
        written.map_err(|error| self.unreachable(&error))
    }

    fn bar(&self, index: u8) -> Result<Self::Bar, BusError> {
        let region = REGION_BAR0 + u32::from(index);
        let bar = (region <= REGION_BAR5)
            .then(|| RemoteBar::new(&self.link, region))
            .flatten();
        bar.ok_or_else(|| BusError::NoBar {
            device: self.link.name().to_owned(),
            index,
        })
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::clone(&self.memory) as Arc<dyn DmaMap>
    }

    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        vectors::turn_on(&self.link, vectors)
    }
}
