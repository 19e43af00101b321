//! Control registers: resets, EEPROM, semaphores, link, PHY, interrupt causes, removal.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod nic_rig;

use std::time::Duration;

use barewire_bus::{Bar, PciFunction};
use barewire_sim::nic::{Device, LinkState, NicConfig};
use barewire_spec::ixgbe::*;
use barewire_spec::pci::config;
use nic_rig::*;

#[test]
fn a_reset_takes_its_time() {
    let rig = rig();
    rig.init();
    rig.write(&CTRL, 0, Ctrl::new().with_rst(true).into_bits());
    assert!(Ctrl::from_bits(rig.read(&CTRL, 0)).rst());
    rig.bar.delay(Duration::from_micros(10));
    assert!(!Ctrl::from_bits(rig.read(&CTRL, 0)).rst());
    rig.wait(1);
    assert!(!Eec::from_bits(rig.read(&EEC, 0)).auto_rd());
    assert!(!Rdrxctl::from_bits(rig.read(&RDRXCTL, 0)).dmaidone());
    assert_eq!(rig.read(&RAH, 0), 0, "the address is not there yet");
    rig.wait(5);
    assert!(Eec::from_bits(rig.read(&EEC, 0)).auto_rd());
    assert!(Rdrxctl::from_bits(rig.read(&RDRXCTL, 0)).dmaidone());
    let rah = Rah::from_bits(rig.read(&RAH, 0));
    assert!(rah.av());
    assert_eq!(rig.read(&RAL, 0).to_le_bytes(), OWN[..4]);
    rig.assert_clean();
}

#[test]
fn tables_hold_garbage_until_cleared_and_survive_a_reset() {
    let rig = rig();
    assert_ne!(rig.read(&MTA, 7), 0);
    rig.init();
    rig.write(&MTA, 7, 5);
    rig.write(&CTRL, 0, Ctrl::new().with_rst(true).into_bits());
    rig.wait(10);
    assert_eq!(rig.read(&MTA, 7), 5);
    rig.assert_clean();
}

#[test]
fn the_eeprom_is_read_word_by_word_and_its_checksum_holds() {
    let rig = rig();
    let word = |offset: u16| {
        let start = Eerd::new().with_addr(offset).with_start(true);
        rig.write(&EERD, 0, start.into_bits());
        let answer = Eerd::from_bits(rig.read(&EERD, 0));
        assert!(answer.done());
        Ok::<_, ()>(answer.data())
    };
    assert_eq!(eeprom::checksum(word), word(eeprom::CHECKSUM));
    let core = word(eeprom::CORE_0_PTR).unwrap();
    let mac: Vec<_> = (0..3)
        .flat_map(|at| {
            word(core + eeprom::CORE_MAC_ADDRESS + at)
                .unwrap()
                .to_le_bytes()
        })
        .collect();
    assert_eq!(mac, OWN);
    rig.assert_clean();
}

#[test]
fn the_semaphore_is_taken_by_reading() {
    let rig = rig();
    assert!(!Swsm::from_bits(rig.read(&SWSM, 0)).smbi());
    assert!(Swsm::from_bits(rig.read(&SWSM, 0)).smbi());
    rig.write(
        &SWSM,
        0,
        Swsm::new().with_smbi(true).with_swesmbi(true).into_bits(),
    );
    assert!(Swsm::from_bits(rig.read(&SWSM, 0)).swesmbi());
    rig.write(&SWSM, 0, 0);
    assert_eq!(rig.read(&SWSM, 0), 0);
    rig.assert_clean();
}

#[test]
fn the_link_follows_the_cable_and_remembers_an_interruption() {
    let rig = rig();
    rig.init();
    let links = || Links::from_bits(rig.read(&LINKS, 0));
    assert!(links().link_up());
    assert_eq!(links().link_speed(), link_speed::GBIT_10);
    rig.read(&EICR, 0);
    rig.nic.set_cable(false);
    assert!(!links().link_up());
    assert_eq!(
        rig.nic.link(),
        LinkState {
            up: false,
            mbits: 0
        }
    );
    assert!(Eicr::from_bits(rig.read(&EICR, 0)).lsc());
    rig.nic.set_cable(true);
    rig.wait(1);
    assert!(!links().link_up());
    rig.wait(30);
    assert!(
        !links().link_up(),
        "the first read tells of the interruption"
    );
    assert!(links().link_up());
    assert!(Eicr::from_bits(rig.read(&EICR, 0)).lsc());
    assert_eq!(
        rig.nic.link(),
        LinkState {
            up: true,
            mbits: 10_000
        }
    );
    rig.assert_clean();
}

#[test]
fn the_link_mode_decides_the_speed() {
    let rig = rig();
    rig.init();
    let autoc = Autoc::from_bits(rig.read(&AUTOC, 0))
        .with_lms(lms::LINK_1G_AN)
        .with_restart_an(true);
    rig.write(&AUTOC, 0, autoc.into_bits());
    assert!(!Autoc::from_bits(rig.read(&AUTOC, 0)).restart_an());
    assert!(!rig.nic.link().up);
    rig.wait(30);
    assert_eq!(rig.nic.link().mbits, 1_000);
    let autoc = autoc.with_lms(lms::BACKPLANE);
    rig.write(&AUTOC, 0, autoc.into_bits());
    assert_ne!(rig.read(&ANLP1, 0), 0, "negotiation is under way");
    rig.wait(30);
    assert_eq!(rig.nic.link().mbits, 10_000);
    rig.assert_clean();
}

