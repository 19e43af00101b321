//! The PCI configuration space (82599 §9.3).

use barewire_spec::pci::VENDOR_INTEL;
use barewire_spec::pci::config::{self, capability, command, extended_capability, i82599};

use super::{BAR0_BYTES, Device, NicConfig};

const WORDS: usize = config::SIZE as usize / 4;

/// Configuration space: what each word holds and which of its bits software may write.
#[derive(Debug)]
pub(super) struct ConfigSpace {
    words: Vec<u32>,
    writable: Vec<u32>,
}

impl ConfigSpace {
    pub(super) fn new(config: &NicConfig) -> Self {
        let mut space = Self {
            words: vec![0; WORDS],
            writable: vec![0; WORDS],
        };
        space.header(config.device);
        space.capabilities();
        space.extended(config.mac);
        space
    }

    fn put8(&mut self, offset: u16, value: u8) {
        let shift = u32::from(offset % 4) * 8;
        self.put(offset & !3, u32::from(value) << shift, 0xFF << shift, 0);
    }

    fn put16(&mut self, offset: u16, value: u16, writable: u16) {
        let shift = u32::from(offset % 4) * 8;
        self.put(
            offset & !3,
            u32::from(value) << shift,
            0xFFFF << shift,
            u32::from(writable) << shift,
        );
    }

    fn put32(&mut self, offset: u16, value: u32, writable: u32) {
        self.put(offset, value, u32::MAX, writable);
    }

    fn put(&mut self, offset: u16, value: u32, mask: u32, writable: u32) {
        let index = usize::from(offset / 4);
        if let (Some(word), Some(bits)) = (self.words.get_mut(index), self.writable.get_mut(index))
        {
            *word = *word & !mask | value;
            *bits = *bits & !mask | writable;
        }
    }

    fn header(&mut self, device: Device) {
        self.put16(config::VENDOR_ID, VENDOR_INTEL, 0);
        self.put16(config::DEVICE_ID, device.pci_id(), 0);
        let bits = command::MEMORY_SPACE
            | command::BUS_MASTER
            | command::PARITY_ERROR
            | command::SERR
            | command::INTERRUPT_DISABLE;
        self.put16(config::COMMAND, command::MEMORY_SPACE, bits);
        self.put16(config::STATUS, config::status::CAPABILITIES_LIST, 0);
        self.put8(config::REVISION_ID, 1);
        self.put8(config::CLASS_CODE + 2, 2);
        self.put(config::CACHE_LINE_SIZE, 0x10, 0xFF, 0xFF);
        // Reading the size of a window: the low bits of its address can't be written.
        let mask = !(BAR0_BYTES - 1);
        let kind = config::bar::MEMORY_64 | config::bar::PREFETCHABLE;
        self.put32(config::BAR0, kind, mask);
        self.put32(config::BAR0 + 4, 0, u32::MAX);
        let mask = !(barewire_spec::ixgbe::limits::BAR3_SIZE - 1);
        self.put32(config::BAR0 + 12, kind, mask);
        self.put32(config::BAR0 + 16, 0, u32::MAX);
        self.put16(config::SUBSYSTEM_VENDOR_ID, VENDOR_INTEL, 0);
        self.put16(config::SUBSYSTEM_ID, 0x0003, 0);
        self.put8(config::CAPABILITIES, 0x40);
        self.put(config::INTERRUPT_LINE, 0x0100, 0xFFFF, 0xFF);
    }

    fn capability(&mut self, offset: u16, id: u8, next: u16) {
        self.put16(offset, u16::from(id) | next << 8, 0);
    }

    fn capabilities(&mut self) {
        let power = i82599::POWER_MANAGEMENT;
        self.capability(power, capability::POWER_MANAGEMENT, i82599::MSI);
        // Version 3; D0 and D3hot, both of which can wake the system; needs its driver's set-up.
        self.put16(power + config::power_management::CAPABILITIES, 0x4823, 0);
        // The power state reads back what was written. On the way back to D0 the device resets
        // itself (No_Soft_Reset is 0).
        self.put16(power + config::power_management::CONTROL, 0x2000, 0x0103);

        let msi = i82599::MSI;
        self.capability(msi, capability::MSI, i82599::MSIX);
        let control = config::msi::ADDRESS_64 | config::msi::MASKABLE;
        self.put16(msi + config::msi::CONTROL, control, config::msi::ENABLE);
        self.put32(msi + config::msi::ADDRESS, 0, !3);
        self.put32(msi + config::msi::ADDRESS + 4, 0, u32::MAX);
        self.put16(msi + config::msi::DATA, 0, u16::MAX);
        self.put32(msi + 0x10, 0, 1);

        let msix = i82599::MSIX;
        self.capability(msix, capability::MSIX, i82599::PCI_EXPRESS);
        let bits = config::msix::ENABLE | config::msix::FUNCTION_MASK;
        self.put16(msix + config::msix::CONTROL, 63, bits);
        let bar = u32::from(i82599::MSIX_BAR);
        self.put32(msix + config::msix::TABLE, bar, 0);
        let pending = barewire_spec::ixgbe::limits::MSIX_PBA_OFFSET | bar;
        self.put32(msix + config::msix::PBA, pending, 0);

        let express = i82599::PCI_EXPRESS;
        self.capability(express, capability::PCI_EXPRESS, 0);
        // An endpoint, version 2; 512-byte payloads; function-level reset.
        self.put16(express + config::express::CAPABILITIES, 0x0002, 0);
        let abilities = config::express::DEVICE_CAPABILITIES_FLR | 0x8CC2;
        self.put32(express + config::express::DEVICE_CAPABILITIES, abilities, 0);
        self.put16(express + config::express::DEVICE_CONTROL, 0x2810, 0x7FFF);
        // 5 GT/s, eight lanes: what the device can do and what it does.
        self.put32(express + config::express::LINK_CAPABILITIES, 0x0003_9482, 0);
        self.put16(express + config::express::LINK_CONTROL, 0, 0x03DB);
        self.put16(express + config::express::LINK_STATUS, 0x1082, 0);
        self.put32(express + 0x24, 0x001F, 0);
        self.put16(express + config::express::DEVICE_CONTROL_2, 0, 0x001F);
    }

