//! Time stamps (82599 §8.2.3.26).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Receive time stamps.
    TSYNCRXCTL: read_write(0x05188, "8.2.3.26").layout(0x0000_001E, 0x0000_0001);
    /// Source of the stamped frame, low half.
    RXSATRL: read_only(0x051A0, "8.2.3.26");
    /// Receive time stamp, high half. Reading it frees the stamp.
    RXSTMPH: read_only(0x051A4, "8.2.3.26");
    /// Source and sequence number of the stamped frame.
    RXSATRH: read_only(0x051A8, "8.2.3.26");
    /// Receive time stamp, low half.
    RXSTMPL: read_only(0x051E8, "8.2.3.26");
    /// Which messages are stamped.
    RXMTRL: read_write(0x05120, "8.2.3.26").reset(0x319F_0000);
    /// Transmit time stamps.
    TSYNCTXCTL: read_write(0x08C00, "8.2.3.26").layout(0x0000_0010, 0x0000_0001);
    /// Transmit time stamp, low half.
    TXSTMPL: read_only(0x08C04, "8.2.3.26");
    /// Transmit time stamp, high half. Reading it frees the stamp.
    TXSTMPH: read_only(0x08C08, "8.2.3.26");
    /// System time, low half.
    SYSTIML: read_write(0x08C0C, "8.2.3.26");
    /// System time, high half.
    SYSTIMH: read_write(0x08C10, "8.2.3.26");
    /// How much system time advances, and how often.
    TIMINCA: read_write(0x08C14, "8.2.3.26");
    /// Adjustment of the system time, low half.
    TIMADJL: read_write(0x08C18, "8.2.3.26");
    /// Adjustment of the system time, high half.
    TIMADJH: read_write(0x08C1C, "8.2.3.26");
    /// Auxiliary functions.
    TSAUXC: read_write(0x08C20, "8.2.3.26");
    /// First target time, low half.
    TRGTTIML0: read_write(0x08C24, "8.2.3.26");
    /// First target time, high half.
    TRGTTIMH0: read_write(0x08C28, "8.2.3.26");
    /// Second target time, low half.
    TRGTTIML1: read_write(0x08C2C, "8.2.3.26");
    /// Second target time, high half.
    TRGTTIMH1: read_write(0x08C30, "8.2.3.26");
    /// Clock output, low half.
    CLKTIML: read_write(0x08C34, "8.2.3.26");
    /// Clock output, high half.
    CLKTIMH: read_write(0x08C38, "8.2.3.26");
    /// First auxiliary stamp, low half.
    AUXSTMPL0: read_only(0x08C3C, "8.2.3.26");
    /// First auxiliary stamp, high half.
    AUXSTMPH0: read_only(0x08C40, "8.2.3.26");
    /// Second auxiliary stamp, low half.
    AUXSTMPL1: read_only(0x08C44, "8.2.3.26");
    /// Second auxiliary stamp, high half.
    AUXSTMPH1: read_only(0x08C48, "8.2.3.26");
}

/// Fields of [`TSYNCRXCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tsyncrxctl {
    /// A stamp is kept; no other frame is stamped until it is read. Read-only.
    pub rxtt: bool,
    /// Which frames are stamped: one of [`tsync_type`].
    #[bits(3)]
    pub kind: u8,
    /// Frames are stamped.
    pub en: bool,
    #[bits(27)]
    __: u32,
}

/// Values of [`Tsyncrxctl::kind`].
pub mod tsync_type {
    /// Version 2 on Ethernet, of the type in [`RXMTRL`](super::RXMTRL).
    pub const L2_V2: u8 = 0;
    /// Version 1 on UDP, with the control field in [`RXMTRL`](super::RXMTRL).
    pub const L4_V1: u8 = 1;
    /// Version 2 on Ethernet or UDP, of the type in [`RXMTRL`](super::RXMTRL).
    pub const L2_L4_V2: u8 = 2;
    /// Version 2 on Ethernet or UDP, of all types that need a stamp.
    pub const EVENT_V2: u8 = 5;
}

/// Fields of [`RXMTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rxmtrl {
    /// Control field of messages of version 1.
    pub ctrlt: u8,
    /// Type of messages of version 2.
    pub msgt: u8,
    /// UDP port of messages.
    pub udpt: u16,
}

/// Fields of [`TSYNCTXCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tsynctxctl {
    /// A stamp is kept; no other frame is stamped until it is read. Read-only.
    pub txtt: bool,
    #[bits(3)]
    __: u8,
    /// Frames that ask for it are stamped.
    pub en: bool,
    #[bits(27)]
    __: u32,
}

/// Fields of [`TIMINCA`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Timinca {
    /// By how much the system time advances.
    #[bits(24)]
    pub incvalue: u32,
    /// After how many ticks: 6.4 ns at 10 Gbit/s, ten times that at each lower speed.
    pub incperiod: u8,
}

/// Fields of [`TSAUXC`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tsauxc {
    #[bits(31)]
    __: u32,
    /// Stops the system time; X550 and later.
    pub disable_systime: bool,
}
