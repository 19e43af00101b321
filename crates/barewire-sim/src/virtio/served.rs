//! What a server needs of a device beyond what a driver does.

use std::time::Duration;

use barewire_dma::DmaError;

use super::VirtioNic;
use super::bar::window_bytes;
use crate::handle::Core;
use crate::memory::{Access, Memory, Refused};
use crate::serve::{Fired, Pages, Served};
use crate::time::Nanos;
use crate::wire::Wire;

impl Served for VirtioNic {
    fn take_interrupts(&self, fired: Fired) {
        self.connect_interrupts(fired);
    }

    fn interrupt_line(&self) -> bool {
        let model = self.shared.access();
        !model.has_msix() && model.interrupts.status != 0
    }

    fn vectors(&self) -> u32 {
        self.shared.access().interrupts.vectors.into()
    }

    fn window_bytes(&self, index: u32) -> u32 {
        let interface = self.shared.access().config.interface;
        u8::try_from(index).map_or(0, |index| window_bytes(index, interface))
    }

    fn read_window(&self, index: u32, offset: u32, data: &mut [u8]) {
        let mut model = self.shared.access();
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let width = widest(at, rest.len());
            let (now, later) = rest.split_at_mut(width.into());
            model.before_access(&self.shared.doorbells);
            let value = model.read_window(index, at, width.into());
            for (to, from) in now.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
            at = at.wrapping_add(width.into());
            rest = later;
        }
    }

    fn write_window(&self, index: u32, offset: u32, data: &[u8]) {
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
            model.before_access(&self.shared.doorbells);
            model.write_window(index, at, width.into(), u32::from_le_bytes(value));
            at = at.wrapping_add(width.into());
            rest = later;
        }
    }

    fn config_word(&self, offset: u16) -> u32 {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.config_read(offset)
    }

    fn write_config(&self, offset: u16, bytes: &[u8]) {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        let word = model.pci.with_bytes(offset, bytes);
        model.config_write(offset & !3, word);
    }

    fn pages(&self) -> Result<Option<Pages>, DmaError> {
        Ok(None)
    }

    fn map_memory(
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

    fn unmap_memory(&self, start: u64, bytes: u64) {
        let mut model = self.shared.access();
        // What was handed over before may still be done.
        model.absorb(&self.shared.doorbells);
        model.iommu.unmap_range(start, bytes);
    }

    fn unmap_all(&self) {
        self.shared.access().iommu.clear();
    }

    fn power_cycle(&self) {
        let mut model = self.shared.access();
        self.shared.doorbells.take();
        model.power_on();
    }

    fn quiet_for(&self) -> Option<Duration> {
        let mut model = self.shared.access();
        model.advance(Nanos::ZERO);
        let now = model.now;
        model
            .reset_ends
            .map(|at| Duration::from_nanos(at.since(now).0))
    }

    fn look_at_wire(&self, look: &mut dyn FnMut(&mut dyn Wire)) {
        self.with_wire(look);
    }
}

/// The widest access that is possible: 4, 2 or 1 bytes.
fn widest(at: u32, left: usize) -> u8 {
    [4u8, 2]
        .into_iter()
        .find(|width| at.is_multiple_of(u32::from(*width)) && left >= usize::from(*width))
        .unwrap_or(1)
}
