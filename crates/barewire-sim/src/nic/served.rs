//! What a server needs of a device beyond what a driver does.

use std::time::Duration;

use barewire_bus::vfio_user::pci;
use barewire_dma::DmaError;
use barewire_spec::ixgbe::limits;

use super::Nic;
use super::control::GONE;
use super::doorbell::{Direction, QUEUES};
use super::model::Model;
use super::plug::Plug;
use super::registers::slot;
use crate::handle::Core;
use crate::memory::{Access, Memory, Refused};
use crate::serve::{Fired, Pages, Served, read_words, write_words};
use crate::time::Nanos;
use crate::violation::Rule;
use crate::wire::Wire;

/// The window of the 82599's MSI-X table and its pending bits.
const TABLE: u32 = 3;

/// A queue as its registers show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueView {
    pub(crate) direction: Direction,
    pub(crate) queue: usize,
    pub(crate) enabled: bool,
    pub(crate) head: u32,
}

impl Served for Nic {
    fn take_interrupts(&self, fired: Fired) {
        self.connect_interrupts(fired);
    }

    fn interrupt_line(&self) -> bool {
        Self::interrupt_line(self)
    }

    fn vectors(&self) -> u32 {
        limits::MSIX_VECTORS
    }

    fn window_bytes(&self, index: u32) -> u32 {
        match index {
            pci::REGION_BAR0 => limits::BAR0_SIZE,
            TABLE => limits::BAR3_SIZE,
            _ => 0,
        }
    }

    fn read_window(&self, index: u32, offset: u32, data: &mut [u8]) {
        if index == TABLE {
            read_words(offset, data, |at| self.read_vectors(at));
        } else if offset.is_multiple_of(4) && data.len().is_multiple_of(4) {
            read_words(offset, data, |at| self.read_register(at));
        } else {
            self.misaligned(offset.into(), data.len(), "read");
            data.fill(0xFF);
        }
    }

    fn write_window(&self, index: u32, offset: u32, data: &[u8]) {
        if index == TABLE {
            write_words(
                offset,
                data,
                |at| self.read_vectors(at),
                |at, word| self.write_vectors(at, word),
            );
        } else if offset.is_multiple_of(4) && data.len().is_multiple_of(4) {
            for (word, at) in data.as_chunks::<4>().0.iter().zip((offset..).step_by(4)) {
                self.write_register(at, u32::from_le_bytes(*word));
            }
        } else {
            self.misaligned(offset.into(), data.len(), "write");
        }
    }

    fn config_word(&self, offset: u16) -> u32 {
        let model = self.shared.access();
        if model.removed {
            GONE
        } else {
            model.pci.read(offset)
        }
    }

    fn write_config(&self, offset: u16, bytes: &[u8]) {
        let mut model = self.shared.access();
        model.absorb(&self.shared.doorbells);
        let word = model.pci.with_bytes(offset, bytes);
        model.config_write(offset & !3, word);
    }

    fn pages(&self) -> Result<Option<Pages>, DmaError> {
        Pages::new(self.clone()).map(Some)
    }

    fn map_memory(
        &self,
        start: u64,
        bytes: u64,
        access: Access,
        memory: Memory,
    ) -> Result<(), Refused> {
        let mut model = self.shared.access();
        let directly = matches!(memory, Memory::Mapped(..));
        model.iommu.map_at(start, bytes, access, memory)?;
        let now = model.now;
        if let Some(trace) = &mut model.trace {
            let Access { read, write } = access;
            let flags = [(read, "r"), (write, "w")].map(|(may, flag)| if may { flag } else { "-" });
            let how = if directly { "mapped" } else { "asked for" };
            let event = format_args!("{start:#x}, {bytes:#x} bytes, {}, {how}", flags.concat());
            trace.note(now, "map", &event);
        }
        Ok(())
    }

