//! The PCI configuration space of the 82599 (82599 §9.3).

use barewire_spec::ixgbe::limits::{BAR3_SIZE as BAR3_BYTES, MSIX_PBA_OFFSET};
use barewire_spec::pci::VENDOR_INTEL;
use barewire_spec::pci::config::{self, capability, command, extended_capability, i82599};

use super::{BAR0_BYTES, Device, NicConfig};
use crate::pci::ConfigSpace;

/// What the device shows after power-on.
pub(super) fn config_space(config: &NicConfig) -> ConfigSpace {
    let mut space = ConfigSpace::new(i82599::POWER_MANAGEMENT);
    header(&mut space, config.device);
    capabilities(&mut space);
    extended(&mut space, config.mac);
    space
}

fn header(space: &mut ConfigSpace, device: Device) {
    space.put16(config::VENDOR_ID, VENDOR_INTEL, 0);
    space.put16(config::DEVICE_ID, device.pci_id(), 0);
    let bits = command::MEMORY_SPACE
        | command::BUS_MASTER
        | command::PARITY_ERROR
        | command::SERR
        | command::INTERRUPT_DISABLE;
    space.put16(config::COMMAND, command::MEMORY_SPACE, bits);
    space.put16(config::STATUS, config::status::CAPABILITIES_LIST, 0);
    space.put8(config::REVISION_ID, 1);
    space.put8(config::CLASS_CODE + 2, 2);
    space.put_bits(config::CACHE_LINE_SIZE, 0x10, 0xFF, 0xFF);
    let kind = config::bar::MEMORY_64 | config::bar::PREFETCHABLE;
    space.window(0, BAR0_BYTES, kind);
    space.window(3, BAR3_BYTES, kind);
    space.put16(config::SUBSYSTEM_VENDOR_ID, VENDOR_INTEL, 0);
    space.put16(config::SUBSYSTEM_ID, 0x0003, 0);
    space.put8(config::CAPABILITIES, 0x40);
    space.put_bits(config::INTERRUPT_LINE, 0x0100, 0xFFFF, 0xFF);
}

fn capabilities(space: &mut ConfigSpace) {
    let power = i82599::POWER_MANAGEMENT;
    space.capability(power, capability::POWER_MANAGEMENT, i82599::MSI);
    // Version 3; D0 and D3hot, both of which can wake the system; needs its driver's set-up.
    space.put16(power + config::power_management::CAPABILITIES, 0x4823, 0);
    // The power state reads back what was written. On the way back to D0 the device resets
    // itself (No_Soft_Reset is 0).
    space.put16(power + config::power_management::CONTROL, 0x2000, 0x0103);

    let msi = i82599::MSI;
    space.capability(msi, capability::MSI, i82599::MSIX);
    let control = config::msi::ADDRESS_64 | config::msi::MASKABLE;
    space.put16(msi + config::msi::CONTROL, control, config::msi::ENABLE);
    space.put32(msi + config::msi::ADDRESS, 0, !3);
    space.put32(msi + config::msi::ADDRESS + 4, 0, u32::MAX);
    space.put16(msi + config::msi::DATA, 0, u16::MAX);
    space.put32(msi + 0x10, 0, 1);

    let msix = i82599::MSIX;
    space.capability(msix, capability::MSIX, i82599::PCI_EXPRESS);
    let bits = config::msix::ENABLE | config::msix::FUNCTION_MASK;
    space.put16(msix + config::msix::CONTROL, 63, bits);
    let bar = u32::from(i82599::MSIX_BAR);
    space.put32(msix + config::msix::TABLE, bar, 0);
    let pending = MSIX_PBA_OFFSET | bar;
    space.put32(msix + config::msix::PBA, pending, 0);

    let express = i82599::PCI_EXPRESS;
    space.capability(express, capability::PCI_EXPRESS, 0);
    // An endpoint, version 2; 512-byte payloads; function-level reset.
    space.put16(express + config::express::CAPABILITIES, 0x0002, 0);
    let abilities = config::express::DEVICE_CAPABILITIES_FLR | 0x8CC2;
    space.put32(express + config::express::DEVICE_CAPABILITIES, abilities, 0);
    space.put16(express + config::express::DEVICE_CONTROL, 0x2810, 0x7FFF);
    // 5 GT/s, eight lanes: what the device can do and what it does.
    space.put32(express + config::express::LINK_CAPABILITIES, 0x0003_9482, 0);
    space.put16(express + config::express::LINK_CONTROL, 0, 0x03DB);
    space.put16(express + config::express::LINK_STATUS, 0x1082, 0);
    space.put32(express + 0x24, 0x001F, 0);
    space.put16(express + config::express::DEVICE_CONTROL_2, 0, 0x001F);
}

fn extended(space: &mut ConfigSpace, mac: [u8; 6]) {
    let header = |id: u16, next: u16| u32::from(id) | 1 << 16 | u32::from(next) << 20;
    let aer = header(extended_capability::AER, i82599::SERIAL_NUMBER);
    space.put32(i82599::AER, aer, 0);
    space.put32(i82599::AER + 0x08, 0, u32::MAX);
    space.put32(i82599::AER + 0x0C, 0x0006_2030, u32::MAX);
    space.put32(i82599::AER + 0x14, 0x0000_2000, u32::MAX);
    let serial = header(extended_capability::SERIAL_NUMBER, 0);
    space.put32(i82599::SERIAL_NUMBER, serial, 0);
    // The MAC address with FFFF in the middle, as an EUI-64.
    let low = u32::from_be_bytes([0xFF, mac[3], mac[4], mac[5]]);
    let high = u32::from_be_bytes([mac[0], mac[1], mac[2], 0xFF]);
    space.put32(i82599::SERIAL_NUMBER + 4, low, 0);
    space.put32(i82599::SERIAL_NUMBER + 8, high, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        config_space(&NicConfig::default())
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
