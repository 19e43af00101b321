//! What all drivers have in common about their device: it is shared by its port and its queues, and
//! stopped when the last of them is dropped.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use barewire_bus::{BusError, Event, InterruptKind, Interrupts, PciFunction};
use barewire_dma::Domain;
use barewire_spec::pci::config::{self, command};

use crate::{Error, PortConfig};

/// What differs from driver to driver.
pub(crate) trait Chip: Send + Sync + 'static {
    /// The device's name.
    fn name(&self) -> &str;

    /// An error if the device is gone, or can't go on.
    fn check(&self) -> Result<(), Error>;

    /// What the device decodes: bits of the command register.
    fn decodes(&self) -> u16 {
        command::MEMORY_SPACE
    }

    /// Ends interrupts and DMA. Called once.
    fn quiesce(&self) -> Result<(), Error>;
}

pub(crate) struct Device<P: PciFunction, C: Chip> {
    /// Turned off before the function is closed.
    interrupts: OnceLock<Interrupts>,
    /// Read by queues that go to sleep, written while the device stops: no register is touched in
    /// the middle of a reset, and nobody falls asleep after it.
    arming: RwLock<()>,
    function: P,
    chip: C,
    domain: Domain,
    stopped: Arc<AtomicBool>,
    /// What the device may use until it is stopped.
    retired: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl<P: PciFunction, C: Chip> Device<P, C> {
    pub(crate) fn new(function: P, chip: C) -> Self {
        let domain = Domain::new(function.dma());
        Self {
            interrupts: OnceLock::new(),
            arming: RwLock::new(()),
            function,
            chip,
            domain,
            stopped: Arc::default(),
            retired: Mutex::default(),
        }
    }

    pub(crate) fn chip(&self) -> &C {
        &self.chip
    }

    /// The address space that rings and pools are mapped into.
    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Set when the device was stopped; nobody writes it before.
    pub(crate) fn stop_flag(&self) -> &Arc<AtomicBool> {
        &self.stopped
    }

    /// Lets the device answer on the bus, and read and write memory or not.
    pub(crate) fn set_bus_master(&self, on: bool) -> Result<(), Error> {
        // the status register shares the word; its bits are cleared by writing 1, so write 0
        let was = self.function.config_read32(config::COMMAND)? & 0xFFFF;
        let master = u32::from(command::BUS_MASTER);
        let command = (was | u32::from(self.chip.decodes())) & !master;
        let command = if on { command | master } else { command };
        Ok(self.function.config_write32(config::COMMAND, command)?)
    }

    /// Connects the device's interrupts: one for each receive queue and one for the link, or, where
    /// the device has but one, that of a single queue. `initialise` tells the device of them.
    pub(crate) fn events(
        &self,
        settings: &PortConfig,
        initialise: impl FnOnce(&C, &Interrupts) -> Result<(), Error>,
    ) -> Result<Events, Error> {
        let own = || Event::new().map(Arc::new).map_err(Error::Wait);
        if !settings.interrupts {
            let queues = (0..settings.rx_queues).map(|_| own());
            return Ok(Events {
                kind: None,
                queues: queues.collect::<Result<_, _>>()?,
                link: LinkEvent {
                    event: own()?,
                    signalled: false,
                },
            });
        }
        let connected = match self.function.interrupts(settings.rx_queues + 1) {
            Err(BusError::NoInterrupts { .. }) if settings.rx_queues == 1 => {
                self.function.interrupts(1)
            }
            other => other,
        }?;
        let connected = self.interrupts.get_or_init(|| connected);
        initialise(&self.chip, connected)?;
        let link = link_vector(connected, settings);
        Ok(Events {
            kind: Some(connected.kind()),
            queues: connected.vectors().to_vec(),
            link: LinkEvent {
                signalled: link.is_some(),
                event: link.map_or_else(own, |link| Ok(Arc::clone(link)))?,
            },
        })
    }

    /// An error if the device is gone, can't go on, or the system wants it back.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.chip.check()?;
        if self.function.is_wanted_back() {
            return Err(BusError::WantedBack {
                device: self.chip.name().to_owned(),
            }
            .into());
        }
        Ok(())
    }

    /// Arms a queue: has `lift` tell the device to interrupt, unless the device was stopped or
    /// can't.
    pub(crate) fn arm(
        &self,
        kind: Option<InterruptKind>,
        lift: impl FnOnce(&C, InterruptKind),
    ) -> Result<(), Error> {
        let device = || self.chip.name().to_owned();
        let kind = kind.ok_or_else(|| Error::NoInterrupts { device: device() })?;
        let _not_while_it_stops = self.arming.read().unwrap_or_else(PoisonError::into_inner);
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped { device: device() });
        }
        lift(&self.chip, kind);
        self.check()
    }

    /// Keeps what a queue leaves behind that can't be stopped alone, until the device is.
    pub(crate) fn retire(&self, ring: impl Any + Send) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.stopped.load(Ordering::Acquire) {
            retired.push(Box::new(ring));
        }
    }

    /// No interrupts, no DMA, no driver. Called again it does nothing.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let _nobody_falls_asleep = self.arming.write().unwrap_or_else(PoisonError::into_inner);
        let result = self.chip.quiesce();
        // what the device itself may refuse, the bus does not
        let bus = self.set_bus_master(false);
        if bus.is_ok() || matches!(result, Ok(()) | Err(Error::Gone { .. })) {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            self.stopped.store(true, Ordering::Release);
            retired.clear();
        }
        // whoever sleeps is to see that there is nothing to wait for any more
        for event in self.interrupts.get().iter().flat_map(|all| all.vectors()) {
            event.signal();
        }
        result.and(bus)
    }
}

impl<P: PciFunction, C: Chip> Drop for Device<P, C> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the device did not stop in order");
        }
        // it may still use what it has: better a leak than a frame in somebody else's buffer
        let retired = self
            .retired
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(std::mem::take(retired));
    }
}

/// The events of a port. All of them exist, signalled or not, so that there always is a file
/// descriptor to wait for.
pub(crate) struct Events {
    /// How queues interrupt, if they do.
    pub(crate) kind: Option<InterruptKind>,
    pub(crate) queues: Vec<Arc<Event>>,
    pub(crate) link: LinkEvent,
}

/// What is signalled when the link has changed, if it is.
pub(crate) struct LinkEvent {
    event: Arc<Event>,
    signalled: bool,
}

impl LinkEvent {
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Whether a change is signalled.
    pub(crate) fn is_signalled(&self) -> bool {
        self.signalled
    }

    /// Takes the signal back, and says whether there was one.
    pub(crate) fn take(&self, device: &str) -> Result<bool, Error> {
        if !self.signalled {
            let device = device.to_owned();
            return Err(Error::NoInterrupts { device });
        }
        Ok(self.event.clear())
    }
}

/// The event of the link: of the vector behind the queues', if there is one.
pub(crate) fn link_vector<'a>(
    interrupts: &'a Interrupts,
    settings: &PortConfig,
) -> Option<&'a Arc<Event>> {
    let vectors = interrupts.vectors();
    let link = vectors.get(usize::from(settings.rx_queues))?;
    (interrupts.kind() == InterruptKind::MsiX).then_some(link)
}
