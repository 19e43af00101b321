//! The device as seen from the bus: registers, configuration space and the memory it may reach.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use barewire_bus::{Bar, BusError, Interrupts, PciFunction};
use barewire_dma::DmaMap;
use barewire_spec::pci::config;
use barewire_spec::virtio::pci::capability;

use super::config_space::{
    ACCESS_CAPABILITY, DEVICE_CONTROL, LEGACY_BAR, LEGACY_BYTES, MODERN_BAR, MODERN_BYTES,
    MSIX_BAR, MSIX_BYTES, MULTIPLIER, NOTIFY, NOTIFY_BYTES, PENDING,
};
use super::model::Model;
use super::modern::ones;
use super::{Interface, Shared, events};
use crate::handle::Core;

/// Bytes of the window that an index names; 0 if there is none.
pub(super) fn window_bytes(index: u8, interface: Interface) -> u32 {
    match index {
        LEGACY_BAR if interface == Interface::Transitional => LEGACY_BYTES,
        MSIX_BAR => MSIX_BYTES,
        MODERN_BAR => MODERN_BYTES,
        _ => 0,
    }
}

/// A window of a software virtio device.
///
/// A notification costs a store while the device runs on a thread; everything else takes the
/// device's lock for the moment of the access.
#[derive(Clone)]
pub struct VirtioBar {
    shared: Arc<Shared>,
    index: u8,
    size: u32,
}

impl fmt::Debug for VirtioBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioBar")
            .field("device", &self.shared.name)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl VirtioBar {
    /// Reads `width` bytes; all ones outside the window and off a multiple of the width.
    fn read(&self, offset: u32, width: u32) -> u32 {
        if !offset.is_multiple_of(width) || offset.saturating_add(width) > self.size {
            return ones(width);
        }
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.read_window(self.index, offset, width)
    }

    fn write(&self, offset: u32, width: u32, value: u32) {
        if !offset.is_multiple_of(width) || offset.saturating_add(width) > self.size {
            return;
        }
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.write_window(self.index, offset, width, value);
    }

    /// The queue that a write notifies, if it is a notification as it should be.
    #[inline]
    fn notified(&self, offset: u32, value: u16) -> Option<u32> {
        let within = offset.checked_sub(NOTIFY)?;
        let place = within / MULTIPLIER;
        let sound = self.index == MODERN_BAR
            && within < NOTIFY_BYTES
            && within.is_multiple_of(MULTIPLIER)
            && place == u32::from(value);
        sound.then_some(place)
    }
}

impl Bar for VirtioBar {
    fn size(&self) -> u32 {
        self.size
    }

    fn read32(&self, offset: u32) -> u32 {
        self.read(offset, 4)
    }

    fn write32(&self, offset: u32, value: u32) {
        self.write(offset, 4, value);
    }

    fn read16(&self, offset: u32) -> u16 {
        u16::try_from(self.read(offset, 2)).unwrap_or(u16::MAX)
    }

    #[inline]
    fn write16(&self, offset: u32, value: u16) {
        if let Some(queue) = self.notified(offset, value)
            && !self.shared.is_stepped()
        {
            self.shared.doorbells.ring(queue);
            return;
        }
        self.write(offset, 2, value.into());
    }

    fn read8(&self, offset: u32) -> u8 {
        u8::try_from(self.read(offset, 1)).unwrap_or(u8::MAX)
    }

    fn write8(&self, offset: u32, value: u8) {
        self.write(offset, 1, value.into());
    }

    fn delay(&self, duration: Duration) {
        self.shared.delay(duration);
    }
}

/// A software virtio device as a PCI function.
pub struct VirtioFunction {
    shared: Arc<Shared>,
}

impl VirtioFunction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Lets `duration` of the device's time pass, with the device at work.
    pub fn run_for(&self, duration: Duration) {
        self.shared.run_for(duration);
    }
}

impl fmt::Debug for VirtioFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioFunction")
            .field("device", &self.shared.name)
            .finish()
    }
}

impl PciFunction for VirtioFunction {
    type Bar = VirtioBar;

    fn name(&self) -> &str {
        &self.shared.name
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        Ok(model.config_read(offset))
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.config_write(offset, value);
        Ok(())
    }

