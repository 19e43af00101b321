//! The Toeplitz hash of receive-side scaling.

/// Bytes of the hash key.
pub(crate) const KEY_BYTES: usize = 40;
/// Bytes of the longest input: two IPv6 addresses and two ports.
const INPUT_BYTES: usize = 36;

/// The Toeplitz hash of one key, unrolled: what each value of each input byte adds.
#[derive(Debug)]
pub(crate) struct Toeplitz {
    table: Box<[[u32; 256]]>,
}

impl Toeplitz {
    /// The function of `key`.
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let mut table = vec![[0; 256]; INPUT_BYTES].into_boxed_slice();
        for (position, row) in table.iter_mut().enumerate() {
            // 40 bits of the key from this byte on: a window of 32 for each of the 8 bits.
            let window = key
                .iter()
                .skip(position)
                .take(5)
                .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            for bit in 0..8 {
                let weight = 1usize << bit;
                let shifted = u32::try_from(window >> (bit + 1) & u64::from(u32::MAX)).unwrap_or(0);
                for value in weight..2 * weight {
                    row[value] = row[value - weight] ^ shifted;
                }
            }
        }
        Self { table }
    }

    /// What `bytes` add to the hash as the input's bytes from `position` on.
    #[inline]
    fn part(&self, position: usize, bytes: &[u8]) -> u32 {
        let rows = self.table.get(position..).unwrap_or_default();
        rows.iter()
            .zip(bytes)
            .fold(0, |hash, (row, byte)| hash ^ row[usize::from(*byte)])
    }

    /// The hash of two addresses and what follows them, 36 bytes at most.
    #[inline]
    pub(crate) fn hash(&self, addresses: &[u8], ports: &[u8]) -> u32 {
        self.part(0, addresses) ^ self.part(addresses.len(), ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_BYTES] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// Microsoft's verification suite for RSS: source, destination, ports, hash with and without
    /// ports.
    #[test]
    fn known_hashes_of_ipv4() {
        let cases = [
            (
                "66.9.149.187",
                2794u16,
                "161.142.100.80",
                1766u16,
                0x51cc_c178,
                0x323e_8fc2,
            ),
            (
                "199.92.111.2",
                14230,
                "65.69.140.83",
                4739,
                0xc626_b0ea,
                0xd718_262a,
            ),
            (
                "24.19.198.95",
                12898,
                "12.22.207.184",
                38024,
                0x5c2b_394a,
                0xd2d0_a5de,
            ),
            (
                "38.27.205.30",
                48228,
                "209.142.163.6",
                2217,
                0xafc7_327f,
                0x8298_9176,
            ),
            (
                "153.39.163.191",
                44251,
                "202.188.127.2",
                1303,
                0x10e8_28a2,
                0x5d18_09c5,
            ),
        ];
        let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
        let toeplitz = Toeplitz::new(&KEY);
        for (source, from, destination, to, with_ports, without) in cases {
            let addresses = [octets(source), octets(destination)].concat();
            let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
            assert_eq!(toeplitz.hash(&addresses, &[]), without);
            assert_eq!(toeplitz.hash(&addresses, &ports), with_ports);
        }
    }

    #[test]
    fn a_known_hash_of_ipv6() {
        let source: std::net::Ipv6Addr = "3ffe:2501:200:1fff::7".parse().unwrap();
        let destination: std::net::Ipv6Addr = "3ffe:2501:200:3::1".parse().unwrap();
        let addresses = [source.octets(), destination.octets()].concat();
        let ports = [2794u16.to_be_bytes(), 1766u16.to_be_bytes()].concat();
        let toeplitz = Toeplitz::new(&KEY);
        assert_eq!(toeplitz.hash(&addresses, &[]), 0x2cc1_8cd5);
        assert_eq!(toeplitz.hash(&addresses, &ports), 0x4020_7d3d);
    }
}
