//! What is behind the device's pins: EEPROM, module, firmware, PHY, semaphores, clock; resets; and
//! the exceptions for drivers of others.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation
)]

mod nic_rig;

use std::time::Duration;

use barewire_bus::{Bar, PciFunction};
use barewire_sim::nic::{Device, NicConfig};
use barewire_sim::violation::Rule;
use barewire_spec::ixgbe::*;
use barewire_spec::pci::config;
use nic_rig::*;

/// A program that moves the EEPROM's wires.
struct Spi<'a>(&'a Rig);

impl Spi<'_> {
    fn set(&self, clock: bool, data: bool, select: bool) {
        let eec = Eec::from_bits(self.0.read(&EEC, 0))
            .with_ee_sk(clock)
            .with_ee_di(data)
            .with_ee_cs(select);
        self.0.write(&EEC, 0, eec.into_bits());
    }

    fn begin(&self) {
        self.set(false, false, true);
        self.set(false, false, false);
    }

    fn end(&self) {
        self.set(false, false, true);
    }

    fn send(&self, byte: u8) {
        for bit in (0..8).rev() {
            let data = byte >> bit & 1 == 1;
            self.set(false, data, false);
            self.set(true, data, false);
            self.set(false, data, false);
        }
    }

    fn receive(&self) -> u8 {
        (0..8).fold(0, |byte, _| {
            self.set(true, false, false);
            let bit = Eec::from_bits(self.0.read(&EEC, 0)).ee_do();
            self.set(false, false, false);
            byte << 1 | u8::from(bit)
        })
    }

    fn read(&self, word: u16) -> u16 {
        self.begin();
        self.send(3);
        for byte in (word * 2).to_be_bytes() {
            self.send(byte);
        }
        let pair = [self.receive(), self.receive()];
        self.end();
        u16::from_le_bytes(pair)
    }

    fn write(&self, word: u16, values: &[u16]) {
        self.begin();
        self.send(2);
        for byte in (word * 2).to_be_bytes() {
            self.send(byte);
        }
        for byte in values.iter().flat_map(|value| value.to_le_bytes()) {
            self.send(byte);
        }
        self.end();
    }

    fn command(&self, byte: u8) {
        self.begin();
        self.send(byte);
        self.end();
    }

    fn status(&self) -> u8 {
        self.begin();
        self.send(5);
        let status = self.receive();
        self.end();
        status
    }
}

fn eerd(rig: &Rig, word: u16) -> u16 {
    let start = Eerd::new().with_addr(word).with_start(true);
    rig.write(&EERD, 0, start.into_bits());
    Eerd::from_bits(rig.read(&EERD, 0)).data()
}

#[test]
fn the_eeprom_is_read_and_written_over_its_wires() {
    let rig = rig();
    let eec = Eec::from_bits(rig.read(&EEC, 0));
    assert!(eec.ee_pres() && eec.ee_addr_size());
    assert!(64 << eec.ee_size() >= 1024);
    rig.write(&EEC, 0, eec.with_ee_req(true).into_bits());
    assert!(Eec::from_bits(rig.read(&EEC, 0)).ee_gnt());
    let spi = Spi(&rig);
    for word in [0, eeprom::CORE_0_PTR, eeprom::CHECKSUM, 0x51] {
        assert_eq!(spi.read(word), eerd(&rig, word), "{word:#x}");
    }
    spi.write(0x300, &[0x1234]);
    assert_eq!(spi.read(0x300), 0, "writes were not enabled");
    spi.command(6);
    assert_eq!(spi.status(), 2);
    spi.write(0x300, &[0x1234, 0x5678]);
    assert_eq!(spi.status(), 0, "one write ends the permission");
    assert_eq!([eerd(&rig, 0x300), eerd(&rig, 0x301)], [0x1234, 0x5678]);
    let eec = Eec::from_bits(rig.read(&EEC, 0)).with_ee_req(false);
    rig.write(&EEC, 0, eec.into_bits());
    assert!(!Eec::from_bits(rig.read(&EEC, 0)).ee_gnt());
    rig.assert_clean();
    spi.send(3);
    assert_eq!(rig.nic.violations()[0].rule, Rule::ForbiddenState);
}

#[test]
fn an_address_written_to_the_eeprom_is_the_devices_after_a_reset() {
    let rig = rig();
    rig.write(&EEC, 0, rig.read(&EEC, 0) | 0x40);
    let spi = Spi(&rig);
    spi.command(6);
    spi.write(
        eerd(&rig, eeprom::CORE_0_PTR) + 1,
        &[0x1102, 0x3322, 0x5544],
    );
    rig.write(&CTRL, 0, Ctrl::new().with_rst(true).into_bits());
    rig.wait(10);
    assert_eq!(rig.read(&RAL, 0), 0x3322_1102);
    assert_eq!(rig.read(&RAH, 0), 0x8000_5544);
    rig.assert_clean();
}

