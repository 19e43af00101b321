//! Waking the system (82599 §8.2.3.24).

use super::register::registers;

registers! {
    /// Wake-up control.
    WUC: read_write(0x05800, "8.2.3.24.1").layout(0x0000_0016, 0xFFFF_FFE9);
    /// Which frames wake the system.
    WUFC: read_write(0x05808, "8.2.3.24.2").layout(0x803F_80FF, 0x7FC0_7F00);
    /// Which frame woke the system.
    WUS: write_1_clear(0x05810, "8.2.3.24.3");
    /// Which addresses below are valid.
    IPAV: read_write(0x05838, "8.2.3.24.4").layout(0x0001_000F, 0xFFFE_FFF0);
    /// IPv4 addresses that wake the system.
    IP4AT: read_write(0x05840, "8.2.3.24.5").array(4, 8);
    /// IPv6 address that wakes the system.
    IP6AT: read_write(0x05880, "8.2.3.24.6").array(4, 4);
    /// Length of the frame that woke the system.
    WUPL: read_only(0x05900, "8.2.3.24.7");
    /// Start of the frame that woke the system.
    WUPM: read_only(0x05A00, "8.2.3.24.8").array(32, 4);
    /// Patterns and masks 0 to 3 of frames that wake the system.
    FHFT: read_write(0x09000, "8.2.3.24.9").array(256, 4);
    /// Patterns and masks 4 and 5.
    FHFT_EXT: read_write(0x09800, "8.2.3.24.9").array(128, 4);
}
