//! One card as its queues see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barewire_bus::{Bar, Event, InterruptKind, PciFunction};
use barewire_dma::{DescriptorRing, DmaError, Domain, InPlaceRing};
use barewire_spec::ixgbe::{CTRL_EXT, CtrlExt, RXDCTL, Register, Rxdctl, TXDCTL, Txdctl};

use super::in_place::Legacy;
use super::registers::Registers;
use super::{in_place, interrupts, reset};
use crate::Error;
use crate::device::Chip;
use crate::patience::Patience;

/// What a queue asks of its device once it runs, however the registers are reached.
pub(super) trait Card: Send + Sync {
    /// Writes the tail register at `offset`.
    fn write_tail(&self, offset: u32, tail: u32);

    /// The address space that pools are mapped into.
    fn domain(&self) -> &Domain;

    /// The device's name.
    fn name(&self) -> &str;

    /// An error if the device is gone, or the system wants it back.
    fn check(&self) -> Result<(), Error>;

    /// Has the device signal `event` when frames are there for receive queue `queue`: all of arming
    /// but the look at the ring.
    fn arm(&self, kind: Option<InterruptKind>, queue: u32, event: &Event) -> Result<(), Error>;

    /// The same card, for another owner.
    fn again(&self) -> Box<dyn Card>;

    /// Starts a receive queue that was stopped, with the ring of an [in-place](super::in_place)
    /// forwarder. Its tail is still to be written.
    fn start_rx_in_place(&self, index: u32, ring: &DescriptorRing) -> Result<(), Error>;

    /// Starts a transmit queue that was stopped, with the ring of an [in-place](super::in_place)
    /// forwarder.
    fn start_tx_in_place(&self, index: u32, ring: &InPlaceRing<Legacy>) -> Result<(), Error>;

    /// Stops a receive queue. False when the device may still use its buffers.
    fn stop_rx(&self, index: u32) -> bool;

    /// Stops a transmit queue. False when the device may still use its buffers.
    fn stop_tx(&self, index: u32) -> bool;
}

/// A device as its queues see it.
pub(super) struct Handle {
    card: Box<dyn Card>,
    /// Set when the port was stopped; nobody writes it before.
    stopped: Arc<AtomicBool>,
}

impl Handle {
    /// The same device, for another queue.
    pub(super) fn again(&self) -> Self {
        Self {
            card: self.card.again(),
            stopped: Arc::clone(&self.stopped),
        }
    }

    pub(super) fn card(&self) -> &dyn Card {
        &*self.card
    }

    #[inline]
    pub(super) fn write_tail(&self, offset: u32, tail: u32) {
        self.card.write_tail(offset, tail);
    }

    /// Whether the port was stopped.
    #[inline]
    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    #[cold]
    pub(super) fn stopped_error(&self) -> Error {
        Error::stopped(self.card.name())
    }

    #[cold]
    pub(super) fn dma_error(&self, source: DmaError) -> Error {
        Error::dma(self.card.name())(source)
    }
}

/// A card, reached in the way of `P`.
pub(super) type Device<P> = crate::device::Device<P, Registers<<P as PciFunction>::Bar>>;

impl<B: Bar> Chip for Registers<B> {
    fn name(&self) -> &str {
        self.device()
    }

    fn check(&self) -> Result<(), Error> {
        Registers::check(self)
    }

    fn quiesce(&self) -> Result<(), Error> {
        Registers::check(self)?;
        let reset = reset::reset(self);
        let ctrl_ext = CtrlExt::from_bits(self.read(&CTRL_EXT));
        self.write(&CTRL_EXT, ctrl_ext.with_drv_load(false).into_bits());
        reset
    }
}

/// What a queue keeps of its device.
pub(super) fn handle<P: PciFunction>(device: &Arc<Device<P>>) -> Handle {
    Handle {
        card: Box::new(Arc::clone(device)),
        stopped: Arc::clone(device.stop_flag()),
    }
}

/// Waits until a queue that was disabled has stopped. If it does not, the device may still use its
/// buffers, and the answer is false.
fn queue_stopped<B: Bar>(
    registers: &Registers<B>,
    register: &Register,
    index: u32,
    disabled: impl Fn(u32) -> bool,
) -> bool {
    let patience = Patience::new(100, 50);
    match registers.wait("stopping a queue", register, index, patience, disabled) {
        // DMA that was under way ends within 100 µs (§4.6.7.1.2)
        Ok(_) => registers.delay(Duration::from_micros(100)),
        Err(Error::Gone { .. }) => {}
        Err(error) => {
            tracing::error!(%error, "abandoning the queue's buffers");
            return false;
        }
    }
    true
}

impl<P: PciFunction> Card for Arc<Device<P>> {
    #[inline]
    fn write_tail(&self, offset: u32, tail: u32) {
        self.chip().write_offset(offset, tail);
    }

    fn domain(&self) -> &Domain {
        Device::domain(self)
    }

    fn name(&self) -> &str {
        self.chip().device()
    }

    fn check(&self) -> Result<(), Error> {
        Device::check(self)
    }

    fn arm(&self, kind: Option<InterruptKind>, queue: u32, event: &Event) -> Result<(), Error> {
        Device::arm(self, kind, |registers, kind| {
            interrupts::arm(registers, kind, queue, event);
        })
    }

    fn again(&self) -> Box<dyn Card> {
        Box::new(Arc::clone(self))
    }

    fn start_rx_in_place(&self, index: u32, ring: &DescriptorRing) -> Result<(), Error> {
        in_place::start_rx(self.chip(), index, ring)
    }

    fn start_tx_in_place(&self, index: u32, ring: &InPlaceRing<Legacy>) -> Result<(), Error> {
        in_place::start_tx(self.chip(), index, ring)
    }

    fn stop_rx(&self, index: u32) -> bool {
        let rxdctl = Rxdctl::from_bits(self.chip().read_at(&RXDCTL, index));
        let disabled = rxdctl.with_enable(false).into_bits();
        self.chip().write_at(&RXDCTL, index, disabled);
        // once the whole device was stopped there is nothing to wait for
        self.stop_flag().load(Ordering::Acquire)
            || queue_stopped(self.chip(), &RXDCTL, index, |rxdctl| {
                !Rxdctl::from_bits(rxdctl).enable()
            })
    }

    fn stop_tx(&self, index: u32) -> bool {
        let txdctl = Txdctl::from_bits(self.chip().read_at(&TXDCTL, index));
        let disabled = txdctl.with_enable(false).into_bits();
        self.chip().write_at(&TXDCTL, index, disabled);
        self.stop_flag().load(Ordering::Acquire)
            || queue_stopped(self.chip(), &TXDCTL, index, |txdctl| {
                !Txdctl::from_bits(txdctl).enable()
            })
    }
}
