//! Which frames a port receives (82599 datasheet §7.1.1).

use barewire_bus::Bar;
use barewire_spec::ixgbe::{
    FCTRL, Fctrl, MCSTCTRL, MPSAR, MTA, Mcstctrl, RAH, RAL, Rah, VFTA, VLNCTRL, Vlnctrl,
};

use super::registers::Registers;
use crate::mac::{Mac, check_count, check_multicast, check_unicast, is_unicast};
use crate::{Error, PortConfig};

/// Exact addresses that the device compares, of which the first is its own.
const ADDRESSES: usize = 128;

/// The MAC address that the device took from its EEPROM.
pub(super) fn mac_address<B: Bar>(registers: &Registers<B>) -> Result<[u8; 6], Error> {
    let low = registers.read_at(&RAL, 0).to_le_bytes();
    let high = Rah::from_bits(registers.read_at(&RAH, 0))
        .rah()
        .to_le_bytes();
    let address = [low[0], low[1], low[2], low[3], high[0], high[1]];
    if is_unicast(address) {
        return Ok(address);
    }
    registers.check()?;
    Err(registers.broken(format!(
        "its EEPROM holds the MAC address {}, which is none",
        Mac(address)
    )))
}

/// Everything off but what was asked for. The receive path must not be running.
pub(super) fn initialise<B: Bar>(registers: &Registers<B>, address: [u8; 6], config: &PortConfig) {
    write_address(registers, 0, Some(address));
    for index in 1..RAL.count() {
        write_address(registers, index, None);
    }
    for index in 0..MPSAR.count() {
        registers.write_at(&MPSAR, index, if index < 2 { u32::MAX } else { 0 });
    }
    for index in 0..MTA.count() {
        registers.write_at(&MTA, index, 0);
    }
    for index in 0..VFTA.count() {
        let mine = config.vlans.iter().flatten();
        let mine = mine.filter(|vlan| u32::from(**vlan) / 32 == index);
        let bits = mine.fold(0, |bits, vlan| bits | 1 << (vlan % 32));
        registers.write_at(&VFTA, index, bits);
    }
    let vlnctrl = Vlnctrl::from_bits(registers.read(&VLNCTRL));
    registers.write(
        &VLNCTRL,
        vlnctrl.with_vfe(config.vlans.is_some()).into_bits(),
    );
    registers.write(&MCSTCTRL, Mcstctrl::new().into_bits());
    write_modes(registers, config.promiscuous, config.all_multicast);
}

/// Broadcast always, the rest by mode. `FCTRL` must not be written while frames are received
/// (82599 datasheet §8.2.3.7.1): the caller sees to that.
pub(super) fn write_modes<B: Bar>(
    registers: &Registers<B>,
    promiscuous: bool,
    all_multicast: bool,
) {
    let fctrl = Fctrl::new()
        .with_bam(true)
        .with_upe(promiscuous)
        .with_mpe(all_multicast);
    registers.write(&FCTRL, fctrl.into_bits());
}

/// Writes one exact address. `RAH` carries the valid bit with the address: writing it without
/// would make the address invalid.
fn write_address<B: Bar>(registers: &Registers<B>, index: u32, address: Option<[u8; 6]>) {
    let [low @ .., fifth, sixth] = address.unwrap_or_default();
    let high = Rah::new()
        .with_rah(u16::from_le_bytes([fifth, sixth]))
        .with_av(address.is_some());
    registers.write_at(&RAL, index, u32::from_le_bytes(low));
    registers.write_at(&RAH, index, high.into_bits());
}

pub(super) fn set_mac_address<B: Bar>(
    registers: &Registers<B>,
    address: [u8; 6],
) -> Result<(), Error> {
    check_unicast(registers.device(), address)?;
    write_address(registers, 0, Some(address));
    registers.check()
}

pub(super) fn set_unicast<B: Bar>(
    registers: &Registers<B>,
    addresses: &[[u8; 6]],
) -> Result<(), Error> {
    check_count(registers.device(), addresses, ADDRESSES - 1)?;
    for address in addresses {
        check_unicast(registers.device(), *address)?;
    }
    let given = addresses
        .iter()
        .copied()
        .map(Some)
        .chain(std::iter::repeat(None));
    for (index, address) in (1..RAL.count()).zip(given) {
        write_address(registers, index, address);
        let pools = if address.is_some() { u32::MAX } else { 0 };
        registers.write_at(&MPSAR, 2 * index, pools);
        registers.write_at(&MPSAR, 2 * index + 1, pools);
    }
    registers.check()
}

pub(super) fn set_multicast<B: Bar>(
    registers: &Registers<B>,
    addresses: &[[u8; 6]],
) -> Result<(), Error> {
    let mut table = [0u32; 128];
    for address in addresses {
        check_multicast(registers.device(), *address)?;
        // bits 47:36 of the address, as MCSTCTRL.MO = 0 selects
        let hash = usize::from(address[4] >> 4) | usize::from(address[5]) << 4;
        table[hash / 32] |= 1 << (hash % 32);
    }
    for (index, bits) in (0..MTA.count()).zip(table) {
        registers.write_at(&MTA, index, bits);
    }
    registers.write(
        &MCSTCTRL,
        Mcstctrl::new().with_mfe(!addresses.is_empty()).into_bits(),
    );
    registers.check()
}
