//! Traffic classes, their arbiters and rate limits (82599 §8.2.3.10).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Receive packet plane control.
    RTRPCS: read_write(0x02430, "8.2.3.10.1").layout(0x0000_0046, 0);
    /// Transmit descriptor plane control.
    RTTDCS: read_write(0x04900, "8.2.3.10.2").reset(0x00C0_0000).layout(0x80CE_0053, 0);
    /// Transmit packet plane control.
    RTTPCS: read_write(0x0CD00, "8.2.3.10.3").reset(0x8900_0000).layout(0xFFC0_0160, 0);
    /// Traffic class of each user priority on receive, three bits each.
    RTRUP2TC: read_write(0x03020, "8.2.3.10.4").layout(0x00FF_FFFF, 0);
    /// Traffic class of each user priority on transmit, three bits each.
    RTTUP2TC: read_write(0x0C800, "8.2.3.10.5").layout(0x00FF_FFFF, 0);
    /// Receive credits of a traffic class.
    RTRPT4C: read_write(0x02140, "8.2.3.10.6").layout(0xC0FF_FFFF, 0).array(8, 4);
    /// State of [`RTRPT4C`].
    RTRPT4S: read_only(0x02160, "8.2.3.10.7").array(8, 4);
    /// Descriptor credits of a traffic class.
    RTTDT2C: read_write(0x04910, "8.2.3.10.9").layout(0xC0FF_FFFF, 0).array(8, 4);
    /// Packet credits of a traffic class.
    RTTPT2C: read_write(0x0CD20, "8.2.3.10.10").layout(0xC0FF_FFFF, 0).array(8, 4);
    /// State of [`RTTDT2C`].
    RTTDT2S: read_only(0x04930, "8.2.3.10.11").array(8, 4);
    /// State of [`RTTPT2C`].
    RTTPT2S: read_only(0x0CD40, "8.2.3.10.12").array(8, 4);
    /// Which queue or pool the T1 and rate registers are about.
    RTTDQSEL: read_write(0x04904, "8.2.3.10.13").layout(0x0000_007F, 0);
    /// Descriptor credits of a queue or pool.
    RTTDT1C: read_write(0x04908, "8.2.3.10.14").layout(0x0000_3FFF, 0);
    /// State of [`RTTDT1C`].
    RTTDT1S: read_only(0x0490C, "8.2.3.10.15");
    /// Rate limit of a queue.
    RTTBCNRC: read_write(0x04984, "8.2.3.10.16").layout(0x80FF_FFFF, 0);
    /// Rate of the transmit scheduler's memory.
    RTTBCNRM: read_write(0x04980, "8.2.3.10");
    /// State of the transmit rate scheduler.
    RTTBCNRS: read_only(0x04988, "8.2.3.10");
    /// Congestion notification: drift of the rate.
    RTTBCNRD: read_write(0x0498C, "8.2.3.10");
    /// Congestion notification: memory errors.
    RTTDTECC: read_write(0x04990, "8.2.3.10");
    /// Congestion notification control.
    RTTBCNCR: read_write(0x08B00, "8.2.3.10");
    /// Congestion notification action, high half.
    RTTBCNACH: read_write(0x08B04, "8.2.3.10");
    /// Congestion notification action, low half.
    RTTBCNACL: read_write(0x08B08, "8.2.3.10");
    /// Congestion notification index of a queue.
    RTTBCNIDX: read_write(0x08B0C, "8.2.3.10");
    /// Congestion notification point.
    RTTBCNCP: read_write(0x08B10, "8.2.3.10");
    /// Free-running timer of congestion notification.
    RTFRTIMER: read_only(0x08B14, "8.2.3.10");
    /// Congestion notification tag.
    RTTBCNTG: read_write(0x04A90, "8.2.3.10");
    /// Congestion notification round trip.
    RTTBCNRTT: read_write(0x05150, "8.2.3.10");
    /// Queues of strict priority, a bit each.
    TXLLQ: read_write(0x082E0, "8.2.3.10").array(4, 4);
}

/// Fields of [`RTTDCS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rttdcs {
    /// Traffic classes are served by strict priority.
    pub tdpac: bool,
    /// Pools are served by weighted round robin.
    pub vmpac: bool,
    #[bits(2)]
    __: u8,
    /// Credits of idle classes are recycled.
    pub tdrm: bool,
    __: bool,
    /// Stops the arbiter, so that [`MTQC`](super::transmit::MTQC) can be written.
    pub arbdis: bool,
    #[bits(10)]
    __: u16,
    /// Round robin among queues of a low latency class.
    #[bits(3)]
    pub lttdesc: u8,
    #[bits(2)]
    __: u8,
    /// Bypasses the data plane monitor; 1 without traffic classes, 0 with.
    #[bits(default = true)]
    pub bdpm: bool,
    /// Bypasses the buffer's frame size monitor; 1 without traffic classes, 0 with.
    #[bits(default = true)]
    pub bpbfsm: bool,
    #[bits(7)]
    __: u8,
    /// The link speed changed.
    pub speed_chg: bool,
}

/// Fields of [`RTTPCS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rttpcs {
    #[bits(5)]
    __: u8,
    /// Traffic classes are served by strict priority.
    pub tppac: bool,
    /// Stops the arbiter.
    pub arbdis: bool,
    __: bool,
    /// Credits of idle classes are recycled.
    pub tprm: bool,
    #[bits(13)]
    __: u16,
    /// Delay between arbitrations: 0x224 without traffic classes, 4 with.
    #[bits(10, default = 0x224)]
    pub arbd: u16,
}
