//! Registers that the 82599's successors moved or added. None of them is in the 82599's table.

use super::register::registers;

registers! {
    of "X550";
    /// RSS redirection table, entries 128 to 511, four a register.
    ERETA: read_write(0x0EE80, "8.2.3.7").layout(0x3F3F_3F3F, 0).array(96, 4);
    /// EEPROM write: one word at a time.
    EEWR: read_write(0x10018, "8.2.3.2").layout(0xFFFF_FFFD, 0x0000_0002).self_clearing(0x1);
    /// Two wires to the SFP+ module.
    I2CCTL_X550: read_write(0x15F5C, "8.2.3.1");
    /// Configuration space access: address.
    CIAA_X550: read_write(0x11508, "8.2.3.4");
    /// Configuration space access: data.
    CIAD_X550: read_write(0x11510, "8.2.3.4");
    /// EEPROM and flash control of the X553.
    EEC_X553: read_write(0x15FF8, "8.2.3.2");
    /// Flash access of the X553.
    FLA_X553: read_write(0x15F68, "8.2.3.2");
    /// General receive control of the X553.
    GRC_X553: read_write(0x15F64, "8.2.3.2");
    /// Semaphores of the X553; see [`SWSM`](super::pcie::SWSM).
    SWSM_X553: read_write(0x15F70, "8.2.3.4").layout(0x0000_0003, 0);
    /// State of the X553's firmware.
    FWSM_X553: read_only(0x15F74, "8.2.3.4");
    /// Who uses the X553's shared resources.
    SW_FW_SYNC_X553: read_write(0x15F78, "8.2.3.4");
    /// Functions and power states of the X553.
    FACTPS_X553: read_only(0x15FEC, "8.2.3.4");
}

/// Every register of this module.
pub fn all() -> impl Iterator<Item = &'static super::Register> {
    REGISTERS.iter().copied()
}
