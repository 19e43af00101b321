//! Receive descriptors.
//!
//! Software hands over addresses; the device overwrites them with what it received. The second
//! word is written back with [`Status::dd`] and must be read first, and the first word only
//! after it, with acquire ordering.

use bitfield_struct::bitfield;

/// Advanced receive descriptor as software writes it (82599 §7.1.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvancedRead {
    /// I/O virtual address of the packet buffer; even. The buffer is as long as
    /// [`Srrctl::bsizepacket`](crate::ixgbe::Srrctl::bsizepacket) says.
    pub packet_address: u64,
    /// I/O virtual address of the header buffer, even, or 0 without header split. Bit 0 is
    /// where the device puts [`Status::dd`], so it must be 0.
    pub header_address: u64,
}

impl AdvancedRead {
    /// The two words.
    #[must_use]
    pub const fn into_words(self) -> [u64; 2] {
        [self.packet_address, self.header_address]
    }

    /// From the two words.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            packet_address: words[0],
            header_address: words[1],
        }
    }
}

/// Advanced receive descriptor as the device writes it back (82599 §7.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvancedWriteBack {
    /// What kind of packet it is.
    pub info: Info,
    /// Whether it is there, how long it is and what is wrong with it.
    pub status: Status,
}

impl AdvancedWriteBack {
    /// The two words.
    #[must_use]
    pub const fn into_words(self) -> [u64; 2] {
        [self.info.into_bits(), self.status.into_bits()]
    }

    /// From the two words.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            info: Info::from_bits(words[0]),
            status: Status::from_bits(words[1]),
        }
    }
}

/// First word of [`AdvancedWriteBack`].
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Info {
    /// What was hashed: one of [`rss_type`].
    #[bits(4)]
    pub rss_type: u8,
    /// Which headers there are; see [`PacketType`].
    #[bits(13)]
    pub packet_type: PacketType,
    /// Packets in this descriptor, where it belongs to a coalesced packet; else 0.
    #[bits(4)]
    pub rsccnt: u8,
    /// Bytes of the header in the header buffer.
    #[bits(10)]
    pub hdr_len: u16,
    /// The header was found and split off.
    pub sph: bool,
    /// RSS hash; or the IP identification (15:0) and fragment checksum (31:16); or the flow
    /// director's answer.
    pub rss_hash: u32,
}

/// Second word of [`AdvancedWriteBack`]. Apart from [`Self::dd`], [`Self::eop`],
/// [`Self::pkt_len`] and [`Self::nextp`], fields hold in a packet's last descriptor only.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// Descriptor done: the device has written it back.
    pub dd: bool,
    /// The packet's last descriptor.
    pub eop: bool,
    /// A flow director filter matched.
    pub flm: bool,
    /// A VLAN tag was found, and stripped where the queue does so.
    pub vp: bool,
    /// The checksum of a UDP packet or fragment was computed.
    pub udpcs: bool,
    /// The TCP, UDP or SCTP checksum was checked.
    pub l4i: bool,
    /// The IPv4 header checksum was checked.
    pub ipcs: bool,
    /// The destination is not one of the exact unicast addresses.
    pub pif: bool,
    __: bool,
    /// An outer VLAN tag was found.
    pub vext: bool,
    /// The fragment checksum holds.
    pub udpv: bool,
    /// The packet raised a low-latency interrupt.
    pub llint: bool,
    #[bits(4)]
    __: u8,
    /// The packet was time-stamped.
    pub ts: bool,
    /// The security blocks processed the packet.
    pub secp: bool,
    /// The packet comes from another pool of this port.
    pub lb: bool,
    __: bool,
    /// Flow director: length (1), drop (2) or collision (4).
    #[bits(3)]
    pub fdir_err: u8,
    /// The header is longer than the header buffer.
    pub hbo: bool,
    #[bits(3)]
    __: u8,
    /// Security: 0 none, 1 no match, 2 replay, 3 bad signature.
    #[bits(2)]
    pub secerr: u8,
    /// A MAC error: FCS, symbol, length, or size.
    pub rxe: bool,
    /// The TCP, UDP or SCTP checksum is wrong.
    pub l4e: bool,
    /// The IPv4 header checksum is wrong.
    pub ipe: bool,
    /// Bytes in the packet buffer. Untrusted: bound it by the buffer's length.
    pub pkt_len: u16,
    /// VLAN tag: priority (15:13), CFI (12) and identifier (11:0).
    pub vlan: u16,
}

