//! What a server needs of a device beyond what a program does.

use std::sync::Arc;
use std::time::Duration;

use barewire_bus::vfio_user::pci;
use barewire_dma::DmaError;
use barewire_spec::ixgbe::limits;
use barewire_spec::pci::config;

use super::interrupts::Fired;
use super::pages::Pages;
use super::regions::{read_words, write_words};
use crate::device::Device;
use crate::memory::{Access, Memory, Refused};
use crate::nic::Nic;
use crate::virtio::VirtioNic;
use crate::wire::Wire;

/// A device that a server can show to its clients.
///
/// It is for the devices of this crate only.
pub trait Served: Device {
    /// Sends the device's interrupts there.
    fn take_interrupts(&self, fired: Fired);

    /// The device holds its interrupt line down, if it uses one.
    fn interrupt_line(&self) -> bool;

    /// Vectors of MSI-X.
    fn vectors(&self) -> u32;

    /// Bytes of a base address register's window, 0 for one that the device has not.
    fn window_bytes(&self, index: u32) -> u32;

    /// Reads a window, within its bounds.
    fn read_window(&self, index: u32, offset: u32, data: &mut [u8]);

    /// Writes a window, within its bounds.
    fn write_window(&self, index: u32, offset: u32, data: &[u8]);

    /// Reads the word of configuration space at `offset`, a multiple of 4.
    fn config_word(&self, offset: u16) -> u32;

    /// Writes 1 to 4 bytes of configuration space that lie in one word.
    fn write_config(&self, offset: u16, bytes: &[u8]);

    /// Pages of registers that a client may map, if the device has some.
    ///
    /// # Errors
    /// When there is no memory for them.
    fn pages(&self) -> Result<Option<Pages>, DmaError>;

    /// Maps memory where the other side of the bus wants it.
    ///
    /// # Errors
    /// When it can't be mapped there.
    fn map_memory(
        &self,
        start: u64,
        bytes: u64,
        access: Access,
        memory: Memory,
    ) -> Result<(), Refused>;

    /// Takes memory away again.
    fn unmap_memory(&self, start: u64, bytes: u64);

    /// Takes all memory away.
    fn unmap_all(&self);

    /// Switches the device off and on again. Its wire, its memory and who takes its interrupts
    /// stay; so do its clock and the violations.
    fn power_cycle(&self);

    /// How long nothing falls due in the device by itself; `None` if nothing ever does.
    fn quiet_for(&self) -> Option<Duration>;

    /// Lets `look` see the wire that the port is plugged into.
    fn look_at_wire(&self, look: &mut dyn FnMut(&mut dyn Wire));
}

/// The window of the 82599's MSI-X table and its pending bits.
const TABLE: u32 = 3;

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
        Self::config_word(self, offset)
    }

    fn write_config(&self, offset: u16, bytes: &[u8]) {
        Self::write_config(self, offset, bytes);
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
        Self::map_memory(self, start, bytes, access, memory)
    }

    fn unmap_memory(&self, start: u64, bytes: u64) {
        Self::unmap_memory(self, start, bytes);
    }

    fn unmap_all(&self) {
        Self::unmap_all(self);
    }

    fn power_cycle(&self) {
        Self::power_cycle(self);
    }

    fn quiet_for(&self) -> Option<Duration> {
        Self::quiet_for(self)
    }

    fn look_at_wire(&self, look: &mut dyn FnMut(&mut dyn Wire)) {
        self.with_wire(look);
    }
}

impl Served for VirtioNic {
    fn take_interrupts(&self, fired: Fired) {
        self.connect_interrupts(fired);
    }

    fn interrupt_line(&self) -> bool {
        Self::interrupt_line(self)
    }

    fn vectors(&self) -> u32 {
        Self::vectors(self)
    }

    fn window_bytes(&self, index: u32) -> u32 {
        Self::window_bytes(self, index)
    }

    fn read_window(&self, index: u32, offset: u32, data: &mut [u8]) {
        Self::read_window(self, index, offset, data);
    }

    fn write_window(&self, index: u32, offset: u32, data: &[u8]) {
        Self::write_window(self, index, offset, data);
    }

    fn config_word(&self, offset: u16) -> u32 {
        Self::config_word(self, offset)
    }

    fn write_config(&self, offset: u16, bytes: &[u8]) {
        Self::write_config(self, offset, bytes);
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
        Self::map_memory(self, start, bytes, access, memory)
    }

    fn unmap_memory(&self, start: u64, bytes: u64) {
        Self::unmap_memory(self, start, bytes);
    }

    fn unmap_all(&self) {
        Self::unmap_all(self);
    }

    fn power_cycle(&self) {
        Self::power_cycle(self);
    }

    fn quiet_for(&self) -> Option<Duration> {
        Self::quiet_for(self)
    }

    fn look_at_wire(&self, look: &mut dyn FnMut(&mut dyn Wire)) {
        self.with_wire(look);
    }
}

impl<D: Served + ?Sized> Served for Arc<D> {
    fn take_interrupts(&self, fired: Fired) {
        (**self).take_interrupts(fired);
    }

    fn interrupt_line(&self) -> bool {
        (**self).interrupt_line()
    }

    fn vectors(&self) -> u32 {
        (**self).vectors()
    }

    fn window_bytes(&self, index: u32) -> u32 {
        (**self).window_bytes(index)
    }

    fn read_window(&self, index: u32, offset: u32, data: &mut [u8]) {
        (**self).read_window(index, offset, data);
    }

    fn write_window(&self, index: u32, offset: u32, data: &[u8]) {
        (**self).write_window(index, offset, data);
    }

    fn config_word(&self, offset: u16) -> u32 {
        (**self).config_word(offset)
    }

    fn write_config(&self, offset: u16, bytes: &[u8]) {
        (**self).write_config(offset, bytes);
    }

    fn pages(&self) -> Result<Option<Pages>, DmaError> {
        (**self).pages()
    }

    fn map_memory(
        &self,
        start: u64,
        bytes: u64,
        access: Access,
        memory: Memory,
    ) -> Result<(), Refused> {
        (**self).map_memory(start, bytes, access, memory)
    }

    fn unmap_memory(&self, start: u64, bytes: u64) {
        (**self).unmap_memory(start, bytes);
    }

    fn unmap_all(&self) {
        (**self).unmap_all();
    }

    fn power_cycle(&self) {
        (**self).power_cycle();
    }

    fn quiet_for(&self) -> Option<Duration> {
        (**self).quiet_for()
    }

    fn look_at_wire(&self, look: &mut dyn FnMut(&mut dyn Wire)) {
        (**self).look_at_wire(look);
    }
}

/// Bytes of a region; 0 for one that the device has not, `None` where there can be none.
pub(super) fn region_bytes(device: &dyn Served, region: u32) -> Option<u64> {
    match region {
        pci::REGION_CONFIG => Some(config::SIZE.into()),
        0..=5 => Some(device.window_bytes(region).into()),
        6.. if region < pci::REGIONS => Some(0),
        _ => None,
    }
}
