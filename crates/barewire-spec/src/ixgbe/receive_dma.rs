//! Receive rings and the way into host memory (82599 §8.2.3.8).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Ring address, low half. The ring starts on a multiple of 128 bytes; bits 6:0 read 0.
    RDBAL: read_write(0x01000, "8.2.3.8.1").layout(0xFFFF_FF80, 0x0000_007F).rx_queues();
    /// Ring address, high half.
    RDBAH: read_write(0x01004, "8.2.3.8.2").rx_queues();
    /// Ring length in bytes, a multiple of 128 (8 descriptors).
    RDLEN: read_write(0x01008, "8.2.3.8.3").layout(0x000F_FF80, 0x0000_007F).rx_queues();
    /// Ring head: the next descriptor the device uses. It starts at 0 when the queue is
    /// enabled after a reset; drivers that also served the predecessor write 0 here.
    RDH: read_only(0x01010, "8.2.3.8.4").rx_queues();
    /// Ring tail: one past the last descriptor handed to the device.
    RDT: read_write(0x01018, "8.2.3.8.5").layout(0x0000_FFFF, 0).rx_queues();
    /// Queue enable and VLAN stripping.
    RXDCTL: read_write(0x01028, "8.2.3.8.6").layout(0x467F_4000, 0).self_clearing(0x0400_0000)
        .rx_queues();
    /// Buffer sizes, descriptor format and what happens without descriptors. Queues 0 to 15
    /// are also reachable at 0x2100 + 4n.
    SRRCTL: read_write(0x01014, "8.2.3.8.7").reset(0x0000_0402).layout(0x1FC0_3F1F, 0)
        .rx_queues();
    /// Receive DMA control.
    RDRXCTL: read_write(0x02F00, "8.2.3.8.8").reset(0x0010_8808).layout(0x063E_0002, 0x0000_0008);
    /// Size of the packet buffer of each traffic class.
    RXPBSIZE: read_write(0x03C00, "8.2.3.8.9").reset(0x0008_0000).layout(0x000F_FC00, 0)
        .array(8, 4);
    /// The receive path's master switch.
    RXCTRL: read_write(0x03000, "8.2.3.8.10").layout(0x0000_0001, 0);
    /// How often the packet buffers of traffic classes wrapped, and whether they are empty.
    RXMEMWRAP: read_only(0x03190, "8.2.3.8.11").reset(0x8888_8888);
    /// Which frames take part in receive-side coalescing.
    RSCDBU: read_write(0x03028, "8.2.3.8.12").layout(0x0000_00FF, 0);
    /// Receive-side coalescing of a queue.
    RSCCTL: read_write(0x0102C, "8.2.3.8.13").layout(0x0000_000D, 0).rx_queues();
}

/// Fields of [`RXDCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rxdctl {
    /// From the X540 on: the longest frame the queue takes, in bytes.
    #[bits(14)]
    pub rlpml: u16,
    /// No meaning; software may write it.
    pub unused_14: bool,
    /// From the X540 on: frames longer than [`Self::rlpml`] are dropped.
    pub rlpml_en: bool,
    /// No meaning; software may write it.
    #[bits(7)]
    pub unused_22_16: u8,
    #[bits(2)]
    __: u8,
    /// Asks for the queue to run; reads 1 when it does.
    pub enable: bool,
    /// Writes back what is pending. Self-clearing.
    pub swflsh: bool,
    #[bits(3)]
    __: u8,
    /// Takes the VLAN tag out of the frame and puts it in the descriptor.
    pub vme: bool,
    __: bool,
}

/// Fields of [`SRRCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Srrctl {
    /// Receive buffer size in KiB: 1 to 16.
    #[bits(5)]
    pub bsizepacket: u8,
    #[bits(3)]
    __: u8,
    /// Header buffer size in units of 64 bytes: 1 to 16. Not 0 when headers are split.
    #[bits(6)]
    pub bsizeheader: u8,
    #[bits(8)]
    __: u8,
    /// Interrupt when fewer than 64 × `rdmts` descriptors are left.
    #[bits(3)]
    pub rdmts: u8,
    /// Descriptor format: one of [`desctype`].
    #[bits(3)]
    pub desctype: u8,
    /// Drop frames for this queue when it has no descriptors, instead of holding up the
    /// packet buffer for all queues.
    pub drop_en: bool,
    #[bits(3)]
    __: u8,
}

/// Values of [`Srrctl::desctype`].
pub mod desctype {
    /// Legacy descriptors.
    pub const LEGACY: u8 = 0;
    /// Advanced descriptors, one buffer.
    pub const ADVANCED_ONE_BUFFER: u8 = 1;
    /// Advanced descriptors, header split.
    pub const ADVANCED_HEADER_SPLIT: u8 = 2;
    /// Advanced descriptors, always use the header buffer.
    pub const ADVANCED_ALWAYS_HEADER: u8 = 5;
}

/// Fields of [`RDRXCTL`].
#[bitfield(u32, default = false)]
#[derive(PartialEq, Eq)]
pub struct Rdrxctl {
    __: bool,
    /// Strips the FCS. Must equal [`Hlreg0::rxcrcstrp`](super::mac::Hlreg0::rxcrcstrp).
    pub crcstrip: bool,
    __: bool,
    /// The receive DMA is ready after a reset. Read-only.
    pub dmaidone: bool,
    #[bits(13)]
    reserved_16_4: u16,
    /// Must be written 0; the device resets it to 8.
    #[bits(5)]
    pub rscfrstsize: u8,
    #[bits(3)]
    __: u8,
    /// Must be written 1.
    pub rscackc: bool,
    /// Must be written 1.
    pub fcoe_wrfix: bool,
    #[bits(5)]
    __: u8,
}

impl Rdrxctl {
    /// This value with the three fields whose value the datasheet prescribes and does not
    /// reset to: RSCFRSTSIZE 0, RSCACKC 1 and `FCOE_WRFIX` 1 (82599 §8.2.3.8.8). Start from
    /// the value read, since reserved bits must keep theirs.
    #[must_use]
    pub const fn as_prescribed(self) -> Self {
        self.with_rscfrstsize(0)
            .with_rscackc(true)
            .with_fcoe_wrfix(true)
    }
}

/// Fields of [`RXPBSIZE`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rxpbsize {
    #[bits(10)]
    __: u16,
    /// Size in KiB; all eight together at most 512.
    #[bits(10)]
    pub size: u16,
    #[bits(12)]
    __: u16,
}

/// Fields of [`RXCTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rxctrl {
    /// The receive path runs. Filters and receive control are set up while it is 0.
    pub rxen: bool,
    #[bits(31)]
    __: u32,
}

/// Fields of [`RSCCTL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Rscctl {
    /// Coalesces segments of a TCP connection.
    pub rscen: bool,
    __: bool,
    /// At most 1, 4, 8 or 16 descriptors a coalesced packet, for 0 to 3.
    #[bits(2)]
    pub maxdesc: u8,
    #[bits(28)]
    __: u32,
}
