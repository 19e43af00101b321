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

    /// What each statistics register counted since the device was made, by the datasheet's name; of
    /// those with an index only what is not 0. Counts of bytes, which are two registers, have the
    /// name that is left without `L`.
    pub fn statistics(&self) -> Vec<(String, u64)> {
        let totals = self.register_totals();
        let named = totals.iter().filter_map(|total| {
            let name = match total.register.name.trim_end_matches('L') {
                "" => total.register.name,
                name => name.trim_end_matches('_'),
            };
            match total.register.count() {
                1 => Some((name.to_owned(), total.value)),
                _ if total.value > 0 => Some((format!("{name}[{}]", total.index), total.value)),
                _ => None,
            }
        });
        named.collect()
    }
}
