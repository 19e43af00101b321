//! Forwarding in the ring itself.

use std::fmt;

use barewire_dma::Verdict;

use crate::ixgbe::IxgbeInPlace;
use crate::{Error, InPlaceCounters, RxQueue, TxQueue};

/// A receive queue and a transmit queue, of one port or two, that share one ring: a frame is sent
/// from where it was received.
///
/// It is the cheapest way to forward, and the most restricted. A frame can be looked at, changed,
/// sent by this one transmit queue, or dropped; it can't be kept, made longer or shorter, or sent
/// elsewhere. It must fit one buffer; larger ones are dropped and counted. Frames leave in the
/// order in which they came.
///
/// ```
/// use barewire::{Error, InPlace, RxQueue, TxQueue, Verdict};
///
/// fn forward(rx: RxQueue, tx: TxQueue) -> Result<(), Error> {
///     let mut queue = InPlace::new(rx, tx)?;
///     loop {
///         queue.forward(32, |frame| {
///             let Some(byte) = frame.get_mut(5) else { return Verdict::Drop };
///             *byte = byte.wrapping_add(1);
///             Verdict::Send
///         })?;
///     }
/// }
/// ```
///
/// A program that needs more uses the queues with a [`Batch`](crate::Batch). Dropping this stops
/// both queues.
pub struct InPlace {
    queue: IxgbeInPlace,
}

impl InPlace {
    /// Stops both queues and starts them again with one ring, as large as the receive queue's was.
    /// What they held is lost.
    ///
    /// # Errors
    /// [`Error::Config`] for queues of a driver that can't do it, [`Error::Dma`] when there is no
    /// memory or one of the devices can't be given it, [`Error::Timeout`] when a queue does not
    /// start.
    pub fn new(rx: RxQueue, tx: TxQueue) -> Result<Self, Error> {
        let (Some(rx), Some(tx)) = (rx.into_ixgbe(), tx.into_ixgbe()) else {
            return Err(Error::Config {
                device: "in-place forwarding".into(),
                what: "a queue",
                value: "another driver".into(),
                allowed: "queues of the driver ixgbe".into(),
            });
        };
        Ok(Self {
            queue: IxgbeInPlace::start(rx, tx)?,
        })
    }

    /// Calls `each` with the bytes of each frame that has arrived, without FCS, at most `most`
    /// frames, and sends or drops them as it says. Returns how many descriptors were worked on: 0
    /// means that nothing has arrived yet. It never waits.
    ///
    /// # Errors
    /// [`Error::Gone`] when a device is gone, [`Error::Stopped`] after
    /// [`Port::stop`](crate::Port::stop).
    #[inline]
    pub fn forward(
        &mut self,
        most: usize,
        each: impl FnMut(&mut [u8]) -> Verdict,
    ) -> Result<usize, Error> {
        self.queue.forward(most, each)
    }

    /// What it counted.
    pub fn counters(&self) -> InPlaceCounters {
        self.queue.counters()
    }
}

impl fmt::Debug for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlace")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
