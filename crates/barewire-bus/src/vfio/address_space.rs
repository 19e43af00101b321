//! Regions that all devices of a program see at the same addresses.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use barewire_dma::{DmaError, DmaMap, DmaRegion, Iova, Layout};

use super::iova::IovaAllocator;
use crate::memlock;

/// What makes memory visible at an address: a VFIO container, or an address space of iommufd.
pub(super) trait Translation: Send + Sync + fmt::Debug {
    /// Lets devices reach `region` at `iova`.
    fn map(&self, region: &DmaRegion, iova: u64) -> io::Result<()>;

    /// Ends it.
    fn unmap(&self, iova: u64, bytes: u64) -> io::Result<()>;

    /// First and last address of the ranges that can be used.
    fn ranges(&self) -> io::Result<Vec<(u64, u64)>>;
}

/// An address space that devices share. A region is mapped once, however many of them use it, so
/// that a pool whose frames go from one to another takes its pages and translations once.
#[derive(Debug)]
pub(super) struct AddressSpace {
    translation: Box<dyn Translation>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    addresses: IovaAllocator,
    mapped: Vec<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    region: Arc<DmaRegion>,
    iova: u64,
    users: usize,
}

impl AddressSpace {
    /// An address space without devices and memory.
    pub(super) fn new(translation: impl Translation + 'static) -> Self {
        Self {
            translation: Box::new(translation),
            state: Mutex::default(),
        }
    }

    /// To be called when a device has joined: it may reach fewer addresses than those before.
    pub(super) fn look_up_ranges(&self) -> io::Result<()> {
        let ranges = self.translation.ranges()?;
        tracing::debug!(?ranges, "usable I/O virtual addresses");
        self.lock().addresses.restrict(ranges);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self, device: &str, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let mut state = self.lock();
        let same = |mapped: &&mut Mapped| Arc::ptr_eq(&mapped.region, region);
        if let Some(mapped) = state.mapped.iter_mut().find(same) {
            mapped.users += 1;
            return Ok(Layout::Linear(Iova::new(mapped.iova)));
        }
        let refused = |reason| DmaError::Map {
            device: device.to_owned(),
            bytes: region.len(),
            reason,
        };
        let bytes = region.len() as u64;
        let iova = state.addresses.take(bytes).ok_or_else(|| {
            refused("the IOMMU has no free range of I/O virtual addresses so long".to_owned())
        })?;
        if let Err(error) = self.translation.map(region, iova) {
            state.addresses.give_back(iova);
            let already = state.mapped.iter().map(|mapped| mapped.region.len() as u64);
            let already = already.sum();
            return Err(refused(memlock::explain(&error, bytes, already)));
        }
        state.mapped.push(Mapped {
            region: Arc::clone(region),
            iova,
            users: 1,
        });
        Ok(Layout::Linear(Iova::new(iova)))
    }

    fn unmap(&self, device: &str, region: &Arc<DmaRegion>) {
        let mut state = self.lock();
        let same = |mapped: &Mapped| Arc::ptr_eq(&mapped.region, region);
        let Some(place) = state.mapped.iter().position(same) else {
            return;
        };
        let mapped = &mut state.mapped[place];
        mapped.users -= 1;
        if mapped.users > 0 {
            return;
        }
        let mapped = state.mapped.swap_remove(place);
        match self
            .translation
            .unmap(mapped.iova, mapped.region.len() as u64)
        {
            Ok(()) => state.addresses.give_back(mapped.iova),
            // the address stays in use, so that nothing else is ever found there
            Err(error) => tracing::error!(device, iova = mapped.iova, %error, "unmapping failed"),
        }
    }
}

/// An address space as one of its devices has it.
pub(super) struct DeviceMemory {
    pub(super) device: String,
    pub(super) space: Arc<AddressSpace>,
    /// What keeps the device's place in the address space: the group, while memory is mapped.
    pub(super) _membership: Arc<dyn Send + Sync>,
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMemory")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl DmaMap for DeviceMemory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        self.space.map(&self.device, region)
    }

    fn unmap(&self, region: &Arc<DmaRegion>, _: &Layout) {
        self.space.unmap(&self.device, region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_dma::Pages;

    /// Maps nothing, up to a limit, and writes down what it was asked.
    #[derive(Debug, Default)]
    struct Pretend {
        log: Arc<Mutex<Vec<String>>>,
        limit: Mutex<u64>,
    }

    impl Translation for Pretend {
        fn map(&self, region: &DmaRegion, iova: u64) -> io::Result<()> {
            let mut limit = self.limit.lock().unwrap();
            let left = limit.checked_sub(region.len() as u64);
            *limit = left.ok_or(io::Error::from(rustix::io::Errno::NOMEM))?;
            self.log.lock().unwrap().push(format!("map {iova:#x}"));
            Ok(())
        }
        fn unmap(&self, iova: u64, bytes: u64) -> io::Result<()> {
            *self.limit.lock().unwrap() += bytes;
            self.log.lock().unwrap().push(format!("unmap {iova:#x}"));
            Ok(())
        }
        fn ranges(&self) -> io::Result<Vec<(u64, u64)>> {
            Ok(vec![(0, 0xFFFF_FFFF)])
        }
    }

    fn devices(limit: u64) -> ([DeviceMemory; 2], Arc<Mutex<Vec<String>>>) {
        let log = Arc::default();
        let space = Arc::new(AddressSpace::new(Pretend {
            log: Arc::clone(&log),
            limit: Mutex::new(limit),
        }));
        space.look_up_ranges().unwrap();
        let device = |name: &str| DeviceMemory {
            device: name.to_owned(),
            space: Arc::clone(&space),
            _membership: Arc::new(()),
        };
        ([device("first"), device("second")], log)
    }

    #[test]
    fn one_mapping_serves_all_devices_until_the_last_is_done_with_it() {
        let ([first, second], log) = devices(1 << 20);
        let pool = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let ring = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let layout = first.map(&pool).unwrap();
        assert_eq!(second.map(&pool).unwrap(), layout);
        assert_ne!(second.map(&ring).unwrap(), layout);
        first.unmap(&pool, &layout);
        assert_eq!(*log.lock().unwrap(), ["map 0x200000", "map 0x400000"]);
        second.unmap(&pool, &layout);
        assert_eq!(log.lock().unwrap()[2..], ["unmap 0x200000"]);
        // one unmapping more than there were mappings does no harm
        second.unmap(&pool, &layout);
        assert_eq!(log.lock().unwrap().len(), 3);
        // what is unmapped is kept no longer
        assert_eq!(Arc::strong_count(&pool), 1);
    }

    #[test]
    fn a_limit_is_named_and_what_failed_leaves_nothing_behind() {
        let ([first, _], _log) = devices(8192);
        let small = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
        let large = DmaRegion::allocate(1 << 20, Pages::Ordinary).unwrap();
        let error = first.map(&large).unwrap_err().to_string();
        assert!(
            error.contains("first") && error.contains("RLIMIT_MEMLOCK"),
            "{error}"
        );
        assert_eq!(Arc::strong_count(&large), 1);
        assert_eq!(
            first.map(&small).unwrap(),
            Layout::Linear(Iova::new(0x20_0000))
        );
    }
}
