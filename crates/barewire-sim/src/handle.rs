//! What the handles of a device share: the device behind a lock, and its doorbells in front of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use barewire_dma::{DmaError, DmaMap, DmaRegion, Layout};
use parking_lot::{Mutex, MutexGuard};

use crate::device::Part;
use crate::memory::Iommu;
use crate::time::{Clock, Nanos};

/// Device time that one access to a register takes in stepped mode.
const ACCESS: Nanos = Nanos(1_000);
/// Device time that one step takes in stepped mode.
const STEP: Nanos = Nanos(1_000);

/// The state of one device.
pub(crate) trait Core: Send + 'static {
    /// Where a driver leaves word without a lock.
    type Doorbells: Default + Send + Sync + 'static;
    /// Where its directions are while two threads may work on them at once.
    type Halves: Default + Send + Sync + 'static;

    /// Takes what was left at the doorbells.
    fn absorb(&mut self, doorbells: &Self::Doorbells);

    /// Lets time pass, by the real clock or by `amount`, and does what falls due.
    fn advance(&mut self, amount: Nanos);

    /// One bounded piece of work that takes `amount` of the device's own time; true if anything
    /// happened.
    fn work(&mut self, doorbells: &Self::Doorbells, amount: Nanos, part: Part) -> bool;

    /// Puts its directions where two threads may work on them at once, if that can be.
    fn lend(&mut self, halves: &Self::Halves) {
        let _ = halves;
    }

    /// Takes its directions back; false if `wait` is false and a thread works on one.
    fn recall(&mut self, halves: &Self::Halves, wait: bool) -> bool {
        let _ = (halves, wait);
        true
    }

    /// Works on one direction; true if anything happened. `None` if that takes the whole device.
    fn work_half(halves: &Self::Halves, doorbells: &Self::Doorbells, part: Part) -> Option<bool> {
        let _ = (halves, doorbells, part);
        None
    }

    /// The device's time and where it comes from.
    fn time(&mut self) -> (&mut Nanos, &mut Clock);

    /// The memory that the device can reach.
    fn iommu(&mut self) -> &mut Iommu;

    /// Everything an access to a register does before the access itself.
    fn before_access(&mut self, doorbells: &Self::Doorbells) {
        self.absorb(doorbells);
        self.advance(ACCESS);
    }
}

/// What the handles of a device share.
pub(crate) struct Shared<M: Core> {
    model: Mutex<M>,
    halves: M::Halves,
    pub(crate) doorbells: M::Doorbells,
    /// Threads that want the model for an access; whoever works on it lets them in.
    waiters: AtomicU32,
    /// The device keeps its own time, so doorbells act at once.
    stepped: AtomicBool,
    pub(crate) name: String,
}

impl<M: Core> Shared<M> {
    /// A device that keeps its own time.
    pub(crate) fn new(name: String, model: M) -> Arc<Self> {
        Arc::new(Self {
            model: Mutex::new(model),
            halves: M::Halves::default(),
            doorbells: M::Doorbells::default(),
            waiters: AtomicU32::new(0),
            stepped: AtomicBool::new(true),
            name,
        })
    }

    #[cfg(test)]
    pub(crate) fn halves(&self) -> &M::Halves {
        &self.halves
    }

    /// The model, ahead of the thread that steps it.
    pub(crate) fn access(&self) -> MutexGuard<'_, M> {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let mut model = self.model.lock();
        model.recall(&self.halves, true);
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        model
    }

    /// Does one bounded piece of work; true if anything happened.
    pub(crate) fn step(&self) -> bool {
        let mut model = self.model.lock();
        model.recall(&self.halves, true);
        model.work(&self.doorbells, STEP, Part::Both)
    }

    /// Steps a part of the device, unless another thread works on it or waits for an access; those
    /// come first.
    pub(crate) fn try_step(&self, part: Part) -> bool {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        } else if let Some(busy) = M::work_half(&self.halves, &self.doorbells, part) {
            return busy;
        }
        let Some(mut model) = self.model.try_lock() else {
            return false;
        };
        if !model.recall(&self.halves, false) {
            return false;
        }
        let busy = model.work(&self.doorbells, STEP, part);
        if part != Part::Both {
            model.lend(&self.halves);
        }
        if self.waiters.load(Ordering::Relaxed) > 0 {
            MutexGuard::unlock_fair(model);
        }
        busy
    }

    /// The device keeps its own time, so doorbells act at once.
    #[inline]
    pub(crate) fn is_stepped(&self) -> bool {
        self.stepped.load(Ordering::Relaxed)
    }

    /// Lets the device follow the real clock, or keep its own time again.
    pub(crate) fn follow_clock(&self, follow: bool) {
        let mut model = self.access();
        let (now, clock) = model.time();
        *now = clock.after(*now, Nanos::ZERO);
        *clock = if follow {
            Clock::real(*now)
        } else {
            Clock::Stepped
        };
        self.stepped.store(!follow, Ordering::Release);
    }

    /// Steps a device that keeps its own time until `duration` has passed; waits where it does not.
    pub(crate) fn run_for(&self, duration: Duration) {
        /// Steps of 1 µs up to here; coarser ones beyond, so that long waits stay cheap.
        const STEPS: u64 = 100_000;
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let piece = (nanos / STEPS).max(1_000);
        let mut left = nanos;
        while left > 0 {
            let amount = left.min(piece);
            left -= amount;
            let mut model = self.access();
            if !model.time().1.is_stepped() {
                drop(model);
                std::thread::sleep(duration);
                return;
            }
            model.work(&self.doorbells, Nanos(amount), Part::Both);
        }
    }

    /// A driver waits: the device works meanwhile, but a long wait need not be a long run.
    pub(crate) fn delay(&self, duration: Duration) {
        const STEPS: u32 = 64;
        if !self.stepped.load(Ordering::Acquire) {
            std::thread::sleep(duration);
            return;
        }
        let steps = u32::try_from(duration.as_micros())
            .unwrap_or(STEPS)
            .clamp(1, STEPS);
        let piece = duration / steps;
        let amount = Nanos(u64::try_from(piece.as_nanos()).unwrap_or(u64::MAX));
        for _ in 0..steps {
            self.access().work(&self.doorbells, amount, Part::Both);
        }
    }

    /// The device's IOMMU table as drivers fill it.
    pub(crate) fn dma(self: &Arc<Self>) -> Arc<dyn DmaMap> {
        Arc::new(Dma(Arc::clone(self)))
    }
}

struct Dma<M: Core>(Arc<Shared<M>>);

impl<M: Core> fmt::Debug for Dma<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dma").field("device", &self.0.name).finish()
    }
}

impl<M: Core> DmaMap for Dma<M> {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let iova = self.0.access().iommu().map(region);
        iova.map(Layout::Linear).ok_or_else(|| DmaError::Map {
            device: self.0.name.clone(),
            bytes: region.len(),
            reason: "its 64-bit address space is used up: make a new device".into(),
        })
    }

    fn unmap(&self, _: &Arc<DmaRegion>, layout: &Layout) {
        if let Layout::Linear(iova) = layout {
            self.0.access().iommu().unmap(*iova);
        }
    }
}
