//! The MSI-X table in BAR 3 (PCI Local Bus 3.0 §6.8.2, 82599 §9.3.6).
//!
//! Whoever serves the device to a virtual machine finds that the machine keeps this table itself.
//! Masks are therefore obeyed from the first write to the table on.

use barewire_spec::ixgbe::limits;
use barewire_spec::pci::config::msix;

use super::Nic;

const VECTORS: usize = limits::MSIX_VECTORS as usize;
const WORDS: usize = VECTORS * 4;

/// The table's entries: address, data and control of each vector.
#[derive(Debug)]
pub(super) struct VectorTable {
    words: [u32; WORDS],
    used: bool,
    /// Vectors that are masked, if the table is used.
    masked: u64,
}

impl VectorTable {
    pub(super) fn new() -> Self {
        let mut words = [0; WORDS];
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
    pub(super) fn masked(&self) -> u64 {
        self.masked
    }

    fn read(&self, offset: u32) -> Option<u32> {
        self.words.get(offset as usize / 4).copied()
    }

    fn write(&mut self, offset: u32, value: u32) {
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

impl Nic {
    /// Reads the word at `offset` of BAR 3: the MSI-X table, and its pending bits from
    /// [`limits::MSIX_PBA_OFFSET`] on. Elsewhere there are zeros.
    pub fn read_vectors(&self, offset: u32) -> u32 {
        let model = self.shared.access();
        let [low, high] = {
            let waiting = model.interrupts.waiting();
            [waiting & u64::from(u32::MAX), waiting >> 32]
                .map(|half| u32::try_from(half).unwrap_or(0))
        };
        match offset & !3 {
            limits::MSIX_PBA_OFFSET => low,
            at if at == limits::MSIX_PBA_OFFSET + 4 => high,
            at => model.interrupts.table.read(at).unwrap_or(0),
        }
    }

    /// Writes the word at `offset` of BAR 3. Once this has happened, masked vectors don't send;
    /// they do as soon as they are unmasked.
    pub fn write_vectors(&self, offset: u32, value: u32) {
        let mut model = self.shared.access();
        model.interrupts.table.write(offset & !3, value);
        model.deliver();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_count_from_the_first_write_on() {
        let mut table = VectorTable::new();
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
