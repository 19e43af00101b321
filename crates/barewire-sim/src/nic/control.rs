//! Accesses to registers: the rules that hold for all of them, and what each one does.

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::x540::Eewr;
use barewire_spec::ixgbe::{Eerd, Hlreg0, Mode, Mrqc, Rdrxctl, Rxctrl, Swsm};

use super::eeprom;
use super::model::Model;
use super::registers::{Registers, Slot, slot};
use super::roles::Role;
use super::unimplemented;
use crate::exceptions::Subject;
use crate::violation::Rule;

/// What a device that is gone answers.
pub(super) const GONE: u32 = u32::MAX;
/// What a read returns where another device of the family has a register.
const ELSEWHERE: u32 = 0;
/// The semaphore of `SW_FW_SYNC` itself, on the X540 and X550.
const REGISTER_SEMAPHORE: u32 = 1 << 31;

/// The value of LINKS, EICR and others is made when it is read.
impl Model {
    /// Reads the register at `offset` of BAR 0.
    pub(super) fn read(&mut self, offset: u32) -> u32 {
        let value = self.answer_read(offset);
        if let Some(trace) = &mut self.trace {
            trace.register(self.now, "read", offset, value);
        }
        value
    }

    fn answer_read(&mut self, offset: u32) -> u32 {
        if self.removed || self.is_asleep(offset, 0) {
            return GONE;
        }
        let slot = match self.checked_slot(offset, "read", 0) {
            Ok(slot) => slot,
            Err(value) => return value,
        };
        if !slot.register.mode.readable() {
            self.violate_at(&slot, Rule::WriteOnly, 0, String::new);
        }
        let value = self.read_slot(&slot);
        if slot.register.mode == Mode::ReadClear {
            self.registers.put_at(&slot, 0);
        }
        value
    }

    pub(super) fn read_slot(&mut self, slot: &Slot) -> u32 {
        let index = slot.position();
        match slot.role {
            Role::Status => {
                let status = spec::Status::new()
                    .with_linkup(self.link.is_up())
                    .with_pcie_master_enable_status(!self.resets.master_disabled);
                status.into_bits()
            }
            Role::I2cctl => self.read_i2cctl(slot),
            Role::I2cctlX550 => {
                // No module answers: the pulled-up wires read what is driven.
                let value = self.registers.at(slot);
                let (clock, data) = (value & 0x2200 != 0, value & 0x0C00 != 0);
                value & !0x5000 | u32::from(clock) << 14 | u32::from(data) << 12
            }
            Role::Esdp => self.read_esdp(self.registers.at(slot)),
            Role::Eec => self.read_eec(slot),
            Role::Pcs1glsta => self.pcs_1g_status(),
            Role::Pcs1ganlp => self.pcs_1g_partner(),
            Role::Systiml => self.read_system_time()[0],
            Role::Systimh => self.read_system_time()[1],
            Role::Frtimer => self.free_running_timer(),
            Role::SwFwSync if self.is_copper() => {
                // As in SWSM, a read that returns 0 takes the semaphore.
                let value = self.registers.at(slot);
                self.registers.put_at(slot, value | REGISTER_SEMAPHORE);
                value
            }
            Role::Swsm => {
                let value = self.registers.at(slot);
                let taken = Swsm::from_bits(value).with_smbi(true);
                self.registers.put_at(slot, taken.into_bits());
                value
            }
            Role::Eicr => self.read_eicr(),
            // What the two show is not documented: the causes, not cleared, and the mask.
            Role::Eics => self.peek_eicr(),
            Role::Eims | Role::Eimc => self.read_eims(),
            Role::EimsEx | Role::EimcEx => self.read_eims_ex(slot.index),
            Role::Links => self.read_links(),
            Role::Anlp1 => self.anlp1(),
            Role::Secrxstat => {
                let held = spec::Secrxctrl::from_bits(self.registers.of(&spec::SECRXCTRL)).rx_dis();
                spec::Secrxstat::new().with_secrx_rdy(held).into_bits()
            }
            Role::Sectxstat => {
                let held = spec::Sectxctrl::from_bits(self.registers.of(&spec::SECTXCTRL)).tx_dis();
                u32::from(held)
            }
            Role::RxHead => self.rx[index].ring.head,
            Role::TxHead => self.tx[index].ring.head,
            Role::RxTail => self.rx[index].ring.tail,
            Role::TxTail => self.tx[index].ring.tail,
            Role::Fdirctrl => self.read_fdirctrl(),
            Role::Fdirfree => self.read_fdirfree(),
            Role::FlowCount => self.read_flow_count(slot.register),
            Role::ReceiveStamp => {
                self.free_receive_stamp();
                self.registers.at(slot)
            }
            Role::TransmitStamp => {
                self.free_transmit_stamp();
                self.registers.at(slot)
            }
            Role::Count(counter) => self.statistics.read(counter, index),
            Role::OctetsLow(counter) => self.statistics.read_low(counter, index),
            Role::OctetsHigh(counter) => {
                let (value, ordered) = self.statistics.read_high(counter, index);
                if !ordered {
                    self.violate_at(slot, Rule::ForbiddenState, value, || {
                        "the low half must be read first".into()
                    });
                }
                value
            }
            _ => self.registers.at(slot),
        }
    }