/// A program that moves the wires to the module.
struct I2c<'a>(&'a Rig);

impl I2c<'_> {
    fn set(&self, clock: bool, data: bool) {
        self.0
            .write(&I2CCTL, 0, u32::from(clock) << 1 | u32::from(data) << 3);
    }

    fn data(&self) -> bool {
        self.0.read(&I2CCTL, 0) & 4 != 0
    }

    fn start(&self) {
        self.set(true, true);
        self.set(true, false);
        self.set(false, false);
    }

    fn stop(&self) {
        self.set(false, false);
        self.set(true, false);
        self.set(true, true);
    }

    fn bit(&self, bit: bool) -> bool {
        self.set(false, bit);
        self.set(true, bit);
        let seen = self.data();
        self.set(false, bit);
        seen
    }

    /// Sends a byte; true if it was acknowledged.
    fn send(&self, byte: u8) -> bool {
        for bit in (0..8).rev() {
            self.bit(byte >> bit & 1 == 1);
        }
        !self.bit(true)
    }

    fn receive(&self, more: bool) -> u8 {
        let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.bit(true)));
        self.bit(!more);
        byte
    }

    fn read(&self, page: u8, from: u8, count: usize) -> Vec<u8> {
        self.start();
        assert!(self.send(page));
        assert!(self.send(from));
        self.start();
        assert!(self.send(page | 1));
        let bytes = (0..count).map(|n| self.receive(n + 1 < count)).collect();
        self.stop();
        bytes
    }
}

#[test]
fn a_module_answers_on_the_two_wires() {
    let rig = rig();
    let i2c = I2c(&rig);
    let page = i2c.read(0xA0, 0, 96);
    let sum = |bytes: &[u8]| bytes.iter().copied().fold(0, u8::wrapping_add);
    assert_eq!((page[0], page[3]), (3, 0x10), "an SFP+ with 10GBASE-SR");
    assert_eq!(page[63], sum(&page[..63]));
    assert_eq!(page[95], sum(&page[64..95]));
    assert_ne!(page[92] & 0x40, 0, "it has diagnostics");
    let diagnostics = i2c.read(0xA2, 0, 111);
    assert_eq!(diagnostics[95], sum(&diagnostics[..95]));
    assert_eq!(diagnostics[110] & 2, 0, "light comes in");
    i2c.start();
    assert!(!i2c.send(0x50), "nobody else is there");
    i2c.stop();
    assert_eq!(
        i2c.read(0xA0, 0, 1),
        [3],
        "one byte at a time, as drivers read"
    );
    rig.nic.set_cable(false);
    assert_eq!(i2c.read(0xA2, 110, 1)[0] & 2, 2);
    rig.assert_clean();
}

#[test]
fn a_copper_port_has_no_module() {
    let rig = Rig::new(NicConfig {
        device: Device::X540,
        ..NicConfig::default()
    });
    let i2c = I2c(&rig);
    i2c.start();
    assert!(!i2c.send(0xA0));
    i2c.stop();
    rig.assert_clean();
}

#[test]
fn without_its_laser_the_port_has_no_link() {
    let rig = rig();
    rig.init();
    let esdp = Esdp::from_bits(rig.read(&ESDP, 0));
    assert_ne!(esdp.sdp_data() & 4, 0, "a module is there");
    rig.write(
        &ESDP,
        0,
        esdp.with_sdp_data(esdp.sdp_data() | 8).into_bits(),
    );
    assert!(!rig.nic.link().up);
    rig.wait(50);
    assert!(!rig.nic.link().up);
    rig.write(&AUTOC, 0, rig.read(&AUTOC, 0) | 1);
    assert!(rig.nic.link().up, "forced");
    rig.write(&AUTOC, 0, rig.read(&AUTOC, 0) & !1);
    assert!(!rig.nic.link().up);
    rig.write(&ESDP, 0, esdp.into_bits());
    rig.wait(50);
    assert!(rig.nic.link().up);
    rig.assert_clean();
}

fn command(rig: &Rig, words: &[u32]) -> u32 {
    for (index, word) in (0..).zip(words) {
        rig.write(&FLEX_MNG, index, *word);
    }
    let hicr = rig.read(&HICR, 0);
    assert_eq!(hicr & 1, 1, "the firmware listens");
    rig.write(&HICR, 0, hicr | 2);
    rig.read(&HICR, 0)
}

