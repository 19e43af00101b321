//! A ring, as long as its device may use it.

use std::sync::Arc;

use barewire_bus::PciFunction;

use super::Device;
use crate::Error;

/// A queue's ring. A virtio device has no way to stop one queue, so when the ring's owner is dropped
/// the device keeps it until it is stopped itself.
pub(super) struct Held<P: PciFunction, R: Send + 'static> {
    device: Arc<Device<P>>,
    /// Nothing once the device has broken it.
    ring: Option<R>,
}

impl<P: PciFunction, R: Send + 'static> Held<P, R> {
    pub(super) fn new(device: &Arc<Device<P>>, ring: R) -> Self {
        Self {
            device: Arc::clone(device),
            ring: Some(ring),
        }
    }

    #[inline]
    pub(super) fn device(&self) -> &Arc<Device<P>> {
        &self.device
    }

    /// The ring, or an error once it is broken.
    #[inline]
    pub(super) fn get(&mut self) -> Result<&mut R, Error> {
        match &mut self.ring {
            Some(ring) => Ok(ring),
            None => Err(Self::broken(&self.device)),
        }
    }

    #[cold]
    fn broken(device: &Device<P>) -> Error {
        let what = "one of its queues is broken: open it again";
        Error::broken(device.chip().device(), what)
    }

    /// Gives the ring up.
    #[cold]
    pub(super) fn retire(&mut self) {
        if let Some(ring) = self.ring.take() {
            self.device.retire(ring);
        }
    }
}

impl<P: PciFunction, R: Send + 'static> Drop for Held<P, R> {
    fn drop(&mut self) {
        self.retire();
    }
}