    fn unmap_memory(&self, start: u64, bytes: u64) {
        let mut model = self.shared.access();
        // What was handed over before may still be done.
        model.absorb(&self.shared.doorbells);
        model.stop_waiting();
        let now = model.now;
        if let Some(trace) = &mut model.trace {
            trace.note(now, "unmap", &format_args!("{start:#x}, {bytes:#x} bytes"));
        }
        model.iommu.unmap_range(start, bytes);
    }

    fn unmap_all(&self) {
        self.shared.access().iommu.clear();
    }

    fn power_cycle(&self) {
        let mut model = self.shared.access();
        model.absorb(&self.shared.doorbells);
        model.power_cycle();
    }

    fn quiet_for(&self) -> Option<Duration> {
        let mut model = self.shared.access();
        model.advance(Nanos::ZERO);
        let at = model.next_event;
        (at != Nanos(u64::MAX)).then(|| Duration::from_nanos(at.since(model.now).0))
    }

    fn look_at_wire(&self, look: &mut dyn FnMut(&mut dyn Wire)) {
        self.with_wire(look);
    }
}

impl Nic {
    /// Writes a register at once, tails too, so that none is overtaken by the next.
    pub(crate) fn write_register(&self, offset: u32, value: u32) {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.write(offset, value);
    }

    /// Reads a register.
    pub(crate) fn read_register(&self, offset: u32) -> u32 {
        let mut model = self.shared.access();
        model.before_access(&self.shared.doorbells);
        model.read(offset)
    }

    /// Records an access to registers that is not one aligned word.
    pub(crate) fn misaligned(&self, offset: u64, bytes: usize, access: &'static str) {
        self.shared.access().violate(
            Rule::Misaligned,
            || format!("{access} of {bytes} bytes at BAR0+{offset:#x}"),
            0,
            String::new,
            "82599 §8.1",
        );
    }

    /// Shows the values of registers whose reading changes nothing to `see`.
    pub(crate) fn peek(&self, offsets: impl Iterator<Item = u32>, mut see: impl FnMut(u32, u32)) {
        let mut model = self.shared.access();
        let device = model.config.device;
        for offset in offsets {
            if let Some(slot) = slot(offset, device) {
                let value = model.read_slot(&slot);
                see(offset, value);
            }
        }
    }

    /// Starts and stops the queues that are to, without the time that takes.
    pub(crate) fn settle_queues(&self) {
        let mut model = self.shared.access();
        let now = model.now;
        for switch in &mut model.switches {
            switch.at = now;
        }
        model.finish_switches();
    }

    /// Shows all queues to `see`.
    pub(crate) fn view_queues(&self, mut see: impl FnMut(QueueView)) {
        let model = self.shared.access();
        for queue in 0..QUEUES {
            for (direction, ring) in [
                (Direction::Receive, &model.rx[queue].ring),
                (Direction::Transmit, &model.tx[queue].ring),
            ] {
                see(QueueView {
                    direction,
                    queue,
                    enabled: ring.enabled,
                    head: ring.head,
                });
            }
        }
    }
}

impl Model {
    fn power_cycle(&mut self) {
        let wire = std::mem::replace(&mut self.wire, Plug::Whole(Plug::nothing()));
        let mut config = self.config.clone();
        config.plugged = self.link.is_plugged();
        let mut fresh = Self::new(config, wire);
        fresh.set_clock_from(self);
        std::mem::swap(&mut fresh.log, &mut self.log);
        std::mem::swap(&mut fresh.iommu, &mut self.iommu);
        std::mem::swap(&mut fresh.exceptions, &mut self.exceptions);
        fresh.interrupts.take_signal(&mut self.interrupts);
        std::mem::swap(&mut fresh.trace, &mut self.trace);
        if let Some(trace) = &mut fresh.trace {
            trace.note(fresh.now, "power", &"off and on");
        }
        std::mem::swap(&mut fresh.statistics, &mut self.statistics);
        fresh.statistics.restart();
        fresh.removed = self.removed;
        *self = fresh;
        self.power_on();
    }
}
