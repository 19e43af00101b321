//! The configuration a device was shipped with (82599 datasheet §6, §8.2.3.2.2).

use barewire_bus::Bar;
use barewire_spec::ixgbe::{EERD, Eerd, eeprom};

use super::registers::Registers;
use super::semaphore::{self, Resource};
use crate::Error;
use crate::patience::Patience;

fn word<B: Bar>(registers: &Registers<B>, address: u16) -> Result<u16, Error> {
    if address >= 1 << 14 {
        return Err(registers.broken(format!(
            "the EEPROM points to word {address:#x}, beyond its end"
        )));
    }
    registers.write(
        &EERD,
        Eerd::new().with_start(true).with_addr(address).into_bits(),
    );
    let done = |eerd| Eerd::from_bits(eerd).done();
    let value = registers.wait("an EEPROM read", &EERD, 0, Patience::new(5, 50), done)?;
    Ok(Eerd::from_bits(value).data())
}

/// Compares the EEPROM's checksum with what it should be. A device with a broken EEPROM may have
/// no MAC address, no link, or worse: it is not used.
pub(super) fn verify<B: Bar>(registers: &Registers<B>) -> Result<(), Error> {
    semaphore::with(registers, Resource::Eeprom, || {
        // a device that points everywhere makes a long walk; the map and its sections are short
        let mut reads = 0;
        let expected = eeprom::checksum(|address| {
            reads += 1;
            if reads > 4096 {
                return Err(registers.broken("the EEPROM's sections have no end"));
            }
            word(registers, address)
        })?;
        let found = word(registers, eeprom::CHECKSUM)?;
        if found == expected {
            Ok(())
        } else {
            Err(registers.broken(format!(
                "the EEPROM's checksum is {found:#06x} and should be {expected:#06x}: \
                 the card's EEPROM is damaged"
            )))
        }
    })
}