    /// Writes the register at `offset` of BAR 0.
    pub(super) fn write(&mut self, offset: u32, value: u32) {
        if let Some(trace) = &mut self.trace {
            trace.register(self.now, "write", offset, value);
        }
        if self.removed || self.is_asleep(offset, value) {
            return;
        }
        let Ok(slot) = self.checked_slot(offset, "write", value) else {
            return;
        };
        if !slot.register.mode.writable() {
            self.violate_at(&slot, Rule::ReadOnly, value, String::new);
            return;
        }
        let reserved = Registers::reserved_changed(&slot, value);
        if reserved != 0 && !self.tolerates(Rule::ReservedBit, slot.subject(), reserved) {
            self.violate_at(&slot, Rule::ReservedBit, value, || {
                format!("mask {reserved:#x}")
            });
        }
        if let Some(entry) = unimplemented::find(slot.register, value) {
            self.violate_at(&slot, Rule::NotImplemented, value, || entry.what.into());
        }
        if let Some(state) = self.forbids(&slot, value) {
            let changed = value ^ self.registers.at(&slot);
            if !self.tolerates(Rule::ForbiddenState, slot.subject(), changed) {
                self.violate_at(&slot, Rule::ForbiddenState, value, || state.into());
                return;
            }
        }
        let new = self.registers.merged(&slot, value);
        if slot.role == Role::SystemClock {
            self.hold_system_time();
        }
        self.registers.put_at(&slot, new);
        self.act(&slot, value, new);
    }

    /// Whether registers don't answer, which software that accesses one should know.
    fn is_asleep(&mut self, offset: u32, value: u32) -> bool {
        let asleep = self.pci.is_asleep();
        if asleep {
            self.violate(
                Rule::ForbiddenState,
                || format!("BAR0+{offset:#x}"),
                u64::from(value),
                || "the power state is D3hot".into(),
                "82599 §9.3.5.1.4",
            );
        }
        asleep
    }

    /// The register at an offset, if it can be accessed now; what a read returns if not.
    fn checked_slot(&mut self, offset: u32, access: &'static str, value: u32) -> Result<Slot, u32> {
        if !offset.is_multiple_of(4) {
            self.violate(
                Rule::Misaligned,
                || format!("{access} at BAR0+{offset:#x}"),
                u64::from(value),
                String::new,
                "82599 §8.1",
            );
            return Err(GONE);
        }
        let found = slot(offset, self.config.device).filter(|slot| {
            !(self.is_copper()
                && matches!(slot.role, Role::LinkMode | Role::SerialLink | Role::Anlp1))
        });
        let Some(slot) = found else {
            let device = self.config.device;
            if access == "read"
                && self.tolerates(Rule::UndefinedRegister, Subject::Offset(offset), 0)
            {
                return Err(ELSEWHERE);
            }
            self.violate(
                Rule::UndefinedRegister,
                || format!("{access} at BAR0+{offset:#x}"),
                u64::from(value),
                || format!("on an {device}"),
                "82599 §8.2.2",
            );
            return Err(GONE);
        };
        if self.resets.is_quiet() && !matches!(slot.role, Role::Ctrl | Role::Status) {
            self.violate_at(&slot, Rule::DuringReset, value, || {
                "1 ms after a reset has not passed".into()
            });
        }
        Ok(slot)
    }

    /// Records a violation at a register; true if an exception covers it and it is none.
    pub(super) fn violate_at(
        &mut self,
        slot: &Slot,
        rule: Rule,
        value: u32,
        state: impl FnOnce() -> String,
    ) -> bool {
        if self.tolerates(rule, slot.subject(), value) {
            return true;
        }
        let section = slot.register.section;
        self.record(rule, || slot.name(), u64::from(value), state, section);
        false
    }

