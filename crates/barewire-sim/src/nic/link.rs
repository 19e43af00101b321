//! The link: serial lanes of the 82599 itself, or a copper PHY behind MDIO (82599 §3.7, §8.2.3.22).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Autoc, Eicr, Links, Msca, link_speed, lms};

use super::model::Model;
use super::{Device, NicConfig};
use crate::time::Nanos;

/// How long the link takes to come up after a reset, a restart or the cable being plugged in.
const TRAINING: Nanos = Nanos::from_millis(20);

/// MDIO devices and registers of the copper PHY (IEEE 802.3 clause 45).
mod mdio {
    pub(super) const PMA: u8 = 1;
    pub(super) const AUTONEG: u8 = 7;
    pub(super) const VENDOR: u8 = 30;
    pub(super) const CONTROL: u16 = 0;
    pub(super) const STATUS: u16 = 1;
    pub(super) const ID_HIGH: u16 = 2;
    pub(super) const ID_LOW: u16 = 3;
    pub(super) const SPEEDS: u16 = 4;
    pub(super) const PRESENT: u16 = 5;
    pub(super) const ABILITIES: u16 = 11;
    pub(super) const AUTONEG_10G: u16 = 0x20;
    pub(super) const AUTONEG_VENDOR_STATUS: u16 = 0xC800;
    pub(super) const RESET_DONE: u16 = 0xCC02;
    /// Control: restart negotiation, self-clearing.
    pub(super) const RESTART: u16 = 1 << 9;
    /// Control: reset, self-clearing.
    pub(super) const RESET: u16 = 1 << 15;
    /// Control: low power.
    pub(super) const LOW_POWER: u16 = 1 << 11;
}

/// The state of the link and of the PHY.
#[allow(clippy::struct_excessive_bools)] // facts that do not exclude each other
#[derive(Debug)]
pub(super) struct Link {
    plugged: bool,
    up: bool,
    /// The link was down at some time since LINKS was last read.
    interrupted: bool,
    up_at: Option<Nanos>,
    /// Registers of the PHY that were written: device, register, value. Bounded by [`PHY_WORDS`].
    phy: Vec<(u8, u16, u16)>,
    /// The register an address cycle chose.
    address: u16,
    copper: bool,
    identity: u32,
}

/// How many registers of the PHY keep what is written to them.
const PHY_WORDS: usize = 64;

impl Link {
    pub(super) fn new(config: &NicConfig) -> Self {
        let identity = match config.device {
            Device::I82599 => 0,
            Device::X540 => 0x0154_0200,
            Device::X550 => 0x0154_0220,
        };
        Self {
            plugged: config.plugged,
            up: false,
            interrupted: true,
            up_at: None,
            phy: Vec::new(),
            address: 0,
            copper: config.device != Device::I82599,
            identity,
        }
    }

    /// The cable is plugged in.
    pub(super) fn is_plugged(&self) -> bool {
        self.plugged
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    pub(super) fn pending(&self) -> Option<Nanos> {
        self.up_at
    }

    /// Takes the link down and starts training.
    pub(super) fn restart(&mut self, now: Nanos) {
        self.up = false;
        self.interrupted = true;
        self.up_at = self.plugged.then(|| now + TRAINING);
    }

    fn phy_read(&self, device: u8, register: u16) -> u16 {
        let up = u16::from(self.up);
        let kept = self
            .phy
            .iter()
            .find(|(d, r, _)| (*d, *r) == (device, register))
            .map(|(_, _, value)| *value);
        let identity = self.identity.to_be_bytes();
        match (device, register) {
            (mdio::PMA | mdio::AUTONEG | mdio::VENDOR, mdio::ID_HIGH) => {
                u16::from_be_bytes([identity[0], identity[1]])
            }
            (mdio::PMA | mdio::AUTONEG | mdio::VENDOR, mdio::ID_LOW) => {
                u16::from_be_bytes([identity[2], identity[3]])
            }
            // 10 Gbit/s, 1 Gbit/s and 100 Mbit/s.
            (mdio::PMA, mdio::SPEEDS) => 0x0031,
            // PMA, PCS, PHY XS and negotiation are there.
            (_, mdio::PRESENT) => 0x009A,
            // 10GBASE-T, 1000BASE-T and 100BASE-TX.
            (mdio::PMA, mdio::ABILITIES) => 0x00A4,
            (mdio::PMA, mdio::STATUS) => up << 2,
            // Able to negotiate; negotiation complete and link up when it is.
            (mdio::AUTONEG, mdio::STATUS) => 0x0008 | up << 5 | up << 2,
            (mdio::AUTONEG, mdio::AUTONEG_VENDOR_STATUS) => up * 7,
            (mdio::VENDOR, mdio::STATUS) => up << 3,
            // Both parts of the PHY have ended their reset.
            (mdio::VENDOR, mdio::RESET_DONE) => 0x0003,
            (mdio::AUTONEG, mdio::CONTROL) => kept.unwrap_or(0x3000),
            // 10GBASE-T is offered.
            (mdio::AUTONEG, mdio::AUTONEG_10G) => kept.unwrap_or(0x1000),
            _ => kept.unwrap_or(0),
        }
    }

    /// Writes a register of the PHY; true if that restarts the link.
    fn phy_write(&mut self, device: u8, register: u16, value: u16) -> bool {
        let control = register == mdio::CONTROL;
        let self_clearing = if control {
            mdio::RESTART | mdio::RESET
        } else {
            0
        };
        let kept = value & !self_clearing;
        let room = self.phy.len() < PHY_WORDS;
        let known = self
            .phy
            .iter_mut()
            .find(|(d, r, _)| (*d, *r) == (device, register));
        match known {
            Some(entry) => entry.2 = kept,
            None if room => self.phy.push((device, register, kept)),
            None => {}
        }
        control && value & self_clearing != 0
    }

    fn low_power(&self) -> bool {
        self.copper && self.phy_read(mdio::VENDOR, mdio::CONTROL) & mdio::LOW_POWER != 0
    }
}

impl Model {
    /// Plugs the cable in or out.
    pub(super) fn set_cable(&mut self, plugged: bool) {
        if self.link.plugged != plugged {
            let was_up = self.link.up;
            self.link.plugged = plugged;
            self.link.restart(self.now);
            if was_up {
                self.link_changed();
            }
            self.reschedule();
        }
    }

