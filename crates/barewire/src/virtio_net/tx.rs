//! A transmit queue of the port.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use barewire_bus::PciFunction;
use barewire_dma::{Batch, DmaError, Pool, VirtTx, Virtqueue};

use super::Device;
use super::held::Held;
use super::totals::Count;
use super::transport::Doorbell;
use crate::patience::Silence;
use crate::{Error, Transmit, TxCounters};

pub(super) struct Tx<P: PciFunction, Q: Virtqueue> {
    ring: Held<P, VirtTx<Q>>,
    doorbell: Doorbell,
    silence: Silence,
    counters: TxCounters,
    count: Arc<Count>,
}

impl<P: PciFunction, Q: Virtqueue> Tx<P, Q> {
    pub(super) fn new(
        device: &Arc<Device<P>>,
        ring: VirtTx<Q>,
        doorbell: Doorbell,
        count: Arc<Count>,
    ) -> Self {
        Self {
            ring: Held::new(device, ring),
            doorbell,
            silence: Silence::default(),
            counters: TxCounters::default(),
            count,
        }
    }

    #[cold]
    fn failed(&mut self, error: DmaError) -> Error {
        let device = self.ring.device().chip().device();
        if let DmaError::Device(fault) = error {
            let error = Error::broken(device, format!("a transmit queue broke: {fault}"));
            self.ring.retire();
            return error;
        }
        Error::dma(device)(error)
    }
}

impl<P: PciFunction, Q: Virtqueue> Transmit for Tx<P, Q> {
    fn send(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        if self.ring.device().stop_flag().load(Ordering::Relaxed) {
            return Err(Error::stopped(self.ring.device().chip().device()));
        }
        let ring = self.ring.get()?;
        if ring.is_late(batch.len())
            && let Err(error) = ring.take_back(Some(batch))
        {
            return Err(self.failed(error));
        }
        let pool = batch.pool().filter(|_| !batch.is_empty());
        let Some(pool) = pool else { return Ok(0) };
        if !self.ring.get()?.knows(batch) {
            self.attach(&pool.clone())?;
        }
        let ring = self.ring.get()?;
        let (done, bytes) = ring.send(batch);
        let notify = done.sent > 0 && ring.publish();
        if notify {
            self.ring.device().chip().notify(self.doorbell);
        }
        self.counters.packets += done.sent as u64;
        self.counters.refused += done.refused as u64;
        Count::add(&self.count.packets, done.sent as u64);
        Count::add(&self.count.bytes, bytes);
        Count::add(&self.count.errors, done.refused as u64);
        if !batch.is_empty() {
            self.counters.full += 1;
            if done.sent == 0 && self.silence.goes_on() {
                self.ring.device().check()?;
            }
        }
        Ok(done.sent)
    }

    fn attach(&mut self, pool: &Pool) -> Result<(), Error> {
        let device = Arc::clone(self.ring.device());
        let attached = self.ring.get()?.attach(pool, device.domain());
        attached.map_err(Error::dma(device.chip().device()))
    }

    fn reclaim(&mut self) -> usize {
        let Ok(ring) = self.ring.get() else { return 0 };
        match ring.take_back(None) {
            Ok(frames) => frames,
            Err(error) => {
                let error = self.failed(error);
                tracing::error!(%error, "no buffers come back any more");
                0
            }
        }
    }

    fn counters(&self) -> TxCounters {
        self.counters
    }
}
