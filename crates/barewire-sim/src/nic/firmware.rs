//! The manageability firmware's host interface: commands in `FLEX_MNG`, started with HICR
//! (82599 §10.5; its successors reach their shadow RAM this way).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Hicr, Rxctrl};

use super::eeprom;
use super::model::Model;
use crate::violation::Rule;

/// Commands.
mod command {
    pub(super) const READ_SHADOW_RAM: u8 = 0x31;
    pub(super) const WRITE_SHADOW_RAM: u8 = 0x33;
    pub(super) const COMMIT_SHADOW_RAM: u8 = 0x36;
    pub(super) const DRIVER_INFORMATION: u8 = 0xDD;
    pub(super) const DISABLE_RECEIVE: u8 = 0xDE;
}

/// The answer's status: done.
const DONE: u8 = 1;
/// Where words of the shadow RAM are, in words of 32 bits.
const DATA: u32 = 3;
/// The most bytes a read of the shadow RAM returns.
const READ_MAX: u16 = 1024;

impl Model {
    /// HICR was written: performs the command, at once.
    pub(super) fn write_hicr(&mut self, new: u32) {
        let hicr = Hicr::from_bits(new).with_en(true);
        let done = hicr.c() && self.perform();
        let kept = hicr
            .with_c(false)
            .with_sv(if hicr.c() { done } else { hicr.sv() });
        self.registers.put(&spec::HICR, 0, kept.into_bits());
    }

    fn perform(&mut self) -> bool {
        let word = |model: &Self, index| model.registers.get(&spec::FLEX_MNG, index);
        let [command, ..] = word(self, 0).to_le_bytes();
        // Byte address and length are in network order.
        let address = word(self, 1).swap_bytes();
        let [high, low, ..] = word(self, 2).to_le_bytes();
        let length = u16::from_be_bytes([high, low]);
        let first = u16::try_from(address / 2).unwrap_or(u16::MAX);
        match command {
            command::READ_SHADOW_RAM if length <= READ_MAX => {
                self.read_shadow_ram(first, length.div_ceil(2));
            }
            command::WRITE_SHADOW_RAM => {
                let value = u16::try_from(word(self, DATA) & 0xFFFF).unwrap_or(0);
                if let Some(kept) = self.eeprom.get_mut(usize::from(first)) {
                    *kept = value;
                }
            }
            command::COMMIT_SHADOW_RAM | command::DRIVER_INFORMATION => {}
            command::DISABLE_RECEIVE => {
                let rxctrl = Rxctrl::from_bits(self.registers.of(&spec::RXCTRL)).with_rxen(false);
                self.registers.put(&spec::RXCTRL, 0, rxctrl.into_bits());
                self.decode_port();
            }
            _ => {
                self.violate(
                    Rule::NotImplemented,
                    || "HICR".into(),
                    u64::from(command),
                    || format!("firmware command {command:#x}, {length} bytes"),
                    "82599 §10.5",
                );
                return false;
            }
        }
        // The answer's header: no data of its own, and the status.
        let header = u32::from_le_bytes([command, 0, DONE, 0]);
        self.registers.put(&spec::FLEX_MNG, 0, header);
        true
    }

    fn read_shadow_ram(&mut self, first: u16, words: u16) {
        for pair in 0..words.div_ceil(2) {
            let at = first.saturating_add(pair * 2);
            let low = eeprom::word(&self.eeprom, at);
            let high = eeprom::word(&self.eeprom, at.saturating_add(1));
            let value = u32::from(high) << 16 | u32::from(low);
            self.registers
                .put(&spec::FLEX_MNG, DATA + u32::from(pair), value);
        }
    }
}
