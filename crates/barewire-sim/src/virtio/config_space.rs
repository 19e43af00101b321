//! The PCI configuration space (VIRTIO §4.1.2, §4.1.4).

use barewire_spec::pci::config::{self, capability, command};
use barewire_spec::virtio::pci::{
    DEVICE_NET, DEVICE_NET_TRANSITIONAL, REVISION_MODERN, VENDOR, capability as structure, common,
};
use barewire_spec::virtio::{legacy, net};

use super::{Interface, QUEUES, VirtioConfig, interrupts};
use crate::pci::ConfigSpace;

/// Window of the legacy interface, in I/O ports.
pub(super) const LEGACY_BAR: u8 = 0;
/// Window of the MSI-X table and its pending bits.
pub(super) const MSIX_BAR: u8 = 1;
/// Window of the modern structures; 64 bits, so the next one is its upper half.
pub(super) const MODERN_BAR: u8 = 4;

/// Bytes of each window.
pub(super) const LEGACY_BYTES: u32 = 64;
pub(super) const MSIX_BYTES: u32 = 4096;
pub(super) const MODERN_BYTES: u32 = 0x4000;

/// Where the pending bits are.
pub(super) const PENDING: u32 = 0x800;

/// Where the structures are in their window.
pub(super) const COMMON: u32 = 0;
pub(super) const ISR: u32 = 0x1000;
pub(super) const DEVICE: u32 = 0x2000;
pub(super) const NOTIFY: u32 = 0x3000;
/// Bytes between the places where two queues are notified.
pub(super) const MULTIPLIER: u32 = 4;
/// Bytes of the place where queues are notified.
pub(super) const NOTIFY_BYTES: u32 = MULTIPLIER * QUEUES;

/// Offsets of the capabilities.
const POWER: u16 = 0x40;
pub(super) const MSIX: u16 = 0x48;
const COMMON_CAPABILITY: u16 = 0x54;
const NOTIFY_CAPABILITY: u16 = 0x64;
const ISR_CAPABILITY: u16 = 0x78;
const DEVICE_CAPABILITY: u16 = 0x88;
/// Access to the windows through the configuration space.
pub(super) const ACCESS_CAPABILITY: u16 = 0x98;
const EXPRESS: u16 = 0xAC;
/// Where a function-level reset is asked for.
pub(super) const DEVICE_CONTROL: u16 = EXPRESS + config::express::DEVICE_CONTROL;

const _: () = assert!(legacy::DEVICE_CONFIG_MSIX + net::CONFIG_BYTES <= LEGACY_BYTES);
const _: () = assert!(NOTIFY + NOTIFY_BYTES <= MODERN_BYTES);

