//! A virtio device's registers over PCI (VIRTIO §4.1.4.3, §4.1.4.10), whichever interface they are
//! reached by.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use barewire_bus::{Bar, PciFunction};
use barewire_dma::Iova;
use barewire_spec::pci::config::command;
use barewire_spec::virtio::pci::common;
use barewire_spec::virtio::{NO_VECTOR, feature, legacy, status};

use super::interface::Interface;
use crate::Error;
use crate::device::Chip;
use crate::patience::Patience;

/// How long a reset may take. A device that is served by another process has to stop its threads.
const RESET: Patience = Patience::new(100, 3000);
/// How many times a configuration that changes while it is read is read again.
const ATTEMPTS: usize = 100;

/// A device's registers.
pub(super) struct Transport<B> {
    interface: Interface<B>,
    device: String,
    /// What was negotiated.
    features: AtomicU64,
    /// The driver is ready: from now on the status tells when the device is not.
    running: AtomicBool,
}

/// Where a queue is notified, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doorbell {
    offset: u32,
    queue: u16,
}

impl<B: Bar> Transport<B> {
    /// Finds out how the device is reached, and maps that.
    pub(super) fn find<P: PciFunction<Bar = B>>(function: &P) -> Result<Self, Error> {
        Ok(Self {
            interface: Interface::find(function)?,
            device: function.name().to_owned(),
            features: AtomicU64::new(0),
            running: AtomicBool::new(false),
        })
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn is_legacy(&self) -> bool {
        matches!(self.interface, Interface::Legacy { .. })
    }

    /// Some window of the device, to let its time pass.
    pub(super) fn bar(&self) -> &B {
        match &self.interface {
            Interface::Legacy { ports, .. } => ports,
            Interface::Modern { common, .. } => &common.bar,
        }
    }

    /// The window that the common configuration is in and where in there, or nothing.
    fn common(&self) -> Option<(&B, u32)> {
        match &self.interface {
            Interface::Legacy { .. } => None,
            Interface::Modern { common, .. } => Some((&common.bar, common.offset)),
        }
    }

    fn ports(&self) -> Option<&B> {
        match &self.interface {
            Interface::Legacy { ports, .. } => Some(ports),
            Interface::Modern { .. } => None,
        }
    }

    pub(super) fn status(&self) -> u8 {
        match (self.common(), self.ports()) {
            (Some((bar, at)), _) => bar.read8(at + common::STATUS),
            (_, Some(ports)) => ports.read8(legacy::STATUS),
            _ => 0,
        }
    }

    fn set_status(&self, value: u8) {
        match (self.common(), self.ports()) {
            (Some((bar, at)), _) => bar.write8(at + common::STATUS, value),
            (_, Some(ports)) => ports.write8(legacy::STATUS, value),
            _ => {}
        }
    }

    /// Adds a bit to the status.
    pub(super) fn advance(&self, bit: u8) {
        self.set_status(self.status() | bit);
        if bit == status::DRIVER_OK {
            self.running.store(true, Ordering::Release);
        }
    }

    /// Gives up, as the device is told.
    pub(super) fn fail(&self) {
        self.running.store(false, Ordering::Release);
        self.set_status(self.status() | status::FAILED);
    }

    /// Resets the device and waits until it has forgotten everything (VIRTIO §2.4.2).
    pub(super) fn reset(&self) -> Result<(), Error> {
        self.running.store(false, Ordering::Release);
        if self.status() == u8::MAX {
            self.gone()?;
        }
        self.set_status(0);
        let mut last = 0;
        let over = RESET.wait(self.bar(), || {
            last = self.status();
            if last == u8::MAX {
                self.gone()?;
            }
            Ok((last == 0).then_some(()))
        })?;
        over.ok_or_else(|| self.timeout("the end of the reset", last, RESET))
    }

    pub(super) fn timeout(&self, what: &'static str, value: u8, patience: Patience) -> Error {
        Error::Timeout {
            device: self.device.clone(),
            what,
            register: "device_status",
            value: u32::from(value),
            millis: patience.millis(),
        }
    }

    /// An error if nothing answers.
    fn gone(&self) -> Result<(), Error> {
        let silent = match (self.common(), self.ports()) {
            (Some((bar, at)), _) => bar.read32(at + common::DEVICE_FEATURE_SELECT) == u32::MAX,
            (_, Some(ports)) => ports.read32(legacy::DEVICE_FEATURES) == u32::MAX,
            _ => true,
        };
        if silent {
            return Err(Error::gone(&self.device));
        }
        Ok(())
    }

    /// What the device offers.
    pub(super) fn offered(&self) -> u64 {
        match (self.common(), self.ports()) {
            (Some((bar, at)), _) => {
                let half = |which: u32| {
                    bar.write32(at + common::DEVICE_FEATURE_SELECT, which);
                    u64::from(bar.read32(at + common::DEVICE_FEATURE))
                };
                half(0) | half(1) << 32
            }
            (_, Some(ports)) => u64::from(ports.read32(legacy::DEVICE_FEATURES)),
            _ => 0,
        }
    }

    /// Says which features the driver wants, and whether the device agrees (VIRTIO §3.1.1).
    pub(super) fn accept(&self, features: u64) -> Result<(), Error> {
        self.features.store(features, Ordering::Release);
        let half = |which: u32| {
            let part = features >> (which * 32) & u64::from(u32::MAX);
            u32::try_from(part).unwrap_or(0)
        };
        if let Some((bar, at)) = self.common() {
            for which in [0, 1] {
                bar.write32(at + common::DRIVER_FEATURE_SELECT, which);
                bar.write32(at + common::DRIVER_FEATURE, half(which));
            }
            self.advance(status::FEATURES_OK);
            if self.status() & status::FEATURES_OK == 0 {
                let what = format!("it does not agree to the features {features:#x} of its offer");
                return Err(Error::broken(&self.device, what));
            }
        } else if let Some(ports) = self.ports() {
            ports.write32(legacy::DRIVER_FEATURES, half(0));
        }
        Ok(())
    }

    /// Whether a feature was negotiated.
    pub(super) fn has(&self, features: u64) -> bool {
        self.features.load(Ordering::Acquire) & features == features
    }

    /// Says that MSI-X is on, which moves the legacy interface's configuration.
    pub(super) fn msix_is_on(&self) {
        if let Interface::Legacy { msix, .. } = &self.interface {
            msix.store(true, Ordering::Release);
        }
    }

    /// Reads a field of `N` bytes of the device's own configuration, all of the same moment.
    pub(super) fn config<const N: usize>(&self, offset: u32) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        match &self.interface {
            Interface::Modern { common, config, .. } => {
                let outside = || {
                    let what = format!("its configuration ends before {offset}");
                    Error::broken(&self.device, what)
                };
                let config = config.as_ref().ok_or_else(outside)?;
                let end = u32::try_from(N).ok().and_then(|n| offset.checked_add(n));
                if end.is_none_or(|end| end > config.size) {
                    return Err(outside());
                }
                let generation = common.offset + common::CONFIG_GENERATION;
                for _ in 0..ATTEMPTS {
                    let before = common.bar.read8(generation);
                    let at = config.offset + offset;
                    read_field(&*config.bar, at, &mut bytes);
                    if common.bar.read8(generation) == before {
                        return Ok(bytes);
                    }
                }
                let what = "its configuration never stops changing";
                Err(Error::broken(&self.device, what))
            }
            Interface::Legacy { ports, msix } => {
                let first = if msix.load(Ordering::Acquire) {
                    legacy::DEVICE_CONFIG_MSIX
                } else {
                    legacy::DEVICE_CONFIG
                };
                // there is no generation: until it is twice the same (VIRTIO §2.5.4)
                for _ in 0..ATTEMPTS {
                    let before = bytes;
                    read_field(ports, first + offset, &mut bytes);
                    if bytes == before {
                        break;
                    }
                }
                Ok(bytes)
            }
        }
    }