    /// Brings the link up if its time has come.
    pub(super) fn update_link(&mut self) {
        if self.link.up_at.take_if(|at| *at <= self.now).is_some() && !self.link.low_power() {
            self.link.up = true;
            self.link_changed();
        }
    }

    fn link_changed(&mut self) {
        self.raise(Eicr::new().with_lsc(true).into_bits());
        self.decode_port();
    }

    fn restart_link(&mut self) {
        let was_up = self.link.up;
        self.link.restart(self.now);
        if was_up {
            self.link_changed();
        }
        self.reschedule();
    }

    /// Acts on a write to AUTOC.
    pub(super) fn write_autoc(&mut self, value: u32) {
        let autoc = Autoc::from_bits(value);
        if autoc.restart_an() {
            let kept = autoc.with_restart_an(false).into_bits();
            self.registers.put(&spec::AUTOC, 0, kept);
            self.restart_link();
        }
    }

    fn link_mode(&self) -> u8 {
        Autoc::from_bits(self.registers.of(&spec::AUTOC)).lms()
    }

    /// The link's speed as LINKS encodes it.
    pub(super) fn link_speed(&self) -> u8 {
        if self.is_copper() {
            return link_speed::GBIT_10;
        }
        match self.link_mode() {
            lms::LINK_1G_NO_AN | lms::LINK_1G_AN => link_speed::GBIT_1,
            lms::SGMII => link_speed::MBIT_100,
            _ => link_speed::GBIT_10,
        }
    }

    fn negotiates(&self) -> bool {
        !self.is_copper() && self.link_mode() >= lms::BACKPLANE
    }

    /// LINKS: its link bit remembers an interruption until it is read.
    pub(super) fn read_links(&mut self) -> u32 {
        let up = self.link.up;
        let steady = up && !self.link.interrupted;
        self.link.interrupted = !up;
        let links = Links::new()
            .with_link_status(up)
            .with_link_up(steady)
            .with_link_speed(if up { self.link_speed() } else { 0 })
            .with_serial_10g_enabled(!self.is_copper())
            .with_mlink_mode(if self.negotiates() { 3 } else { 2 })
            .with_signal_detected(u8::from(up))
            .with_kx_an_completed(up && self.negotiates());
        links.into_bits()
    }

    /// The partner's abilities and the state of the negotiation, which is 0 only before it begins.
    pub(super) fn anlp1(&self) -> u32 {
        match (self.negotiates(), self.link.up) {
            // Negotiation finished: state 9, the partner can do 10 Gbit/s.
            (true, true) => 0x0009_4801,
            (true, false) => 0x0002_0000,
            (false, _) => 0,
        }
    }

    /// Performs an MDIO command.
    pub(super) fn write_msca(&mut self, value: u32) {
        let command = Msca::from_bits(value);
        if !command.mdicmd() {
            return;
        }
        let finished = command.with_mdicmd(false).into_bits();
        self.registers.put(&spec::MSCA, 0, finished);
        let data = self.registers.of(&spec::MSRWD) & 0xFFFF;
        let clause_22 = command.stcode() == 1;
        let register = if clause_22 {
            u16::from(command.devadd())
        } else {
            self.link.address
        };
        let present = self.is_copper() && command.phyadd() == 0;
        match command.opcode() {
            0 => self.link.address = command.mdiadd(),
            1 if present => {
                let low = u16::try_from(data).unwrap_or(0);
                if self.link.phy_write(command.devadd(), register, low) {
                    self.restart_link();
                }
            }
            1 => {}
            opcode => {
                // An address nobody answers at reads all ones.
                let read = if present {
                    self.link.phy_read(command.devadd(), register)
                } else {
                    u16::MAX
                };
                let read = data | u32::from(read) << 16;
                self.registers.put(&spec::MSRWD, 0, read);
                if opcode == 2 {
                    self.link.address = self.link.address.wrapping_add(1);
                }
            }
        }
    }
}
