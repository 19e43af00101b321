//! Pools and virtual functions, as the physical function sees them (82599 §8.2.3.27).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Pools are in use, and where unmatched frames go.
    PFVTCTL: read_write(0x051B0, "8.2.3.27.1").layout(0x6000_1F81, 0);
    /// Mailbox of each virtual function.
    PFMAILBOX: read_write(0x04B00, "8.2.3.27.2").layout(0x0000_001F, 0).array(64, 4);
    /// Mailbox memory: 16 words a virtual function.
    PFMBMEM: read_write(0x13000, "8.2.3.27.3").array(1024, 4);
    /// Messages and acknowledgements from virtual functions, 16 functions a register.
    PFMBICR: write_1_clear(0x00710, "8.2.3.27.4").array(4, 4);
    /// Enables [`PFMBICR`] to interrupt.
    PFMBIMR: read_write(0x00720, "8.2.3.27.5").layout(0x0000_FFFF, 0xFFFF_0000).array(2, 4);
    /// Function-level resets of virtual functions, 32 a register.
    PFVFLRE: read_only(0x00600, "8.2.3.27.6").split(1, 0x001C0, 2, 4);
    /// Clears function-level resets seen.
    PFVFLREC: write_1_clear(0x00700, "8.2.3.27.7").array(2, 4);
    /// Pools that may receive.
    PFVFRE: read_write(0x051E0, "8.2.3.27.8").array(2, 4);
    /// Pools that may send.
    PFVFTE: read_write(0x08110, "8.2.3.27.8").array(2, 4);
    /// Drops frames for a queue without descriptors, queue by queue.
    PFQDE: read_write(0x02F04, "8.2.3.27.9").layout(0x0003_7F01, 0xFFFC_80FE);
    /// Pools whose frames may go to another pool without leaving the port.
    PFVMTXSW: read_write(0x05180, "8.2.3.27").array(2, 4);
    /// Anti-spoofing of pools, eight a register.
    PFVFSPOOF: read_write(0x08200, "8.2.3.27").layout(0x0000_FFFF, 0).array(8, 4);
    /// Loopback between pools.
    PFDTXGSWC: read_write(0x08220, "8.2.3.27").layout(0x0000_0001, 0);
    /// VLAN tag a pool's frames get.
    PFVMVIR: read_write(0x08000, "8.2.3.27.13").layout(0xC000_FFFF, 0).array(64, 4);
    /// What a pool accepts.
    PFVML2FLT: read_write(0x0F000, "8.2.3.27.14").layout(0x1F00_0000, 0x00C0_0000).array(64, 4);
    /// VLANs of pools.
    PFVLVF: read_write(0x0F100, "8.2.3.27.15").layout(0x8000_0FFF, 0).array(64, 4);
    /// Pools of a VLAN: registers 2n and 2n + 1 belong to [`PFVLVF`] n.
    PFVLVFB: read_write(0x0F200, "8.2.3.27.16").array(128, 4);
    /// Unicast table: 4,096 bits.
    PFUTA: read_write(0x0F400, "8.2.3.27.17").array(128, 4);
    /// Mirror rules.
    PFMRCTL: read_write(0x0F600, "8.2.3.27.18").layout(0x0000_3F0F, 0).array(4, 4);
    /// VLANs of mirror rules.
    PFMRVLAN: read_write(0x0F610, "8.2.3.27.19").array(8, 4);
    /// Pools of mirror rules.
    PFMRVM: read_write(0x0F630, "8.2.3.27.20").array(8, 4);
    /// Last event of a virtual function the device disapproved of, on receive.
    LVMMC_RX: read_only(0x02FA8, "8.2.3.27");
    /// The same, on transmit.
    LVMMC_TX: read_clear(0x08108, "8.2.3.27");
    /// Pools whose queues are blocked for malice, on receive.
    WQBR_RX: write_1_clear(0x02FB0, "8.2.3.27").array(4, 4);
    /// Queues that are blocked for malice, on transmit.
    WQBR_TX: write_1_clear(0x08130, "8.2.3.27").array(4, 4);
    /// Pools whose frames may carry a source MAC address of their own.
    VMECM: read_write(0x08790, "8.2.3.27").array(2, 4);
}

/// Fields of [`PFVTCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Pfvtctl {
    /// Pools are in use.
    pub vt_ena: bool,
    #[bits(6)]
    __: u8,
    /// Where unmatched frames go.
    #[bits(6)]
    pub def_pl: u8,
    #[bits(16)]
    __: u16,
    /// Drops unmatched frames.
    pub dis_def_pool: bool,
    /// Multicast and broadcast go to all pools that match.
    pub rpl_en: bool,
    __: bool,
}

/// Fields of [`PFQDE`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Pfqde {
    /// Drops frames for the queue without descriptors.
    pub qde: bool,
    #[bits(7)]
    __: u8,
    /// Which queue.
    #[bits(7)]
    pub queue_index: u8,
    __: bool,
    /// Writes [`Self::qde`].
    pub we: bool,
    /// Reads [`Self::qde`].
    pub re: bool,
    #[bits(14)]
    __: u16,
}

/// Fields of [`PFVML2FLT`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Pfvml2flt {
    #[bits(22)]
    __: u32,
    /// Unicast promiscuous; X550 and later.
    pub upe: bool,
    /// VLAN promiscuous; X550 and later.
    pub vpe: bool,
    /// Accepts untagged frames.
    pub aupe: bool,
    /// Accepts frames that match the multicast table.
    pub rompe: bool,
    /// Accepts frames that match the unicast table.
    pub rope: bool,
    /// Accepts broadcast.
    pub bam: bool,
    /// Multicast promiscuous.
    pub mpe: bool,
    #[bits(3)]
    __: u8,
}