    /// Gives configuration changes a vector, and says whether the device agrees.
    pub(super) fn set_config_vector(&self, vector: u16) -> bool {
        match (self.common(), self.ports()) {
            (Some((bar, at)), _) => {
                bar.write16(at + common::CONFIG_VECTOR, vector);
                bar.read16(at + common::CONFIG_VECTOR) == vector
            }
            (_, Some(ports)) => {
                ports.write16(legacy::CONFIG_VECTOR, vector);
                ports.read16(legacy::CONFIG_VECTOR) == vector
            }
            _ => false,
        }
    }

    /// How many descriptors a queue has, at most; 0 where there is no such queue.
    pub(super) fn queue_size(&self, queue: u16) -> u16 {
        match (self.common(), self.ports()) {
            (Some((bar, at)), _) => {
                if queue >= bar.read16(at + common::NUM_QUEUES) {
                    return 0;
                }
                bar.write16(at + common::QUEUE_SELECT, queue);
                bar.read16(at + common::QUEUE_SIZE)
            }
            (_, Some(ports)) => {
                ports.write16(legacy::QUEUE_SELECT, queue);
                ports.read16(legacy::QUEUE_SIZE)
            }
            _ => 0,
        }
    }

    /// Starts a queue of `size` descriptors, whose parts are at these addresses.
    pub(super) fn start_queue(
        &self,
        queue: u16,
        size: u16,
        addresses: [Iova; 3],
        vector: Option<u16>,
    ) -> Result<Doorbell, Error> {
        match &self.interface {
            Interface::Modern {
                common,
                notify,
                multiplier,
                ..
            } => {
                let (bar, at) = (&common.bar, common.offset);
                bar.write16(at + common::QUEUE_SELECT, queue);
                bar.write16(at + common::QUEUE_SIZE, size);
                let place = [
                    common::QUEUE_DESC,
                    common::QUEUE_DRIVER,
                    common::QUEUE_DEVICE,
                ];
                for (offset, address) in place.into_iter().zip(addresses) {
                    bar.write32(at + offset, address.low());
                    bar.write32(at + offset + 4, address.high());
                }
                let wanted = vector.unwrap_or(NO_VECTOR);
                bar.write16(at + common::QUEUE_VECTOR, wanted);
                self.agreed(queue, vector, bar.read16(at + common::QUEUE_VECTOR))?;
                let unit = u32::from(bar.read16(at + common::QUEUE_NOTIFY_OFF));
                let offset = unit.checked_mul(*multiplier);
                let offset = offset.filter(|offset| *offset <= notify.size - 2);
                let offset = offset.and_then(|offset| offset.checked_add(notify.offset));
                let offset = offset.ok_or_else(|| {
                    let what = format!("queue {queue} is to be notified outside its window");
                    Error::broken(&self.device, what)
                })?;
                bar.write16(at + common::QUEUE_ENABLE, 1);
                Ok(Doorbell { offset, queue })
            }
            Interface::Legacy { ports, .. } => {
                let pages = addresses[0].get() / u64::from(legacy::PAGE);
                let page = u32::try_from(pages).map_err(|_| {
                    let what = "its legacy interface takes no address of 16 TiB or above";
                    Error::broken(&self.device, what)
                })?;
                ports.write16(legacy::QUEUE_SELECT, queue);
                if let Some(wanted) = vector {
                    ports.write16(legacy::QUEUE_VECTOR, wanted);
                    self.agreed(queue, vector, ports.read16(legacy::QUEUE_VECTOR))?;
                }
                ports.write32(legacy::QUEUE_ADDRESS, page);
                let offset = legacy::QUEUE_NOTIFY;
                Ok(Doorbell { offset, queue })
            }
        }
    }

