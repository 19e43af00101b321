//! The MSI-X table and its pending bits in BAR 3 (82599 §9.3.6).

use barewire_spec::ixgbe::limits;

use super::Nic;

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
