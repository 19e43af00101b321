//! Pause frames (82599 §8.2.3.3).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Opcode (31:16) and EtherType (15:0) of priority flow control frames.
    PFCTOP: read_write(0x03008, "8.2.3.3.1").reset(0x0101_8808);
    /// Pause time sent, for traffic classes 2n (15:0) and 2n + 1 (31:16).
    FCTTV: read_write(0x03200, "8.2.3.3.2").array(4, 4);
    /// Packet buffer fill below which the sender may go on. Bit 4, reserved in the datasheet,
    /// keeps what is written to it.
    FCRTL: read_write(0x03220, "8.2.3.3.3").layout(0x8007_FFF0, 0).array(8, 4);
    /// Packet buffer fill above which the sender is paused. Bit 4 as in [`FCRTL`].
    FCRTH: read_write(0x03260, "8.2.3.3.4").layout(0x8007_FFF0, 0).array(8, 4);
    /// When a pause is sent again, in pause time units (15:0).
    FCRTV: read_write(0x032A0, "8.2.3.3.5").layout(0x0000_FFFF, 0);
    /// Whether the link partner has paused us.
    TFCS: read_only(0x0CE00, "8.2.3.3.6");
    /// Which pause frames are sent.
    FCCFG: read_write(0x03D00, "8.2.3.3.7").layout(0x0000_0018, 0);
}

/// Fields of [`FCRTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fcrtl {
    #[bits(5)]
    __: u8,
    /// Threshold in units of 32 bytes.
    #[bits(14)]
    pub rtl: u16,
    #[bits(12)]
    __: u16,
    /// Sends a frame that ends the pause.
    pub xone: bool,
}

/// Fields of [`FCRTH`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fcrth {
    #[bits(5)]
    __: u8,
    /// Threshold in units of 32 bytes.
    #[bits(14)]
    pub rth: u16,
    #[bits(12)]
    __: u16,
    /// Sends pause frames for this buffer.
    pub fcen: bool,
}

/// Fields of [`FCCFG`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fccfg {
    #[bits(3)]
    __: u8,
    /// Sent pause frames: 0 none, 1 link, 2 priority.
    #[bits(2)]
    pub tfce: u8,
    #[bits(27)]
    __: u32,
}
