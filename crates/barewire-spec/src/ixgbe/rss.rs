//! Sizes of receive-side scaling (82599 §7.1.2.8). The hash is the model's business.

/// Entries of the redirection table of the 82599 and X540.
pub const RETA_ENTRIES: usize = 128;

/// Entries of the redirection table of the X550 family, of which 384 are in `ERETA`.
pub const RETA_ENTRIES_X550: usize = 512;

/// Entries in a 32-bit register of the redirection table.
pub const RETA_ENTRIES_PER_REGISTER: usize = 4;

/// Bits of an entry that choose a queue.
pub const RETA_ENTRY_MASK: u32 = 0x0F;

/// Bytes of the key.
pub const KEY_BYTES: usize = 40;

/// The key as the ten values of [`RSSRK`](super::receive::RSSRK).
///
/// ```
/// let mut key = [0; 40];
/// key[0] = 0x6D;
/// key[1] = 0x5A;
/// assert_eq!(barewire_spec::ixgbe::rss::key_registers(&key)[0], 0x0000_5A6D);
/// ```
#[must_use]
pub fn key_registers(key: &[u8; KEY_BYTES]) -> [u32; KEY_BYTES / 4] {
    let mut registers = [0; KEY_BYTES / 4];
    let (words, _) = key.as_chunks::<4>();
    for (register, word) in registers.iter_mut().zip(words) {
        *register = u32::from_le_bytes(*word);
    }
    registers
}
