//! The table of MSI-X vectors (PCI Local Bus 3.0 §6.8.2).
//!
//! Whoever serves the device to a virtual machine finds that the machine keeps this table itself.
//! Masks are therefore obeyed from the first write to the table on.

use barewire_spec::pci::config::msix;

/// The table's entries: address, data and control of each vector. There are 64 at most.
#[derive(Debug)]
pub(crate) struct VectorTable {
    words: Box<[u32]>,
    used: bool,
    /// Vectors that are masked, if the table is used.
    masked: u64,
}

impl VectorTable {
    /// A table of `vectors`, all masked.
    pub(crate) fn new(vectors: usize) -> Self {
        let mut words = vec![0; vectors * 4].into_boxed_slice();
        for entry in words.as_chunks_mut::<4>().0 {
            entry[3] = msix::ENTRY_MASKED;
        }
        Self {
            words,
            used: false,
            masked: 0,
        }
    }

    /// Vectors that may not send.
    pub(crate) fn masked(&self) -> u64 {
        self.masked
    }

    /// The word at `offset`, if the table has one there.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        self.words.get(offset as usize / 4).copied()
    }

    /// Writes the word at `offset`, if the table has one there. Masks are obeyed from then on.
    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        let index = offset as usize / 4;
        let Some(word) = self.words.get_mut(index) else {
            return;
        };
        *word = match index % 4 {
            0 => value & !3,
            3 => value & msix::ENTRY_MASKED,
            _ => value,
        };
        self.used = true;
        self.masked = 0;
        for (vector, entry) in self.words.as_chunks::<4>().0.iter().enumerate() {
            self.masked |= u64::from(entry[3] & msix::ENTRY_MASKED) << vector;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_count_from_the_first_write_on() {
        let mut table = VectorTable::new(64);
        assert_eq!(table.masked(), 0);
        table.write(0x10, 0xFEE0_0003);
        assert_eq!(table.read(0x10), Some(0xFEE0_0000));
        assert_eq!(table.masked(), u64::MAX);
        table.write(0x1C, 0);
        table.write(0x3FC, 0xFFFF_FFFE);
        assert_eq!(table.masked(), !(1 << 1 | 1 << 63));
        table.write(0x400, 0);
        assert_eq!(table.read(0x400), None);
    }
}
