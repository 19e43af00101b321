//! The EEPROM's map (82599 §6): word offsets, pointers and the checksum.

/// Identifies a word that holds nothing, and a pointer to nothing.
pub const EMPTY: u16 = 0xFFFF;

/// Control word 1: signature in bits 7:6 (82599 §6.3.1).
pub const CONTROL_1: u16 = 0x00;
/// Control word 2.
pub const CONTROL_2: u16 = 0x01;
/// Control word 3.
pub const CONTROL_3: u16 = 0x38;
/// Pointer to the PCIe analog section.
pub const PCIE_ANALOG_PTR: u16 = 0x03;
/// Pointer to the core 0 analog section.
pub const CORE_0_ANALOG_PTR: u16 = 0x04;
/// Pointer to the core 1 analog section.
pub const CORE_1_ANALOG_PTR: u16 = 0x05;
/// Pointer to the PCIe general section.
pub const PCIE_GENERAL_PTR: u16 = 0x06;
/// Pointer to the PCIe configuration of function 0.
pub const PCIE_CONFIG_0_PTR: u16 = 0x07;
/// Pointer to the PCIe configuration of function 1.
pub const PCIE_CONFIG_1_PTR: u16 = 0x08;
/// Pointer to the core section of port 0, which holds its MAC address.
pub const CORE_0_PTR: u16 = 0x09;
/// Pointer to the core section of port 1, which holds its MAC address.
pub const CORE_1_PTR: u16 = 0x0A;
/// Pointer to the MAC section of port 0.
pub const MAC_0_PTR: u16 = 0x0B;
/// Pointer to the MAC section of port 1.
pub const MAC_1_PTR: u16 = 0x0C;
/// Pointer to the register presets of port 0.
pub const CSR_0_PTR: u16 = 0x0D;
/// Pointer to the register presets of port 1.
pub const CSR_1_PTR: u16 = 0x0E;
/// Pointer to the firmware section; not part of the checksum.
pub const FIRMWARE_PTR: u16 = 0x0F;
/// Product assembly number, or a guard word and a pointer to it.
pub const PBA_0: u16 = 0x15;
/// Second word of [`PBA_0`].
pub const PBA_1: u16 = 0x16;
/// Value of [`PBA_0`] when [`PBA_1`] is a pointer.
pub const PBA_PTR_GUARD: u16 = 0xFAFA;
/// Configuration of the thermal sensor.
pub const ETS_CFG: u16 = 0x26;
/// Pointer to the alternate storage MAC addresses.
pub const ALT_SAN_MAC_PTR: u16 = 0x27;
/// Pointer to the storage MAC addresses.
pub const SAN_MAC_PTR: u16 = 0x28;
/// First word of the version of the EEPROM image.
pub const IMAGE_VERSION: u16 = 0x29;
/// Pointer to the SFP+ initialization sequences.
pub const PHY_INIT_PTR: u16 = 0x2B;
/// Device capabilities, such as whether any SFP+ module is accepted.
pub const DEVICE_CAPS: u16 = 0x2C;
/// Image identity, low half.
pub const ETRACK_LOW: u16 = 0x2D;
/// Image identity, high half.
pub const ETRACK_HIGH: u16 = 0x2E;
/// Pointer to the vital product data.
pub const VPD_PTR: u16 = 0x2F;
/// Pointer to the alternate MAC addresses.
pub const ALT_MAC_PTR: u16 = 0x37;
/// The word that makes the checksum come out.
pub const CHECKSUM: u16 = 0x3F;

/// Offsets in the firmware section and in what it points to, as drivers look them up.
pub mod firmware {
    /// Pointer to the parameters of the link establishment state machine.
    pub const LESM_PTR: u16 = 2;
    /// Pointer to the pass-through patch.
    pub const PATCH_PTR: u16 = 4;
    /// Version of the patch, in its section.
    pub const PATCH_VERSION: u16 = 7;
}

/// Module kinds in the list behind [`PHY_INIT_PTR`]: pairs of a kind and the pointer to its
/// sequence, after one word and up to an [`EMPTY`] one.
pub mod sfp_init {
    /// A direct attach cable at port 0.
    pub const DIRECT_ATTACH_CORE_0: u16 = 3;
    /// A direct attach cable at port 1.
    pub const DIRECT_ATTACH_CORE_1: u16 = 4;
    /// An optical module at port 0.
    pub const OPTICAL_CORE_0: u16 = 5;
    /// An optical module at port 1.
    pub const OPTICAL_CORE_1: u16 = 6;
}