/// What the device shows after power-on.
pub(super) fn config_space(config: &VirtioConfig) -> ConfigSpace {
    let mut space = ConfigSpace::new(POWER);
    let transitional = config.interface == Interface::Transitional;
    let (device, revision, subsystem) = if transitional {
        (DEVICE_NET_TRANSITIONAL, 0, 1)
    } else {
        (DEVICE_NET, REVISION_MODERN, 0x1100)
    };
    space.put16(config::VENDOR_ID, VENDOR, 0);
    space.put16(config::DEVICE_ID, device, 0);
    let bits = command::IO_SPACE
        | command::MEMORY_SPACE
        | command::BUS_MASTER
        | command::PARITY_ERROR
        | command::SERR
        | command::INTERRUPT_DISABLE;
    space.put16(
        config::COMMAND,
        command::IO_SPACE | command::MEMORY_SPACE,
        bits,
    );
    space.put16(config::STATUS, config::status::CAPABILITIES_LIST, 0);
    space.put8(config::REVISION_ID, revision);
    space.put8(config::CLASS_CODE + 2, 2);
    space.put_bits(config::CACHE_LINE_SIZE, 0x10, 0xFF, 0xFF);
    if transitional {
        space.window(LEGACY_BAR.into(), LEGACY_BYTES, config::bar::IO);
    }
    space.window(MSIX_BAR.into(), MSIX_BYTES, 0);
    space.window(MODERN_BAR.into(), MODERN_BYTES, config::bar::MEMORY_64);
    space.put16(config::SUBSYSTEM_VENDOR_ID, VENDOR, 0);
    space.put16(config::SUBSYSTEM_ID, subsystem, 0);
    space.put8(config::CAPABILITIES, POWER.to_le_bytes()[0]);
    space.put_bits(config::INTERRUPT_LINE, 0x0100, 0xFFFF, 0xFF);

    space.capability(POWER, capability::POWER_MANAGEMENT, MSIX);
    // Version 3. What the device holds stays on the way back to D0 (No_Soft_Reset is 1).
    space.put16(POWER + config::power_management::CAPABILITIES, 0x0003, 0);
    space.put16(POWER + config::power_management::CONTROL, 0x0008, 0x0003);

    space.capability(MSIX, capability::MSIX, COMMON_CAPABILITY);
    let last = interrupts::vectors(config.queue_pairs) - 1;
    let bits = config::msix::ENABLE | config::msix::FUNCTION_MASK;
    space.put16(MSIX + config::msix::CONTROL, last, bits);
    space.put32(MSIX + config::msix::TABLE, MSIX_BAR.into(), 0);
    let pending = PENDING | u32::from(MSIX_BAR);
    space.put32(MSIX + config::msix::PBA, pending, 0);

    let structures = [
        (
            COMMON_CAPABILITY,
            NOTIFY_CAPABILITY,
            structure::COMMON,
            COMMON,
            common::BYTES_WITH_RESET,
        ),
        (
            NOTIFY_CAPABILITY,
            ISR_CAPABILITY,
            structure::NOTIFY,
            NOTIFY,
            NOTIFY_BYTES,
        ),
        (ISR_CAPABILITY, DEVICE_CAPABILITY, structure::ISR, ISR, 1),
        (
            DEVICE_CAPABILITY,
            ACCESS_CAPABILITY,
            structure::DEVICE,
            DEVICE,
            net::CONFIG_BYTES,
        ),
        (ACCESS_CAPABILITY, EXPRESS, structure::CONFIG_ACCESS, 0, 0),
    ];
    for (at, next, kind, offset, bytes) in structures {
        let long = matches!(kind, structure::NOTIFY | structure::CONFIG_ACCESS);
        space.capability(at, capability::VENDOR, next);
        space.put8(
            at + structure::LENGTH,
            structure::BYTES + if long { 4 } else { 0 },
        );
        space.put8(at + structure::TYPE, kind);
        space.put8(at + structure::BAR, MODERN_BAR);
        space.put32(at + structure::OFFSET, offset, 0);
        space.put32(at + structure::SIZE, bytes, 0);
    }
    space.put32(
        NOTIFY_CAPABILITY + structure::NOTIFY_MULTIPLIER,
        MULTIPLIER,
        0,
    );
    // Window, offset and length of an access are the driver's to choose (VIRTIO §4.1.4.9).
    space.put_bits(ACCESS_CAPABILITY + structure::BAR, 0, 0xFF, 0xFF);
    space.put32(ACCESS_CAPABILITY + structure::OFFSET, 0, u32::MAX);
    space.put32(ACCESS_CAPABILITY + structure::SIZE, 0, u32::MAX);

    space.capability(EXPRESS, capability::PCI_EXPRESS, 0);
    // An endpoint, version 2; function-level reset.
    space.put16(EXPRESS + config::express::CAPABILITIES, 0x0002, 0);
    let abilities = config::express::DEVICE_CAPABILITIES_FLR | 0x8000;
    space.put32(EXPRESS + config::express::DEVICE_CAPABILITIES, abilities, 0);
    space.put16(EXPRESS + config::express::DEVICE_CONTROL, 0, 0x7FFF);
    space.put32(EXPRESS + config::express::LINK_CAPABILITIES, 0x0000_0011, 0);
    space.put16(EXPRESS + config::express::LINK_STATUS, 0x0011, 0);
    space
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_is_found_in_the_list() {
        let space = config_space(&VirtioConfig::default());
        let mut at = u16::from(space.read(config::CAPABILITIES).to_le_bytes()[0]);
        let mut found = Vec::new();
        while at != 0 {
            let [id, next, _, kind] = space.read(at).to_le_bytes();
            if id == capability::VENDOR {
                found.push(kind);
                let [bar, ..] = space.read(at + structure::BAR).to_le_bytes();
                assert!(bar == MODERN_BAR || kind == structure::CONFIG_ACCESS);
            }
            at = u16::from(next);
        }
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5]);
        assert_eq!(space.read(0), 0x1041_1AF4);
    }

    #[test]
    fn only_a_transitional_device_has_ports() {
        for (interface, ports) in [(Interface::Modern, 0), (Interface::Transitional, 1)] {
            let config = VirtioConfig {
                interface,
                ..VirtioConfig::default()
            };
            assert_eq!(config_space(&config).read(config::BAR0), ports);
        }
    }
}
