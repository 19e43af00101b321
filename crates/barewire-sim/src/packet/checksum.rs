//! The Internet checksum and the Ethernet FCS (82599 §7.1.11, §7.2.5).

use barewire_spec::ixgbe::descriptor::rx::Status;

use super::parse::{Headers, Network, Transport};

/// What the device found about a frame's checksums: bits of a write-back's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict(pub(crate) u64);

impl Verdict {
    const IP: u64 = Status::new().with_ipcs(true).into_bits();
    const IP_WRONG: u64 = Status::new().with_ipe(true).into_bits();
    const L4: u64 = Status::new().with_l4i(true).into_bits();
    const L4_WRONG: u64 = Status::new().with_l4e(true).into_bits();
    const UDP: u64 = Status::new().with_udpcs(true).into_bits();

    /// The checksum of TCP, UDP or SCTP was checked and is right.
    pub(crate) fn is_right(self) -> bool {
        self.0 & Self::L4 != 0 && !self.is_wrong()
    }

    #[inline]
    pub(crate) fn is_wrong(self) -> bool {
        self.0 & (Self::IP_WRONG | Self::L4_WRONG) != 0
    }
}

/// The ones' complement sum of 16-bit words, not folded. Words are taken lowest byte first: the
/// order of bytes does not matter to such a sum as long as it is the same throughout (RFC 1071 §2).
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut total = chunks.iter().fold(0u64, |total, chunk| {
        let word = u64::from_le_bytes(*chunk);
        total + (word & 0xFFFF_FFFF) + (word >> 32)
    });
    if !rest.is_empty() {
        let last = match bytes.last_chunk::<8>() {
            // The last bytes of all, with those shifted out that are counted already.
            Some(last) => u64::from_le_bytes(*last) >> (64 - crate::wire::widen(rest.len()) * 8),
            None => rest
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        total += (last & 0xFFFF_FFFF) + (last >> 32);
    }
    total
}

/// A 16-bit number as it lies in a packet.
#[inline]
fn in_packet(value: u16) -> u64 {
    u64::from(value.swap_bytes())
}

#[inline]
fn fold(mut total: u64) -> u16 {
    total = (total >> 32) + (total & 0xFFFF_FFFF);
    total = (total >> 16) + (total & 0xFFFF);
    total = (total >> 16) + (total & 0xFFFF);
    total = (total >> 16) + (total & 0xFFFF);
    u16::try_from(total).unwrap_or(u16::MAX)
}

/// Whether a sum over bytes and their checksum says that they are whole: folded, it is 0xFFFF, which
/// only multiples of that number are but 0.
#[inline]
fn is_right(total: u64) -> bool {
    total != 0 && total.is_multiple_of(0xFFFF)
}

/// The checksum of some bytes and one more 16-bit number: the complement of their sum.
pub(crate) fn internet(bytes: &[u8], more: u16) -> u16 {
    (!fold(sum(bytes) + in_packet(more))).swap_bytes()
}

/// Checks the checksum of an SCTP packet.
#[cold]
fn sctp(packet: &[u8]) -> u64 {
    let Some((head, [first, second, third, fourth, rest @ ..])) = packet.split_at_checked(8) else {
        return 0;
    };
    let given = u32::from_le_bytes([*first, *second, *third, *fourth]);
    let found = !crc_on(
        &CASTAGNOLI,
        crc_on(&CASTAGNOLI, crc_on(&CASTAGNOLI, u32::MAX, head), &[0; 4]),
        rest,
    );
    if found == given {
        Verdict::L4
    } else {
        Verdict::L4 | Verdict::L4_WRONG
    }
}

