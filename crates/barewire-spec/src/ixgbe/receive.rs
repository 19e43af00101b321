//! What is received and where it goes: filters, RSS (82599 §8.2.3.7).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Which frames are accepted beyond the filters. Written while
    /// [`Rxctrl::rxen`](super::receive_dma::Rxctrl::rxen) is 0. The predecessor's flow control
    /// bits (15:12) are ignored: they moved to [`MFLCN`](super::mac::MFLCN).
    FCTRL: read_write(0x05080, "8.2.3.7.1").layout(0x0000_0702, 0x0000_F000);
    /// VLAN filtering.
    VLNCTRL: read_write(0x05088, "8.2.3.7.2").reset(0x0000_8100).layout(0x7000_FFFF, 0);
    /// Multicast filtering.
    MCSTCTRL: read_write(0x05090, "8.2.3.7.3").layout(0x0000_0007, 0);
    /// What counts as a header, and RSS queues of a pool. Pools 0 to 15 are also reachable at
    /// 0x5480 + 4n.
    PSRTYPE: read_write(0x0EA00, "8.2.3.7.4").layout(0xE007_FFFF, 0).array(64, 4);
    /// Receive checksums.
    RXCSUM: read_write(0x05000, "8.2.3.7.5").layout(0x0000_3000, 0);
    /// Header filters and coalescing.
    RFCTL: read_write(0x05008, "8.2.3.7.6").layout(0x0000_03E0, 0x0003_FC1F);
    /// Multicast table: 4,096 bits.
    MTA: read_write(0x05200, "8.2.3.7.7").array(128, 4);
    /// Receive addresses, first four bytes. 0 to 15 are also reachable at 0x5400 + 8n.
    RAL: read_write(0x0A200, "8.2.3.7.8").array(128, 8);
    /// Receive addresses, last two bytes, and whether they are valid. 0 to 15 are also
    /// reachable at 0x5404 + 8n.
    RAH: read_write(0x0A204, "8.2.3.7.9").layout(0x8000_FFFF, 0).array(128, 8);
    /// Pools of each receive address: registers 2n and 2n + 1 belong to address n.
    MPSAR: read_write(0x0A600, "8.2.3.7.10").array(256, 4);
    /// VLAN table: 4,096 bits.
    VFTA: read_write(0x0A000, "8.2.3.7.11").array(128, 4);
    /// Receive queue selection. Also reachable at 0x5818. The predecessor's bits for IPv6
    /// extension headers (18, 19, 24) are ignored.
    MRQC: read_write(0x0EC80, "8.2.3.7.12").layout(0x00F3_000F, 0x010C_0000);
    /// How many RSS queues a traffic class has, as a power of two, four bits each.
    RQTC: read_write(0x0EC70, "8.2.3.7.13").reset(0x4444_4444).layout(0x7777_7777, 0);
    /// RSS key, least significant byte first. Also reachable at 0x5C80 + 4n.
    RSSRK: read_write(0x0EB80, "8.2.3.7.14").array(10, 4);
    /// RSS redirection table: four entries of four bits, one a byte. Also reachable at
    /// 0x5C00 + 4n.
    RETA: read_write(0x0EB00, "8.2.3.7.15").layout(0x0F0F_0F0F, 0).array(32, 4);
    /// Source address of a five-tuple filter.
    SAQF: read_write(0x0E000, "8.2.3.7.16").array(128, 4);
    /// Destination address of a five-tuple filter.
    DAQF: read_write(0x0E200, "8.2.3.7.17").array(128, 4);
    /// Ports of a five-tuple filter.
    SDPQF: read_write(0x0E400, "8.2.3.7.18").array(128, 4);
    /// Protocol, priority and mask of a five-tuple filter.
    FTQF: read_write(0x0E600, "8.2.3.7.19").layout(0xFE00_3F1F, 0x01FF_C0E0).array(128, 4);
    /// Queue of TCP SYN packets.
    SYNQF: read_write(0x0EC30, "8.2.3.7.20").layout(0x8000_00FF, 0);
    /// EtherType filters.
    ETQF: read_write(0x05128, "8.2.3.7.21").layout(0xCFFF_FFFF, 0x3000_0000).array(8, 4);
    /// Queues of the EtherType filters.
    ETQS: read_write(0x0EC00, "8.2.3.7.22").layout(0xA07F_0000, 0).array(8, 4);
    /// Memory errors of the receive filter.
    RXFECCERR0: read_write(0x051B8, "8.2.3.7.23").layout(0x0000_0200, 0xFFFF_FDFF);
    /// Queue and interrupt of a five-tuple filter.
    L34TIMIR: read_write(0x0E800, "8.2.3.5").layout(0x0FFF_F000, 0x0000_0FFF)
        .array(128, 4);
    /// VLAN priority that raises a low-latency interrupt.
    IMIRVP: read_write(0x0EC60, "8.2.3.5").layout(0x0000_000F, 0);
    /// Size below which low-latency interrupts are credited.
    LLITHRESH: read_write(0x0EC90, "8.2.3.5").layout(0x07FF_03FF, 0xF800_FC00);
}

