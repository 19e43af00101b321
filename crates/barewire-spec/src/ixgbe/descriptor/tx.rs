//! Transmit descriptors.
//!
//! A packet is one or more data descriptors, with a context descriptor ahead of them where
//! the device must know the headers. The device marks a descriptor as done only if
//! [`Data::rs`] asked for it.

use bitfield_struct::bitfield;

/// [`Data::dtyp`] of a context descriptor.
pub const DTYP_CONTEXT: u8 = 0b0010;
/// [`Data::dtyp`] of a data descriptor.
pub const DTYP_DATA: u8 = 0b0011;

/// Advanced transmit data descriptor (82599 §7.2.3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvancedData {
    /// I/O virtual address of the bytes to send.
    pub address: u64,
    /// How many there are and what to do with them.
    pub data: Data,
}

impl AdvancedData {
    /// The two words.
    #[must_use]
    pub const fn into_words(self) -> [u64; 2] {
        [self.address, self.data.into_bits()]
    }

    /// From the two words.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            address: words[0],
            data: Data::from_bits(words[1]),
        }
    }
}

/// Second word of [`AdvancedData`]. A new one has the type and extension bits of a data
/// descriptor.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Data {
    /// Bytes at the address, at most
    /// [`TX_BUFFER_MAX`](crate::ixgbe::limits::TX_BUFFER_MAX); not 0.
    pub dtalen: u16,
    #[bits(2)]
    __: u8,
    /// Applies LinkSec.
    pub linksec: bool,
    /// Records when the packet leaves.
    pub time_stamp_1588: bool,
    /// [`DTYP_DATA`].
    #[bits(4, default = DTYP_DATA)]
    pub dtyp: u8,
    /// The packet's last descriptor.
    pub eop: bool,
    /// The device appends the FCS. The same in all descriptors of a packet.
    pub ifcs: bool,
    __: bool,
    /// The device reports this descriptor. Only with [`Self::eop`].
    pub rs: bool,
    __: bool,
    /// Always 1: not a legacy descriptor.
    #[bits(default = true)]
    pub dext: bool,
    /// The device inserts the context's VLAN tag.
    pub vle: bool,
    /// The device cuts the packet into segments.
    pub tse: bool,
    /// Descriptor done: written by the device.
    pub dd: bool,
    #[bits(3)]
    __: u8,
    /// Which context.
    #[bits(3)]
    pub idx: u8,
    /// Looks at the context though no offload below needs it.
    pub cc: bool,
    /// The device fills in the IPv4 header checksum.
    pub ixsm: bool,
    /// The device fills in the TCP, UDP or SCTP checksum.
    pub txsm: bool,
    /// The device applies IPsec.
    pub ipsec: bool,
    #[bits(3)]
    __: u8,
    /// Bytes of the packet without FCS; without its headers if it is segmented. In the first
    /// descriptor at least.
    #[bits(18)]
    pub paylen: u32,
}

impl Data {
    /// [`Self::rs`] as a mask.
    pub const RS: u64 = 1 << 27;
    /// Where [`Self::paylen`] begins.
    pub const PAYLEN: u32 = 46;
    /// [`Self::dd`] as a mask.
    pub const DD: u64 = 1 << 32;

    /// A whole packet in one buffer: EOP, IFCS and `PAYLEN` set.
    ///
    /// [`Self::rs`] is left to the caller, who need not ask for every packet.
    #[must_use]
    pub const fn whole_packet(length: u16) -> Self {
        // `u32::from` is not const yet; widening cannot lose bits.
        Self::new()
            .with_dtalen(length)
            .with_paylen(length as u32)
            .with_eop(true)
            .with_ifcs(true)
    }
}

/// Advanced transmit context descriptor (82599 §7.2.3.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvancedContext {
    /// Where the headers are.
    pub headers: ContextHeaders,
    /// What they are.
    pub commands: ContextCommands,
}

impl AdvancedContext {
    /// The two words.
    #[must_use]
    pub const fn into_words(self) -> [u64; 2] {
        [self.headers.into_bits(), self.commands.into_bits()]
    }

    /// From the two words.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            headers: ContextHeaders::from_bits(words[0]),
            commands: ContextCommands::from_bits(words[1]),
        }
    }
}

/// First word of [`AdvancedContext`].
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ContextHeaders {
    /// Bytes of the IP header, with options or extensions.
    #[bits(9)]
    pub iplen: u16,
    /// Bytes of the MAC header, without the tag the device inserts: 14 to 127.
    #[bits(7)]
    pub maclen: u8,
    /// VLAN tag to insert.
    pub vlan: u16,
    /// IPsec security association.
    #[bits(10)]
    pub ipsec_sa_idx: u16,
    /// FCoE frame delimiters.
    #[bits(6)]
    pub fcoef: u8,
    __: u16,
}

