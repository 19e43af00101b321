//! Bringing the link up, by the kind of medium (82599 datasheet §4.6.4, §3.7).

use std::time::Duration;

use barewire_bus::Bar;
use barewire_spec::ixgbe::{
    AUTOC, AUTOC2, Autoc, Autoc2, LINKS, Links, MSCA, MSRWD, Msca, STATUS, Status, link_speed, lms,
};
use barewire_spec::pci::{Family, Media};

use super::registers::Registers;
use super::semaphore::{self, Resource};
use crate::patience::{Patience, link_up};
use crate::{Error, Link};

/// Starts the link. It comes up by itself, some time later.
pub(super) fn start<B: Bar>(registers: &Registers<B>, media: Media) -> Result<(), Error> {
    match media {
        Media::Copper => restart_copper_negotiation(registers),
        Media::Fiber => {
            start_serial(registers);
            Ok(())
        }
        // what the EEPROM configured for this board's traces or module
        _ => {
            restart_negotiation(registers);
            Ok(())
        }
    }
}

/// An SFP+ cage on the 82599: 10 Gbit/s over SFI, no negotiation. The datasheet's values are the
/// fields' reset values but for the link mode and the interface.
fn start_serial<B: Bar>(registers: &Registers<B>) {
    let autoc2 = Autoc2::from_bits(registers.read(&AUTOC2)).with_pma_pmd_10g_serial(2);
    registers.write(&AUTOC2, autoc2.into_bits());
    let autoc = Autoc::from_bits(registers.read(&AUTOC)).with_lms(lms::LINK_10G_SERIAL);
    registers.write(&AUTOC, autoc.into_bits());
    restart_negotiation(registers);
}

fn restart_negotiation<B: Bar>(registers: &Registers<B>) {
    let autoc = Autoc::from_bits(registers.read(&AUTOC));
    registers.write(&AUTOC, autoc.with_restart_an(true).into_bits());
}

/// The link as the device sees it now.
///
/// `LINK_UP` remembers an interruption until it is read, so the second read is the present.
pub(super) fn state<B: Bar>(registers: &Registers<B>, family: Family) -> Result<Link, Error> {
    registers.read(&LINKS);
    let links = registers.read(&LINKS);
    if links == u32::MAX {
        registers.check()?;
    }
    let links = Links::from_bits(links);
    Ok(Link {
        up: links.link_up(),
        mbits: if links.link_up() {
            mbits(links, family)
        } else {
            0
        },
    })
}

/// Speed in Mbit/s; 0 for a code that means nothing on this controller.
fn mbits(links: Links, family: Family) -> u32 {
    // what is the mode of the 82599's serial interface, the X550 uses for two more speeds
    let other = !matches!(family, Family::I82599 | Family::X540) && links.other_speed();
    match (links.link_speed(), other) {
        (link_speed::MBIT_100, false) => 100,
        (link_speed::MBIT_100, true) => 5000,
        (link_speed::GBIT_1, _) => 1000,
        (link_speed::GBIT_10, false) => 10_000,
        (link_speed::GBIT_10, true) => 2500,
        _ => 0,
    }
}

/// The link as soon as it is up, or after `limit`.
pub(super) fn wait<B: Bar>(
    registers: &Registers<B>,
    family: Family,
    limit: Duration,
) -> Result<Link, Error> {
    link_up(registers.bar(), limit, || state(registers, family))
}

/// MDIO devices and registers of a copper PHY (IEEE 802.3 clause 45).
const PMA_PMD: u8 = 1;
const AUTO_NEGOTIATION: u8 = 7;
const CONTROL: u16 = 0;
const IDENTIFIER: u16 = 2;
/// Enable and restart, in the negotiation's control register (IEEE 802.3 §45.2.7.1).
const RESTART: u16 = 1 << 12 | 1 << 9;

/// X540 and X550 have a copper PHY behind MDIO; the serial interface's registers mean nothing
/// there.
fn restart_copper_negotiation<B: Bar>(registers: &Registers<B>) -> Result<(), Error> {
    let port = Status::from_bits(registers.read(&STATUS)).lan_id();
    semaphore::with(registers, Resource::Phy(port), || {
        let phy = find_phy(registers)?;
        let control = mdio_read(registers, phy, AUTO_NEGOTIATION, CONTROL)?;
        mdio_write(registers, phy, AUTO_NEGOTIATION, CONTROL, control | RESTART)
    })
}

fn find_phy<B: Bar>(registers: &Registers<B>) -> Result<u8, Error> {
    for phy in 0..32 {
        let identifier = mdio_read(registers, phy, PMA_PMD, IDENTIFIER)?;
        if identifier != 0 && identifier != u16::MAX {
            return Ok(phy);
        }
    }
    Err(registers.broken("no PHY answers on any of the 32 MDIO addresses"))
}

fn mdio_command<B: Bar>(
    registers: &Registers<B>,
    phy: u8,
    device: u8,
    register: u16,
    opcode: u8,
) -> Result<(), Error> {
    let command = Msca::new()
        .with_mdiadd(register)
        .with_devadd(device)
        .with_phyadd(phy)
        .with_opcode(opcode)
        .with_mdicmd(true);
    registers.write(&MSCA, command.into_bits());
    let over = |msca| !Msca::from_bits(msca).mdicmd();
    registers
        .wait("an MDIO command", &MSCA, 0, Patience::new(10, 10), over)
        .map(drop)
}

/// MDIO opcodes of clause 45.
const ADDRESS: u8 = 0;
const WRITE: u8 = 1;
const READ: u8 = 3;

fn mdio_read<B: Bar>(
    registers: &Registers<B>,
    phy: u8,
    device: u8,
    register: u16,
) -> Result<u16, Error> {
    mdio_command(registers, phy, device, register, ADDRESS)?;
    mdio_command(registers, phy, device, register, READ)?;
    let [_, _, low, high] = registers.read(&MSRWD).to_le_bytes();
    Ok(u16::from_le_bytes([low, high]))
}

fn mdio_write<B: Bar>(
    registers: &Registers<B>,
    phy: u8,
    device: u8,
    register: u16,
    value: u16,
) -> Result<(), Error> {
    mdio_command(registers, phy, device, register, ADDRESS)?;
    registers.write(&MSRWD, u32::from(value));
    mdio_command(registers, phy, device, register, WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_x550_has_two_more_speeds_where_the_82599_has_its_mode() {
        let links = |speed| Links::new().with_link_speed(speed).with_mlink_mode(2);
        assert_eq!(mbits(links(link_speed::GBIT_10), Family::I82599), 10_000);
        assert_eq!(mbits(links(link_speed::GBIT_10), Family::X550), 2500);
        assert_eq!(mbits(links(link_speed::MBIT_100), Family::X553), 5000);
        assert_eq!(mbits(links(link_speed::GBIT_1), Family::X552), 1000);
        let plain = Links::new().with_link_speed(link_speed::GBIT_10);
        assert_eq!(mbits(plain, Family::X550), 10_000);
    }
}
