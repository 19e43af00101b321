//! The SFP+ module in the port: a 10GBASE-SR and 1000BASE-SX transceiver with diagnostics, as its
//! two pages of 256 bytes describe it (SFF-8472).

/// A page of a module.
type Page = [u8; 256];

/// Bytes of the pages.
mod at {
    pub(super) const BASE_CHECK: usize = 63;
    pub(super) const EXTENDED_CHECK: usize = 95;
    pub(super) const DIAGNOSTIC_CHECK: usize = 95;
    pub(super) const RECEIVED_POWER: usize = 104;
    pub(super) const SENT_POWER: usize = 102;
    pub(super) const STATUS: usize = 110;
}

/// Status: what the pin that turns the laser off says, and no light comes in.
const TX_DISABLED: u8 = 1 << 7;
const LOSS_OF_SIGNAL: u8 = 1 << 1;

/// 0.5 mW in units of 0.1 µW.
const POWER: u16 = 5_000;

/// The module's pages and where in them the next access is.
#[derive(Debug)]
pub(super) struct Module {
    identity: Page,
    diagnostics: Page,
    positions: [u8; 2],
}

fn put(page: &mut Page, offset: usize, bytes: &[u8]) {
    for (byte, value) in page.iter_mut().skip(offset).zip(bytes) {
        *byte = *value;
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().copied().fold(0, u8::wrapping_add)
}

fn identity() -> Page {
    let mut page = [0; 256];
    // An SFP+ with an LC connector, 10GBASE-SR and 1000BASE-SX, 64B/66B, 10.3 GBd.
    put(&mut page, 0, &[0x03, 0x04, 0x07, 0x10, 0, 0, 0x01]);
    put(&mut page, 11, &[0x06, 103]);
    // 80 m of OM2, 20 m of OM1, 300 m of OM3.
    put(&mut page, 16, &[8, 2, 0, 30]);
    put(&mut page, 20, b"barewire        ");
    put(&mut page, 40, b"SOFTWARE-SR     1   ");
    // 850 nm.
    put(&mut page, 60, &850_u16.to_be_bytes());
    page[at::BASE_CHECK] = sum(&page[..at::BASE_CHECK]);
    // Signals: rate select, laser off, fault, loss of signal.
    put(&mut page, 64, &[0x00, 0x3A]);
    put(&mut page, 68, b"000000000001    260101  ");
    // Diagnostics, calibrated, average power; revision 11.0 of SFF-8472.
    put(&mut page, 92, &[0x68, 0xF0, 0x06]);
    page[at::EXTENDED_CHECK] = sum(&page[64..at::EXTENDED_CHECK]);
    page
}

fn diagnostics() -> Page {
    let mut page = [0; 256];
    // High and low alarm, high and low warning: temperature (°C/256), supply (100 µV), bias
    // (2 µA), sent and received power (0.1 µW).
    let limits: [[u16; 4]; 5] = [
        [0x4E00, 0xF300, 0x4900, 0xF800],
        [36_300, 29_700, 35_200, 30_800],
        [5_900, 1_000, 5_400, 1_250],
        [8_318, 1_660, 6_607, 2_089],
        [10_000, 100, 7_943, 158],
    ];
    for (index, limit) in limits.iter().flatten().enumerate() {
        put(&mut page, index * 2, &limit.to_be_bytes());
    }
    // Slopes of 1 for bias, power, temperature and supply.
    for offset in [76, 80, 84, 88] {
        put(&mut page, offset, &[1, 0]);
    }
    page[at::DIAGNOSTIC_CHECK] = sum(&page[..at::DIAGNOSTIC_CHECK]);
    // 35 °C, 3.3 V, 6 mA.
    for (offset, value) in [(96, 0x2300_u16), (98, 33_000), (100, 3_000)] {
        put(&mut page, offset, &value.to_be_bytes());
    }
    page
}

impl Module {
    pub(super) fn new() -> Self {
        let mut module = Self {
            identity: identity(),
            diagnostics: diagnostics(),
            positions: [0; 2],
        };
        module.see(false, true);
        module
    }

    /// Tells the module whether its laser is off and whether light comes in.
    pub(super) fn see(&mut self, laser_off: bool, light: bool) {
        let power = |on: bool| (if on { POWER } else { 0 }).to_be_bytes();
        put(&mut self.diagnostics, at::SENT_POWER, &power(!laser_off));
        put(&mut self.diagnostics, at::RECEIVED_POWER, &power(light));
        self.diagnostics[at::STATUS] =
            if laser_off { TX_DISABLED } else { 0 } | if light { 0 } else { LOSS_OF_SIGNAL };
    }

    fn page(&mut self, address: u8) -> (&mut Page, &mut u8) {
        let [first, second] = &mut self.positions;
        if address == 0xA0 {
            (&mut self.identity, first)
        } else {
            (&mut self.diagnostics, second)
        }
    }

    /// Moves to a byte of a page.
    pub(super) fn position(&mut self, address: u8, position: u8) {
        *self.page(address).1 = position;
    }

    /// The byte there; the next one is at the next position.
    pub(super) fn give(&mut self, address: u8) -> u8 {
        let (page, position) = self.page(address);
        let byte = page[usize::from(*position)];
        *position = position.wrapping_add(1);
        byte
    }

    /// Writes a byte. The second page's upper half is the user's; the rest is not for writing.
    pub(super) fn take(&mut self, address: u8, byte: u8) {
        let (page, position) = self.page(address);
        if address != 0xA0 && *position >= 128 {
            page[usize::from(*position)] = byte;
        }
        *position = position.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_come_out_and_light_is_told() {
        let mut module = Module::new();
        assert_eq!(module.identity[63], sum(&module.identity[..63]));
        assert_eq!(module.identity[95], sum(&module.identity[64..95]));
        assert_eq!(module.diagnostics[95], sum(&module.diagnostics[..95]));
        module.see(true, false);
        module.position(0xA2, 110);
        assert_eq!(module.give(0xA2), TX_DISABLED | LOSS_OF_SIGNAL);
        module.position(0xA2, 104);
        assert_eq!([module.give(0xA2), module.give(0xA2)], [0, 0]);
        module.position(0xA0, 0);
        module.take(0xA0, 0);
        module.position(0xA0, 0);
        assert_eq!(module.give(0xA0), 3, "the identity is not for writing");
    }
}
