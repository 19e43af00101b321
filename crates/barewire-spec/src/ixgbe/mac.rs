//! The MAC, the link and the PHY interface (82599 §8.2.3.22).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// 1 Gbit/s PCS configuration.
    PCS1GCFIG: read_write(0x04200, "8.2.3.22.1");
    /// 1 Gbit/s link control.
    PCS1GLCTL: read_write(0x04208, "8.2.3.22.2").reset(0x0204_0000);
    /// 1 Gbit/s link status.
    PCS1GLSTA: read_only(0x0420C, "8.2.3.22.3");
    /// 1 Gbit/s advertisement.
    PCS1GANA: read_write(0x04218, "8.2.3.22.4").reset(0x0000_01A0);
    /// 1 Gbit/s link partner's advertisement.
    PCS1GANLP: read_only(0x0421C, "8.2.3.22.5");
    /// 1 Gbit/s next page to send.
    PCS1GANNP: read_write(0x04220, "8.2.3.22.6");
    /// 1 Gbit/s link partner's next page.
    PCS1GANLPNP: read_only(0x04224, "8.2.3.22.7");
    /// FCS, padding, jumbo frames, loopback.
    HLREG0: read_write(0x04240, "8.2.3.22.8").reset(0x0800_2C0B).layout(0x18F3_8407, 0);
    /// MAC status.
    HLREG1: read_only(0x04244, "8.2.3.22.9");
    /// Pause time of frames the host asks for.
    PAP: read_write(0x04248, "8.2.3.22.10").reset(0x0000_FFFF).layout(0x0000_FFFF, 0);
    /// MDIO address and command.
    MSCA: read_write(0x0425C, "8.2.3.22.11").layout(0x5FFF_FFFF, 0x2000_0000)
        .self_clearing(0x4000_0000);
    /// MDIO data: to write in 15:0, read in 31:16.
    MSRWD: read_write(0x04260, "8.2.3.22.12").layout(0x0000_FFFF, 0xFFFF_0000);
    /// Largest frame.
    MAXFRS: read_write(0x04268, "8.2.3.22.13").reset(0x05EE_0000).layout(0xFFFF_0000, 0);
    /// 10 Gbit/s PCS status 1.
    PCSS1: read_only(0x04288, "8.2.3.22.14");
    /// 10 Gbit/s PCS status 2.
    PCSS2: read_only(0x0428C, "8.2.3.22.15");
    /// 10GBASE-X PCS status.
    XPCSS: read_only(0x04290, "8.2.3.22.16");
    /// SerDes lane control.
    SERDESC: read_write(0x04298, "8.2.3.22.17");
    /// MAC FIFO state.
    MACS: read_only(0x0429C, "8.2.3.22.18");
    /// Link mode and auto-negotiation. Reset to the EEPROM's value; this one is an SFP+ port's.
    AUTOC: read_write(0x042A0, "8.2.3.22.19").reset(0xC09C_6004).self_clearing(0x0000_1000);
    /// Link status.
    LINKS: read_only(0x042A4, "8.2.3.22.20");
    /// Link status, continued.
    LINKS2: read_only(0x04324, "8.2.3.22.21");
    /// Link mode, continued. Reset to the EEPROM's value; this one is an SFP+ port's.
    AUTOC2: read_write(0x042A8, "8.2.3.22.22").reset(0x000A_0000);
    /// Link partner's abilities, first word, and state of the negotiation.
    ANLP1: read_only(0x042B0, "8.2.3.22.23");
    /// Link partner's abilities, second word.
    ANLP2: read_only(0x042B4, "8.2.3.22.24");
    /// MAC control.
    MACC: read_write(0x04330, "8.2.3.22");
    /// Whether the manageability firmware forbids link changes.
    MMNGC: read_write(0x042D0, "8.2.3.22.26").layout(0x0000_0001, 0);
    /// Link partner's next page, first word.
    ANLPNP1: read_only(0x042D4, "8.2.3.22.27");
    /// Link partner's next page, second word.
    ANLPNP2: read_only(0x042D8, "8.2.3.22.28");
    /// 10GBASE-KR PCS and forward error correction control.
    KRPCSFC: read_write(0x042E0, "8.2.3.22.29");
    /// 10GBASE-KR PCS status.
    KRPCSS: read_only(0x042E4, "8.2.3.22.30");
    /// Corrected blocks of the forward error correction.
    FECS1: read_only(0x042E8, "8.2.3.22.31");
    /// Uncorrected blocks of the forward error correction.
    FECS2: read_only(0x042EC, "8.2.3.22.31");
    /// Analog configuration.
    CORECTL: read_write(0x14F00, "8.2.3.22.32");
    /// Analog configuration shared by both ports.
    SMADARCTL: read_write(0x14F10, "8.2.3.22.33");
    /// Which pause frames are obeyed and passed on.
    MFLCN: read_write(0x04294, "8.2.3.22.34").layout(0x0000_000F, 0);
    /// SGMII control.
    SGMIIC: read_write(0x04314, "8.2.3.22.35");
}

