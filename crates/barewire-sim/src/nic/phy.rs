//! The copper PHY behind MDIO (IEEE 802.3 clause 45, 82599 §3.7.4): what drivers of the X540 and
//! X550 look at, and the speeds it offers.

use std::collections::BTreeMap;

use barewire_spec::ixgbe::link_speed;

use super::Device;

/// MDIO devices.
pub(super) mod device {
    pub(super) const PMA: u8 = 1;
    pub(super) const PCS: u8 = 3;
    pub(super) const PHY_XS: u8 = 4;
    pub(super) const AUTONEG: u8 = 7;
    pub(super) const VENDOR: u8 = 30;
}

/// Registers, and their bits.
mod register {
    pub(super) const CONTROL: u16 = 0;
    pub(super) const STATUS: u16 = 1;
    pub(super) const ID_HIGH: u16 = 2;
    pub(super) const ID_LOW: u16 = 3;
    pub(super) const SPEEDS: u16 = 4;
    pub(super) const PRESENT: u16 = 5;
    pub(super) const STATUS_2: u16 = 8;
    pub(super) const ABILITIES: u16 = 11;
    /// What is offered at 100 Mbit/s, with pause abilities; what the partner offers.
    pub(super) const OFFER: u16 = 0x10;
    pub(super) const PARTNER: u16 = 0x13;
    pub(super) const OFFER_10G: u16 = 0x20;
    pub(super) const PARTNER_10G: u16 = 0x21;
    /// What is offered at 1 Gbit/s, in the vendor's range; what the partner offers.
    pub(super) const OFFER_1G: u16 = 0xC400;
    pub(super) const PARTNER_1G: u16 = 0xE820;
    /// Speed and duplex in use.
    pub(super) const IN_USE: u16 = 0xC800;
    /// Firmware revision.
    pub(super) const REVISION: u16 = 0x20;
    /// The vendor's word that tells that a reset has ended.
    pub(super) const RESET_DONE: u16 = 0xCC02;
    /// Control: restart negotiation, reset (both self-clearing), low power.
    pub(super) const RESTART: u16 = 1 << 9;
    pub(super) const RESET: u16 = 1 << 15;
    pub(super) const LOW_POWER: u16 = 1 << 11;
    /// Status 2: a device answers.
    pub(super) const HERE: u16 = 1 << 15;
    pub(super) const FULL_100M: u16 = 1 << 8;
    pub(super) const FULL_1G: u16 = 1 << 15;
    pub(super) const FULL_10G: u16 = 1 << 12;
}

/// How many registers keep what is written to them. More than any driver writes; a bound against
/// one that writes them all.
const KEPT: usize = 512;

/// The PHY's registers.
#[derive(Debug)]
pub(super) struct Phy {
    identity: [u16; 2],
    present: bool,
    kept: BTreeMap<(u8, u16), u16>,
    /// The register an address cycle chose.
    pub(super) address: u16,
    speed: u8,
}

impl Phy {
    pub(super) fn new(device: Device) -> Self {
        let identity = match device {
            Device::I82599 => 0,
            Device::X540 => 0x0200,
            Device::X550 => 0x0220,
        };
        Self {
            identity: [0x0154, identity],
            present: device != Device::I82599,
            kept: BTreeMap::new(),
            address: 0,
            speed: link_speed::GBIT_10,
        }
    }

    /// Whether a PHY answers at this address.
    pub(super) fn answers(&self, address: u8) -> bool {
        self.present && address == 0
    }

    /// The speed that the last negotiation ended with, as LINKS encodes it.
    pub(super) fn speed(&self) -> u8 {
        self.speed
    }

    fn kept(&self, device: u8, register: u16, default: u16) -> u16 {
        self.kept
            .get(&(device, register))
            .copied()
            .unwrap_or(default)
    }

    /// Whether the PHY is powered.
    pub(super) fn is_on(&self) -> bool {
        self.kept(device::VENDOR, register::CONTROL, 0) & register::LOW_POWER == 0
    }

