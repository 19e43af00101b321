//! Bytes that both ends can make, and that betray a byte lost, doubled or out of place.

/// A stream of bytes that repeats only after 2⁶⁴ × 8.
pub(crate) struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    /// The stream of this number.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            state: number,
            word: [0; 8],
            used: 8,
        }
    }

    /// The stream's next bytes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next();
        }
    }

    /// Where `bytes` differ from the stream's next bytes.
    pub(crate) fn difference(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| byte != self.next())
    }

    fn next(&mut self) -> u8 {
        if self.used == self.word.len() {
            // the generator "splitmix64": a counter and a mixing function
            self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            self.word = (mixed ^ (mixed >> 31)).to_le_bytes();
            self.used = 0;
        }
        let byte = self.word.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        byte
    }
}

/// A checksum of content: FNV-1a with 64 bits.
#[derive(Clone, Copy)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_in_any_pieces() {
        let mut whole = [0; 100];
        Pattern::new(7).fill(&mut whole);
        let mut stream = Pattern::new(7);
        for piece in whole.chunks(13) {
            assert_eq!(stream.difference(piece), None);
        }
    }

    #[test]
    fn a_lost_or_doubled_byte_is_found() {
        let mut bytes = vec![0; 100];
        Pattern::new(7).fill(&mut bytes);
        let mut lost = bytes.clone();
        lost.remove(50);
        assert!(Pattern::new(7).difference(&lost).is_some_and(|at| at >= 50));
        bytes.insert(50, bytes[50]);
        assert!(
            Pattern::new(7)
                .difference(&bytes)
                .is_some_and(|at| at >= 50)
        );
        assert!(Pattern::new(8).difference(&lost).is_some());
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        let mut checksum = Checksum::new();
        assert_eq!(checksum.value(), 0xCBF2_9CE4_8422_2325);
        checksum.add(b"foobar");
        assert_eq!(checksum.value(), 0x8594_4171_F739_67E8);
    }
}
