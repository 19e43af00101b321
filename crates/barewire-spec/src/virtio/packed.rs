//! Packed rings: one ring of descriptors that both sides write (VIRTIO §2.8).

/// Bytes of a descriptor: 64 bits of address, 32 of length, 16 of buffer id, 16 of flags
/// (§2.8.13).
pub const DESCRIPTOR: usize = 16;

/// Flag: the buffer goes on in the next descriptor.
pub const NEXT: u16 = 1;
/// Flag: the device writes to it. In a used descriptor: the device has written `length` bytes.
pub const WRITE: u16 = 2;
/// Flag: it points to a table of descriptors.
pub const INDIRECT: u16 = 4;
/// Flag: equals the driver's wrap counter once available (§2.8.1).
pub const AVAIL: u16 = 1 << 7;
/// Flag: equals [`AVAIL`] once used.
pub const USED: u16 = 1 << 15;

/// Flags of a suppression structure (§2.8.14): tell me always.
pub const EVENTS_ENABLE: u16 = 0;
/// Flags of a suppression structure: tell me never.
pub const EVENTS_DISABLE: u16 = 1;
/// Flags of a suppression structure: tell me at one descriptor; needs
/// [`EVENT_IDX`](super::feature::EVENT_IDX).
pub const EVENTS_DESCRIPTOR: u16 = 2;
/// Bytes of a suppression structure: 16 bits of position with the wrap counter above, 16 of flags.
pub const EVENT_BYTES: usize = 4;
/// Bit of the position in a suppression structure that is the wrap counter.
pub const EVENT_WRAP: u16 = 1 << 15;

/// A descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// I/O virtual address of the buffer.
    pub address: u64,
    /// Bytes of the buffer; in a used descriptor, bytes written.
    pub length: u32,
    /// Names the buffer.
    pub id: u16,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`], [`AVAIL`], [`USED`].
    pub flags: u16,
}

impl Descriptor {
    /// The two little-endian words, as numbers.
    #[must_use]
    pub const fn into_words(self) -> [u64; 2] {
        [
            self.address,
            self.length as u64 | (self.id as u64) << 32 | (self.flags as u64) << 48,
        ]
    }

    /// From the two words.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the parts of a word
    pub const fn from_words([address, rest]: [u64; 2]) -> Self {
        Self {
            address,
            length: rest as u32,
            id: (rest >> 32) as u16,
            flags: (rest >> 48) as u16,
        }
    }

    /// Whether the driver has made it available in the round with this wrap counter.
    #[must_use]
    pub const fn is_available(self, wrap: bool) -> bool {
        (self.flags & AVAIL != 0) == wrap && (self.flags & USED != 0) != wrap
    }

    /// Whether the device has used it in the round with this wrap counter.
    #[must_use]
    pub const fn is_used(self, wrap: bool) -> bool {
        (self.flags & AVAIL != 0) == wrap && (self.flags & USED != 0) == wrap
    }
}

/// [`AVAIL`] and [`USED`] of a descriptor made available in the round with this wrap counter.
#[must_use]
pub const fn available_flags(wrap: bool) -> u16 {
    if wrap { AVAIL } else { USED }
}

/// [`AVAIL`] and [`USED`] of a descriptor used in the round with this wrap counter.
#[must_use]
pub const fn used_flags(wrap: bool) -> u16 {
    if wrap { AVAIL | USED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_available_or_used_or_neither() {
        for wrap in [false, true] {
            let available = Descriptor {
                flags: available_flags(wrap),
                ..Descriptor::default()
            };
            assert!(available.is_available(wrap) && !available.is_used(wrap));
            assert!(!available.is_available(!wrap) && !available.is_used(!wrap));
            let used = Descriptor {
                flags: used_flags(wrap),
                ..Descriptor::default()
            };
            assert!(used.is_used(wrap) && !used.is_available(wrap));
            assert!(!used.is_used(!wrap));
        }
        let mixed = Descriptor {
            address: 1,
            length: 2,
            id: 3,
            flags: 4,
        };
        assert_eq!(Descriptor::from_words(mixed.into_words()), mixed);
    }
}