    /// The state that forbids a write, if one does.
    fn forbids(&self, slot: &Slot, value: u32) -> Option<&'static str> {
        let index = slot.position();
        let receiving = Rxctrl::from_bits(self.registers.of(&spec::RXCTRL)).rxen();
        match slot.role {
            Role::Fctrl | Role::Rxpbsize if receiving => Some("RXCTRL.RXEN is 1"),
            Role::Mrqc if receiving && self.changes_mrqe(slot, value) => {
                Some("MRQE changed while RXCTRL.RXEN is 1")
            }
            Role::RxRing | Role::Srrctl if self.rx[index].ring.enabled => {
                Some("the receive queue is enabled")
            }
            Role::TxRing | Role::TxHead | Role::HeadWriteBack if self.tx[index].ring.enabled => {
                Some("the transmit queue is enabled")
            }
            Role::Mtqc if !spec::Rttdcs::from_bits(self.registers.of(&spec::RTTDCS)).arbdis() => {
                Some("RTTDCS.ARBDIS is 0")
            }
            _ => None,
        }
    }

    fn changes_mrqe(&self, slot: &Slot, value: u32) -> bool {
        Mrqc::from_bits(value).mrqe() != Mrqc::from_bits(self.registers.at(slot)).mrqe()
    }

    /// What follows from a write: `value` was written, the register now holds `new`.
    fn act(&mut self, slot: &Slot, value: u32, new: u32) {
        let index = slot.position();
        match slot.role {
            Role::Ctrl => self.write_ctrl(value),
            Role::Eerd => self.write_eerd(value),
            Role::Eec => self.write_eec(slot, value, new),
            Role::Eewr => self.write_eewr(slot, value),
            Role::I2cctl => self.write_i2cctl(new),
            Role::Esdp | Role::LinkCondition | Role::SerialLink => {
                self.write_link_condition();
                self.decode_port();
            }
            Role::Hicr => self.write_hicr(new),
            Role::Systiml => self.write_system_time(false, value),
            Role::Systimh => self.write_system_time(true, value),
            Role::Timadjh => self.adjust_system_time(value),
            Role::Eicr => self.clear_causes(value),
            Role::Eics | Role::EicsEx => self.write_eics(slot, value),
            Role::Eims | Role::EimsEx | Role::Eimc | Role::EimcEx => self.write_mask(slot, value),
            Role::AutoMask => self.write_auto_mask(slot, new),
            Role::Eitr => self.write_eitr(slot, value & slot.register.writable),
            Role::InterruptMode => self.deliver(),
            Role::TcpTimer => self.write_tcp_timer(slot, new),
            Role::Ivar => self.write_ivar(index, new),
            Role::Fctrl
            | Role::MacFilter
            | Role::MulticastTable
            | Role::VlanFilter
            | Role::VlanTable
            | Role::RssKey
            | Role::RedirectionTable
            | Role::Mrqc => self.filter.mark_stale(),
            Role::Rxctrl => self.write_rxctrl(slot, new),
            Role::Rdrxctl | Role::Hlreg0 => {
                self.check_fcs_strip(slot, value);
                self.decode_port();
            }
            Role::Maxfrs => {
                self.check_maxfrs(slot, value);
                self.decode_port();
            }
            Role::RxRing | Role::TxRing if value & !slot.register.writable != 0 => {
                self.violate_at(slot, Rule::RingGeometry, value, || {
                    "addresses and lengths are multiples of 128 bytes".into()
                });
            }
            Role::Rxpbsize | Role::Security | Role::Port => self.decode_port(),
            Role::CtrlExt => {
                self.filter.mark_stale();
                self.clear_bits(slot, new);
            }
            Role::Fdirctrl => self.write_fdirctrl(new),
            Role::Fdircmd => self.write_fdircmd(slot, value),
            Role::FlowFields => self.decode_flow_director(),
            Role::LinkMode => {
                self.write_autoc(value);
                self.decode_port();
            }
            Role::Msca => self.write_msca(new),
            Role::RxTail => self.write_tail(super::doorbell::Direction::Receive, index, new),
            Role::TxTail => self.write_tail(super::doorbell::Direction::Transmit, index, new),
            Role::TxHead => self.tx[index].ring.head = new,
            // Of a queue that runs only this can change.
            Role::Srrctl => self.rx[index].drop = spec::Srrctl::from_bits(new).drop_en(),
            Role::Rxdctl => self.write_rxdctl(slot, new),
            Role::Txdctl => self.write_txdctl(slot, new),
            Role::ReceiveMap => self.statistics.map_receive(index, new),
            Role::TransmitMap => self.statistics.map_transmit(index, new),
            _ => self.clear_bits(slot, new),
        }
    }

    /// Bits that clear themselves do so at once where nothing waits for them.
    fn clear_bits(&mut self, slot: &Slot, new: u32) {
        self.registers
            .put_at(slot, new & !slot.register.self_clearing);
    }

    /// Reads a word of the EEPROM; done at once.
    fn write_eerd(&mut self, value: u32) {
        let command = Eerd::from_bits(value);
        if !command.start() {
            return;
        }
        if self.resets.is_loading() {
            self.violate(
                Rule::ForbiddenState,
                || "EERD".into(),
                u64::from(value),
                || "EEC.AUTO_RD is 0".into(),
                "82599 §8.2.3.2.2",
            );
        }
        let done = command
            .with_start(false)
            .with_done(true)
            .with_data(eeprom::word(&self.eeprom, command.addr()));
        self.registers.put(&spec::EERD, 0, done.into_bits());
    }

    /// EEC as it reads: the wire from the EEPROM shows the part's bit.
    fn read_eec(&self, slot: &Slot) -> u32 {
        let eec = spec::Eec::from_bits(self.registers.at(slot));
        eec.with_ee_do(self.serial_eeprom.data_out()).into_bits()
    }

    /// Grants the EEPROM's wires to whoever asks, and moves them (82599 §8.2.3.2.1).
    fn write_eec(&mut self, slot: &Slot, value: u32, new: u32) {
        let eec = spec::Eec::from_bits(new);
        let moved = spec::Eec::from_bits(value);
        if eec.ee_req() {
            let (select, clock) = (moved.ee_cs(), moved.ee_sk());
            self.serial_eeprom
                .drive(&mut self.eeprom, select, clock, moved.ee_di());
        } else if moved.ee_sk() || moved.ee_di() {
            self.violate_at(slot, Rule::ForbiddenState, value, || {
                "the EEPROM's wires were not asked for (EE_REQ)".into()
            });
        }
        // The X540 and X550 write their shadow RAM to flash, in no time.
        let done = eec.fludone() || eec.flup();
        let kept = eec
            .with_ee_gnt(eec.ee_req())
            .with_flup(false)
            .with_fludone(done && self.is_copper());
        self.registers.put_at(slot, kept.into_bits());
    }

    /// Writes a word of the shadow RAM (X540 and X550); done at once.
    fn write_eewr(&mut self, slot: &Slot, value: u32) {
        let command = Eewr::from_bits(value);
        if !command.start() {
            return;
        }
        if let Some(word) = self.eeprom.get_mut(usize::from(command.addr())) {
            *word = command.data();
        }
        let done = command.with_start(false).with_done(true);
        self.registers.put_at(slot, done.into_bits());
    }

    /// Checks what must hold when the receive path starts (82599 §4.6.7, §8.2.3.8.8).
    fn write_rxctrl(&mut self, slot: &Slot, new: u32) {
        if Rxctrl::from_bits(new).rxen() {
            let rdrxctl = Rdrxctl::from_bits(self.registers.of(&spec::RDRXCTL));
            if rdrxctl.as_prescribed() != rdrxctl
                && let Some(slot) = super::registers::slot(spec::RDRXCTL.base, self.config.device)
            {
                self.violate_at(&slot, Rule::ForbiddenValue, rdrxctl.into_bits(), || {
                    "RXEN set without RSCFRSTSIZE 0, RSCACKC 1, FCOE_WRFIX 1".into()
                });
            }
            if !rdrxctl.dmaidone() {
                self.violate_at(slot, Rule::ForbiddenState, new, || {
                    "RDRXCTL.DMAIDONE is 0".into()
                });
            }
            self.check_fcs_agreement(slot, new);
        }
        self.decode_port();
    }

    /// While frames are received, both places that strip the FCS must agree.
    fn check_fcs_strip(&mut self, slot: &Slot, value: u32) {
        if Rxctrl::from_bits(self.registers.of(&spec::RXCTRL)).rxen() {
            self.check_fcs_agreement(slot, value);
        }
    }

    fn check_fcs_agreement(&mut self, slot: &Slot, value: u32) {
        let mac = Hlreg0::from_bits(self.registers.of(&spec::HLREG0)).rxcrcstrp();
        let dma = Rdrxctl::from_bits(self.registers.of(&spec::RDRXCTL)).crcstrip();
        if mac != dma {
            self.violate_at(slot, Rule::Disagreement, value, || {
                format!("HLREG0.RXCRCSTRP is {mac}, RDRXCTL.CRCSTRIP is {dma}")
            });
        }
    }

    fn check_maxfrs(&mut self, slot: &Slot, value: u32) {
        let mfs = spec::Maxfrs::from_bits(value).mfs();
        if u32::from(mfs) > spec::limits::FRAME_MAX || u32::from(mfs) < spec::limits::FRAME_MIN {
            self.violate_at(slot, Rule::ForbiddenValue, value, || {
                format!("MFS is {mfs}: 64 to 9728 bytes")
            });
        }
    }
}
