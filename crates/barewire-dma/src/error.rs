//! What can go wrong with memory.

use std::io;

use crate::QueueFault;

/// An error of memory for devices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DmaError {
    /// The operating system gave no memory.
    #[error("no DMA memory of {bytes} bytes ({what}): {source}")]
    Allocate {
        /// Bytes asked for, rounded up to whole pages.
        bytes: usize,
        /// The step that failed.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that its owner can make shorter while it is mapped.
    #[error(
        "the file can be cut off while it is mapped, which would kill this process: seal it with F_SEAL_SHRINK"
    )]
    Unsealed,
    /// A size or count that can't be used.
    #[error("{what} {value} is out of range: {allowed}")]
    Range {
        /// What was given.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The values that would do.
        allowed: &'static str,
    },
    /// The device's address translation refused the region.
    #[error("{device} can't map {bytes} bytes of DMA memory: {reason}")]
    Map {
        /// The device, by the name its bus knows it by.
        device: String,
        /// Size of the region.
        bytes: usize,
        /// Why not, and what would help.
        reason: String,
    },
    /// A buffer or ring would lie on pages that are not neighbours for the device.
    #[error(
        "{bytes} bytes at offset {offset} of a DMA region are not contiguous for the device: use hugepages or an IOMMU"
    )]
    Scattered {
        /// Where in the region.
        offset: usize,
        /// How long the object is.
        bytes: usize,
    },
    /// Outside a region.
    #[error("{len} bytes at offset {offset} reach outside a region of {size} bytes")]
    OutOfBounds {
        /// First byte.
        offset: usize,
        /// Number of bytes.
        len: usize,
        /// Size of the region.
        size: usize,
    },
    /// A pool or a ring where there is one already.
    #[error(
        "{len} bytes at offset {offset} of a DMA region already belong to a pool or a ring: give each a region or a range of its own"
    )]
    Claimed {
        /// First byte.
        offset: usize,
        /// Number of bytes.
        len: usize,
    },
    /// A batch holds packets of one pool at a time.
    #[error("the batch holds packets of another pool: send or clear it first")]
    OtherPool,
    /// The device said what can't be.
    #[error("the device broke its queue: {0}")]
    Device(#[from] QueueFault),
    /// More pools on one queue than it can tell apart.
    #[error("one queue carries packets of at most {most} pools")]
    TooManyPools {
        /// The limit.
        most: usize,
    },
}