/// Checks the checksums of a received frame.
#[inline]
pub(crate) fn verify(frame: &[u8], headers: &Headers) -> Verdict {
    let mut found = 0;
    let l3 = usize::from(headers.l3);
    let addresses = match headers.network {
        Network::None => return Verdict(0),
        Network::V4 => {
            let length = usize::from(headers.l3_length);
            let header = frame.get(l3..l3 + length).unwrap_or_default();
            let total = match header.as_array::<20>() {
                Some(usual) => usual
                    .as_chunks()
                    .0
                    .iter()
                    .map(|word| u64::from(u32::from_le_bytes(*word)))
                    .sum(),
                None => sum(header),
            };
            found |= Verdict::IP;
            if !is_right(total) {
                found |= Verdict::IP_WRONG;
            }
            header.get(12..20)
        }
        Network::V6 => frame.get(l3 + 8..l3 + 40),
    };
    let l4 = usize::from(headers.l4);
    let packet = frame.get(l4..usize::from(headers.end)).unwrap_or_default();
    let protocol = match headers.transport {
        Transport::Tcp => 6,
        // Where the field is 0 the sender computed none.
        Transport::Udp if packet.get(6..8) != Some(&[0, 0]) => {
            found |= Verdict::UDP;
            17
        }
        Transport::Sctp => return Verdict(found | sctp(packet)),
        Transport::Udp | Transport::None => return Verdict(found),
    };
    let length = headers.end.saturating_sub(headers.l4);
    let total =
        sum(addresses.unwrap_or_default()) + in_packet(protocol) + in_packet(length) + sum(packet);
    found |= Verdict::L4;
    if !is_right(total) {
        found |= Verdict::L4_WRONG;
    }
    Verdict(found)
}

const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut index = 0u32;
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ polynomial
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
}

const ETHERNET: [u32; 256] = table(0xEDB8_8320);
const CASTAGNOLI: [u32; 256] = table(0x82F6_3B78);

/// Goes on with a checksum.
#[inline]
fn crc_on(table: &[u32; 256], before: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(before, |crc, byte| {
        table[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8
    })
}

/// The frame check sequence; its bytes follow the frame lowest first (IEEE 802.3 §3.2.9).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !crc_on(&ETHERNET, u32::MAX, bytes)
}

/// The checksum of SCTP; its bytes lie in the packet lowest first (RFC 9260 §6.8).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !crc_on(&CASTAGNOLI, u32::MAX, bytes)
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Tags, parse};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fcs_of_a_known_text() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn the_checksum_of_a_known_header() {
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(internet(&header, 0), 0xb861);
        header[10..12].copy_from_slice(&[0xb8, 0x61]);
        assert_eq!(internet(&header, 0), 0);
    }

    proptest! {
            #[test]
            fn the_sum_is_that_of_sixteen_bit_words(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
                let mut plain = 0u64;
                for pair in bytes.chunks(2) {
                    plain += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
                }
                while plain > 0xFFFF {
                    plain = (plain >> 16) + (plain & 0xFFFF);
                }
                prop_assert_eq!(u64::from(fold(sum(&bytes)).swap_bytes()), plain);
                prop_assert_eq!(is_right(sum(&bytes)), plain == 0xFFFF);
            }

            #[test]
            fn a_changed_byte_is_noticed(at in 14usize..48, change in 1u8..=255) {
                let mut frame = vec![0; 60];
                frame[12..14].copy_from_slice(&[8, 0]);
                frame[14..34].copy_from_slice(&[0x45, 0, 0, 34, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
                let ip = internet(&frame[14..34], 0);
                frame[24..26].copy_from_slice(&ip.to_be_bytes());
                frame[34..48].copy_from_slice(&[0, 7, 0, 9, 0, 14, 0, 0, 1, 2, 3, 4, 5, 6]);
                let total = sum(&frame[26..34]) + in_packet(17) + in_packet(14) + sum(&frame[34..48]);
                let l4 = (!fold(total)).swap_bytes();
                frame[40..42].copy_from_slice(&l4.to_be_bytes());
                let headers = parse(&frame, Tags::usual());
                let verdict = verify(&frame, &headers);
    prop_assert_eq!(verdict.0, Verdict::IP | Verdict::L4 | Verdict::UDP);
                frame[at] ^= change;
                let headers = parse(&frame, Tags::usual());
                let verdict = verify(&frame, &headers);
                let all = Verdict::IP | Verdict::L4;
                prop_assert!(verdict.is_wrong() || verdict.0 & all != all);
            }
        }
}
