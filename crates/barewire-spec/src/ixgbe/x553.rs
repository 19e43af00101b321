//! Registers that the X553 moved. None of them is in the 82599's table.

use super::register::registers;

registers! {
    of "X550";
    /// EEPROM and flash control.
    EEC_X553: read_write(0x15FF8, "8.2.3.2");
    /// Flash access.
    FLA_X553: read_write(0x15F68, "8.2.3.2");
    /// General receive control.
    GRC_X553: read_write(0x15F64, "8.2.3.2");
    /// Semaphores; see [`SWSM`](super::pcie::SWSM).
    SWSM_X553: read_write(0x15F70, "8.2.3.4").layout(0x0000_0003, 0);
    /// State of the firmware.
    FWSM_X553: read_only(0x15F74, "8.2.3.4");
    /// Who uses shared resources.
    SW_FW_SYNC_X553: read_write(0x15F78, "8.2.3.4");
    /// Functions and power states.
    FACTPS_X553: read_only(0x15FEC, "8.2.3.4");
}

/// Every register of this module.
pub fn all() -> impl Iterator<Item = &'static super::Register> {
    REGISTERS.iter().copied()
}
