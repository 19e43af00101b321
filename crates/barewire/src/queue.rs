//! A port's queues: where a program meets its frames.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use barewire_bus::Event;
use barewire_dma::{Batch, Pool};

use crate::ixgbe::{IxgbeRx, IxgbeTx};
use crate::{Error, RxCounters, TxCounters};

/// One receive queue of some driver. Programs use [`RxQueue`]; drivers implement this.
pub trait Receive: Send {
    /// As [`RxQueue::receive`].
    ///
    /// # Errors
    /// As [`RxQueue::receive`].
    fn receive(&mut self, batch: &mut Batch) -> Result<usize, Error>;
    /// As [`RxQueue::pool`].
    fn pool(&self) -> &Pool;
    /// As [`RxQueue::counters`].
    fn counters(&self) -> RxCounters;
    /// As [`RxQueue::arm`].
    ///
    /// # Errors
    /// As [`RxQueue::arm`].
    fn arm(&mut self) -> Result<bool, Error>;
    /// What is signalled once the queue was armed and a frame has arrived.
    fn event(&self) -> &Event;
}

/// One transmit queue of some driver. Programs use [`TxQueue`]; drivers implement this.
pub trait Transmit: Send {
    /// As [`TxQueue::send`].
    ///
    /// # Errors
    /// As [`TxQueue::send`].
    fn send(&mut self, batch: &mut Batch) -> Result<usize, Error>;
    /// As [`TxQueue::attach`].
    ///
    /// # Errors
    /// As [`TxQueue::attach`].
    fn attach(&mut self, pool: &Pool) -> Result<(), Error>;
    /// As [`TxQueue::reclaim`].
    fn reclaim(&mut self) -> usize;
    /// As [`TxQueue::counters`].
    fn counters(&self) -> TxCounters;
}

/// A receive queue: a value of its own, to be polled by one thread at a time, with no lock.
///
/// Dropping it stops the queue and gives its buffers back.
pub struct RxQueue {
    queue: RxKind,
}

/// The driver behind the queue. That of this crate is found without a virtual call: at small batches
/// it would cost as much as a frame does.
#[allow(clippy::large_enum_variant)] // queues are few and stay where they are
enum RxKind {
    Ixgbe(IxgbeRx),
    Other(Box<dyn Receive>),
}

impl RxQueue {
    /// A queue of a driver.
    pub fn new(queue: impl Receive + 'static) -> Self {
        Self {
            queue: RxKind::Other(Box::new(queue)),
        }
    }

    pub(crate) fn ixgbe(queue: IxgbeRx) -> Self {
        Self {
            queue: RxKind::Ixgbe(queue),
        }
    }

    pub(crate) fn into_ixgbe(self) -> Option<IxgbeRx> {
        match self.queue {
            RxKind::Ixgbe(queue) => Some(queue),
            RxKind::Other(_) => None,
        }
    }

    /// Adds the frames that have arrived to `batch`, as many as it has room for, and returns how
    /// many. It never waits: 0 means that there is none yet.
    ///
    /// # Errors
    /// [`Error::Dma`] while `batch` holds packets of a pool other than the queue's own, and
    /// [`Error::Gone`] when the device is gone; frames stay in the ring. [`Error::Stopped`] after
    /// [`Port::stop`](crate::Port::stop), once the frames that had arrived are used up.
    #[inline]
    pub fn receive(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        match &mut self.queue {
            RxKind::Ixgbe(queue) => queue.receive(batch),
            RxKind::Other(queue) => queue.receive(batch),
        }
    }

    /// The pool whose buffers frames arrive in.
    pub fn pool(&self) -> &Pool {
        match &self.queue {
            RxKind::Ixgbe(queue) => queue.pool(),
            RxKind::Other(queue) => queue.pool(),
        }
    }

    /// What the queue counted.
    pub fn counters(&self) -> RxCounters {
        match &self.queue {
            RxKind::Ixgbe(queue) => queue.counters(),
            RxKind::Other(queue) => queue.counters(),
        }
    }

