//! Registers that the X540 added. None of them is in the 82599's table; the X550 has them too.

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    of "X540";
    /// EEPROM write: one word at a time, into the shadow RAM.
    EEWR: read_write(0x10018, "8.2.3.2").layout(0xFFFF_FFFD, 0x0000_0002).self_clearing(0x1);
    /// Frames between the operating system and the management controller: received by the latter.
    O2BGPTC: read_clear(0x041C4, "8.2.3.23");
    /// Those sent by the management controller.
    B2OSPC: read_clear(0x041C0, "8.2.3.23");
    /// Those sent by the operating system.
    O2BSPC: read_clear(0x087B0, "8.2.3.23");
    /// Those received by the operating system.
    B2OGPRC: read_clear(0x02F90, "8.2.3.23");
}

/// Fields of [`EEWR`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Eewr {
    /// Starts the write. Self-clearing.
    pub start: bool,
    /// The write has ended.
    pub done: bool,
    /// Which word.
    #[bits(14)]
    pub addr: u16,
    /// The word to write.
    pub data: u16,
}

/// Every register of this module.
pub fn all() -> impl Iterator<Item = &'static super::Register> {
    REGISTERS.iter().copied()
}
