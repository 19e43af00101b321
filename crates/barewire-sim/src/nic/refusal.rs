//! Transmit descriptors and packets that the datasheet does not allow (82599 §7.2.3).

use barewire_spec::ixgbe::descriptor::tx::{ContextCommands, Data};

use crate::violation::{Refusal, Rule, refusal};

/// What an advanced data descriptor must not say, whatever the packet.
#[inline]
pub(super) fn forbidden(data: Data) -> Option<Refusal> {
    const RESERVED: u64 = !Data::new()
        .with_dtalen(u16::MAX)
        .with_linksec(true)
        .with_time_stamp_1588(true)
        .with_eop(true)
        .with_ifcs(true)
        .with_rs(true)
        .with_vle(true)
        .with_tse(true)
        .with_idx(7)
        .with_cc(true)
        .with_ixsm(true)
        .with_txsm(true)
        .with_ipsec(true)
        .with_paylen(0x3_FFFF)
        .into_bits();
    const UNUSUAL: u64 = Data::from_bits(0)
        .with_dtyp(0)
        .with_dext(false)
        .with_linksec(true)
        .with_ipsec(true)
        .into_bits();
    let word = data.into_bits();
    if word & RESERVED != 0 {
        return Some(DATA_BITS);
    }
    if word & UNUSUAL != 0 {
        return Some(OFFLOAD);
    }
    if data.dtalen() == 0 {
        return Some(NO_BYTES);
    }
    if data.rs() && !data.eop() {
        return Some(REPORT_INSIDE);
    }
    None
}

/// Bits of a context descriptor's second word that are reserved.
pub(super) const CONTEXT_RESERVED: u64 = !ContextCommands::new()
    .with_ips_esp_len(0x1FF)
    .with_snap(true)
    .with_ipv4(true)
    .with_l4t(3)
    .with_ipsec_esp(true)
    .with_encryption(true)
    .with_fcoe(true)
    .with_idx(7)
    .with_l4len(u8::MAX)
    .with_mss(u16::MAX)
    .into_bits();

pub(super) const DATA: &str = "82599 §7.2.3.2.4";
pub(super) const CONTEXT: &str = "82599 §7.2.3.2.3";

pub(super) const RESERVED_TYPE: Refusal =
    refusal(Rule::Descriptor, "DTYP is reserved", "82599 §7.2.3.2");
pub(super) const NO_CONTEXT: Refusal = refusal(Rule::Descriptor, "its context was never set", DATA);
pub(super) const MIXED_FCS: Refusal =
    refusal(Rule::Descriptor, "IFCS differs within a packet", DATA);
pub(super) const NO_BYTES: Refusal = refusal(Rule::Descriptor, "its length is 0", DATA);
pub(super) const REPORT_INSIDE: Refusal = refusal(Rule::Descriptor, "RS without EOP", DATA);
pub(super) const TOO_MANY: Refusal = refusal(
    Rule::Descriptor,
    "more than 40 in one packet",
    "82599 §7.2.1.1",
);
pub(super) const DATA_BITS: Refusal = refusal(Rule::Descriptor, "reserved bits are set", DATA);
pub(super) const CONTEXT_BITS: Refusal =
    refusal(Rule::Descriptor, "reserved bits are set", CONTEXT);
pub(super) const CONTEXT_INDEX: Refusal = refusal(Rule::Descriptor, "IDX is above 1", CONTEXT);
pub(super) const CONTEXT_INSIDE: Refusal =
    refusal(Rule::Descriptor, "a context within a packet", CONTEXT);
pub(super) const OFFLOAD: Refusal = refusal(Rule::NotImplemented, "LinkSec or IPsec", DATA);
pub(super) const FCOE: Refusal = refusal(Rule::NotImplemented, "FCoE (TUCMD.FCoE)", CONTEXT);
pub(super) const NO_FCS: Refusal = refusal(Rule::Frame, "neither IFCS nor TXCRCEN may be 0", DATA);
pub(super) const TOO_SHORT: Refusal =
    refusal(Rule::Frame, "shorter than 17 bytes", "82599 §7.2.1.1");
pub(super) const NO_PADDING: Refusal = refusal(
    Rule::Frame,
    "shorter than 60 bytes and HLREG0.TXPADEN is 0",
    "82599 §8.2.3.22.8",
);
pub(super) const LONG_BUFFER: Refusal = refusal(
    Rule::Frame,
    "a buffer of more than 15.5 KiB",
    "82599 §7.2.3.2.4",
);
pub(super) const TOO_LONG: Refusal = refusal(
    Rule::Frame,
    "longer than JUMBOEN and MAXFRS allow",
    "82599 §8.2.3.22.13",
);
pub(super) const WRONG_LENGTH: Refusal = refusal(
    Rule::Descriptor,
    "PAYLEN is not the sum of DTALEN (without headers, with TSE)",
    DATA,
);
pub(super) const UNREPORTED: Refusal = refusal(
    Rule::Descriptor,
    "EOP without RS while WTHRESH is not 0",
    "82599 §7.2.3.5.1",
);