impl Status {
    /// [`Self::dd`] as a mask.
    pub const DD: u64 = 1 << 0;
    /// [`Self::eop`] as a mask.
    pub const EOP: u64 = 1 << 1;
    /// [`Self::rxe`] as a mask.
    pub const RXE: u64 = 1 << 29;
    /// Where [`Self::pkt_len`] begins.
    pub const PKT_LEN: u32 = 32;

    /// The next descriptor of a coalesced packet that has not ended; holds while
    /// [`Self::eop`] is 0 and coalescing is on, in place of the status bits.
    #[must_use]
    pub const fn nextp(self) -> u16 {
        let [low, high, ..] = (self.into_bits() >> 4).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// Values of [`Info::rss_type`] (82599 §7.1.2.8.1).
pub mod rss_type {
    /// No hash.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const IPV4_TCP: u8 = 1;
    /// IPv4.
    pub const IPV4: u8 = 2;
    /// TCP over IPv6.
    pub const IPV6_TCP: u8 = 3;
    /// IPv6.
    pub const IPV6: u8 = 5;
    /// UDP over IPv4.
    pub const IPV4_UDP: u8 = 7;
    /// UDP over IPv6.
    pub const IPV6_UDP: u8 = 8;
    /// No hash: the flow director's answer.
    pub const FLOW_DIRECTOR: u8 = 15;
}

/// Which headers a packet has. With [`Self::l2`] set the meaning changes: bits 2:0 are the
/// index of the EtherType filter that matched.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct PacketType {
    /// IPv4.
    pub ipv4: bool,
    /// IPv4 with options.
    pub ipv4e: bool,
    /// IPv6.
    pub ipv6: bool,
    /// IPv6 with extension headers.
    pub ipv6e: bool,
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
    /// SCTP.
    pub sctp: bool,
    /// NFS.
    pub nfs: bool,
    /// IPsec ESP.
    pub esp: bool,
    /// IPsec AH.
    pub ah: bool,
    /// LinkSec.
    pub linksec: bool,
    /// An EtherType filter matched.
    pub l2: bool,
    #[bits(4)]
    __: u8,
}

/// Second word of the legacy receive descriptor as the device writes it back; the first
/// keeps the buffer's address (82599 §7.1.5).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct LegacyStatus {
    /// Bytes in the buffer. Untrusted.
    pub length: u16,
    /// Fragment checksum.
    pub fragment_checksum: u16,
    /// Descriptor done.
    pub dd: bool,
    /// The packet's last descriptor.
    pub eop: bool,
    __: bool,
    /// A VLAN tag was found.
    pub vp: bool,
    /// The checksum of a UDP fragment was computed.
    pub udpcs: bool,
    /// The TCP or UDP checksum was checked.
    pub l4cs: bool,
    /// The IPv4 header checksum was checked.
    pub ipcs: bool,
    /// The destination is not one of the exact unicast addresses.
    pub pif: bool,
    /// A MAC error.
    pub rxe: bool,
    #[bits(5)]
    __: u8,
    /// The TCP or UDP checksum is wrong.
    pub tcpe: bool,
    /// The IPv4 header checksum is wrong.
    pub ipe: bool,
    /// VLAN tag.
    pub vlan: u16,
}