/// Fields of [`FCTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fctrl {
    __: bool,
    /// Store bad packets.
    pub sbp: bool,
    #[bits(6)]
    __: u8,
    /// Multicast promiscuous.
    pub mpe: bool,
    /// Unicast promiscuous.
    pub upe: bool,
    /// Accept broadcast.
    pub bam: bool,
    #[bits(21)]
    __: u32,
}

/// Fields of [`VLNCTRL`].
#[bitfield(u32, default = false)]
#[derive(PartialEq, Eq)]
pub struct Vlnctrl {
    /// EtherType of VLAN tags.
    #[bits(16, default = 0x8100)]
    pub vet: u16,
    #[bits(12)]
    __: u16,
    /// CFI that is accepted.
    pub cfi: bool,
    /// Compares the CFI.
    pub cfien: bool,
    /// Drops tagged frames whose VLAN is not in [`VFTA`].
    pub vfe: bool,
    __: bool,
}

/// Fields of [`MCSTCTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Mcstctrl {
    /// Which twelve bits of the address index [`MTA`]: 47:36, 46:35, 45:34 or 43:32, for 0
    /// to 3, bit 47 being the last of the last byte.
    #[bits(2)]
    pub mo: u8,
    /// Looks multicast addresses up in [`MTA`].
    pub mfe: bool,
    #[bits(29)]
    __: u32,
}

/// Fields of [`PSRTYPE`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Psrtype {
    #[bits(4)]
    __: u8,
    /// Split after a TCP header.
    pub tcp: bool,
    /// Split after a UDP header.
    pub udp: bool,
    #[bits(2)]
    __: u8,
    /// Split after an IPv4 header.
    pub ipv4: bool,
    /// Split after an IPv6 header.
    pub ipv6: bool,
    #[bits(2)]
    __: u8,
    /// Split after the L2 header.
    pub l2: bool,
    #[bits(16)]
    __: u16,
    /// RSS queues of the pool: 1, 2 or 4, for 0 to 2.
    #[bits(3)]
    pub rqpl: u8,
}

/// Fields of [`RXCSUM`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rxcsum {
    #[bits(12)]
    __: u16,
    /// Checks the checksum of UDP fragments; needs [`Self::pcsd`] 0.
    pub ippcse: bool,
    /// Descriptors carry the RSS hash, not the fragment checksum.
    pub pcsd: bool,
    #[bits(18)]
    __: u32,
}

/// Fields of [`RFCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rfctl {
    #[bits(5)]
    __: u8,
    /// Coalescing is off on all queues.
    pub rsc_dis: bool,
    /// NFS write filtering is off.
    pub nfsw_dis: bool,
    /// NFS read filtering is off.
    pub nfsr_dis: bool,
    /// NFS version: 2, 3 or 4, for 0 to 2.
    #[bits(2)]
    pub nfs_ver: u8,
    #[bits(22)]
    __: u32,
}

/// Fields of [`RAH`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rah {
    /// Bytes 4 and 5 of the address, byte 4 lowest.
    pub rah: u16,
    #[bits(15)]
    __: u16,
    /// The address is valid. Lost when the register is written without it.
    pub av: bool,
}

/// Fields of [`MRQC`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Mrqc {
    /// How queues are chosen: one of [`mrqe`].
    #[bits(4)]
    pub mrqe: u8,
    #[bits(12)]
    __: u16,
    /// Hash of TCP over IPv4.
    pub tcp_ipv4: bool,
    /// Hash of IPv4.
    pub ipv4: bool,
    #[bits(2)]
    __: u8,
    /// Hash of IPv6.
    pub ipv6: bool,
    /// Hash of TCP over IPv6.
    pub tcp_ipv6: bool,
    /// Hash of UDP over IPv4.
    pub udp_ipv4: bool,
    /// Hash of UDP over IPv6.
    pub udp_ipv6: bool,
    #[bits(8)]
    __: u8,
}

