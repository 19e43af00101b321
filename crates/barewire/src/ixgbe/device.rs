//! One device, shared by its port and its queues, and stopped when the last of them is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use barewire_bus::{BusError, Event, InterruptKind, Interrupts, PciFunction};
use barewire_dma::{DescriptorRing, DmaError, Domain, InPlaceRing};
use barewire_spec::ixgbe::{CTRL_EXT, CtrlExt, RXDCTL, Register, Rxdctl, TXDCTL, Txdctl};
use barewire_spec::pci::config;

use super::in_place::Legacy;
use super::registers::{Registers, patience};
use super::{in_place, interrupts, reset};
use crate::{Error, PortConfig};

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
        Error::Stopped {
            device: self.card.name().to_owned(),
        }
    }

    #[cold]
    pub(super) fn dma_error(&self, source: DmaError) -> Error {
        Error::Dma {
            device: self.card.name().to_owned(),
            source,
        }
    }
}

pub(super) struct Device<P: PciFunction> {
    /// Turned off before the function is closed.
    interrupts: OnceLock<Interrupts>,
    /// Read by queues that go to sleep, written while the device stops: no register is touched in
    /// the middle of a reset, and nobody falls asleep after it.
    arming: RwLock<()>,
    function: P,
    registers: Registers<P::Bar>,
    domain: Domain,
    stopped: Arc<AtomicBool>,
}

impl<P: PciFunction> Device<P> {
    pub(super) fn new(function: P, registers: Registers<P::Bar>) -> Self {
        let domain = Domain::new(function.dma());
        Self {
            interrupts: OnceLock::new(),
            arming: RwLock::new(()),
            function,
            registers,
            domain,
            stopped: Arc::default(),
        }
    }

    pub(super) fn registers(&self) -> &Registers<P::Bar> {
        &self.registers
    }

    pub(super) fn domain(&self) -> &Domain {
        &self.domain
    }

    pub(super) fn dma_error(&self, source: DmaError) -> Error {
        Error::Dma {
            device: self.registers.device().to_owned(),
            source,
        }
    }

    /// What a queue keeps of its device.
    pub(super) fn handle(self: &Arc<Self>) -> Handle {
        Handle {
            card: Box::new(Arc::clone(self)),
            stopped: Arc::clone(&self.stopped),
        }
    }

    /// Lets the device answer on the bus, and read and write memory or not.
    pub(super) fn set_bus_master(&self, on: bool) -> Result<(), Error> {
        // the status register shares the word; its bits are cleared by writing 1, so write 0
        let command = self.function.config_read32(config::COMMAND)? & 0xFFFF;
        let master = u32::from(config::command::BUS_MASTER);
        let command = (command | u32::from(config::command::MEMORY_SPACE)) & !master;
        let command = if on { command | master } else { command };
        Ok(self.function.config_write32(config::COMMAND, command)?)
    }

    /// Connects the device's interrupts: one for each receive queue and one for the link, or, where
    /// the device has but one, that of a single queue.
    pub(super) fn interrupts(&self, config: &PortConfig) -> Result<&Interrupts, Error> {
        if let Some(connected) = self.interrupts.get() {
            return Ok(connected);
        }
        let wanted = interrupts::wanted(config);
        let connected = match self.function.interrupts(wanted) {
            Err(BusError::NoInterrupts { .. }) if config.rx_queues == 1 => {
                self.function.interrupts(1)
            }
            other => other,
        }?;
        Ok(self.interrupts.get_or_init(|| connected))
    }

    /// Waits until a queue that was disabled has stopped. If it does not, the device may still use
    /// its buffers, and the answer is false.
    fn queue_stopped(
        &self,
        register: &Register,
        index: u32,
        disabled: impl Fn(u32) -> bool,
    ) -> bool {
        let waited = self.registers.wait(
            "stopping a queue",
            register,
            index,
            patience(100, 50),
            disabled,
        );
        match waited {
            // DMA that was under way ends within 100 µs (§4.6.7.1.2)
            Ok(_) => self.registers.delay(std::time::Duration::from_micros(100)),
            Err(Error::Gone { .. }) => {}
            Err(error) => {
                tracing::error!(%error, "abandoning the queue's buffers");
                return false;
            }
        }
        true
    }

