//! What lies behind an address: memory mapped into this process, or memory that has to be asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use barewire_dma::DmaRegion;

/// Memory that is reached by asking somebody: a file that is read and written, a peer behind a
/// socket.
pub trait Distant: Send + Sync + fmt::Debug {
    /// Asks for the `count` bytes at `address`, so that they can be read without waiting.
    fn prepare(&self, address: u64, count: usize) -> Result<(), Unanswered> {
        let _ = (address, count);
        Ok(())
    }

    /// Reads the bytes at `address`, as the device sees it.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unanswered>;

    /// Writes the bytes at `address`, as the device sees it. They may be under way when this
    /// returns, but nothing overtakes them; it is never [`Unanswered::NotYet`].
    fn write(&self, address: u64, from: &[u8]) -> Result<(), Unanswered>;
}

/// Distant memory did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It never will.
    Lost,
    /// It was asked. The same access has to be tried again later.
    NotYet,
}

/// What the device may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
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
pub enum Memory {
    /// A piece of a region of this process, from this offset on.
    Mapped(Arc<DmaRegion>, usize),
    /// Memory that is asked for by the address.
    Distant(Arc<dyn Distant>),
}

impl Memory {
    /// The same memory `bytes` further on.
    pub(crate) fn from(&self, bytes: usize) -> Self {
        match self {
            Self::Mapped(region, offset) => {
                Self::Mapped(Arc::clone(region), offset.saturating_add(bytes))
            }
            Self::Distant(distant) => Self::Distant(Arc::clone(distant)),
        }
    }

    /// The memory as words, if it is mapped and begins with a whole one.
    #[inline]
    pub(crate) fn words(&self, bytes: usize) -> Option<&[AtomicU64]> {
        match self {
            Self::Mapped(region, offset) if offset.is_multiple_of(8) => region
                .words()
                .get(offset / 8..)
                .and_then(|words| words.get(..bytes / 8)),
            _ => None,
        }
    }

    /// Asks for `count` bytes at `address`, if it has to be asked.
    pub(crate) fn prepare(&self, address: u64, count: usize) -> Result<(), Unanswered> {
        match self {
            Self::Mapped(..) => Ok(()),
            Self::Distant(distant) => distant.prepare(address, count),
        }
    }

    /// Reads at `offset`, which is `address` for the device.
    pub(crate) fn read(
        &self,
        offset: usize,
        address: u64,
        into: &mut [u8],
    ) -> Result<(), Unanswered> {
        match self {
            Self::Mapped(region, first) => region
                .device_read(first.saturating_add(offset), into)
                .map_err(|_| Unanswered::Lost),
            Self::Distant(distant) => distant.read(address, into),
        }
    }

    /// Writes at `offset`, which is `address` for the device.
    pub(crate) fn write(&self, offset: usize, address: u64, from: &[u8]) -> Result<(), Unanswered> {
        match self {
            Self::Mapped(region, first) => region
                .device_write(first.saturating_add(offset), from)
                .map_err(|_| Unanswered::Lost),
            Self::Distant(distant) => distant.write(address, from),
        }
    }
}
