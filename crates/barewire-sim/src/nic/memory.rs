//! What lies behind an address: memory mapped into this process, or memory that has to be asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use barewire_dma::DmaRegion;

/// Memory that is reached by asking somebody: a file that is read and written, a peer behind a
/// socket. Implementations bound how long an access takes.
pub(crate) trait Distant: Send + Sync + fmt::Debug {
    /// Reads the bytes at `address`, as the device sees it.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Lost>;

    /// Writes the bytes at `address`, as the device sees it.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), Lost>;
}

/// Distant memory did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// What the device may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Access {
    pub(crate) const BOTH: Self = Self {
        read: true,
        write: true,
    };
}

/// The memory behind a range of addresses.
#[derive(Clone, Debug)]
pub(crate) enum Memory {
    /// A piece of a region of this process, from this offset on.
    Mapped(Arc<DmaRegion>, usize),
    /// Memory that is asked for by the address.
    Distant(Arc<dyn Distant>),
}

impl Memory {
    /// The same memory `bytes` further on.
    pub(super) fn from(&self, bytes: usize) -> Self {
        match self {
            Self::Mapped(region, offset) => {
                Self::Mapped(Arc::clone(region), offset.saturating_add(bytes))
            }
            Self::Distant(distant) => Self::Distant(Arc::clone(distant)),
        }
    }

    /// The memory as words, if it is mapped and begins with a whole one.
    #[inline]
    pub(super) fn words(&self, bytes: usize) -> Option<&[AtomicU64]> {
        match self {
            Self::Mapped(region, offset) if offset.is_multiple_of(8) => region
                .words()
                .get(offset / 8..)
                .and_then(|words| words.get(..bytes / 8)),
            _ => None,
        }
    }

    /// Reads at `offset`, which is `address` for the device.
    pub(super) fn read(&self, offset: usize, address: u64, into: &mut [u8]) -> Result<(), Lost> {
        match self {
            Self::Mapped(region, first) => region
                .device_read(first.saturating_add(offset), into)
                .map_err(|_| Lost),
            Self::Distant(distant) => distant.read(address, into),
        }
    }

    /// Writes at `offset`, which is `address` for the device.
    pub(super) fn write(&self, offset: usize, address: u64, from: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Mapped(region, first) => region
                .device_write(first.saturating_add(offset), from)
                .map_err(|_| Lost),
            Self::Distant(distant) => distant.write(address, from),
        }
    }
}