#[test]
fn firmware_reads_and_writes_the_shadow_ram() {
    let rig = Rig::new(NicConfig {
        device: Device::X550,
        ..NicConfig::default()
    });
    // 4 bytes from byte 0x7E, in network order.
    let hicr = command(&rig, &[0xFF06_0031, 0x7E00_0000, 0x0000_0400, 0]);
    assert_eq!(hicr & 6, 4, "ended, and the answer holds");
    let words = rig.read(&FLEX_MNG, 3);
    assert_eq!(words as u16, eerd(&rig, 0x3F));
    assert_eq!((words >> 16) as u16, eerd(&rig, 0x40));
    assert_eq!(rig.read(&FLEX_MNG, 0) >> 16 & 0xFF, 1);
    command(&rig, &[0xFF0A_0033, 0x0006_0000, 0x0000_0200, 0xBEEF]);
    assert_eq!(eerd(&rig, 0x300), 0xBEEF);
    rig.write(&x540::EEWR, 0, 0x1234_0C05);
    assert_eq!(eerd(&rig, 0x301), 0x1234);
    rig.write(&RXCTRL, 0, 0);
    rig.assert_clean();
    assert_eq!(command(&rig, &[0xFF00_0077]) & 4, 0, "an unknown command");
    assert_eq!(rig.nic.violations()[0].rule, Rule::NotImplemented);
}

#[test]
fn the_semaphore_of_semaphores_is_taken_by_reading_on_a_copper_device() {
    let rig = Rig::new(NicConfig {
        device: Device::X540,
        ..NicConfig::default()
    });
    assert_eq!(rig.read(&SW_FW_SYNC, 0), 0);
    assert_eq!(rig.read(&SW_FW_SYNC, 0), 0x8000_0000);
    rig.write(&SW_FW_SYNC, 0, 0x8000_0003);
    rig.write(&SW_FW_SYNC, 0, 0x0000_0003);
    assert_eq!(rig.read(&SW_FW_SYNC, 0), 3);
    rig.assert_clean();
}

#[test]
fn the_system_time_advances_as_told() {
    let rig = rig();
    rig.init();
    // 16 every 10 ticks of 6.4 ns: one for every 4 ns.
    rig.write(&TIMINCA, 0, 10 << 24 | 16);
    rig.write(&SYSTIML, 0, 0);
    rig.write(&SYSTIMH, 0, 1);
    let before = rig.nic.now();
    rig.wait(1);
    let low = rig.read(&SYSTIML, 0);
    let passed = rig.nic.now().since(before).0;
    assert!(
        u64::from(low).abs_diff(passed / 4) < 1_000,
        "{low} after {passed} ns"
    );
    assert_eq!(rig.read(&SYSTIMH, 0), 1);
    rig.write(&TIMADJL, 0, 5);
    rig.write(&TIMADJH, 0, 2);
    assert_eq!(rig.read(&SYSTIMH, 0), 3);
    rig.write(&TIMADJH, 0, 0x8000_0001);
    assert_eq!(rig.read(&SYSTIMH, 0), 2);
    rig.assert_clean();
}

#[test]
fn the_x550_counts_seconds_and_nanoseconds_once_it_is_let() {
    let rig = Rig::new(NicConfig {
        device: Device::X550,
        ..NicConfig::default()
    });
    assert_eq!(
        rig.read(&SYSTIML, 0),
        rig.read(&SYSTIML, 0),
        "it stands still"
    );
    rig.write(&SYSTIML, 0, 999_999_000);
    rig.write(&SYSTIMH, 0, 7);
    rig.write(&TSAUXC, 0, 0);
    rig.wait(1);
    assert_eq!(rig.read(&SYSTIMH, 0), 8);
    assert!(rig.read(&SYSTIML, 0) < 2_000_000);
    rig.assert_clean();
}

#[test]
fn back_from_d3_the_device_has_reset_itself() {
    let rig = rig();
    rig.init();
    rig.write(&VLNCTRL, 0, 0x4000_8100);
    let control = config::i82599::POWER_MANAGEMENT + config::power_management::CONTROL;
    rig.function.config_write32(control, 3).unwrap();
    assert_eq!(rig.function.config_read32(control).unwrap() & 3, 3);
    rig.assert_clean();
    assert_eq!(rig.read(&STATUS, 0), u32::MAX);
    assert_eq!(rig.nic.violations()[0].rule, Rule::ForbiddenState);
    rig.function.config_write32(control, 0).unwrap();
    rig.wait(10);
    assert_eq!(rig.read(&VLNCTRL, 0), VLNCTRL.reset);
    assert_eq!(rig.read(&RAH, 0) >> 31, 1, "the EEPROM was read");
    assert_eq!(rig.nic.violation_count(), 1);
}