    /// An error where the device has no resources for a vector (VIRTIO §4.1.5.1.2.2).
    fn agreed(&self, queue: u16, wanted: Option<u16>, has: u16) -> Result<(), Error> {
        match wanted {
            Some(vector) if has != vector => {
                let what = format!("it can't interrupt for queue {queue}: poll");
                Err(Error::broken(&self.device, what))
            }
            _ => Ok(()),
        }
    }

    /// Tells the device of a queue's new chains.
    #[inline]
    pub(super) fn notify(&self, doorbell: Doorbell) {
        let bar = match &self.interface {
            Interface::Modern { notify, .. } => &notify.bar,
            Interface::Legacy { ports, .. } => ports,
        };
        bar.write16(doorbell.offset, doorbell.queue);
    }
}

/// Reads a field of a configuration by its own width, or, as the MAC address, byte by byte
/// (VIRTIO §4.1.3.1).
fn read_field<B: Bar>(bar: &B, at: u32, into: &mut [u8]) {
    match into {
        [_] => into.copy_from_slice(&[bar.read8(at)]),
        [_, _] => into.copy_from_slice(&bar.read16(at).to_le_bytes()),
        [_, _, _, _] => into.copy_from_slice(&bar.read32(at).to_le_bytes()),
        bytes => {
            for (byte, at) in bytes.iter_mut().zip(at..) {
                *byte = bar.read8(at);
            }
        }
    }
}

impl<B: Bar> Chip for Transport<B> {
    fn name(&self) -> &str {
        &self.device
    }

    fn decodes(&self) -> u16 {
        if self.is_legacy() {
            command::MEMORY_SPACE | command::IO_SPACE
        } else {
            command::MEMORY_SPACE
        }
    }

    fn check(&self) -> Result<(), Error> {
        let now = self.status();
        if now == u8::MAX {
            self.gone()?;
        }
        if !self.running.load(Ordering::Acquire) {
            return Ok(());
        }
        if now & status::NEEDS_RESET != 0 {
            let what = "it has met an error and needs a reset (DEVICE_NEEDS_RESET): open it again";
            return Err(Error::broken(&self.device, what));
        }
        if now & status::DRIVER_OK == 0 {
            let what = format!("it was reset behind our back: its status is {now:#x}");
            return Err(Error::broken(&self.device, what));
        }
        Ok(())
    }

    fn quiesce(&self) -> Result<(), Error> {
        self.reset()
    }
}

/// The features of which a ring's format is made up.
pub(super) fn queue_features<B: Bar>(transport: &Transport<B>) -> barewire_dma::QueueFeatures {
    barewire_dma::QueueFeatures {
        event_idx: transport.has(feature::EVENT_IDX),
        in_order: transport.has(feature::IN_ORDER),
        indirect: transport.has(feature::INDIRECT_DESC),
        legacy: transport.is_legacy(),
    }
}