/// Fields of [`HLREG0`]. Reserved bits are not 0: read, change, write.
#[bitfield(u32, default = false)]
#[derive(PartialEq, Eq)]
pub struct Hlreg0 {
    /// The MAC appends the FCS.
    pub txcrcen: bool,
    /// The MAC strips the FCS. Must equal
    /// [`Rdrxctl::crcstrip`](super::receive_dma::Rdrxctl::crcstrip).
    pub rxcrcstrp: bool,
    /// Frames up to [`MAXFRS`] instead of 1,518 bytes.
    pub jumboen: bool,
    #[bits(7)]
    reserved_9_3: u8,
    /// The MAC pads frames below 64 bytes with FCS.
    pub txpaden: bool,
    #[bits(4)]
    reserved_14_11: u8,
    /// What is sent is received.
    pub lpbk: bool,
    /// MDIO clock: 24 MHz instead of 2.4 MHz at 10 Gbit/s.
    pub mdcspd: bool,
    /// MDIO clock runs between commands.
    pub contmdc: bool,
    #[bits(2)]
    reserved_19_18: u8,
    /// 32-bit words ahead of a frame that the MAC ignores.
    #[bits(4)]
    pub prepend: u8,
    #[bits(3)]
    reserved_26_24: u8,
    /// Frames whose length field disagrees are errors.
    pub rxlngtherren: bool,
    /// Padding of short frames is stripped.
    pub rxpadstripen: bool,
    #[bits(3)]
    reserved_31_29: u8,
}

/// Fields of [`MAXFRS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Maxfrs {
    #[bits(16)]
    __: u16,
    /// Largest frame in bytes, with FCS and without VLAN tag; at most 9,728.
    pub mfs: u16,
}

/// Fields of [`MSCA`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Msca {
    /// Register (clause 45).
    pub mdiadd: u16,
    /// Device (clause 45).
    #[bits(5)]
    pub devadd: u8,
    /// PHY.
    #[bits(5)]
    pub phyadd: u8,
    /// 0 address, 1 write, 2 read and increment, 3 read.
    #[bits(2)]
    pub opcode: u8,
    /// 0 clause 45, 1 clause 22.
    #[bits(2)]
    pub stcode: u8,
    /// Starts the command; 0 when it has ended.
    pub mdicmd: bool,
    /// Reserved: written 0.
    pub mdiinprogen: bool,
}

/// Fields of [`AUTOC`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Autoc {
    /// Forces the link up.
    pub flu: bool,
    /// Backplane: acknowledge of the second page.
    pub anack2: bool,
    /// Backplane: selector field.
    #[bits(5)]
    pub ansf: u8,
    /// Parallel 10 Gbit/s interface: 0 XAUI, 1 KX4, 2 CX4.
    #[bits(2)]
    pub pma_pmd_10g_parallel: u8,
    /// 1 Gbit/s interface: 0 SFI, 1 KX or BX.
    pub pma_pmd_1g: bool,
    /// The link stays up in D3.
    pub d10gmp: bool,
    /// Restarts at the ratio of the link.
    pub ratd: bool,
    /// Applies the link mode and restarts negotiation. Self-clearing.
    pub restart_an: bool,
    /// Link mode: one of [`lms`].
    #[bits(3)]
    pub lms: u8,
    /// Backplane: KR is offered.
    pub kr_support: bool,
    /// Backplane: forward error correction is asked for.
    pub fecr: bool,
    /// Backplane: forward error correction is possible.
    pub feca: bool,
    /// Backplane: alignment thresholds of the negotiation.
    #[bits(4)]
    pub anrxat: u8,
    /// Backplane: drift mode of the negotiation.
    pub anrxdm: bool,
    /// Backplane: loose mode of the negotiation.
    pub anrxlm: bool,
    /// Backplane: parallel detection timer.
    #[bits(2)]
    pub anpdt: u8,
    /// Backplane: remote fault.
    pub rf: bool,
    /// Backplane: pause abilities.
    #[bits(2)]
    pub pb: u8,
    /// Backplane: KX (1) and KX4 (2) are offered.
    #[bits(2)]
    pub kx_support: u8,
}

