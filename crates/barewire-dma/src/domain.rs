//! Which addresses a device uses for a region.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::{DmaError, DmaRegion, Iova};

/// Where a device finds a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The whole region, byte after byte, from this address on.
    Linear(Iova),
    /// Each page of [`DmaRegion::page_size`] bytes has an address of its own, as without an IOMMU.
    Paged(Box<[Iova]>),
}

/// Makes memory visible to one device: an IOMMU domain, a table of physical addresses, a socket
/// to a device in another process, or the table of a software device.
///
/// A program that reaches a device in its own way implements this and
/// `barewire_bus::Bar`; the drivers ask for nothing else.
pub trait DmaMap: Send + Sync + fmt::Debug {
    /// Lets the device read and write `region` until [`unmap`](Self::unmap), and says where it
    /// finds it. A [`Layout::Paged`] must name one address a page.
    ///
    /// # Errors
    /// [`DmaError::Map`], naming the device and the remedy.
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError>;

    /// Takes the region away from the device again. Called once for each successful `map`, after
    /// the last queue that used it has stopped.
    fn unmap(&self, region: &Arc<DmaRegion>, layout: &Layout);
}

/// One region as one device sees it, until dropped.
#[derive(Debug)]
pub struct Mapping {
    region: Arc<DmaRegion>,
    layout: Layout,
    device: Arc<dyn DmaMap>,
}

impl Mapping {
    /// The memory that is mapped.
    #[inline]
    pub fn region(&self) -> &Arc<DmaRegion> {
        &self.region
    }

    /// The address of `len` bytes at `offset`, which the device must find in one piece.
    ///
    /// # Errors
    /// [`DmaError::OutOfBounds`] outside the region, [`DmaError::Scattered`] where the pages
    /// below the bytes are not neighbours for the device.
    pub fn iova(&self, offset: usize, len: usize) -> Result<Iova, DmaError> {
        let size = self.region.len();
        let outside = DmaError::OutOfBounds { offset, len, size };
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= size && len > 0);
        let Some(end) = end else { return Err(outside) };
        let scattered = DmaError::Scattered { offset, bytes: len };
        let at = |base: Iova, bytes: usize| {
            u64::try_from(bytes)
                .ok()
                .and_then(|bytes| base.checked_add(bytes))
        };
        match &self.layout {
            Layout::Linear(base) => at(*base, offset).ok_or(outside),
            Layout::Paged(pages) => {
                let page = self.region.page_size();
                let first = offset / page;
                let last = (end - 1) / page;
                let run = pages.get(first..=last).ok_or(scattered)?;
                let scattered = DmaError::Scattered { offset, bytes: len };
                if run
                    .windows(2)
                    .any(|pair| at(pair[0], page) != Some(pair[1]))
                {
                    return Err(scattered);
                }
                at(run[0], offset % page).ok_or(scattered)
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.device.unmap(&self.region, &self.layout);
    }
}

/// The address space of one device, in which a region is mapped once however many queues use it.
#[derive(Clone, Debug)]
pub struct Domain {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    device: Arc<dyn DmaMap>,
    live: Mutex<Vec<Weak<Mapping>>>,
}

impl Domain {
    /// The address space behind `device`.
    pub fn new(device: Arc<dyn DmaMap>) -> Self {
        Self {
            shared: Arc::new(Shared {
                device,
                live: Mutex::default(),
            }),
        }
    }

    /// Maps `region`, or returns the mapping that is there already. The mapping ends with the last
    /// handle to it.
    ///
    /// # Errors
    /// As [`DmaMap::map`].
    pub fn map(&self, region: &Arc<DmaRegion>) -> Result<Arc<Mapping>, DmaError> {
        let mut live = self
            .shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        live.retain(|mapping| mapping.strong_count() > 0);
        if let Some(mapping) = live
            .iter()
            .filter_map(Weak::upgrade)
            .find(|mapping| Arc::ptr_eq(mapping.region(), region))
        {
            return Ok(mapping);
        }
        let layout = self.shared.device.map(region)?;
        let mapping = Arc::new(Mapping {
            region: Arc::clone(region),
            layout,
            device: Arc::clone(&self.shared.device),
        });
        live.push(Arc::downgrade(&mapping));
        Ok(mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pages;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug)]
    struct Pretend {
        layout: Layout,
        mapped: AtomicUsize,
    }

    impl DmaMap for Pretend {
        fn map(&self, _: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
            self.mapped.fetch_add(1, Ordering::Relaxed);
            Ok(self.layout.clone())
        }
        fn unmap(&self, _: &Arc<DmaRegion>, _: &Layout) {
            self.mapped.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn domain(layout: Layout) -> (Domain, Arc<Pretend>) {
        let device = Arc::new(Pretend {
            layout,
            mapped: AtomicUsize::new(0),
        });
        (Domain::new(Arc::clone(&device) as Arc<dyn DmaMap>), device)
    }

    #[test]
    fn a_region_is_mapped_once_and_unmapped_with_its_last_user() {
        let (domain, device) = domain(Layout::Linear(Iova::new(0x1000)));
        let region = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
        let first = domain.map(&region).unwrap();
        let second = domain.clone().map(&region).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.iova(0x123, 4).unwrap(), Iova::new(0x1123));
        drop(first);
        assert_eq!(device.mapped.load(Ordering::Relaxed), 1);
        drop(second);
        assert_eq!(device.mapped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn pages_that_are_not_neighbours_carry_nothing_across() {
        let page = rustix::param::page_size() as u64;
        let pages = [
            Iova::new(page * 7),
            Iova::new(page * 8),
            Iova::new(page * 3),
        ];
        let (domain, _) = domain(Layout::Paged(pages.into()));
        let region = DmaRegion::allocate(page as usize * 3, Pages::Ordinary).unwrap();
        let mapping = domain.map(&region).unwrap();
        let page = page as usize;
        assert_eq!(
            mapping.iova(page - 8, 16).unwrap().get() as usize,
            page * 8 - 8
        );
        assert!(matches!(
            mapping.iova(page * 2 - 8, 16),
            Err(DmaError::Scattered { .. })
        ));
        assert_eq!(
            mapping.iova(page * 2 + 8, 16).unwrap().get() as usize,
            page * 3 + 8
        );
        assert!(matches!(
            mapping.iova(page * 3 - 8, 16),
            Err(DmaError::OutOfBounds { .. })
        ));
        assert!(matches!(
            mapping.iova(usize::MAX, 2),
            Err(DmaError::OutOfBounds { .. })
        ));
    }
}