    fn offer(&self) -> u16 {
        // 100 Mbit/s in both duplex modes, both kinds of pause.
        self.kept(device::AUTONEG, register::OFFER, 0x0D81)
    }

    /// Whether anything is offered that a partner could agree to.
    pub(super) fn offers(&self) -> bool {
        self.best().is_some()
    }

    fn best(&self) -> Option<u8> {
        let at = |register, default| self.kept(device::AUTONEG, register, default);
        if at(register::OFFER_10G, register::FULL_10G) & register::FULL_10G != 0 {
            Some(link_speed::GBIT_10)
        } else if at(register::OFFER_1G, register::FULL_1G) & register::FULL_1G != 0 {
            Some(link_speed::GBIT_1)
        } else if self.offer() & register::FULL_100M != 0 {
            Some(link_speed::MBIT_100)
        } else {
            None
        }
    }

    /// Agrees on the best speed offered: the partner can do all of them.
    pub(super) fn negotiate(&mut self) {
        self.speed = self.best().unwrap_or(self.speed);
    }

    pub(super) fn read(&self, device: u8, register: u16, up: bool) -> u16 {
        let known = matches!(
            device,
            device::PMA | device::PCS | device::PHY_XS | device::AUTONEG | device::VENDOR
        );
        if !known {
            return u16::MAX;
        }
        let up = u16::from(up);
        match (device, register) {
            (_, register::ID_HIGH) => self.identity[0],
            (_, register::ID_LOW) => self.identity[1],
            // PMA, PCS, PHY XS and negotiation are there.
            (_, register::PRESENT) => 0x009A,
            (device::AUTONEG, register::STATUS) => 0x0008 | up << 5 | up << 2,
            (device::VENDOR, register::STATUS) => up << 3,
            (_, register::STATUS) => up << 2,
            (device::AUTONEG, register::CONTROL) => self.kept(device, register, 0x3000),
            (device::PMA, register::STATUS_2) => register::HERE | 1 << 9,
            (device::PCS | device::PHY_XS, register::STATUS_2) => register::HERE,
            // 10 Gbit/s, 1 Gbit/s and 100 Mbit/s.
            (device::PMA, register::SPEEDS) => 0x0031,
            // 10GBASE-T, 1000BASE-T and 100BASE-TX.
            (device::PMA, register::ABILITIES) => 0x00A4,
            (device::AUTONEG, register::OFFER) => self.offer(),
            (device::AUTONEG, register::OFFER_10G) => {
                self.kept(device, register, register::FULL_10G)
            }
            (device::AUTONEG, register::OFFER_1G) => self.kept(device, register, register::FULL_1G),
            // The partner offers all speeds and both kinds of pause.
            (device::AUTONEG, register::PARTNER) => up * 0x0D81,
            (device::AUTONEG, register::PARTNER_10G) => up << 11,
            (device::AUTONEG, register::PARTNER_1G) => up * register::FULL_1G,
            // Speed in bits 2:1, full duplex in bit 0.
            (device::AUTONEG, register::IN_USE) => up * (u16::from(self.speed) << 1 | 1),
            (device::VENDOR, register::REVISION) => 0x0206,
            // Both parts of the PHY have ended their reset.
            (_, register::RESET_DONE) => 0x0003,
            _ => self.kept(device, register, 0),
        }
    }

    /// Writes a register; true if that restarts the link.
    pub(super) fn write(&mut self, device: u8, register: u16, value: u16) -> bool {
        let control = register == register::CONTROL;
        let self_clearing = if control {
            register::RESTART | register::RESET
        } else {
            0
        };
        let was_on = self.is_on();
        if self.kept.len() < KEPT || self.kept.contains_key(&(device, register)) {
            self.kept.insert((device, register), value & !self_clearing);
        }
        control && value & self_clearing != 0 || was_on != self.is_on()
    }
}
