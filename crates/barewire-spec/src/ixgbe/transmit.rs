//! Transmit rings and the way out of host memory (82599 §8.2.3.9).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// How many bytes of requests one traffic class may have under way.
    DTXMXSZRQ: read_write(0x08100, "8.2.3.9.1").reset(0x0000_0010).layout(0x0000_0FFF, 0);
    /// DMA transmit control.
    DMATXCTL: read_write(0x04A80, "8.2.3.9.2").reset(0x8100_0004).layout(0xFFFF_0009, 0);
    /// TCP flags of the first and middle segments of a segmented send.
    DTXTCPFLGL: read_write(0x04A88, "8.2.3.9.3").reset(0x0FF6_0FF6).layout(0x0FFF_0FFF, 0);
    /// TCP flags of the last segment of a segmented send.
    DTXTCPFLGH: read_write(0x04A8C, "8.2.3.9.4").reset(0x0000_0F7F).layout(0x0000_0FFF, 0);
    /// Ring address, low half. The ring starts on a multiple of 128 bytes; bits 6:0 read 0.
    TDBAL: read_write(0x06000, "8.2.3.9.5").layout(0xFFFF_FF80, 0x0000_007F).tx_queues();
    /// Ring address, high half.
    TDBAH: read_write(0x06004, "8.2.3.9.6").tx_queues();
    /// Ring length in bytes, a multiple of 128 (8 descriptors).
    TDLEN: read_write(0x06008, "8.2.3.9.7").layout(0x000F_FF80, 0x0000_007F).tx_queues();
    /// Ring head: the next descriptor the device reads. Software may write it only while the
    /// queue is disabled.
    TDH: read_write(0x06010, "8.2.3.9.8").layout(0x0000_FFFF, 0).tx_queues();
    /// Ring tail: one past the last descriptor handed to the device.
    TDT: read_write(0x06018, "8.2.3.9.9").layout(0x0000_FFFF, 0).tx_queues();
    /// Queue enable and prefetch and write-back thresholds.
    TXDCTL: read_write(0x06028, "8.2.3.9.10").layout(0x067F_7F7F, 0).self_clearing(0x0400_0000)
        .tx_queues();
    /// Where the device writes the head, low half, and whether it does.
    TDWBAL: read_write(0x06038, "8.2.3.9.11").layout(0xFFFF_FFFD, 0x0000_0002).tx_queues();
    /// Where the device writes the head, high half.
    TDWBAH: read_write(0x0603C, "8.2.3.9.12").tx_queues();
    /// Size of the packet buffer of each traffic class.
    TXPBSIZE: read_write(0x0CC00, "8.2.3.9.13").reset(0x0002_8000).layout(0x000F_FC00, 0)
        .array(8, 4);
    /// Traffic class of the manageability firmware's frames.
    MNGTXMAP: read_write(0x0CD10, "8.2.3.9.14").layout(0x0000_0007, 0);
    /// How queues are shared among pools and traffic classes. Written while
    /// [`Rttdcs::arbdis`](super::dcb::Rttdcs::arbdis) is 1.
    MTQC: read_write(0x08120, "8.2.3.9.15").layout(0x0000_000F, 0);
    /// Room that must be free in the packet buffer before a packet is fetched.
    TXPBTHRESH: read_write(0x04950, "8.2.3.9.16").first_reset(0x0000_0096).layout(0x0000_03FF, 0)
        .array(8, 4);
    /// Interval between frames, for transmit.
    TIPG: read_write(0x0CB00, "8.2.3.9");
    /// Which frames between virtual functions may be dropped on their way back.
    LBDRPEN: read_write(0x0CA00, "8.2.3.9");
}

/// Fields of [`DTXMXSZRQ`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Dtxmxszrq {
    /// In units of 256 bytes: 0xFFF without traffic classes, 0x010 with.
    #[bits(12)]
    pub max_bytes_num_req: u16,
    /// Bits 31:12 are reserved: written 0.
    #[bits(20)]
    __: u32,
}

/// Fields of [`DMATXCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Dmatxctl {
    /// The transmit path runs.
    pub te: bool,
    __: bool,
    #[bits(default = true)]
    reserved_2: bool,
    /// Frames may carry two VLAN tags.
    pub gdv: bool,
    #[bits(12)]
    __: u16,
    /// EtherType of VLAN tags the device inserts.
    #[bits(16, default = 0x8100)]
    pub vt: u16,
}

/// Fields of [`DTXTCPFLGL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Dtxtcpflgl {
    /// TCP flags that stay in the first segment.
    #[bits(12, default = 0xFF6)]
    pub first_seg: u16,
    #[bits(4)]
    __: u8,
    /// TCP flags that stay in segments between the first and the last.
    #[bits(12, default = 0xFF6)]
    pub mid_seg: u16,
    #[bits(4)]
    __: u8,
}

/// Fields of [`DTXTCPFLGH`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Dtxtcpflgh {
    /// TCP flags that stay in the last segment.
    #[bits(12, default = 0xF7F)]
    pub lst_seg: u16,
    #[bits(20)]
    __: u32,
}

/// Fields of [`TXDCTL`]. Thresholds count descriptors.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Txdctl {
    /// Fetch more when fewer than this many are on the chip.
    #[bits(7)]
    pub pthresh: u8,
    __: bool,
    /// Fetch only if at least this many are ready in memory.
    #[bits(7)]
    pub hthresh: u8,
    __: bool,
    /// Write back once this many are done; 0 writes back at once.
    #[bits(7)]
    pub wthresh: u8,
    #[bits(2)]
    __: u8,
    /// Asks for the queue to run; reads 1 when it does.
    pub enable: bool,
    /// Writes back what is pending. Self-clearing.
    pub swflsh: bool,
    #[bits(5)]
    __: u8,
}

/// Fields of [`TDWBAL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tdwbal {
    /// The device writes the head to memory instead of marking descriptors as done.
    pub head_wb_en: bool,
    __: bool,
    /// Bits 31:2 of the address.
    #[bits(30)]
    pub headwb_low: u32,
}

/// Fields of [`TXPBSIZE`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Txpbsize {
    #[bits(10)]
    __: u16,
    /// Size in KiB; all eight together at most 160.
    #[bits(10)]
    pub size: u16,
    #[bits(12)]
    __: u16,
}

/// Fields of [`MTQC`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Mtqc {
    /// Traffic classes are in use.
    pub rt_ena: bool,
    /// Pools are in use.
    pub vt_ena: bool,
    /// How many classes or pools; 0 means 64 queues without either.
    #[bits(2)]
    pub num_tc_or_q: u8,
    #[bits(28)]
    __: u32,
}

/// Fields of [`TXPBTHRESH`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Txpbthresh {
    /// In KiB: the buffer's size less the largest frame.
    #[bits(10)]
    pub thresh: u16,
    #[bits(22)]
    __: u32,
}
