//! A receive queue of the port.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use barewire_bus::{Event, InterruptKind, PciFunction};
use barewire_dma::{Batch, DmaError, Pool, VirtRx, Virtqueue};

use super::Device;
use super::held::Held;
use super::totals::Count;
use super::transport::Doorbell;
use crate::patience::Silence;
use crate::{Error, Receive, RxCounters};

pub(super) struct Rx<P: PciFunction, Q: Virtqueue> {
    ring: Held<P, VirtRx<Q>>,
    pool: Pool,
    doorbell: Doorbell,
    silence: Silence,
    counters: RxCounters,
    count: Arc<Count>,
    event: Arc<Event>,
    /// How the event is signalled, if it is.
    interrupts: Option<InterruptKind>,
}

impl<P: PciFunction, Q: Virtqueue> Rx<P, Q> {
    pub(super) fn new(
        device: &Arc<Device<P>>,
        ring: VirtRx<Q>,
        doorbell: Doorbell,
        count: Arc<Count>,
        (event, interrupts): (Arc<Event>, Option<InterruptKind>),
    ) -> Self {
        Self {
            pool: ring.pool().clone(),
            ring: Held::new(device, ring),
            doorbell,
            silence: Silence::default(),
            counters: RxCounters::default(),
            count,
            event,
            interrupts,
        }
    }

    /// Gives the device empty buffers. To be called first once the device runs.
    pub(super) fn refill(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let ring = self.ring.get()?;
        if ring.refill(batch) == 0 {
            self.counters.starved += 1;
        } else if ring.publish() {
            self.ring.device().chip().notify(self.doorbell);
        }
        Ok(())
    }

    #[cold]
    fn failed(&mut self, error: DmaError) -> Error {
        let device = self.ring.device().chip().device();
        if let DmaError::Device(fault) = error {
            let error = Error::broken(device, format!("a receive queue broke: {fault}"));
            self.ring.retire();
            return error;
        }
        Error::dma(device)(error)
    }

    /// Nothing has come.
    #[inline]
    fn nothing(&mut self) -> Result<usize, Error> {
        let device = self.ring.device();
        if device.stop_flag().load(Ordering::Relaxed) {
            return Err(Error::stopped(device.chip().device()));
        }
        if self.silence.goes_on() {
            device.check()?;
        }
        Ok(0)
    }
}

impl<P: PciFunction, Q: Virtqueue> Receive for Rx<P, Q> {
    fn receive(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        let ring = self.ring.get()?;
        if ring.wants_buffers() {
            let stopped = self.ring.device().stop_flag().load(Ordering::Relaxed);
            if !stopped {
                self.refill(batch)?;
            }
        }
        let room = batch.room();
        let received = match self.ring.get()?.receive(batch) {
            Ok(received) => received,
            Err(error) => return Err(self.failed(error)),
        };
        if received.malformed > 0 {
            self.counters.malformed += received.malformed;
            Count::add(&self.count.errors, received.malformed);
        }
        if received.frames == 0 {
            return if room > 0 { self.nothing() } else { Ok(0) };
        }
        self.counters.packets += received.frames as u64;
        Count::add(&self.count.packets, received.frames as u64);
        Count::add(&self.count.bytes, received.bytes);
        Ok(received.frames)
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn counters(&self) -> RxCounters {
        self.counters
    }

    /// The signal is taken back first and the device asked then; a frame that comes in between is
    /// seen by the look that ends the asking.
    fn arm(&mut self) -> Result<bool, Error> {
        let device = Arc::clone(self.ring.device());
        let event = &self.event;
        device.arm(self.interrupts, |_, _| {
            event.clear();
        })?;
        Ok(self.ring.get()?.arm())
    }

    fn event(&self) -> &Event {
        &self.event
    }
}
