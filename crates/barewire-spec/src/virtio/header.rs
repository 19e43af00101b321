//! The header ahead of each frame (VIRTIO §5.1.6).

/// Bytes of a header with the number of buffers: with
/// [`VERSION_1`](super::feature::VERSION_1) or
/// [`NET_MRG_RXBUF`](super::feature::NET_MRG_RXBUF).
pub const BYTES: usize = 12;
/// Bytes of a legacy header without it (§5.1.6.1).
pub const BYTES_LEGACY: usize = 10;
/// Bytes of a header with a hash: with [`NET_HASH_REPORT`](super::feature::NET_HASH_REPORT).
pub const BYTES_WITH_HASH: usize = 20;

/// Flag: a checksum is partial and is to be finished from `csum_start` on.
pub const NEEDS_CSUM: u8 = 1;
/// Flag: the device has checked the checksums.
pub const DATA_VALID: u8 = 2;

/// No segmentation.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4 is to be cut.
pub const GSO_TCPV4: u8 = 1;
/// UDP is to be cut into fragments.
pub const GSO_UDP: u8 = 3;
/// TCP over IPv6 is to be cut.
pub const GSO_TCPV6: u8 = 4;
/// UDP is to be cut into datagrams.
pub const GSO_UDP_L4: u8 = 5;
/// Added to a type: the congestion window was reduced in the first segment.
pub const GSO_ECN: u8 = 0x80;

/// The fields of a header but the hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`NEEDS_CSUM`], [`DATA_VALID`].
    pub flags: u8,
    /// [`GSO_NONE`] and others.
    pub gso_type: u8,
    /// Bytes of all headers of a frame that is to be cut; a hint.
    pub hdr_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the bytes that are summed begin.
    pub csum_start: u16,
    /// Where the sum goes, from there.
    pub csum_offset: u16,
    /// Receive buffers that the frame lies in.
    pub num_buffers: u16,
}

impl Header {
    /// As it lies in memory of a device that is not a legacy one.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; BYTES] {
        let header = self.hdr_len.to_le_bytes();
        let size = self.gso_size.to_le_bytes();
        let start = self.csum_start.to_le_bytes();
        let offset = self.csum_offset.to_le_bytes();
        let buffers = self.num_buffers.to_le_bytes();
        [
            self.flags,
            self.gso_type,
            header[0],
            header[1],
            size[0],
            size[1],
            start[0],
            start[1],
            offset[0],
            offset[1],
            buffers[0],
            buffers[1],
        ]
    }

    /// From memory.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, n0, n1] = bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
            num_buffers: u16::from_le_bytes([n0, n1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_lies_as_the_clause_says() {
        let header = Header {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4 | GSO_ECN,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 34,
            csum_offset: 16,
            num_buffers: 0x0506,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes, [1, 0x81, 2, 1, 4, 3, 34, 0, 16, 0, 6, 5]);
        assert_eq!(Header::from_bytes(bytes), header);
    }
}
