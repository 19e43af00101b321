//! The PCIe side and the semaphores software and firmware share (82599 §8.2.3.4).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// PCIe control.
    GCR: read_write(0x11000, "8.2.3.4.1");
    /// PCIe statistics control, first half.
    GSCL_1: read_write(0x11010, "8.2.3.4.2");
    /// PCIe statistics control, second half.
    GSCL_2: read_write(0x11014, "8.2.3.4.3");
    /// PCIe statistics leaky buckets.
    GSCL_5_8: read_write(0x11030, "8.2.3.4.4").array(4, 4);
    /// PCIe statistics counters.
    GSCN: read_clear(0x11020, "8.2.3.4.5").array(4, 4);
    /// Which functions are active, and in which power state.
    FACTPS: read_only(0x10150, "8.2.3.4.6");
    /// PCIe PHY address.
    PCIEPHYADR: read_write(0x11040, "8.2.3.4.7");
    /// PCIe PHY data.
    PCIEPHYDAT: read_write(0x11044, "8.2.3.4.8");
    /// Semaphores between drivers and with the firmware. Reading it sets SMBI: a read that
    /// returns SMBI 0 has taken the semaphore.
    SWSM: read_write(0x10140, "8.2.3.4.9").layout(0x0000_0003, 0);
    /// State of the firmware.
    FWSM: read_only(0x10148, "8.2.3.4.10");
    /// Who uses shared resources.
    SW_FW_SYNC: read_write(0x10160, "8.2.3.4.11").layout(0x0000_041F, 0xFFFF_FBE0);
    /// PCIe control, continued.
    GCR_EXT: read_write(0x11050, "8.2.3.4.12").layout(0xC000_0013, 0);
    /// MAC revision.
    MREVID: read_only(0x11064, "8.2.3.4.13");
    /// Causes of PCIe interrupts.
    PICAUSE: write_1_clear(0x110B0, "8.2.3.4.14");
    /// Enables causes of PCIe interrupts.
    PIENA: read_write(0x110B8, "8.2.3.4.15");
    /// Configuration space access: address.
    CIAA: read_write(0x11088, "8.2.3.4");
    /// Configuration space access: data.
    CIAD: read_write(0x1108C, "8.2.3.4");
    /// BAR and flash sizes.
    BARCTRL: read_only(0x110F4, "8.2.3.4");
}

/// Fields of [`SWSM`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Swsm {
    /// Taken by the driver whose read returned 0.
    pub smbi: bool,
    /// Set by software; stays 1 only if the firmware does not hold it.
    pub swesmbi: bool,
    #[bits(30)]
    __: u32,
}

/// Fields of [`SW_FW_SYNC`]: software's claims and the firmware's.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SwFwSync {
    /// Software uses the EEPROM.
    pub sw_eep_sm: bool,
    /// Software uses PHY 0.
    pub sw_phy_sm0: bool,
    /// Software uses PHY 1.
    pub sw_phy_sm1: bool,
    /// Software uses the shared MAC registers.
    pub sw_mac_csr_sm: bool,
    /// Software uses the flash.
    pub sw_flash_sm: bool,
    /// Firmware uses the EEPROM.
    pub fw_eep_sm: bool,
    /// Firmware uses PHY 0.
    pub fw_phy_sm0: bool,
    /// Firmware uses PHY 1.
    pub fw_phy_sm1: bool,
    /// Firmware uses the shared MAC registers.
    pub fw_mac_csr_sm: bool,
    /// Firmware uses the flash.
    pub fw_flash_sm: bool,
    /// Software uses the mailbox to the firmware.
    pub sw_mng_sm: bool,
    #[bits(21)]
    __: u32,
}

/// Fields of [`GCR_EXT`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GcrExt {
    /// Pools: 0 none, 1 sixteen, 2 thirty-two, 3 sixty-four.
    #[bits(2)]
    pub vt_mode: u8,
    #[bits(2)]
    __: u8,
    /// Pending bits are not cleared by sending a message.
    pub apbacd: bool,
    #[bits(25)]
    __: u32,
    /// Empties the DMA buffers, in the course of a master disable.
    pub buffers_clear_func: bool,
    /// MSI-X pending bits are supported.
    pub pba_support: bool,
}

/// Fields of [`FWSM`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fwsm {
    /// Taken by the firmware.
    pub fwsmbi: bool,
    /// 0 none, 2 pass-through, 3 host interface only.
    #[bits(3)]
    pub fw_mode: u8,
    #[bits(11)]
    __: u16,
    /// The firmware runs and the register holds.
    pub fw_val_bit: bool,
    __: u16,
}
