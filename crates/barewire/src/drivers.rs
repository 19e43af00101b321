//! Which driver is for which device.

use barewire_spec::pci;

/// The name of the driver that [`Port::open`](crate::Port::open) would use for a PCI device with
/// these IDs; `None` for a device that no driver knows.
pub fn driver_for(vendor: u16, device: u16) -> Option<&'static str> {
    let identity = pci::identify(vendor, device)?;
    (!identity.family.is_virtual_function()).then_some("ixgbe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_of_the_family_but_not_their_virtual_functions_nor_others() {
        assert_eq!(driver_for(0x8086, 0x10FB), Some("ixgbe"));
        assert_eq!(driver_for(0x8086, 0x1563), Some("ixgbe"));
        assert_eq!(driver_for(0x8086, 0x10ED), None);
        assert_eq!(driver_for(0x8086, 0x1572), None);
        assert_eq!(driver_for(0x10EC, 0x10FB), None);
    }
}
