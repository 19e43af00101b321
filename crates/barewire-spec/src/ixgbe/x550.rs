//! Registers that the X550 moved or added. None of them is in the 82599's table.

use super::register::registers;

registers! {
    of "X550";
    /// RSS redirection table, entries 128 to 511, four a register.
    ERETA: read_write(0x0EE80, "8.2.3.7").layout(0x3F3F_3F3F, 0).array(96, 4);
    /// Two wires to the SFP+ module.
    I2CCTL_X550: read_write(0x15F5C, "8.2.3.1");
    /// Configuration space access: address.
    CIAA_X550: read_write(0x11508, "8.2.3.4");
    /// Configuration space access: data.
    CIAD_X550: read_write(0x11510, "8.2.3.4");
    /// Fuses.
    FUSES: read_only(0x11158, "8.2.3.4").array(4, 4);
    /// UDP ports of VXLAN (15:0) and Geneve (31:16).
    VXLANCTRL: read_write(0x0507C, "8.2.3.7");
    /// EtherType of the E-tag.
    ETAG_ETYPE: read_write(0x05084, "8.2.3.7");
    /// RSS of a pool.
    PFVFMRQC: read_write(0x03400, "8.2.3.7").array(64, 4);
    /// Pools whose frames are not given back to them, low half.
    PFFLPL: read_write(0x050B0, "8.2.3.27");
    /// Pools whose frames are not given back to them, high half.
    PFFLPH: read_write(0x050B4, "8.2.3.27");
    /// System time: fractions of a nanosecond.
    SYSTIMR: read_write(0x08C58, "8.2.3.26");
    /// Causes of the time-sync interrupt.
    TSICR: read_clear(0x08C60, "8.2.3.26");
    /// Enables causes of the time-sync interrupt.
    TSIM: read_write(0x08C68, "8.2.3.26");
    /// Pins of the system time.
    TSSDP: read_write(0x0003C, "8.2.3.26");
    /// DMA coalescing.
    DMACR: read_write(0x02400, "8.2.3.8");
}

/// Every register of this module.
pub fn all() -> impl Iterator<Item = &'static super::Register> {
    REGISTERS.iter().copied()
}