/// Second word of [`AdvancedContext`]. A new one has the type and extension bits of a
/// context descriptor.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ContextCommands {
    /// Bytes of the ESP trailer.
    #[bits(9)]
    pub ips_esp_len: u16,
    /// The MAC header carries a SNAP header.
    pub snap: bool,
    /// The packet is IPv4.
    pub ipv4: bool,
    /// What follows IP: one of [`l4t`].
    #[bits(2)]
    pub l4t: u8,
    /// IPsec is ESP, not AH.
    pub ipsec_esp: bool,
    /// IPsec encrypts.
    pub encryption: bool,
    /// The packet is FCoE.
    pub fcoe: bool,
    #[bits(4)]
    __: u8,
    /// [`DTYP_CONTEXT`].
    #[bits(4, default = DTYP_CONTEXT)]
    pub dtyp: u8,
    #[bits(5)]
    __: u8,
    /// Always 1: not a legacy descriptor.
    #[bits(default = true)]
    pub dext: bool,
    #[bits(6)]
    __: u8,
    /// Which context this sets.
    #[bits(3)]
    pub idx: u8,
    __: bool,
    /// Bytes of the TCP or UDP header.
    pub l4len: u8,
    /// Largest payload of a segment in bytes.
    pub mss: u16,
}

/// Values of [`ContextCommands::l4t`].
pub mod l4t {
    /// UDP.
    pub const UDP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 1;
    /// SCTP.
    pub const SCTP: u8 = 2;
}

/// Second word of the legacy transmit descriptor; the first is the address
/// (82599 §7.2.3.2.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct LegacyData {
    /// Bytes at the address.
    pub length: u16,
    /// Where to put the checksum, in bytes from the start of the packet.
    pub cso: u8,
    /// The packet's last descriptor.
    pub eop: bool,
    /// The device appends the FCS.
    pub ifcs: bool,
    /// The device inserts a checksum.
    pub ic: bool,
    /// The device reports this descriptor.
    pub rs: bool,
    __: bool,
    /// Always 0: a legacy descriptor.
    pub dext: bool,
    /// The device inserts [`Self::vlan`].
    pub vle: bool,
    __: bool,
    /// Descriptor done: written by the device.
    pub dd: bool,
    #[bits(7)]
    __: u8,
    /// Where the checksum starts, in bytes from the start of the packet.
    pub css: u8,
    /// VLAN tag to insert.
    pub vlan: u16,
}

impl LegacyData {
    /// [`Self::rs`] as a mask.
    pub const RS: u64 = 1 << 27;

    /// A whole packet in one buffer: EOP and IFCS set. Of length 0 it is a
    /// [null descriptor](Self::is_null).
    #[must_use]
    pub const fn whole_packet(length: u16) -> Self {
        Self::new()
            .with_length(length)
            .with_eop(true)
            .with_ifcs(true)
    }

    /// Whether it is a null descriptor: one that sends nothing, and may stand between packets
    /// (82599 §7.2.3.2.1).
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.length() == 0 && self.eop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_packet_with_report() {
        let descriptor = AdvancedData {
            address: 0xABCD_E000,
            data: Data::whole_packet(60).with_rs(true),
        };
        assert_eq!(
            descriptor.into_words(),
            [0xABCD_E000, (60 << 46) | 0x2B30_003C]
        );
        assert_eq!(
            AdvancedData::from_words(descriptor.into_words()),
            descriptor
        );
    }

    #[test]
    fn data_bits_are_where_the_device_looks() {
        let word = |data: Data| data.into_bits() ^ Data::new().into_bits();
        assert_eq!(Data::new().into_bits(), 0x2030_0000);
        assert_eq!(word(Data::new().with_vle(true)), 1 << 30);
        assert_eq!(word(Data::new().with_tse(true)), 1 << 31);
        assert_eq!(word(Data::new().with_dd(true)), Data::DD);
        assert_eq!(word(Data::new().with_idx(7)), 7 << 36);
        assert_eq!(word(Data::new().with_cc(true)), 1 << 39);
        assert_eq!(word(Data::new().with_ixsm(true)), 1 << 40);
        assert_eq!(word(Data::new().with_txsm(true)), 1 << 41);
        assert_eq!(word(Data::new().with_paylen(0x3_FFFF)), 0x3_FFFF << 46);
    }

    #[test]
    fn a_context_for_tcp_segments() {
        let context = AdvancedContext {
            headers: ContextHeaders::new()
                .with_maclen(14)
                .with_iplen(20)
                .with_vlan(0x64),
            commands: ContextCommands::new()
                .with_ipv4(true)
                .with_l4t(l4t::TCP)
                .with_l4len(20)
                .with_mss(1460),
        };
        let mss_and_length = (1460 << 48) | (20 << 40);
        assert_eq!(
            context.into_words(),
            [0x0064_1C14, mss_and_length | 0x2020_0C00]
        );
        assert_eq!(AdvancedContext::from_words(context.into_words()), context);
        assert_eq!(
            ContextCommands::new().with_idx(1).into_bits(),
            (1 << 36) | 0x2020_0000
        );
    }

    #[test]
    fn a_legacy_packet() {
        let data = LegacyData::new()
            .with_length(60)
            .with_eop(true)
            .with_ifcs(true)
            .with_rs(true);
        assert_eq!(data.into_bits(), 0x0B00_003C);
        assert_eq!(LegacyData::new().with_dd(true).into_bits(), 1 << 32);
        assert_eq!(LegacyData::new().with_vlan(1).into_bits(), 1 << 48);
    }
}