/// Values of [`Mrqc::mrqe`].
pub mod mrqe {
    /// All to queue 0.
    pub const NONE: u8 = 0b0000;
    /// RSS over up to 16 queues.
    pub const RSS: u8 = 0b0001;
    /// Eight traffic classes.
    pub const DCB_8: u8 = 0b0010;
    /// Four traffic classes.
    pub const DCB_4: u8 = 0b0011;
    /// Eight traffic classes, RSS in each.
    pub const DCB_8_RSS: u8 = 0b0100;
    /// Four traffic classes, RSS in each.
    pub const DCB_4_RSS: u8 = 0b0101;
    /// Sixty-four pools.
    pub const VMDQ_64: u8 = 0b1000;
    /// Thirty-two pools, RSS in each.
    pub const VMDQ_32_RSS: u8 = 0b1010;
    /// Sixty-four pools, RSS in each.
    pub const VMDQ_64_RSS: u8 = 0b1011;
    /// Sixteen pools and eight traffic classes.
    pub const VMDQ_16_DCB_8: u8 = 0b1100;
    /// Thirty-two pools and four traffic classes.
    pub const VMDQ_32_DCB_4: u8 = 0b1101;
}

/// Fields of [`ETQF`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Etqf {
    /// The EtherType that matches.
    pub etype: u16,
    /// User priority that matches, if enabled.
    #[bits(3)]
    pub up: u8,
    /// Compares the user priority.
    pub up_enable: bool,
    /// Pool of matching frames, if enabled.
    #[bits(6)]
    pub pool: u8,
    /// Sends matching frames to [`Self::pool`].
    pub pool_enable: bool,
    /// Matching frames are FCoE.
    pub fcoe: bool,
    #[bits(2)]
    __: u8,
    /// Matching frames are time-stamped.
    pub time_stamp_1588: bool,
    /// The filter is in use.
    pub filter_enable: bool,
}

/// Fields of [`FTQF`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Ftqf {
    /// 0 TCP, 1 UDP, 2 SCTP, 3 others.
    #[bits(2)]
    pub protocol: u8,
    /// Of several filters that match, the one with the highest priority counts: 1 to 7.
    #[bits(3)]
    pub priority: u8,
    #[bits(3)]
    __: u8,
    /// Pool that is compared, if it is.
    #[bits(6)]
    pub pool: u8,
    #[bits(11)]
    __: u16,
    /// Ignores the source address.
    pub mask_source_address: bool,
    /// Ignores the destination address.
    pub mask_destination_address: bool,
    /// Ignores the source port.
    pub mask_source_port: bool,
    /// Ignores the destination port.
    pub mask_destination_port: bool,
    /// Ignores the protocol.
    pub mask_protocol: bool,
    /// Ignores the pool.
    pub mask_pool: bool,
    /// The filter is in use.
    pub queue_enable: bool,
}

/// Fields of [`L34TIMIR`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct L34timir {
    #[bits(12)]
    __: u16,
    /// Reserved; drivers write bit 19.
    #[bits(8)]
    reserved_19_12: u8,
    /// Matching packets raise a low-latency interrupt.
    pub llien: bool,
    /// Queue of matching packets.
    #[bits(7)]
    pub rx_queue: u8,
    #[bits(4)]
    __: u8,
}

/// Fields of [`SYNQF`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Synqf {
    /// The filter is in use.
    pub queue_enable: bool,
    /// Queue of TCP packets with SYN.
    #[bits(7)]
    pub rx_queue: u8,
    #[bits(23)]
    __: u32,
    /// Ahead of the five-tuple filters, not behind them.
    pub synqfp: bool,
}

/// Fields of [`ETQS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Etqs {
    #[bits(16)]
    __: u16,
    /// Queue of matching frames.
    #[bits(7)]
    pub rx_queue: u8,
    #[bits(6)]
    __: u8,
    /// Matching frames raise a low-latency interrupt.
    pub low_latency_interrupt: bool,
    __: bool,
    /// Sends matching frames to [`Self::rx_queue`].
    pub queue_enable: bool,
}
