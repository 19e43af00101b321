//! General control: reset, status, pins (82599 §8.2.3.1).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Device control. Also reachable at 0x4.
    CTRL: read_write(0x00000, "8.2.3.1.1").layout(0x0400_000C, 0).self_clearing(0x0400_0008);
    /// Device status.
    STATUS: read_only(0x00008, "8.2.3.1.2").reset(0x0008_0000);
    /// Extended device control.
    CTRL_EXT: read_write(0x00018, "8.2.3.1.3").layout(0x1403_4000, 0).self_clearing(0x0000_4000);
    /// Software-definable pins: values, directions and functions.
    ESDP: read_write(0x00020, "8.2.3.1.4").layout(0x0003_FFFF, 0xFFFC_0000);
    /// The two wires to the SFP+ module's EEPROM.
    I2CCTL: read_write(0x00028, "8.2.3.1.5").reset(0x0000_000F).layout(0x0000_000A, 0x0000_0005);
    /// What the four LEDs show.
    LEDCTL: read_write(0x00200, "8.2.3.1.6").reset(0x0504_0100).layout(0xCFCF_CFEF, 0);
    /// EtherType of the outer tag of double-tagged frames, in bits 31:16.
    EXVET: read_write(0x05078, "8.2.3.1.7").reset(0x8100_0000).layout(0xFFFF_0000, 0);
    /// Free-running timer, in units that follow the link speed.
    FRTIMER: read_only(0x00048, "8.2.3.15");
    /// A timer that can raise an interrupt.
    TCPTIMER: read_write(0x0004C, "8.2.3.15").layout(0x0000_0FFF, 0).self_clearing(0x500);
}

/// Fields of [`ESDP`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Esdp {
    /// Levels of pins 0 to 7: driven where a pin is an output, seen where it is an input.
    pub sdp_data: u8,
    /// Pins that are outputs.
    pub sdp_iodir: u8,
    /// Pins whose function is not general.
    #[bits(2)]
    pub sdp_native: u8,
    #[bits(14)]
    __: u16,
}

/// Fields of [`TCPTIMER`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tcptimer {
    /// Milliseconds.
    pub duration: u8,
    /// Starts the timer. Self-clearing.
    pub kick_start: bool,
    /// The timer counts.
    pub count_enable: bool,
    /// Ends the count. Self-clearing.
    pub finish: bool,
    /// Starts again when it has run out.
    pub loops: bool,
    #[bits(20)]
    __: u32,
}

/// Fields of [`CTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Ctrl {
    #[bits(2)]
    __: u8,
    /// Stops the device from starting PCIe requests; [`Status::pcie_master_enable_status`]
    /// turns 0 when the last one has ended.
    pub pcie_master_disable: bool,
    /// Link reset: the MAC and the link, both ports' statistics excepted. Self-clearing.
    pub lrst: bool,
    #[bits(22)]
    __: u32,
    /// Device reset of this port. Self-clearing.
    pub rst: bool,
    #[bits(5)]
    __: u8,
}

/// Fields of [`STATUS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Status {
    #[bits(2)]
    __: u8,
    /// Which port of the chip this is: 0 or 1.
    #[bits(2)]
    pub lan_id: u8,
    #[bits(3)]
    __: u8,
    /// The link is up. Use [`Links::link_up`](super::mac::Links::link_up) for decisions.
    pub linkup: bool,
    #[bits(2)]
    __: u8,
    /// How many virtual functions are enabled.
    #[bits(8)]
    pub num_vfs: u8,
    /// Virtual functions are enabled in the configuration space.
    pub iov_active: bool,
    /// The device may start PCIe requests, or still has some under way.
    pub pcie_master_enable_status: bool,
    #[bits(12)]
    __: u16,
}

/// Fields of [`CTRL_EXT`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CtrlExt {
    #[bits(14)]
    __: u16,
    /// The physical function's reset is done: virtual functions may start. Self-clearing.
    pub pfrstd: bool,
    __: bool,
    /// No-snoop requests are disabled.
    pub ns_dis: bool,
    /// Relaxed ordering is disabled.
    pub ro_dis: bool,
    #[bits(8)]
    __: u8,
    /// All frames carry an outer VLAN tag.
    pub extended_vlan: bool,
    __: bool,
    /// A driver is in charge; for the firmware to know.
    pub drv_load: bool,
    #[bits(3)]
    __: u8,
}
