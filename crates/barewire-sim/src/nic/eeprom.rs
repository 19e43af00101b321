//! The EEPROM: an image with the MAC address and a valid checksum (82599 §6).

use std::convert::Infallible;

use barewire_spec::ixgbe::eeprom as map;

/// Words of the EEPROM, as `EEC.EE_SIZE` says.
const WORDS: usize = 256;
/// Where the sections of this image begin.
const CORE_0: u16 = 0x50;
const SECTION: u16 = 0x60;

/// An image for a device with this address.
pub(super) fn image(mac: [u8; 6]) -> Vec<u16> {
    let mut words = vec![0; WORDS];
    let mut put = |offset: u16, value: u16| {
        if let Some(word) = words.get_mut(usize::from(offset)) {
            *word = value;
        }
    };
    // Signature 01b in bits 7:6 (82599 §6.3.1).
    put(map::CONTROL_1, 0x0040);
    for pointer in map::PCIE_ANALOG_PTR..=map::FIRMWARE_PTR {
        put(pointer, map::EMPTY);
    }
    for pointer in [
        map::ALT_SAN_MAC_PTR,
        map::SAN_MAC_PTR,
        map::ALT_MAC_PTR,
        map::PHY_INIT_PTR,
        map::ETS_CFG,
    ] {
        put(pointer, map::EMPTY);
    }
    // No vendor's assembly number: "guard" and pointer mean a string, plain words a number.
    put(map::PBA_0, 0x0000);
    put(map::PBA_1, 0x0001);
    put(map::DEVICE_CAPS, map::CAPS_ALLOW_ANY_SFP);
    put(map::ETRACK_LOW, 0x0001);
    put(map::ETRACK_HIGH, 0x8000);
    put(map::CORE_0_PTR, CORE_0);
    put(CORE_0, 3);
    for (offset, bytes) in (map::CORE_MAC_ADDRESS..).zip(mac.as_chunks::<2>().0) {
        put(CORE_0 + offset, u16::from_le_bytes(*bytes));
    }
    put(map::PCIE_GENERAL_PTR, SECTION);
    put(SECTION, 1);
    let read = |offset: u16| Ok(word(&words, offset));
    let Ok::<u16, Infallible>(checksum) = map::checksum(read);
    if let Some(word) = words.get_mut(usize::from(map::CHECKSUM)) {
        *word = checksum;
    }
    words
}

/// The word at `offset`; past the end of the part, all ones.
pub(super) fn word(image: &[u16], offset: u16) -> u16 {
    image
        .get(usize::from(offset))
        .copied()
        .unwrap_or(map::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_comes_out_and_the_address_is_there() {
        let image = image([2, 1, 3, 4, 5, 6]);
        let core = word(&image, map::CORE_0_PTR);
        assert_eq!(word(&image, core + map::CORE_MAC_ADDRESS), 0x0102);
        assert_eq!(word(&image, core + map::CORE_MAC_ADDRESS + 2), 0x0605);
        let Ok::<u16, Infallible>(sum) = map::checksum(|offset| Ok(word(&image, offset)));
        assert_eq!(word(&image, map::CHECKSUM), sum);
        assert_eq!(word(&image, 0x3FFF), 0xFFFF);
    }
}