    /// Asks for a signal as soon as a frame is there, and says whether to wait for it: false if
    /// frames are there already, or if the pool has no buffer left to receive one.
    ///
    /// The signal makes the queue's file descriptor readable ([`AsFd`]), so a queue can be waited
    /// for with `poll`, `epoll` and everything built on them: receive until nothing comes, arm, and
    /// if it says so, wait; then receive again. The signal comes once, and stays until the queue is
    /// armed the next time; it may also come for nothing. No frame is missed between a `receive`
    /// that returns 0 and the arming after it.
    ///
    /// It takes a system call and an access to the device.
    ///
    /// # Errors
    /// [`Error::NoInterrupts`] unless the port was opened with
    /// [`interrupts`](crate::PortConfig::interrupts); [`Error::Gone`] when the device is gone;
    /// [`Error::Stopped`] after [`Port::stop`](crate::Port::stop).
    pub fn arm(&mut self) -> Result<bool, Error> {
        match &mut self.queue {
            RxKind::Ixgbe(queue) => queue.arm(),
            RxKind::Other(queue) => queue.arm(),
        }
    }

    fn event(&self) -> &Event {
        match &self.queue {
            RxKind::Ixgbe(queue) => queue.event(),
            RxKind::Other(queue) => queue.event(),
        }
    }

    /// Waits until frames may be there, at most for `limit` (`None`: for ever), and says whether
    /// they may. A handled Unix signal ends the wait early: false.
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        Ok(!self.arm()? || self.event().wait(limit).map_err(Error::Wait)?)
    }
}

impl AsFd for RxQueue {
    /// Readable when the queue was armed and a frame has arrived since.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event().as_fd()
    }
}

impl AsRawFd for RxQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.event().as_raw_fd()
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxQueue")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// A transmit queue: a value of its own, to be used by one thread at a time, with no lock.
///
/// Dropping it stops the queue and gives the buffers that are still in its ring back; frames
/// that the device has not sent by then are lost.
pub struct TxQueue {
    queue: TxKind,
}

/// The driver behind the queue. That of this crate is found without a virtual call: at small batches
/// it would cost as much as a frame does.
#[allow(clippy::large_enum_variant)] // queues are few and stay where they are
enum TxKind {
    Ixgbe(IxgbeTx),
    Other(Box<dyn Transmit>),
}

impl TxQueue {
    /// A queue of a driver.
    pub fn new(queue: impl Transmit + 'static) -> Self {
        Self {
            queue: TxKind::Other(Box::new(queue)),
        }
    }

    pub(crate) fn ixgbe(queue: IxgbeTx) -> Self {
        Self {
            queue: TxKind::Ixgbe(queue),
        }
    }

    pub(crate) fn into_ixgbe(self) -> Option<IxgbeTx> {
        match self.queue {
            TxKind::Ixgbe(queue) => Some(queue),
            TxKind::Other(_) => None,
        }
    }

    /// Gives the first frames of `batch` to the device, as many as the ring has room for, and
    /// returns how many. The others stay in the batch: send again, or [`Batch::clear`] it.
    ///
    /// Frames of under 60 bytes are padded by the device. Frames of under 17 bytes, or larger than
    /// the port takes, are dropped and counted.
    ///
    /// The first batch of a pool that the port has not seen maps it for the device, which takes a
    /// system call; [`attach`](Self::attach) does it beforehand.
    ///
    /// # Errors
    /// [`Error::Dma`] when the pool can't be mapped; the frames stay in the batch.
    /// [`Error::Gone`] when the ring stays full because the device is gone. [`Error::Stopped`] after
    /// [`Port::stop`](crate::Port::stop).
    #[inline]
    pub fn send(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        match &mut self.queue {
            TxKind::Ixgbe(queue) => queue.send(batch),
            TxKind::Other(queue) => queue.send(batch),
        }
    }

    /// Maps a pool for the device, so that its packets can be sent without a pause.
    ///
    /// # Errors
    /// [`Error::Dma`] when the pool can't be mapped, or when the queue has seen 64 pools already.
    pub fn attach(&mut self, pool: &Pool) -> Result<(), Error> {
        match &mut self.queue {
            TxKind::Ixgbe(queue) => queue.attach(pool),
            TxKind::Other(queue) => queue.attach(pool),
        }
    }

    /// Gives buffers that the device is done with back to their pools, and returns how many.
    /// [`send`](Self::send) does so too; call this when there is nothing to send for a while.
    pub fn reclaim(&mut self) -> usize {
        match &mut self.queue {
            TxKind::Ixgbe(queue) => queue.reclaim(),
            TxKind::Other(queue) => queue.reclaim(),
        }
    }

    /// What the queue counted.
    pub fn counters(&self) -> TxCounters {
        match &self.queue {
            TxKind::Ixgbe(queue) => queue.counters(),
            TxKind::Other(queue) => queue.counters(),
        }
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxQueue")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
