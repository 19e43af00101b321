//! Memory for a device without an IOMMU: it uses the memory's physical addresses.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use barewire_dma::{DmaError, DmaMap, DmaRegion, Iova, Layout};

use crate::memlock;

/// Looks physical addresses up.
///
/// Only hugepages do: the kernel moves ordinary pages about, even locked ones, while hugepages in
/// use stay where they are. They are locked all the same, and stay so until the region is freed.
///
/// Nothing confines the device: it can read and write all of the machine's memory.
#[derive(Debug)]
pub(crate) struct PhysicalMemory {
    device: String,
    /// The kernel's table of this process's pages.
    pagemap: PathBuf,
}

/// Bits 54:0 of an entry: the number of the page.
const PAGE_NUMBER: u64 = (1 << 55) - 1;
/// The page is in memory.
const PRESENT: u64 = 1 << 63;

impl PhysicalMemory {
    pub(crate) fn new(device: String, pagemap: PathBuf) -> Self {
        Self { device, pagemap }
    }

    fn refused(&self, region: &DmaRegion, reason: impl Into<String>) -> DmaError {
        DmaError::Map {
            device: self.device.clone(),
            bytes: region.len(),
            reason: reason.into(),
        }
    }

    /// The physical address of each page.
    fn look_up(&self, region: &DmaRegion) -> Result<Box<[Iova]>, DmaError> {
        let small = rustix::param::page_size();
        let unreadable = |error: io::Error| {
            let table = self.pagemap.display();
            self.refused(region, format!("cannot read {table}: {error}: run as root"))
        };
        let pagemap = File::open(&self.pagemap).map_err(unreadable)?;
        let address = region.address().get();
        let pages = (0..region.len()).step_by(region.page_size());
        pages
            .map(|offset| {
                let mut entry = [0; 8];
                let place = (address + offset) / small * entry.len();
                pagemap
                    .read_exact_at(&mut entry, place as u64)
                    .map_err(unreadable)?;
                let entry = u64::from_ne_bytes(entry);
                if entry & PRESENT == 0 {
                    return Err(self.refused(region, "a page of it is not in memory"));
                }
                let number = entry & PAGE_NUMBER;
                if number == 0 {
                    return Err(self.refused(
                        region,
                        "physical addresses are hidden from this process: \
                         it needs CAP_SYS_ADMIN, so run it as root, \
                         or bind the device to vfio-pci, which needs no physical addresses",
                    ));
                }
                Ok(Iova::new(number * small as u64))
            })
            .collect()
    }
}

impl DmaMap for PhysicalMemory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        if !region.is_huge() {
            let pages = region.len().div_ceil(2 << 20);
            return Err(self.refused(
                region,
                format!(
                    "without an IOMMU it must lie on hugepages, and not enough are free: \
                     have {pages} more with `sudo sysctl vm.nr_hugepages=NUMBER` \
                     (HugePages_Total and HugePages_Free in /proc/meminfo tell how many there are)"
                ),
            ));
        }
        lock(region).map_err(|error| {
            self.refused(region, memlock::explain(&error, region.len() as u64, 0))
        })?;
        Ok(Layout::Paged(self.look_up(region)?))
    }

    // the pages are unlocked when the region is freed: other devices may use it still
    fn unmap(&self, _: &Arc<DmaRegion>, _: &Layout) {}
}

/// Keeps the region's pages in memory until it is freed.
fn lock(region: &DmaRegion) -> io::Result<()> {
    let address = std::ptr::without_provenance_mut(region.address().get());
    // SAFETY: the region is mapped at this address with this length for as long as it is borrowed;
    // locking reads and writes none of it.
    unsafe { rustix::mm::mlock(address, region.len()) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_dma::Pages;

    /// A table in which the pages of `region` have these entries.
    fn table(region: &DmaRegion, entries: &[u64]) -> tempfile::NamedTempFile {
        let table = tempfile::NamedTempFile::new().unwrap();
        for (page, entry) in entries.iter().enumerate() {
            let address = region.address().get() + page * region.page_size();
            let place = (address / rustix::param::page_size() * 8) as u64;
            table
                .as_file()
                .write_all_at(&entry.to_ne_bytes(), place)
                .unwrap();
        }
        table
    }

    fn memory(table: &tempfile::NamedTempFile) -> PhysicalMemory {
        PhysicalMemory::new("0000:03:00.0".into(), table.path().into())
    }

    #[test]
    fn each_page_has_its_own_address() {
        let region = DmaRegion::allocate(3 * 4096, Pages::Ordinary).unwrap();
        let soft_dirty = 1 << 55;
        let table = table(
            &region,
            &[7, 5, 6].map(|number| PRESENT | soft_dirty | number),
        );
        let addresses = memory(&table).look_up(&region).unwrap();
        assert_eq!(*addresses, [0x7000, 0x5000, 0x6000].map(Iova::new));
    }

    #[test]
    fn hidden_and_absent_pages_are_told_apart() {
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let of = |entry| {
            memory(&table(&region, &[entry]))
                .look_up(&region)
                .unwrap_err()
                .to_string()
        };
        let hidden = of(PRESENT);
        assert!(
            hidden.contains("0000:03:00.0") && hidden.contains("CAP_SYS_ADMIN"),
            "{hidden}"
        );
        assert!(of(5).contains("not in memory"));
    }

    #[test]
    fn ordinary_pages_are_refused_with_the_remedy() {
        let region = Arc::new(DmaRegion::allocate(4096, Pages::Ordinary).unwrap());
        let table = table(&region, &[PRESENT | 9]);
        let error = memory(&table).map(&region).unwrap_err().to_string();
        assert!(error.contains("vm.nr_hugepages"), "{error}");
    }

    #[test]
    fn a_table_that_cannot_be_read_is_an_error() {
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let memory = PhysicalMemory::new("x".into(), "/nonexistent/pagemap".into());
        assert!(
            memory
                .look_up(&region)
                .unwrap_err()
                .to_string()
                .contains("/nonexistent")
        );
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(self::memory(&empty).look_up(&region).is_err());
    }
}
