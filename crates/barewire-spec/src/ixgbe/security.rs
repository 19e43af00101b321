//! The security blocks, which sit in the data path even when unused, and IPsec tables
//! (82599 §8.2.3.12 to §8.2.3.14).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Transmit security control.
    SECTXCTRL: read_write(0x08800, "8.2.3.12.1").reset(0x0000_0001).layout(0x0000_0007, 0);
    /// Transmit security status.
    SECTXSTAT: read_only(0x08804, "8.2.3.12.2");
    /// When the transmit security buffer counts as almost full.
    SECTXBUFFAF: read_write(0x08808, "8.2.3.12.3").reset(0x0000_0250);
    /// Smallest gap between secured frames.
    SECTXMINIFG: read_write(0x08810, "8.2.3.12.4").reset(0x0000_1001);
    /// Receive security control.
    SECRXCTRL: read_write(0x08D00, "8.2.3.12.5").reset(0x0000_0001).layout(0x0000_0003, 0);
    /// Receive security status.
    SECRXSTAT: read_only(0x08D04, "8.2.3.12.6");
    /// LinkSec transmit abilities.
    LSECTXCAP: read_write(0x08A00, "8.2.3.13");
    /// LinkSec transmit control.
    LSECTXCTRL: read_write(0x08A04, "8.2.3.13");
    /// LinkSec transmit channel, low half.
    LSECTXSCL: read_write(0x08A08, "8.2.3.13");
    /// LinkSec transmit channel, high half.
    LSECTXSCH: read_write(0x08A0C, "8.2.3.13");
    /// LinkSec transmit association.
    LSECTXSA: read_write(0x08A10, "8.2.3.13");
    /// LinkSec packet number of each transmit association.
    LSECTXPN: read_write(0x08A14, "8.2.3.13").array(2, 4);
    /// LinkSec keys of both transmit associations, four registers each.
    LSECTXKEY: write_only(0x08A1C, "8.2.3.13").array(8, 4);
    /// LinkSec frames sent untagged.
    LSECTXUT: read_clear(0x08A3C, "8.2.3.13");
    /// LinkSec frames sent encrypted.
    LSECTXPKTE: read_clear(0x08A40, "8.2.3.13");
    /// LinkSec frames sent protected.
    LSECTXPKTP: read_clear(0x08A44, "8.2.3.13");
    /// LinkSec bytes sent encrypted.
    LSECTXOCTE: read_clear(0x08A48, "8.2.3.13");
    /// LinkSec bytes sent protected.
    LSECTXOCTP: read_clear(0x08A4C, "8.2.3.13");
    /// LinkSec receive abilities.
    LSECRXCAP: read_write(0x08F00, "8.2.3.13");
    /// LinkSec receive control.
    LSECRXCTRL: read_write(0x08F04, "8.2.3.13");
    /// LinkSec receive channel, low half.
    LSECRXSCL: read_write(0x08F08, "8.2.3.13");
    /// LinkSec receive channel, high half.
    LSECRXSCH: read_write(0x08F0C, "8.2.3.13");
    /// LinkSec receive associations.
    LSECRXSA: read_write(0x08F10, "8.2.3.13").array(2, 4);
    /// LinkSec packet number of each receive association.
    LSECRXPN: read_write(0x08F18, "8.2.3.13").array(2, 4);
    /// LinkSec keys of both receive associations, four registers each.
    LSECRXKEY: write_only(0x08F20, "8.2.3.13").array(8, 4);
    /// LinkSec frames received untagged.
    LSECRXUT: read_clear(0x08F40, "8.2.3.13");
    /// LinkSec bytes decrypted.
    LSECRXOCTD: read_clear(0x08F44, "8.2.3.13");
    /// LinkSec bytes validated.
    LSECRXOCTV: read_clear(0x08F48, "8.2.3.13");
    /// LinkSec frames with a bad tag.
    LSECRXBAD: read_clear(0x08F4C, "8.2.3.13");
    /// LinkSec frames without channel.
    LSECRXNOSCI: read_clear(0x08F50, "8.2.3.13");
    /// LinkSec frames of an unknown channel.
    LSECRXUNSCI: read_clear(0x08F54, "8.2.3.13");
    /// LinkSec frames unchecked.
    LSECRXUNCH: read_clear(0x08F58, "8.2.3.13");
    /// LinkSec frames delayed.
    LSECRXDELAY: read_clear(0x08F5C, "8.2.3.13");
    /// LinkSec frames too late.
    LSECRXLATE: read_clear(0x08F60, "8.2.3.13");
    /// LinkSec frames in order, by association.
    LSECRXOK: read_clear(0x08F64, "8.2.3.13").array(2, 4);
    /// LinkSec frames invalid, by association.
    LSECRXINV: read_clear(0x08F6C, "8.2.3.13").array(2, 4);
    /// LinkSec frames not valid and dropped, by association.
    LSECRXNV: read_clear(0x08F74, "8.2.3.13").array(2, 4);
    /// LinkSec frames of an unused association.
    LSECRXUNSA: read_clear(0x08F7C, "8.2.3.13");
    /// LinkSec frames not using the association.
    LSECRXNUSA: read_clear(0x08F80, "8.2.3.13");
    /// IPsec transmit table access.
    IPSTXIDX: read_write(0x08900, "8.2.3.14");
    /// IPsec transmit salt.
    IPSTXSALT: read_write(0x08904, "8.2.3.14");
    /// IPsec transmit key.
    IPSTXKEY: read_write(0x08908, "8.2.3.14").array(4, 4);
    /// IPsec receive table access.
    IPSRXIDX: read_write(0x08E00, "8.2.3.14");
    /// IPsec receive address.
    IPSRXIPADDR: read_write(0x08E04, "8.2.3.14").array(4, 4);
    /// IPsec receive security parameter index.
    IPSRXSPI: read_write(0x08E14, "8.2.3.14");
    /// IPsec receive address index.
    IPSRXIPIDX: read_write(0x08E18, "8.2.3.14");
    /// IPsec receive key.
    IPSRXKEY: read_write(0x08E1C, "8.2.3.14").array(4, 4);
    /// IPsec receive salt.
    IPSRXSALT: read_write(0x08E2C, "8.2.3.14");
    /// IPsec receive mode.
    IPSRXMOD: read_write(0x08E30, "8.2.3.14");
}

/// Fields of [`SECTXCTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Sectxctrl {
    /// Security processing is off.
    #[bits(default = true)]
    pub sectx_dis: bool,
    /// Frames are held back, so that the mode can be changed.
    pub tx_dis: bool,
    /// Whole frames are stored before they are sent.
    pub store_forward: bool,
    #[bits(29)]
    __: u32,
}

/// Fields of [`SECRXCTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Secrxctrl {
    /// Security processing is off.
    #[bits(default = true)]
    pub secrx_dis: bool,
    /// Frames are held back, so that receive filters can be changed.
    pub rx_dis: bool,
    #[bits(30)]
    __: u32,
}

/// Fields of [`SECRXSTAT`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Secrxstat {
    /// The block is empty and ready for a change of mode.
    pub secrx_rdy: bool,
    /// The security engine is fused off.
    pub secrx_off_dis: bool,
    /// An uncorrectable memory error.
    pub ecc_rxerr: bool,
    #[bits(29)]
    __: u32,
}
