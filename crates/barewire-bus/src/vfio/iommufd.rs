//! VFIO's second interface: a node for each device, and address spaces of iommufd.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use barewire_dma::DmaRegion;

use super::abi::{
    AttachIommufd, BindIommufd, IoasAllocate, IoasMap, IoasRanges, IoasUnmap, IovaRange,
};
use super::address_space::{AddressSpace, Translation};
use super::request::request;

/// The most ranges of addresses that are asked for.
const RANGES: usize = 64;

/// An iommufd with one address space.
#[derive(Debug)]
pub(super) struct Iommufd {
    file: Arc<File>,
    id: u32,
    pub(super) space: Arc<AddressSpace>,
}

impl Iommufd {
    /// Opens `/dev/iommu` and makes an address space.
    pub(super) fn open(node: &Path) -> io::Result<Self> {
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(node)?);
        let mut allocate = IoasAllocate::new();
        request(&file, &mut allocate)?;
        let space = AddressSpace::new(Ioas {
            file: Arc::clone(&file),
            id: allocate.id,
        });
        Ok(Self {
            file,
            id: allocate.id,
            space: Arc::new(space),
        })
    }

    /// Lets a device, open from its node, see the address space and nothing else.
    pub(super) fn adopt(&self, device: &File) -> io::Result<()> {
        request(device, &mut BindIommufd::new(self.file.as_fd()))?;
        request(device, &mut AttachIommufd::new(self.id))?;
        self.space.look_up_ranges()
    }
}

/// One address space. It ends with the file.
#[derive(Debug)]
struct Ioas {
    file: Arc<File>,
    id: u32,
}

impl Translation for Ioas {
    fn map(&self, region: &DmaRegion, iova: u64) -> io::Result<()> {
        request(&self.file, &mut IoasMap::new(self.id, region, iova)).map(drop)
    }

    fn unmap(&self, iova: u64, bytes: u64) -> io::Result<()> {
        let mut unmap = IoasUnmap::new(self.id, iova, bytes);
        request(&self.file, &mut unmap)?;
        if unmap.length == bytes {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} of {bytes} bytes were unmapped",
            unmap.length
        )))
    }

    fn ranges(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut ranges = [IovaRange::default(); RANGES];
        let mut asked = IoasRanges::new(self.id, &mut ranges);
        request(&self.file, &mut asked)?;
        let count = usize::try_from(asked.count).unwrap_or(0);
        let ranges = ranges.iter().take(count);
        Ok(ranges.map(|range| (range.first, range.last)).collect())
    }
}