/// Values of [`Autoc::lms`].
pub mod lms {
    /// 1 Gbit/s without negotiation.
    pub const LINK_1G_NO_AN: u8 = 0;
    /// 10 Gbit/s parallel (XAUI, KX4, CX4) without negotiation.
    pub const LINK_10G_PARALLEL_NO_AN: u8 = 1;
    /// 1 Gbit/s with clause 37 negotiation.
    pub const LINK_1G_AN: u8 = 2;
    /// 10 Gbit/s serial (SFI) without negotiation.
    pub const LINK_10G_SERIAL: u8 = 3;
    /// Backplane KX, KX4, KR with negotiation.
    pub const BACKPLANE: u8 = 4;
    /// SGMII, 100 Mbit/s and 1 Gbit/s.
    pub const SGMII: u8 = 5;
    /// Backplane KX, KX4, KR, and clause 37 at 1 Gbit/s.
    pub const BACKPLANE_1G_AN: u8 = 6;
    /// Backplane KX, KX4, KR, and SGMII.
    pub const BACKPLANE_SGMII: u8 = 7;
}

/// Fields of [`AUTOC2`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Autoc2 {
    #[bits(16)]
    lower: u16,
    /// Serial 10 Gbit/s interface: 0 KR, 1 XFI, 2 SFI.
    #[bits(2)]
    pub pma_pmd_10g_serial: u8,
    #[bits(10)]
    upper: u16,
    /// Not 0: the link is kept down, always or in D3.
    #[bits(3)]
    pub link_disable: u8,
    #[bits(1)]
    top: u8,
}

/// Fields of [`MACC`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Macc {
    /// Forces the link up.
    pub flu: bool,
    #[bits(15)]
    lower: u16,
    /// Speed while the link is forced: 3 is 10 Gbit/s.
    #[bits(2)]
    pub fsv: u8,
    /// Forces the speed.
    pub fs: bool,
    #[bits(13)]
    upper: u16,
}

/// Fields of [`LINKS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Links {
    /// Backplane: the partner's second acknowledge and states, for diagnosis.
    #[bits(7)]
    pub diagnostic_6_0: u8,
    /// Link is up now; [`Self::link_up`] remembers an interruption.
    pub link_status: bool,
    /// Signal on lanes 0 to 3.
    #[bits(4)]
    pub signal_detected: u8,
    /// Fault on this side.
    pub tl_fault: bool,
    /// Lanes 0 to 3 are in step.
    #[bits(4)]
    pub lane_sync_10g: u8,
    /// The 10 Gbit/s parallel lanes are aligned.
    pub align_10g: bool,
    /// The 1 Gbit/s side is in step.
    pub sync_1g: bool,
    /// Backplane: the receiver is idle.
    pub kx_an_idle: bool,
    /// Negotiation at 1 Gbit/s is on.
    pub an_1g_enabled: bool,
    /// The 1 Gbit/s PCS is on.
    pub pcs_1g_enabled: bool,
    /// The 10 Gbit/s parallel side is on.
    pub xgxs_enabled: bool,
    /// Forward error correction is on.
    pub fec_enabled: bool,
    /// The 10 Gbit/s serial side is on.
    pub serial_10g_enabled: bool,
    /// SGMII is on.
    pub sgmii_enabled: bool,
    /// Link mode in use: 0 1G, 1 10G parallel, 2 10G serial, 3 negotiation. X550 and later:
    /// [`Self::other_speed`].
    #[bits(2)]
    pub mlink_mode: u8,
    /// Speed: one of [`link_speed`].
    #[bits(2)]
    pub link_speed: u8,
    /// The link is up and was since the last read.
    pub link_up: bool,
    /// Backplane negotiation has ended.
    pub kx_an_completed: bool,
}

impl Links {
    /// X550 and later: the speed is 5 Gbit/s where [`Self::link_speed`] says 100 Mbit/s, and
    /// 2.5 Gbit/s where it says 10 Gbit/s.
    #[must_use]
    pub const fn other_speed(self) -> bool {
        self.mlink_mode() & 2 != 0
    }
}

/// Values of [`Links::link_speed`].
pub mod link_speed {
    /// Reserved on the 82599; 10 Mbit/s on some successors.
    pub const RESERVED: u8 = 0;
    /// 100 Mbit/s.
    pub const MBIT_100: u8 = 1;
    /// 1 Gbit/s.
    pub const GBIT_1: u8 = 2;
    /// 10 Gbit/s.
    pub const GBIT_10: u8 = 3;
}

/// Fields of [`MFLCN`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Mflcn {
    /// Passes on unknown MAC control frames.
    pub pmcf: bool,
    /// Discards pause frames after obeying them.
    pub dpf: bool,
    /// Obeys priority pause frames.
    pub rpfcm: bool,
    /// Obeys link pause frames.
    pub rfce: bool,
    #[bits(28)]
    __: u32,
}
