//! The EEPROM's content: an image with the MAC address, what drivers look up, and a valid checksum
//! (82599 §6).

use std::convert::Infallible;

use barewire_spec::ixgbe::eeprom as map;
use barewire_spec::ixgbe::eeprom::{firmware, sfp_init};

/// Words of the part, as `EEC.EE_SIZE` says: a serial EEPROM of 32 Kbit.
pub(super) const WORDS: usize = 2048;
/// Where the sections of this image begin.
const CORE_0: u16 = 0x50;
const FIRMWARE: u16 = 0x60;
const PATCH: u16 = 0x70;
const ASSEMBLY: u16 = 0x80;
const SFP_LIST: u16 = 0x90;
const SFP_SEQUENCE: u16 = 0xA0;

/// The product assembly number.
const ASSEMBLY_NUMBER: &[u8; 10] = b"BW8259-000";

/// The identity of the image, as drivers print it.
const IMAGE: u32 = 0x8000_0001;

/// An image for a device with this address.
pub(super) fn image(mac: [u8; 6]) -> Vec<u16> {
    // The PCIe sections stay empty: the X550 sums them up in another way, and this image is good for
    // all devices.
    let mut words = vec![0; WORDS];
    let mut put = |offset: u16, values: &[u16]| {
        for (word, value) in words.iter_mut().skip(usize::from(offset)).zip(values) {
            *word = *value;
        }
    };
    // Signature 01b in bits 7:6 (82599 §6.3.1).
    put(map::CONTROL_1, &[0x0040]);
    for pointer in map::PCIE_ANALOG_PTR..=map::FIRMWARE_PTR {
        put(pointer, &[map::EMPTY]);
    }
    for pointer in [
        map::ALT_SAN_MAC_PTR,
        map::SAN_MAC_PTR,
        map::ALT_MAC_PTR,
        map::ETS_CFG,
        map::VPD_PTR,
    ] {
        put(pointer, &[map::EMPTY]);
    }
    put(
        map::DEVICE_CAPS,
        &[map::CAPS_ALLOW_ANY_SFP | map::CAPS_NO_FCOE],
    );
    let [low, high] = [IMAGE & 0xFFFF, IMAGE >> 16].map(|half| u16::try_from(half).unwrap_or(0));
    put(map::ETRACK_LOW, &[low]);
    put(map::ETRACK_HIGH, &[high]);
    put(map::IMAGE_VERSION, &[0x0100]);

    put(map::CORE_0_PTR, &[CORE_0]);
    let pairs = mac.as_chunks::<2>().0;
    let address: Vec<u16> = pairs.iter().copied().map(u16::from_le_bytes).collect();
    put(CORE_0, &[3]);
    put(CORE_0 + map::CORE_MAC_ADDRESS, &address);

    // The number's words have their first character in the high byte.
    put(map::PBA_0, &[map::PBA_PTR_GUARD, ASSEMBLY]);
    let text: Vec<u16> = ASSEMBLY_NUMBER
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_be_bytes(*pair))
        .collect();
    put(ASSEMBLY, &[6]);
    put(ASSEMBLY + 1, &text);

    // Firmware: no link establishment by itself, and a version that drivers accept.
    put(map::FIRMWARE_PTR, &[FIRMWARE]);
    put(FIRMWARE, &[8]);
    put(FIRMWARE + firmware::LESM_PTR, &[map::EMPTY]);
    put(FIRMWARE + firmware::PATCH_PTR, &[PATCH]);
    put(PATCH, &[8]);
    put(PATCH + firmware::PATCH_VERSION, &[6]);

    // Every kind of module is set up by the same, short sequence.
    put(map::PHY_INIT_PTR, &[SFP_LIST]);
    let list = [
        9,
        sfp_init::DIRECT_ATTACH_CORE_0,
        SFP_SEQUENCE,
        sfp_init::DIRECT_ATTACH_CORE_1,
        SFP_SEQUENCE,
        sfp_init::OPTICAL_CORE_0,
        SFP_SEQUENCE,
        sfp_init::OPTICAL_CORE_1,
        SFP_SEQUENCE,
        map::EMPTY,
    ];
    put(SFP_LIST, &list);
    put(SFP_SEQUENCE, &[2, 0x0101, 0x0202, map::EMPTY]);

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

/// The MAC address in an image, as software may have changed it.
pub(super) fn mac(image: &[u16]) -> [u8; 6] {
    let core = word(image, map::CORE_0_PTR);
    let mut mac = [0; 6];
    let first = core.wrapping_add(map::CORE_MAC_ADDRESS);
    for (pair, index) in mac.as_chunks_mut::<2>().0.iter_mut().zip(0..) {
        *pair = word(image, first.wrapping_add(index)).to_le_bytes();
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_comes_out_and_the_address_is_there() {
        let image = image([2, 1, 3, 4, 5, 6]);
        assert_eq!(mac(&image), [2, 1, 3, 4, 5, 6]);
        let core = word(&image, map::CORE_0_PTR);
        assert_eq!(word(&image, core + map::CORE_MAC_ADDRESS), 0x0102);
        let Ok::<u16, Infallible>(sum) = map::checksum(|offset| Ok(word(&image, offset)));
        assert_eq!(word(&image, map::CHECKSUM), sum);
        assert_eq!(word(&image, 0x3FFF), 0xFFFF);
    }

    #[test]
    fn the_checksum_is_that_of_the_x550_too() {
        // It covers two words more, and PCIe sections with their length word.
        let image = image([2, 1, 3, 4, 5, 6]);
        assert_eq!([word(&image, 0x40), word(&image, 0x41)], [0, 0]);
        for pointer in [0x02, 0x06, 0x07, 0x08] {
            assert!(
                [0, map::EMPTY].contains(&word(&image, pointer)),
                "{pointer:#x}"
            );
        }
    }

    #[test]
    fn sections_do_not_overlap() {
        let image = image([0; 6]);
        let mut starts = [CORE_0, FIRMWARE, PATCH, ASSEMBLY, SFP_LIST, SFP_SEQUENCE];
        starts.sort_unstable();
        for pair in starts.windows(2) {
            let end = pair[0] + word(&image, pair[0]);
            assert!(end < pair[1], "{pair:x?}");
        }
    }
}
