//! The memory that a driver shows a device of plain memory, which has the process's addresses.

use std::sync::Arc;

use barewire::{DmaError, DmaMap, DmaRegion, Iova, Layout};
use parking_lot::Mutex;

/// What is mapped at the moment.
#[derive(Debug, Default)]
pub(super) struct Regions(Mutex<Vec<Arc<DmaRegion>>>);

impl Regions {
    /// The region that has an address, and where in it.
    pub(super) fn find(&self, address: u64) -> Option<(Arc<DmaRegion>, usize)> {
        let address = usize::try_from(address).ok()?;
        let regions = self.0.lock();
        regions.iter().find_map(|region| {
            let offset = address.checked_sub(region.address().get())?;
            (offset < region.len()).then(|| (Arc::clone(region), offset))
        })
    }

    /// Writes bytes; false where there is no memory for them.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> bool {
        self.find(address)
            .is_some_and(|(region, offset)| region.device_write(offset, bytes).is_ok())
    }

    /// Reads bytes; nothing where there is no memory.
    pub(super) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let (region, offset) = self.find(address)?;
        let mut bytes = [0; N];
        region.device_read(offset, &mut bytes).ok()?;
        Some(bytes)
    }
}

impl DmaMap for Regions {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        self.0.lock().push(Arc::clone(region));
        Ok(Layout::Linear(Iova::new(region.address().get() as u64)))
    }

    fn unmap(&self, region: &Arc<DmaRegion>, _: &Layout) {
        let mut regions = self.0.lock();
        regions.retain(|mapped| !Arc::ptr_eq(mapped, region));
    }
}