impl LegacyStatus {
    /// [`Self::dd`] as a mask.
    pub const DD: u64 = 1 << 32;
    /// [`Self::eop`] as a mask.
    pub const EOP: u64 = 1 << 33;
    /// [`Self::rxe`] as a mask.
    pub const RXE: u64 = 1 << 40;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_tcp_packet() {
        let write_back =
            AdvancedWriteBack::from_words([0xDEAD_BEEF_0000_0111, 0x0000_003C_0000_0063]);
        assert_eq!(write_back.info.rss_type(), rss_type::IPV4_TCP);
        assert!(write_back.info.packet_type().ipv4());
        assert!(write_back.info.packet_type().tcp());
        assert!(!write_back.info.packet_type().l2());
        assert_eq!(write_back.info.rss_hash(), 0xDEAD_BEEF);
        assert!(write_back.status.dd() && write_back.status.eop());
        assert!(write_back.status.l4i() && write_back.status.ipcs());
        assert!(!write_back.status.rxe());
        assert_eq!(write_back.status.pkt_len(), 60);
        assert_eq!(
            write_back.into_words(),
            [0xDEAD_BEEF_0000_0111, 0x0000_003C_0000_0063]
        );
    }

    #[test]
    fn status_and_error_bits_are_where_the_device_puts_them() {
        assert_eq!(Status::new().with_dd(true).into_bits(), Status::DD);
        assert_eq!(Status::new().with_eop(true).into_bits(), Status::EOP);
        assert_eq!(Status::new().with_rxe(true).into_bits(), Status::RXE);
        assert_eq!(Status::new().with_vp(true).into_bits(), 1 << 3);
        assert_eq!(Status::new().with_pif(true).into_bits(), 1 << 7);
        assert_eq!(Status::new().with_vext(true).into_bits(), 1 << 9);
        assert_eq!(Status::new().with_ts(true).into_bits(), 1 << 16);
        assert_eq!(Status::new().with_lb(true).into_bits(), 1 << 18);
        assert_eq!(Status::new().with_fdir_err(7).into_bits(), 0x0070_0000);
        assert_eq!(Status::new().with_hbo(true).into_bits(), 1 << 23);
        assert_eq!(Status::new().with_secerr(3).into_bits(), 0x1800_0000);
        assert_eq!(Status::new().with_l4e(true).into_bits(), 1 << 30);
        assert_eq!(Status::new().with_ipe(true).into_bits(), 1 << 31);
        assert_eq!(Status::new().with_vlan(0x0064).into_bits(), 0x0064 << 48);
        assert_eq!(Info::new().with_rsccnt(0xF).into_bits(), 0x001E_0000);
        assert_eq!(Info::new().with_hdr_len(0x3FF).into_bits(), 0x7FE0_0000);
        assert_eq!(Info::new().with_sph(true).into_bits(), 1 << 31);
    }

    #[test]
    fn the_next_descriptor_of_a_coalesced_packet() {
        assert_eq!(Status::from_bits(0x000F_FFF1).nextp(), 0xFFFF);
        assert_eq!(Status::from_bits(0x0000_1230).nextp(), 0x0123);
        assert_eq!(Status::from_bits(0xFFFF_FFFF_FFF0_000F).nextp(), 0);
    }

    #[test]
    fn a_read_descriptor_holds_the_addresses() {
        let read = AdvancedRead {
            packet_address: 0x1_2345_6780,
            header_address: 0,
        };
        assert_eq!(read.into_words(), [0x1_2345_6780, 0]);
        assert_eq!(AdvancedRead::from_words(read.into_words()), read);
    }

    #[test]
    fn a_legacy_write_back() {
        let status = LegacyStatus::from_bits(0x0064_0103_0000_003C);
        assert_eq!(status.length(), 60);
        assert!(status.dd() && status.eop() && status.rxe());
        assert_eq!(status.vlan(), 0x64);
        let new = LegacyStatus::new();
        assert_eq!(new.with_dd(true).into_bits(), LegacyStatus::DD);
        assert_eq!(new.with_eop(true).into_bits(), LegacyStatus::EOP);
        assert_eq!(new.with_rxe(true).into_bits(), LegacyStatus::RXE);
        assert_eq!(LegacyStatus::new().with_ipe(true).into_bits(), 1 << 47);
    }
}
