//! Split rings: a table of descriptors, a ring of those made available, a ring of those used
//! (VIRTIO §2.7).

/// Bytes of a descriptor: 64 bits of address, 32 of length, 16 of flags, 16 of the next one's
/// index (§2.7.5).
pub const DESCRIPTOR: usize = 16;

/// Flag of a descriptor: the chain goes on at its next.
pub const NEXT: u16 = 1;
/// Flag of a descriptor: the device writes to it.
pub const WRITE: u16 = 2;
/// Flag of a descriptor: it points to a table of descriptors (§2.7.5.3).
pub const INDIRECT: u16 = 4;

/// Flag of the available ring: the driver wants no interrupts (§2.7.7).
pub const NO_INTERRUPT: u16 = 1;
/// Flag of the used ring: the device wants no notifications (§2.7.10).
pub const NO_NOTIFY: u16 = 1;

/// A descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// I/O virtual address of the buffer.
    pub address: u64,
    /// Bytes of the buffer.
    pub length: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// Index of the chain's next descriptor.
    pub next: u16,
}

impl Descriptor {
    /// The two little-endian words, as numbers.
    #[must_use]
    pub const fn into_words(self) -> [u64; 2] {
        [
            self.address,
            self.length as u64 | (self.flags as u64) << 32 | (self.next as u64) << 48,
        ]
    }

    /// From the two words.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the parts of a word
    pub const fn from_words([address, rest]: [u64; 2]) -> Self {
        Self {
            address,
            length: rest as u32,
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        }
    }
}

/// Where the parts of a ring of `size` descriptors lie when they lie behind each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Byte offset of the available ring: flags, index, entries of 16 bits, `used_event`.
    pub available: usize,
    /// Byte offset of the used ring: flags, index, entries of 64 bits, `avail_event`.
    pub used: usize,
    /// Bytes of the whole.
    pub bytes: usize,
}

impl Layout {
    /// For `size` descriptors, with the used ring on a multiple of `alignment`, a power of two: at
    /// least 4 (§2.7), [`PAGE`](super::legacy::PAGE) for the legacy interface (§2.7.2).
    #[must_use]
    pub const fn new(size: u16, alignment: usize) -> Self {
        let size = size as usize;
        let available = size * DESCRIPTOR;
        let used = (available + 6 + 2 * size).next_multiple_of(alignment);
        Self {
            available,
            used,
            bytes: used + 6 + 8 * size,
        }
    }
}

/// Whether the side that asked to be told at `event` must be told, now that the index has gone
/// from `old` to `new` (§2.7.7.2); all count modulo 2¹⁶.
#[must_use]
pub const fn needs_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_keep_their_fields() {
        let descriptor = Descriptor {
            address: 0x0123_4567_89AB_CDEF,
            length: 1526,
            flags: NEXT | WRITE,
            next: 0xFFFE,
        };
        assert_eq!(Descriptor::from_words(descriptor.into_words()), descriptor);
        assert_eq!(descriptor.into_words()[1], 0xFFFE_0003_0000_05F6);
    }

    #[test]
    fn parts_of_a_ring_lie_behind_each_other() {
        let layout = Layout::new(256, 4096);
        assert_eq!((layout.available, layout.used), (4096, 8192));
        assert_eq!(layout.bytes, 8192 + 6 + 2048);
        let layout = Layout::new(2, 4);
        assert_eq!((layout.available, layout.used, layout.bytes), (32, 44, 66));
    }

    #[test]
    fn events_are_told_once_across_the_wrap() {
        assert!(needs_event(5, 6, 5));
        assert!(!needs_event(6, 6, 5));
        assert!(!needs_event(4, 6, 5));
        assert!(needs_event(0xFFFF, 2, 0xFFFE));
        assert!(!needs_event(3, 2, 0xFFFE));
    }
}