    /// No interrupts, no DMA, no driver. Called again it does nothing.
    pub(super) fn stop(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let _nobody_falls_asleep = self.arming.write().unwrap_or_else(PoisonError::into_inner);
        let result = self.registers.check().and_then(|()| {
            let reset = reset::reset(&self.registers);
            let ctrl_ext = CtrlExt::from_bits(self.registers.read(&CTRL_EXT));
            self.registers
                .write(&CTRL_EXT, ctrl_ext.with_drv_load(false).into_bits());
            reset
        });
        // what the device itself may refuse, the bus does not
        let bus = self.set_bus_master(false);
        if bus.is_ok() || matches!(result, Ok(()) | Err(Error::Gone { .. })) {
            self.stopped.store(true, Ordering::Release);
        }
        // whoever sleeps is to see that there is nothing to wait for any more
        for event in self.interrupts.get().iter().flat_map(|all| all.vectors()) {
            event.signal();
        }
        result.and(bus)
    }
}

impl<P: PciFunction> Card for Arc<Device<P>> {
    #[inline]
    fn write_tail(&self, offset: u32, tail: u32) {
        self.registers.write_offset(offset, tail);
    }

    fn domain(&self) -> &Domain {
        &self.domain
    }

    fn name(&self) -> &str {
        self.registers.device()
    }

    fn check(&self) -> Result<(), Error> {
        self.registers.check()?;
        if self.function.is_wanted_back() {
            return Err(BusError::WantedBack {
                device: self.registers.device().to_owned(),
            }
            .into());
        }
        Ok(())
    }

    fn arm(&self, kind: Option<InterruptKind>, queue: u32, event: &Event) -> Result<(), Error> {
        let device = || self.registers.device().to_owned();
        let kind = kind.ok_or_else(|| Error::NoInterrupts { device: device() })?;
        let _not_while_it_stops = self.arming.read().unwrap_or_else(PoisonError::into_inner);
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped { device: device() });
        }
        interrupts::arm(&self.registers, kind, queue, event);
        self.check()
    }

    fn again(&self) -> Box<dyn Card> {
        Box::new(Arc::clone(self))
    }

    fn start_rx_in_place(&self, index: u32, ring: &DescriptorRing) -> Result<(), Error> {
        in_place::start_rx(&self.registers, index, ring)
    }

    fn start_tx_in_place(&self, index: u32, ring: &InPlaceRing<Legacy>) -> Result<(), Error> {
        in_place::start_tx(&self.registers, index, ring)
    }

    fn stop_rx(&self, index: u32) -> bool {
        let rxdctl = Rxdctl::from_bits(self.registers.read_at(&RXDCTL, index));
        let disabled = rxdctl.with_enable(false).into_bits();
        self.registers.write_at(&RXDCTL, index, disabled);
        // once the whole device was stopped there is nothing to wait for
        self.stopped.load(Ordering::Acquire)
            || self.queue_stopped(&RXDCTL, index, |rxdctl| !Rxdctl::from_bits(rxdctl).enable())
    }

    fn stop_tx(&self, index: u32) -> bool {
        let txdctl = Txdctl::from_bits(self.registers.read_at(&TXDCTL, index));
        let disabled = txdctl.with_enable(false).into_bits();
        self.registers.write_at(&TXDCTL, index, disabled);
        self.stopped.load(Ordering::Acquire)
            || self.queue_stopped(&TXDCTL, index, |txdctl| !Txdctl::from_bits(txdctl).enable())
    }
}

impl<P: PciFunction> Drop for Device<P> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the device did not stop in order");
        }
    }
}