fn mdio(rig: &Rig, device: u8, register: u16, write: Option<u16>) -> u16 {
    let command = Msca::new()
        .with_devadd(device)
        .with_mdiadd(register)
        .with_mdicmd(true);
    if let Some(value) = write {
        rig.write(&MSRWD, 0, value.into());
    }
    for opcode in [0, if write.is_some() { 1 } else { 3 }] {
        rig.write(&MSCA, 0, command.with_opcode(opcode).into_bits());
        assert!(!Msca::from_bits(rig.read(&MSCA, 0)).mdicmd());
    }
    (rig.read(&MSRWD, 0) >> 16) as u16
}

#[test]
fn a_copper_port_has_a_phy_that_negotiates() {
    for (device, id) in [(Device::X540, 0x0200), (Device::X550, 0x0220)] {
        let rig = Rig::new(NicConfig {
            device,
            ..NicConfig::default()
        });
        rig.init();
        assert_eq!(mdio(&rig, 1, 2, None), 0x0154);
        assert_eq!(mdio(&rig, 1, 3, None), id);
        assert_eq!(mdio(&rig, 7, 1, None) & 0x24, 0x24);
        mdio(&rig, 7, 0, Some(0x3200));
        assert_eq!(
            mdio(&rig, 7, 0, None),
            0x3000,
            "the restart bit clears itself"
        );
        assert!(!rig.nic.link().up);
        rig.wait(30);
        assert!(rig.nic.link().up);
        assert!(!Links::from_bits(rig.read(&LINKS, 0)).other_speed());
        rig.assert_clean();
    }
    let rig = rig();
    assert_eq!(mdio(&rig, 1, 2, None), 0xFFFF, "an SFP+ port has no PHY");
}

#[test]
fn causes_are_set_masked_and_cleared() {
    let rig = rig();
    rig.init();
    rig.read(&EICR, 0);
    rig.write(&EICS, 0, 0x0010_0003);
    assert_eq!(rig.read(&EICR, 0), 0x0010_0003);
    assert_eq!(rig.read(&EICR, 0), 0);
    rig.write(&EICS, 0, 0x3);
    rig.write(&EICR, 0, 0x1);
    assert_eq!(rig.read(&EICR, 0), 0x2);
    rig.write(&EIMS, 0, 0x0010_0001);
    rig.write(&EIMS, 0, 0x2);
    assert_eq!(rig.read(&EIMS, 0), 0x0010_0003);
    rig.write(&EIMC, 0, 0x1);
    assert_eq!(rig.read(&EIMS, 0), 0x0010_0002);
    rig.write(&GPIE, 0, Gpie::new().with_ocd(true).into_bits());
    rig.write(&EICS, 0, 0x0010_0001);
    assert_eq!(rig.read(&EICR, 0), 0x0010_0001);
    assert_eq!(rig.read(&EICR, 0), 0x0000_0001, "OCD keeps queue causes");
    rig.assert_clean();
}

#[test]
fn queue_causes_go_where_ivar_says() {
    let rig = rig();
    rig.init();
    let ivar = Ivar::new()
        .with_int_alloc_2(5)
        .with_int_alloc_val_2(true)
        .with_int_alloc_3(6)
        .with_int_alloc_val_3(true);
    rig.write(&IVAR, 1, ivar.into_bits());
    let mut ring = rig.tx_queue(3, 64);
    rig.read(&EICR, 0);
    rig.post(&mut ring, 3, &frame(OWN, 60, 0));
    rig.run();
    assert_eq!(rig.read(&EICR, 0), 1 << 6);
    rig.assert_clean();
}

#[test]
fn a_function_level_reset_clears_everything() {
    let rig = rig();
    rig.init();
    rig.tx_queue(0, 64);
    let control = config::i82599::PCI_EXPRESS + config::express::DEVICE_CONTROL;
    let flr = u32::from(config::express::DEVICE_CONTROL_FLR);
    rig.function.config_write32(control, flr).unwrap();
    let command = rig.function.config_read32(config::COMMAND).unwrap();
    assert_eq!(command & u32::from(config::command::BUS_MASTER), 0);
    rig.wait(10);
    assert_eq!(rig.read(&TDLEN, 0), 0);
    assert!(!Txdctl::from_bits(rig.read(&TXDCTL, 0)).enable());
    rig.assert_clean();
}

#[test]
fn a_device_that_is_gone_reads_all_ones() {
    let rig = rig();
    rig.init();
    let mut ring = rig.tx_queue(0, 64);
    rig.nic.unplug();
    rig.post(&mut ring, 0, &frame(OWN, 60, 0));
    rig.write(&FCTRL, 0, 0xFFFF_FFFF);
    rig.run();
    assert_eq!(rig.read(&STATUS, 0), u32::MAX);
    assert_eq!(rig.function.config_read32(0).unwrap(), u32::MAX);
    assert!(rig.wire.taken().is_empty());
    rig.assert_clean();
}

#[test]
fn every_register_starts_with_its_reset_value_but_those_that_report() {
    let rig = rig();
    let live = [
        "STATUS", "LINKS", "EEC", "RAL", "RAH", "MTA", "VFTA", "RDRXCTL", "FWSM", "I2CCTL", "ESDP",
        "FRTIMER",
    ];
    for register in table::all().filter(|register| register.mode.readable()) {
        if live.contains(&register.name) {
            continue;
        }
        for index in 0..register.count() {
            assert_eq!(
                rig.read(register, index),
                register.reset_of(index),
                "{}[{index}]",
                register.name
            );
        }
    }
}

#[test]
fn one_window_and_a_memory_map() {
    let rig = rig();
    assert!(rig.function.bar(3).is_err());
    assert_eq!(rig.bar.size(), 0x2_0000);
    assert_eq!(rig.function.config_read32(0).unwrap(), 0x10FB_8086);
    rig.assert_clean();
}
