//! The address a device uses for memory.

use core::fmt;

/// An I/O virtual address: what a device puts on the bus to reach memory.
///
/// Behind an IOMMU it is whatever the IOMMU translates; without one it is a physical address.
/// It is never an address that the program itself can use, hence its own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(u64);

impl Iova {
    /// The address with this value.
    #[inline]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value to write into a descriptor or a register.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The low 32 bits, for a register such as `RDBAL`.
    #[allow(clippy::cast_possible_truncation)] // the upper half is what `high` is for
    pub const fn low(self) -> u32 {
        self.0 as u32
    }

    /// The high 32 bits, for a register such as `RDBAH`.
    pub const fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