    fn extended(&mut self, mac: [u8; 6]) {
        let header = |id: u16, next: u16| u32::from(id) | 1 << 16 | u32::from(next) << 20;
        let aer = header(extended_capability::AER, i82599::SERIAL_NUMBER);
        self.put32(i82599::AER, aer, 0);
        self.put32(i82599::AER + 0x08, 0, u32::MAX);
        self.put32(i82599::AER + 0x0C, 0x0006_2030, u32::MAX);
        self.put32(i82599::AER + 0x14, 0x0000_2000, u32::MAX);
        let serial = header(extended_capability::SERIAL_NUMBER, 0);
        self.put32(i82599::SERIAL_NUMBER, serial, 0);
        // The MAC address with FFFF in the middle, as an EUI-64.
        let low = u32::from_be_bytes([0xFF, mac[3], mac[4], mac[5]]);
        let high = u32::from_be_bytes([mac[0], mac[1], mac[2], 0xFF]);
        self.put32(i82599::SERIAL_NUMBER + 4, low, 0);
        self.put32(i82599::SERIAL_NUMBER + 8, high, 0);
    }

    /// The word at `offset`, rounded down to a multiple of 4; all ones outside.
    pub(super) fn read(&self, offset: u16) -> u32 {
        self.words
            .get(usize::from(offset / 4))
            .copied()
            .unwrap_or(u32::MAX)
    }

    /// Writes the writable bits of the word at `offset`, rounded down to a multiple of 4.
    pub(super) fn write(&mut self, offset: u16, value: u32) {
        let index = usize::from(offset / 4);
        if let (Some(word), Some(bits)) = (self.words.get_mut(index), self.writable.get(index)) {
            *word = *word & !bits | value & bits;
        }
    }

    /// The command register.
    pub(super) fn command(&self) -> u16 {
        let [low, high, ..] = self.read(config::COMMAND).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Whether the device is in D3hot, in which its registers don't answer.
    #[inline]
    pub(super) fn is_asleep(&self) -> bool {
        let control = i82599::POWER_MANAGEMENT + config::power_management::CONTROL;
        self.read(control) & config::power_management::STATE == config::power_management::D3_HOT
    }

    /// Whether the device may start requests.
    #[inline]
    pub(super) fn is_master(&self) -> bool {
        self.command() & command::BUS_MASTER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new(&NicConfig::default())
    }

    #[test]
    fn the_window_tells_its_size() {
        let mut space = space();
        space.write(config::BAR0, u32::MAX);
        let size = !(space.read(config::BAR0) & config::bar::MEMORY_MASK) + 1;
        assert_eq!(size, BAR0_BYTES);
        space.write(config::BAR0, 0xFEB0_0000);
        assert_eq!(
            space.read(config::BAR0) & config::bar::MEMORY_MASK,
            0xFEB0_0000
        );
    }

    #[test]
    fn capabilities_form_a_list() {
        let space = space();
        let mut at = u16::from(space.read(config::CAPABILITIES).to_le_bytes()[0]);
        let mut found = Vec::new();
        while at != 0 {
            let [id, next, ..] = space.read(at).to_le_bytes();
            found.push(id);
            at = u16::from(next);
        }
        let expected = [
            capability::POWER_MANAGEMENT,
            capability::MSI,
            capability::MSIX,
            capability::PCI_EXPRESS,
        ];
        assert_eq!(found, expected);
        let (id, next) = config::split_extended_header(space.read(i82599::AER));
        assert_eq!(
            (id, next),
            (extended_capability::AER, i82599::SERIAL_NUMBER)
        );
    }

    #[test]
    fn identity_stays_and_the_power_state_reads_back() {
        let mut space = space();
        space.write(0, 0);
        assert_eq!(space.read(0), 0x10FB_8086);
        let control = i82599::POWER_MANAGEMENT + config::power_management::CONTROL;
        space.write(control, 3);
        assert_eq!(space.read(control) & 3, 3);
        assert_eq!(space.read(4096), u32::MAX);
    }
}
