//! What a server needs of a device beyond what a program does.

use std::time::Duration;

use barewire_bus::vfio_user::pci;
use barewire_dma::DmaError;
use barewire_spec::pci::config;

use super::interrupts::Fired;
use super::pages::Pages;
use crate::device::Device;
use crate::memory::{Access, Memory, Refused};
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

/// Bytes of a region; 0 for one that the device has not, `None` where there can be none.
pub(super) fn region_bytes(device: &dyn Served, region: u32) -> Option<u64> {
    match region {
        pci::REGION_CONFIG => Some(config::SIZE.into()),
        0..=5 => Some(device.window_bytes(region).into()),
        6.. if region < pci::REGIONS => Some(0),
        _ => None,
    }
}