#[test]
fn a_link_reset_shows_its_own_bit() {
    let rig = rig();
    rig.init();
    rig.write(&CTRL, 0, Ctrl::new().with_lrst(true).into_bits());
    let ctrl = Ctrl::from_bits(rig.read(&CTRL, 0));
    assert!(ctrl.lrst() && !ctrl.rst());
    rig.bar.delay(Duration::from_micros(10));
    assert_eq!(rig.read(&CTRL, 0), 0);
    rig.wait(40);
    assert!(rig.nic.link().up);
    rig.assert_clean();
}

/// What a kernel's self-test does: patterns into registers, read back, and the old value again.
fn pattern(rig: &Rig, register: &Register, index: u32, mask: u32, write: u32) {
    for pattern in [0x5A5A_5A5A, 0xA5A5_A5A5, 0, u32::MAX] {
        let before = rig.read(register, index);
        rig.write(register, index, pattern & write);
        let value = rig.read(register, index);
        assert_eq!(value, pattern & write & mask, "{}[{index}]", register.name);
        rig.write(register, index, before);
    }
}

fn self_test(rig: &Rig) {
    rig.write(&STATUS, 0, 0x7FFF_F30F);
    pattern(rig, &FCRTL, 0, 0x8007_FFF0, 0x8007_FFF0);
    pattern(rig, &FCRTH, 0, 0x8007_FFF0, 0x8007_FFF0);
    pattern(rig, &PFCTOP, 0, u32::MAX, u32::MAX);
    pattern(rig, &FCTTV, 0, u32::MAX, u32::MAX);
    for queue in 0..4 {
        pattern(rig, &RDBAL, queue, 0xFFFF_FF80, 0xFFFF_FF80);
        pattern(rig, &RDBAH, queue, u32::MAX, u32::MAX);
        pattern(rig, &RDLEN, queue, 0x000F_FF80, 0x000F_FFFF);
        rig.write(&RXDCTL, queue, 0x0200_0000);
    }
    for queue in 0..4 {
        pattern(rig, &RDT, queue, 0xFFFF, 0xFFFF);
        rig.write(&RXDCTL, queue, 0);
        pattern(rig, &TDBAL, queue, 0xFFFF_FF80, u32::MAX);
        pattern(rig, &TDBAH, queue, u32::MAX, u32::MAX);
        pattern(rig, &TDLEN, queue, 0x000F_FF80, 0x000F_FF80);
    }
    rig.write(&RXCTRL, 0, 1);
    assert_eq!(rig.read(&RXCTRL, 0), 1);
    rig.write(&RXCTRL, 0, 0);
    for index in 0..16 {
        pattern(rig, &RAL, index, u32::MAX, u32::MAX);
        pattern(rig, &RAH, index, 0x8001_FFFF & 0x800C_FFFF, 0x800C_FFFF);
    }
    for index in 0..128 {
        pattern(rig, &MTA, index, u32::MAX, u32::MAX);
    }
}

#[test]
fn a_self_test_of_others_passes_with_exceptions_and_only_with_them() {
    let tolerant = Rig::new(NicConfig {
        tolerate: true,
        ..NicConfig::default()
    });
    self_test(&tolerant);
    tolerant.assert_clean();
    let met = tolerant.nic.exceptions();
    assert!(met.len() >= 7, "{met:?}");
    let strict = rig();
    self_test(&strict);
    assert!(strict.nic.violation_count() > 0);
    assert!(strict.nic.exceptions().is_empty());
}

#[test]
fn an_exception_does_not_cover_its_neighbour() {
    let rig = Rig::new(NicConfig {
        tolerate: true,
        ..NicConfig::default()
    });
    rig.write(&EIMC, 0, u32::MAX);
    assert_eq!(rig.bar.read32(0x4250), 0);
    rig.assert_clean();
    rig.bar.write32(0x4250, 1);
    rig.bar.read32(0x4278);
    rig.write(&EIAC, 0, u32::MAX);
    assert_eq!(rig.nic.violation_count(), 3);
    let lines: Vec<_> = rig
        .nic
        .exceptions()
        .iter()
        .map(|met| met.exception.to_string())
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("EIMC: reserved bits changed"),
        "{lines:?}"
    );
}
