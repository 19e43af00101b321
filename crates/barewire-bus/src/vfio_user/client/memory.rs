//! Our memory, given to the server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_dma::{DmaError, DmaMap, DmaRegion, Iova, Layout};

use super::link::Link;
use crate::vfio_user::{DMA_READABLE, DMA_WRITABLE};

/// The first address that is given out: above 4 GiB, so that a forgotten high half is noticed.
const FIRST: u64 = 1 << 32;
/// Where addresses end: what an IOMMU of today translates at least, and every server can.
const END: u64 = 1 << 48;
/// Regions begin on multiples of this, and at least as much is free behind each.
const SPACING: u64 = 2 << 20;

/// The address space of a served device. No address is given out twice, so that the use of one
/// after its unmapping is never an access to something else.
pub(super) struct Memory {
    link: Arc<Link>,
    next: AtomicU64,
}

impl Memory {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            next: AtomicU64::new(FIRST),
        }
    }

    /// An address for `bytes` bytes.
    fn take(&self, bytes: u64) -> Option<u64> {
        let after = |start: u64| {
            let end = start.checked_add(bytes)?;
            let next = end
                .checked_next_multiple_of(SPACING)?
                .checked_add(SPACING)?;
            (next <= END).then_some(next)
        };
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after)
            .ok()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("device", &self.link.name())
            .finish_non_exhaustive()
    }
}

impl DmaMap for Memory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let refusal = |reason: String| DmaError::Map {
            device: self.link.name().to_owned(),
            bytes: region.len(),
            reason,
        };
        let bytes = u64::try_from(region.len()).unwrap_or(u64::MAX);
        let address = self.take(bytes);
        let address = address
            .ok_or_else(|| refusal("its 48-bit address space is used up: connect again".into()))?;
        self.link
            .map(address, region, DMA_READABLE | DMA_WRITABLE)
            .map_err(|error| refusal(error.to_string()))?;
        Ok(Layout::Linear(Iova::new(address)))
    }

    fn unmap(&self, region: &Arc<DmaRegion>, layout: &Layout) {
        let Layout::Linear(address) = layout else {
            return;
        };
        if let Err(error) = self.link.unmap(address.get(), region.len())
            && !self.link.is_gone()
        {
            tracing::warn!(device = self.link.name(), %error, "memory was not unmapped");
        }
    }
}
