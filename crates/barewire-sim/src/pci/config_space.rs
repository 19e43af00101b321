//! The PCI configuration space (PCI Local Bus 3.0 §6).

use barewire_spec::pci::config::{self, command};

const WORDS: usize = config::SIZE as usize / 4;

/// Configuration space: what each word holds and which of its bits software may write.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    words: Vec<u32>,
    writable: Vec<u32>,
    /// Where the power management capability is.
    power: u16,
}

impl ConfigSpace {
    /// All zeros, which nobody can write. The function has its power management capability at
    /// `power`.
    pub(crate) fn new(power: u16) -> Self {
        Self {
            words: vec![0; WORDS],
            writable: vec![0; WORDS],
            power,
        }
    }

    pub(crate) fn put8(&mut self, offset: u16, value: u8) {
        let shift = u32::from(offset % 4) * 8;
        self.put_bits(offset & !3, u32::from(value) << shift, 0xFF << shift, 0);
    }

    pub(crate) fn put16(&mut self, offset: u16, value: u16, writable: u16) {
        let shift = u32::from(offset % 4) * 8;
        self.put_bits(
            offset & !3,
            u32::from(value) << shift,
            0xFFFF << shift,
            u32::from(writable) << shift,
        );
    }

    pub(crate) fn put32(&mut self, offset: u16, value: u32, writable: u32) {
        self.put_bits(offset, value, u32::MAX, writable);
    }

    pub(crate) fn put_bits(&mut self, offset: u16, value: u32, mask: u32, writable: u32) {
        let index = usize::from(offset / 4);
        if let (Some(word), Some(bits)) = (self.words.get_mut(index), self.writable.get_mut(index))
        {
            *word = *word & !mask | value;
            *bits = *bits & !mask | writable;
        }
    }

    /// A window of `bytes`, a power of two, at base address register `index`. Reading its size: the
    /// low bits of its address can't be written.
    pub(crate) fn window(&mut self, index: u16, bytes: u32, kind: u32) {
        let at = config::BAR0 + 4 * index;
        self.put32(at, kind, !(bytes - 1));
        if kind & config::bar::MEMORY_64 != 0 {
            self.put32(at + 4, 0, u32::MAX);
        }
    }

    /// The header of a capability.
    pub(crate) fn capability(&mut self, offset: u16, id: u8, next: u16) {
        self.put16(offset, u16::from(id) | next << 8, 0);
    }

    /// The word at `offset`, rounded down to a multiple of 4; all ones outside.
    pub(crate) fn read(&self, offset: u16) -> u32 {
        self.words
            .get(usize::from(offset / 4))
            .copied()
            .unwrap_or(u32::MAX)
    }

    /// The word around `offset` with these bytes, of that word, in it from `offset` on.
    pub(crate) fn with_bytes(&self, offset: u16, bytes: &[u8]) -> u32 {
        let mut word = self.read(offset).to_le_bytes();
        let place = word.iter_mut().skip(usize::from(offset % 4));
        for (to, from) in place.zip(bytes) {
            *to = *from;
        }
        u32::from_le_bytes(word)
    }

    /// Writes the writable bits of the word at `offset`, rounded down to a multiple of 4.
    pub(crate) fn write(&mut self, offset: u16, value: u32) {
        let index = usize::from(offset / 4);
        if let (Some(word), Some(bits)) = (self.words.get_mut(index), self.writable.get(index)) {
            *word = *word & !bits | value & bits;
        }
    }

    /// The command register.
    pub(crate) fn command(&self) -> u16 {
        let [low, high, ..] = self.read(config::COMMAND).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Whether the device is in D3hot, in which its registers don't answer.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        let control = self.power + config::power_management::CONTROL;
        self.read(control) & config::power_management::STATE == config::power_management::D3_HOT
    }

    /// Whether the device may start requests.
    #[inline]
    pub(crate) fn is_master(&self) -> bool {
        self.command() & command::BUS_MASTER != 0
    }
}
