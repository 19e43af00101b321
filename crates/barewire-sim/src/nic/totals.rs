//! What the statistics registers counted in all, whoever read and cleared them.

use barewire_spec::ixgbe::Register;

use super::Nic;
use super::roles;

/// What one statistics register counted since the device was made.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    /// The register; of a counter of bytes the low half.
    pub register: &'static Register,
    /// Which one of an array.
    pub index: u32,
    /// Frames or bytes. No read clears it, and it has 64 bits.
    pub value: u64,
}

impl Nic {
    /// What each statistics register counted since the device was made. Those that nothing in the
    /// model moves are left out.
    pub fn register_totals(&self) -> Vec<Total> {
        let model = self.shared.access();
        let mut totals = Vec::new();
        for (register, counter) in roles::counters() {
            for index in 0..register.count() {
                totals.push(Total {
                    register,
                    index,
                    value: model.statistics.total(counter, index as usize),
                });
            }
        }
        totals
    }
}
