//! Access to the EEPROM and the flash (82599 §8.2.3.2).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// EEPROM and flash control.
    EEC: read_write(0x10010, "8.2.3.2.1").reset(0x0000_2F10).layout(0x0080_0077, 0xFF7F_FF88)
        .self_clearing(0x0080_0000);
    /// EEPROM read: one word at a time.
    EERD: read_write(0x10014, "8.2.3.2.2").layout(0x0000_FFFD, 0xFFFF_0002).self_clearing(0x1);
    /// Flash access, bit by bit.
    FLA: read_write(0x1001C, "8.2.3.2.3").layout(0x0000_0037, 0xFFFF_FFC8);
    /// EEPROM access by the manageability firmware.
    EEMNGCTL: read_write(0x10110, "8.2.3.2.4").reset(0x8000_0000);
    /// Data of [`EEMNGCTL`].
    EEMNGDATA: read_write(0x10114, "8.2.3.2.5");
    /// Flash access by the manageability firmware.
    FLMNGCTL: read_write(0x10118, "8.2.3.2.6");
    /// Data of [`FLMNGCTL`].
    FLMNGDATA: read_write(0x1011C, "8.2.3.2.7");
    /// Length of a read with [`FLMNGCTL`].
    FLMNGCNT: read_write(0x10120, "8.2.3.2");
    /// Flash commands.
    FLOP: read_write(0x1013C, "8.2.3.2.8");
    /// General receive control: manageability and wake-up from the EEPROM.
    GRC: read_write(0x10200, "8.2.3.2.9").layout(0x0000_0003, 0);
}

/// Fields of [`EEC`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Eec {
    /// Clock wire.
    pub ee_sk: bool,
    /// Chip select wire.
    pub ee_cs: bool,
    /// Data wire to the EEPROM.
    pub ee_di: bool,
    /// Data wire from the EEPROM.
    pub ee_do: bool,
    /// Flash writes: 1 forbidden, 2 allowed.
    #[bits(2)]
    pub fwe: u8,
    /// Software asks for the wires.
    pub ee_req: bool,
    /// Software has the wires.
    pub ee_gnt: bool,
    /// An EEPROM with a valid signature is there.
    pub ee_pres: bool,
    /// The device has read its configuration from the EEPROM after a reset.
    pub auto_rd: bool,
    /// Addresses on the wires have 16 bits instead of 8.
    pub ee_addr_size: bool,
    /// The EEPROM holds 64 << `ee_size` words.
    #[bits(4)]
    pub ee_size: u8,
    /// The PCIe analog section has been read.
    pub pci_ana_done: bool,
    /// The PCIe core section has been read.
    pub pci_core_done: bool,
    /// The PCIe general section has been read.
    pub pci_general_done: bool,
    /// The PCIe function section has been read.
    pub pci_func_done: bool,
    /// The core section has been read.
    pub core_done: bool,
    /// The core CSR section has been read.
    pub core_csr_done: bool,
    /// The MAC section has been read.
    pub mac_done: bool,
    __: bool,
    /// X540 and later: writes the shadow RAM to the flash. Self-clearing.
    pub flup: bool,
    #[bits(2)]
    __: u8,
    /// X540 and later: [`Self::flup`] has ended.
    pub fludone: bool,
    #[bits(5)]
    __: u8,
}

/// Fields of [`EERD`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Eerd {
    /// Starts the read. Self-clearing.
    pub start: bool,
    /// The read has ended and [`Self::data`] holds.
    pub done: bool,
    /// Which word.
    #[bits(14)]
    pub addr: u16,
    /// The word read.
    pub data: u16,
}
