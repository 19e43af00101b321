//! The link: serial lanes of the 82599 itself, or a copper PHY behind MDIO (82599 §3.7, §8.2.3.22).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Autoc, Autoc2, Eicr, Esdp, Links, Macc, Msca, link_speed, lms};

use super::NicConfig;
use super::model::Model;
use super::module::Module;
use super::phy::Phy;
use super::registers::Slot;
use super::two_wire::TwoWire;
use crate::time::Nanos;

/// How long the link takes to come up after a reset, a restart or the cable being plugged in.
const TRAINING: Nanos = Nanos::from_millis(20);

/// The pins of ESDP that belong to an SFP+ cage: a module is there, its laser is to be off, its
/// rate is to be that of 10 Gbit/s.
mod pin {
    pub(super) const MODULE: u8 = 1 << 2;
    pub(super) const LASER_OFF: u8 = 1 << 3;
    pub(super) const RATE: u8 = 1 << 5;
}

/// The state of the link and of what is behind the port.
#[allow(clippy::struct_excessive_bools)] // facts that do not exclude each other
#[derive(Debug)]
pub(super) struct Link {
    plugged: bool,
    up: bool,
    /// The link was down at some time since LINKS was last read.
    interrupted: bool,
    up_at: Option<Nanos>,
    /// The link is up because software forces it.
    forced: bool,
    phy: Phy,
    module: Module,
    wires: TwoWire,
}

