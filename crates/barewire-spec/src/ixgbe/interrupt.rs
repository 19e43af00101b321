//! Interrupt causes, masks, moderation and vectors (82599 §8.2.3.5 and §8.2.3.6).
//!
//! The MSI-X table itself is in BAR 3.

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Causes. A read clears them all while [`Gpie::ocd`] is 0, bits 29:16 while it is 1.
    EICR: read_or_write_1_clear(0x00800, "8.2.3.5.1").layout(0x7FFF_FFFF, 0x8000_0000);
    /// Sets causes, as if the event had happened.
    EICS: write_only(0x00808, "8.2.3.5.2").layout(0x7FFF_FFFF, 0);
    /// Enables causes to interrupt.
    EIMS: write_1_set(0x00880, "8.2.3.5.3").layout(0x7FFF_FFFF, 0);
    /// Disables causes set in [`EIMS`]. Bit 31 is reserved: write 0x7FFF_FFFF for all.
    EIMC: write_only(0x00888, "8.2.3.5.4").layout(0x7FFF_FFFF, 0);
    /// Causes that are cleared when their MSI-X message is sent.
    EIAC: read_write(0x00810, "8.2.3.5.5").layout(0x4000_FFFF, 0);
    /// Causes that are masked when their message is sent.
    EIAM: read_write(0x00890, "8.2.3.5.6").layout(0x7FFF_FFFF, 0);
    /// [`EICS`] of queue causes 0 to 31 and 32 to 63, in MSI-X mode.
    EICS_EX: write_only(0x00A90, "8.2.3.5.7").array(2, 4);
    /// [`EIMS`] of queue causes 0 to 31 and 32 to 63, in MSI-X mode.
    EIMS_EX: write_1_set(0x00AA0, "8.2.3.5.8").array(2, 4);
    /// [`EIMC`] of queue causes 0 to 31 and 32 to 63, in MSI-X mode.
    EIMC_EX: write_only(0x00AB0, "8.2.3.5.9").array(2, 4);
    /// [`EIAM`] of queue causes 0 to 31 and 32 to 63, in MSI-X mode.
    EIAM_EX: read_write(0x00AD0, "8.2.3.5.10").array(2, 4);
    /// Which virtual functions' vectors use the throttle of the physical function.
    EITRSEL: read_write(0x00894, "8.2.3.5.11");
    /// Throttle of each vector.
    EITR: read_write(0x00820, "8.2.3.5.12").layout(0x8FFF_8FF8, 0).split(24, 0x12300, 129, 4);
    /// Vectors of queues 2n and 2n + 1, receive and transmit.
    IVAR: read_write(0x00900, "8.2.3.5.13").layout(0xBFBF_BFBF, 0).array(64, 4);
    /// Vectors of the TCP timer and of all other causes.
    IVAR_MISC: read_write(0x00A00, "8.2.3.5.14").layout(0x0000_BFBF, 0);
    /// Interrupt mode.
    GPIE: read_write(0x00898, "8.2.3.5.18").layout(0xC000_FFFF, 0);
    /// Clears pending bits of the MSI-X table. Register 0 is also reachable at 0x11068.
    PBACL: write_1_clear(0x110C0, "8.2.3.6").array(8, 4);
}

/// Fields of [`EICR`], [`EICS`], [`EIMS`], [`EIMC`] and [`EIAM`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Eicr {
    /// Queue causes, as [`IVAR`] assigns them.
    pub rtxq: u16,
    /// A flow director filter could not be added or overflowed.
    pub flow_director: bool,
    /// A frame was dropped for want of packet buffer.
    pub rx_miss: bool,
    /// A PCIe exception.
    pub pci_exception: bool,
    /// A virtual function sent a message or was reset.
    pub mailbox: bool,
    /// The link went up or down.
    pub lsc: bool,
    /// LinkSec packet numbers run out.
    pub linksec: bool,
    /// A manageability event.
    pub mng: bool,
    __: bool,
    /// Software-definable pin 0.
    pub gpi_sdp0: bool,
    /// Software-definable pin 1.
    pub gpi_sdp1: bool,
    /// Software-definable pin 2.
    pub gpi_sdp2: bool,
    /// Software-definable pin 3.
    pub gpi_sdp3: bool,
    /// An uncorrectable memory error: the device must be reset.
    pub ecc_error: bool,
    __: bool,
    /// The TCP timer.
    pub tcp_timer: bool,
    __: bool,
}

/// All bits of [`EIMC`] that may be written.
pub const EIMC_ALL: u32 = 0x7FFF_FFFF;

/// Fields of [`EITR`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Eitr {
    #[bits(3)]
    __: u8,
    /// Shortest time between two interrupts: units of 2 µs at 10 Gbit/s and 1 Gbit/s,
    /// 20 µs at 100 Mbit/s. 0 is no moderation.
    #[bits(9)]
    pub itr_interval: u16,
    #[bits(3)]
    __: u8,
    /// Low-latency interrupts are moderated too.
    pub lli_moderation: bool,
    /// Low-latency interrupts still allowed.
    #[bits(5)]
    pub lli_credit: u8,
    /// What is left of the interval.
    #[bits(7)]
    pub itr_counter: u8,
    #[bits(3)]
    __: u8,
    /// Leaves counter and credit as they are on this write. Reads 0.
    pub cnt_wdis: bool,
}

/// Fields of [`IVAR`]. Receive queue 2n has the lowest byte, then transmit queue 2n, receive
/// queue 2n + 1 and transmit queue 2n + 1.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Ivar {
    /// Vector of receive queue 2n.
    #[bits(6)]
    pub int_alloc_0: u8,
    __: bool,
    /// The vector of receive queue 2n is valid.
    pub int_alloc_val_0: bool,
    /// Vector of transmit queue 2n.
    #[bits(6)]
    pub int_alloc_1: u8,
    __: bool,
    /// The vector of transmit queue 2n is valid.
    pub int_alloc_val_1: bool,
    /// Vector of receive queue 2n + 1.
    #[bits(6)]
    pub int_alloc_2: u8,
    __: bool,
    /// The vector of receive queue 2n + 1 is valid.
    pub int_alloc_val_2: bool,
    /// Vector of transmit queue 2n + 1.
    #[bits(6)]
    pub int_alloc_3: u8,
    __: bool,
    /// The vector of transmit queue 2n + 1 is valid.
    pub int_alloc_val_3: bool,
}

/// Fields of [`GPIE`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Gpie {
    /// Pins 0 to 3 may interrupt.
    #[bits(4)]
    pub sdp_gpien: u8,
    /// Several MSI-X vectors are in use.
    pub multiple_msix: bool,
    /// Reading [`EICR`] clears "other" causes only.
    pub ocd: bool,
    /// Causes set by software ([`EICS`]) interrupt at once, whatever moderation says.
    pub eimen: bool,
    /// Time between low-latency interrupts, in units of 4 µs.
    #[bits(4)]
    pub ll_interval: u8,
    /// How long coalescing may wait for more segments.
    #[bits(3)]
    pub rsc_delay: u8,
    /// Virtual functions: 0 none, 1 sixteen, 2 thirty-two, 3 sixty-four.
    #[bits(2)]
    pub vt_mode: u8,
    #[bits(14)]
    __: u16,
    /// [`EIAM`] masks when a message is sent.
    pub eiame: bool,
    /// The pending bits follow the MSI-X rules.
    pub pba_support: bool,
}
