//! What a server needs of a device beyond what a driver does.

use std::time::Duration;

use super::VirtioNic;
use super::bar::window_bytes;
use crate::memory::{Access, Memory, Refused};
use crate::time::Nanos;

impl VirtioNic {
    /// The status holds an interrupt line down.
    pub(crate) fn interrupt_line(&self) -> bool {
        let model = self.shared.access();
        !model.has_msix() && model.interrupts.status != 0
    }

    pub(crate) fn vectors(&self) -> u32 {
        self.shared.access().interrupts.vectors.into()
    }

    pub(crate) fn window_bytes(&self, index: u32) -> u32 {
        let interface = self.shared.access().config.interface;
        u8::try_from(index).map_or(0, |index| window_bytes(index, interface))
    }

    /// Reads a window: one field if it is one, else piece by piece.
    pub(crate) fn read_window(&self, index: u32, offset: u32, data: &mut [u8]) {
        let mut model = self.shared.access();
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let width = widest(at, rest.len());
            let (now, later) = rest.split_at_mut(width.into());
            model.before_access(&self.shared.bells);
            let value = model.read_window(index, at, width.into());
            for (to, from) in now.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
            at = at.wrapping_add(width.into());
            rest = later;
        }
    }

    /// Writes a window: one field if it is one, else piece by piece.
    pub(crate) fn write_window(&self, index: u32, offset: u32, data: &[u8]) {
        let mut model = self.shared.access();
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let width = widest(at, rest.len());
            let (now, later) = rest.split_at(width.into());
            let mut value = [0; 4];
            for (to, from) in value.iter_mut().zip(now) {
                *to = *from;
            }
            model.before_access(&self.shared.bells);
            model.write_window(index, at, width.into(), u32::from_le_bytes(value));
            at = at.wrapping_add(width.into());
            rest = later;
        }
    }

    pub(crate) fn config_word(&self, offset: u16) -> u32 {
        let mut model = self.shared.access();
        model.before_access(&self.shared.bells);
        model.config_read(offset)
    }

    /// Writes 1 to 4 bytes of configuration space that lie in one word.
    pub(crate) fn write_config(&self, offset: u16, bytes: &[u8]) {
        let mut model = self.shared.access();
        model.before_access(&self.shared.bells);
        let mut word = model.pci.read(offset).to_le_bytes();
        let place = word.iter_mut().skip(usize::from(offset % 4));
        for (to, from) in place.zip(bytes) {
            *to = *from;
        }
        model.config_write(offset & !3, u32::from_le_bytes(word));
    }

    pub(crate) fn map_memory(
        &self,
        start: u64,
        bytes: u64,
        access: Access,
        memory: Memory,
    ) -> Result<(), Refused> {
        self.shared
            .access()
            .iommu
            .map_at(start, bytes, access, memory)
    }

    pub(crate) fn unmap_memory(&self, start: u64, bytes: u64) {
        let mut model = self.shared.access();
        // What was handed over before may still be done.
        model.absorb(&self.shared.bells);
        model.iommu.unmap_range(start, bytes);
    }

    pub(crate) fn unmap_all(&self) {
        self.shared.access().iommu.clear();
    }

    /// Switches the device off and on again. Its wire, its memory and who takes its interrupts
    /// stay; so do its clock and the violations.
    pub(crate) fn power_cycle(&self) {
        let mut model = self.shared.access();
        self.shared.bells.take();
        model.power_on();
    }

    /// How long nothing falls due in the device by itself: only the end of a reset ever does.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let mut model = self.shared.access();
        model.advance(Nanos::ZERO);
        let now = model.now;
        model
            .reset_ends
            .map(|at| Duration::from_nanos(at.since(now).0))
    }
}

/// The widest access that is possible: 4, 2 or 1 bytes.
fn widest(at: u32, left: usize) -> u8 {
    [4u8, 2]
        .into_iter()
        .find(|width| at.is_multiple_of(u32::from(*width)) && left >= usize::from(*width))
        .unwrap_or(1)
}