impl Link {
    pub(super) fn new(config: &NicConfig) -> Self {
        Self {
            plugged: config.plugged,
            up: false,
            interrupted: true,
            up_at: None,
            forced: false,
            phy: Phy::new(config.device),
            module: Module::new(),
            wires: TwoWire::new(),
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
}

impl Model {
    /// Plugs the cable in or out.
    pub(super) fn set_cable(&mut self, plugged: bool) {
        if self.link.plugged != plugged {
            self.link.plugged = plugged;
            self.restart_link();
        }
    }

    /// Brings the link up if its time has come.
    pub(super) fn update_link(&mut self) {
        if self.link.up_at.take_if(|at| *at <= self.now).is_some() {
            self.link.phy.negotiate();
            self.link.up = true;
            self.link_changed();
        }
    }

    fn link_changed(&mut self) {
        self.raise(Eicr::new().with_lsc(true).into_bits());
        self.decode_port();
    }

    /// Takes the link down and starts training, if there is anything to train with.
    pub(super) fn restart_link(&mut self) {
        let was_up = self.link.up;
        let forced = self.is_forced();
        self.link.up = forced;
        self.link.forced = forced;
        self.link.interrupted = true;
        self.link.up_at = (self.can_train() && !forced).then(|| self.now + TRAINING);
        let light = self.link.plugged;
        self.link.module.see(self.laser_off(), light);
        if was_up != forced {
            self.link_changed();
        }
        self.reschedule();
    }

    /// Software forces the link up, as for loopback tests.
    fn is_forced(&self) -> bool {
        if self.is_copper() {
            Macc::from_bits(self.registers.of(&spec::MACC)).flu()
        } else {
            Autoc::from_bits(self.registers.of(&spec::AUTOC)).flu()
        }
    }

    fn laser_off(&self) -> bool {
        let esdp = Esdp::from_bits(self.registers.of(&spec::ESDP));
        !self.is_copper() && esdp.sdp_data() & esdp.sdp_iodir() & pin::LASER_OFF != 0
    }

    fn can_train(&self) -> bool {
        let enabled = if self.is_copper() {
            self.link.phy.is_on() && self.link.phy.offers()
        } else {
            let autoc2 = Autoc2::from_bits(self.registers.of(&spec::AUTOC2));
            autoc2.link_disable() == 0 && !self.laser_off()
        };
        self.link.plugged && enabled
    }

    /// Acts on a write to AUTOC.
    pub(super) fn write_autoc(&mut self, value: u32) {
        let autoc = Autoc::from_bits(value);
        let kept = autoc.with_restart_an(false).into_bits();
        self.registers.put(&spec::AUTOC, 0, kept);
        if autoc.restart_an() || autoc.flu() != self.link.forced {
            self.restart_link();
        }
    }

    /// Acts on a write to something that forces the link, or keeps it down.
    pub(super) fn write_link_condition(&mut self) {
        let wanted = self.can_train() || self.is_forced();
        let under_way = self.link.up || self.link.up_at.is_some();
        if wanted != under_way || self.is_forced() != self.link.forced {
            self.restart_link();
        }
    }

    /// ESDP: pins that are inputs show what is outside (82599 §8.2.3.1.4).
    pub(super) fn read_esdp(&self, value: u32) -> u32 {
        let esdp = Esdp::from_bits(value);
        let outside = if self.is_copper() { 0 } else { pin::MODULE };
        let inputs = !esdp.sdp_iodir();
        esdp.with_sdp_data(esdp.sdp_data() & !inputs | outside & inputs)
            .into_bits()
    }

    /// ESDP as the EEPROM sets it: the laser's pin and the rate's are outputs.
    pub(super) fn load_pins(&mut self) {
        if !self.is_copper() {
            let esdp = Esdp::new()
                .with_sdp_data(pin::RATE)
                .with_sdp_iodir(pin::LASER_OFF | pin::RATE);
            self.registers.put(&spec::ESDP, 0, esdp.into_bits());
        }
    }

    fn link_mode(&self) -> u8 {
        Autoc::from_bits(self.registers.of(&spec::AUTOC)).lms()
    }

    /// The link's speed as LINKS encodes it.
    pub(super) fn link_speed(&self) -> u8 {
        if self.is_copper() {
            return self.link.phy.speed();
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
        let mode = match (self.is_copper(), self.negotiates()) {
            // there its upper bit stands for 2.5 and 5 Gbit/s
            (true, _) => 0,
            (false, true) => 3,
            (false, false) => 2,
        };
        let links = Links::new()
            .with_link_status(up)
            .with_link_up(steady)
            .with_link_speed(if up { self.link_speed() } else { 0 })
            .with_serial_10g_enabled(!self.is_copper())
            .with_mlink_mode(mode)
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

    /// The link is up at 1 Gbit/s on serial lanes, where clause 37 negotiation happens.
    fn is_clause_37(&self) -> bool {
        self.link.up && !self.is_copper() && self.link_speed() == link_speed::GBIT_1
    }

    /// PCS1GLSTA: link and synchronization, and, where it was asked for, negotiation complete.
    pub(super) fn pcs_1g_status(&self) -> u32 {
        let negotiated = self.link_mode() == lms::LINK_1G_AN;
        match (self.is_clause_37(), negotiated) {
            (true, true) => 0x0001_001D,
            (true, false) => 0x0000_001D,
            (false, _) => 0,
        }
    }

    /// PCS1GANLP: the partner does full duplex and both kinds of pause.
    pub(super) fn pcs_1g_partner(&self) -> u32 {
        if self.is_clause_37() { 0x0000_41A0 } else { 0 }
    }

    /// I2CCTL: what the wires to the module carry (82599 §8.2.3.1.5).
    pub(super) fn read_i2cctl(&self, slot: &Slot) -> u32 {
        // Clock in bits 1 (driven) and 0 (seen), data in bits 3 and 2.
        let value = self.registers.at(slot) & 0xA;
        let data = if self.is_copper() {
            value >> 3 & 1
        } else {
            u32::from(self.link.wires.data())
        };
        value | value >> 1 & 1 | data << 2
    }

    /// I2CCTL was written: moves the wires.
    pub(super) fn write_i2cctl(&mut self, value: u32) {
        let Link { wires, module, .. } = &mut self.link;
        wires.drive(module, value & 0x2 != 0, value & 0x8 != 0);
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
        let phy = &mut self.link.phy;
        let register = if clause_22 {
            u16::from(command.devadd())
        } else {
            phy.address
        };
        let answers = phy.answers(command.phyadd()) && !clause_22;
        match command.opcode() {
            0 => phy.address = command.mdiadd(),
            1 if answers => {
                let low = u16::try_from(data).unwrap_or(0);
                if phy.write(command.devadd(), register, low) {
                    self.restart_link();
                }
            }
            1 => {}
            opcode => {
                // An address nobody answers at reads all ones.
                let read = if answers {
                    phy.read(command.devadd(), register, self.link.up)
                } else {
                    u16::MAX
                };
                if opcode == 2 {
                    phy.address = phy.address.wrapping_add(1);
                }
                let read = data | u32::from(read) << 16;
                self.registers.put(&spec::MSRWD, 0, read);
            }
        }
    }
}