    fn bar(&self, index: u8) -> Result<Self::Bar, BusError> {
        let size = window_bytes(index, self.shared.access().config.interface);
        if size == 0 {
            return Err(BusError::NoBar {
                device: self.shared.name.clone(),
                index,
            });
        }
        Ok(VirtioBar {
            shared: Arc::clone(&self.shared),
            index,
            size,
        })
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        self.shared.dma()
    }

    fn interrupts(&self, vectors: u16) -> Result<Interrupts, BusError> {
        events::connect(&self.shared, vectors)
    }
}

impl Model {
    /// Reads 1, 2 or 4 bytes of a window, within its bounds.
    pub(super) fn read_window(&mut self, index: u8, offset: u32, width: u32) -> u32 {
        if self.removed || self.pci.is_asleep() {
            return ones(width);
        }
        let value = match index {
            LEGACY_BAR => self.read_legacy(offset, width),
            MODERN_BAR => self.read_modern(offset, width),
            _ => self.read_table(offset),
        };
        self.note_access("read", index, offset, value);
        value
    }

    /// Writes 1, 2 or 4 bytes of a window, within its bounds.
    pub(super) fn write_window(&mut self, index: u8, offset: u32, width: u32, value: u32) {
        if self.removed || self.pci.is_asleep() {
            return;
        }
        self.note_access("write", index, offset, value);
        match index {
            LEGACY_BAR => self.write_legacy(offset, width, value),
            MODERN_BAR => self.write_modern(offset, width, value),
            _ => self.write_table(offset, value),
        }
    }

    fn note_access(&mut self, access: &str, index: u8, offset: u32, value: u32) {
        if self.trace.is_some() {
            let place: &dyn fmt::Display = match index {
                MODERN_BAR => &self.place(offset),
                _ => &format_args!("BAR{index}+{offset:#x}"),
            };
            let event = format!("{place} = {value:#x}");
            self.note(access, &event);
        }
    }

    fn read_table(&self, offset: u32) -> u32 {
        let waiting = self.interrupts.waiting;
        let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0);
        match offset & !3 {
            PENDING => half(waiting),
            at if at == PENDING + 4 => half(waiting >> 32),
            at => self.interrupts.table.read(at).unwrap_or(0),
        }
    }

    fn write_table(&mut self, offset: u32, value: u32) {
        self.interrupts.table.write(offset & !3, value);
        self.send_waiting();
    }

    /// Reads the word of configuration space at `offset`, a multiple of 4.
    pub(super) fn config_read(&mut self, offset: u16) -> u32 {
        if self.removed {
            return u32::MAX;
        }
        if offset & !3 == ACCESS_CAPABILITY + u16::from(capability::BYTES)
            && let Some((bar, at, width)) = self.access_window()
        {
            return self.read_window(bar, at, width);
        }
        self.pci.read(offset)
    }

    /// Writes configuration space; a function-level reset is the whole device's.
    pub(super) fn config_write(&mut self, offset: u16, value: u32) {
        if self.removed {
            return;
        }
        self.note("config", &format_args!("{offset:#05x} = {value:#010x}"));
        if offset & !3 == ACCESS_CAPABILITY + u16::from(capability::BYTES)
            && let Some((bar, at, width)) = self.access_window()
        {
            self.write_window(bar, at, width, value & ones(width));
            return;
        }
        let reset = u32::from(config::express::DEVICE_CONTROL_FLR);
        if offset & !3 == DEVICE_CONTROL & !3 && value & reset != 0 {
            self.power_on();
            return;
        }
        self.pci.write(offset, value);
        if self.pci.is_master() {
            self.master_reported = false;
        }
        self.send_waiting();
    }

    /// What the configuration access capability points at, if that is an access (VIRTIO §4.1.4.9).
    fn access_window(&self) -> Option<(u8, u32, u32)> {
        let [bar, ..] = self
            .pci
            .read(ACCESS_CAPABILITY + capability::BAR)
            .to_le_bytes();
        let offset = self.pci.read(ACCESS_CAPABILITY + capability::OFFSET);
        let width = self.pci.read(ACCESS_CAPABILITY + capability::SIZE);
        let size = window_bytes(bar, self.config.interface);
        let sound = matches!(width, 1 | 2 | 4)
            && offset.is_multiple_of(width)
            && offset.checked_add(width)? <= size;
        sound.then_some((bar, offset, width))
    }
}