/// Offset of the MAC address inside a core section: three words, byte 0 in the low half of
/// the first (82599 §6.3.6).
pub const CORE_MAC_ADDRESS: u16 = 0x01;

/// [`DEVICE_CAPS`]: modules other than the vendor's are accepted.
pub const CAPS_ALLOW_ANY_SFP: u16 = 0x0001;
/// [`DEVICE_CAPS`]: drivers are not to use the FCoE offloads.
pub const CAPS_NO_FCOE: u16 = 0x0002;

/// What the words covered by the checksum add up to (82599 §6.3.2.8).
pub const CHECKSUM_SUM: u16 = 0xBABA;

/// Value of [`CHECKSUM`] that makes an image valid, from its other words.
///
/// The sum covers words 0 to 0x3E and the sections that words 0x03 to 0x0E point to, each
/// with its length in its first word; not the firmware section. `word` reads one word; its
/// error ends the sum.
///
/// # Errors
///
/// Those of `word`.
///
/// ```
/// use barewire_spec::ixgbe::eeprom;
///
/// let empty = |offset: u16| Ok::<u16, ()>(if offset < 0x40 { 0 } else { 0xFFFF });
/// assert_eq!(eeprom::checksum(empty), Ok(0xBABA));
/// ```
pub fn checksum<E>(mut word: impl FnMut(u16) -> Result<u16, E>) -> Result<u16, E> {
    let mut sum = 0u16;
    for offset in 0..CHECKSUM {
        sum = sum.wrapping_add(word(offset)?);
    }
    for pointer in PCIE_ANALOG_PTR..FIRMWARE_PTR {
        let section = word(pointer)?;
        if section == 0 || section == EMPTY {
            continue;
        }
        let length = word(section)?;
        if length == 0 || length == EMPTY {
            continue;
        }
        // A section that runs past the address space is not a section; stopping there keeps
        // the sum defined for any image.
        for offset in section.saturating_add(1)..=section.saturating_add(length) {
            sum = sum.wrapping_add(word(offset)?);
        }
    }
    Ok(CHECKSUM_SUM.wrapping_sub(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> [u16; 0x80] {
        let mut words = [0; 0x80];
        words[0x00] = 0x0040;
        words[usize::from(CORE_0_PTR)] = 0x50;
        words[0x50] = 3;
        words[0x51] = 0x1B00;
        words[0x52] = 0x2321;
        words[0x53] = 0x0100;
        words[usize::from(CORE_1_PTR)] = EMPTY;
        words[usize::from(FIRMWARE_PTR)] = 0x60;
        words[0x60] = 2;
        words[0x61] = 0x1234;
        words
    }

    fn sum_of(words: &[u16]) -> Result<u16, usize> {
        checksum(|offset| {
            let offset = usize::from(offset);
            words.get(offset).copied().ok_or(offset)
        })
    }

    #[test]
    fn covers_the_map_and_its_sections() {
        let expected = [0x0040, 0x50, 0x1B00, 0x2321, 0x0100, EMPTY, 0x60]
            .into_iter()
            .fold(CHECKSUM_SUM, u16::wrapping_sub);
        assert_eq!(sum_of(&image()), Ok(expected));
    }

    #[test]
    fn leaves_the_firmware_and_itself_out() {
        let mut words = image();
        let before = sum_of(&words);
        words[0x61] = 0x4321;
        words[usize::from(CHECKSUM)] = 0x5555;
        assert_eq!(sum_of(&words), before);
    }

    #[test]
    fn notices_a_changed_word_of_a_section() {
        let mut words = image();
        let before = sum_of(&words);
        words[0x52] ^= 1;
        assert_ne!(sum_of(&words), before);
    }

    #[test]
    fn a_pointer_outside_the_image_is_the_readers_error() {
        let mut words = image();
        words[usize::from(MAC_0_PTR)] = 0x0FFF;
        assert_eq!(sum_of(&words), Err(0x0FFF));
    }

    #[test]
    fn a_section_at_the_end_of_the_address_space_ends_there() {
        let mut reads = 0u32;
        let result = checksum(|offset| {
            reads += 1;
            Ok::<u16, ()>(if offset == MAC_0_PTR { 0xFFF0 } else { offset })
        });
        assert!(result.is_ok());
        assert!(reads < 0x10_0000);
    }
}
