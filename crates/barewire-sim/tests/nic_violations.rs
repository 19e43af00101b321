//! Every kind of rule the model knows, broken once.
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

use barewire_bus::Bar;
use barewire_sim::nic::{Device, NicConfig, UNIMPLEMENTED};
use barewire_sim::violation::Rule;
use barewire_spec::ixgbe::descriptor::tx::{
    AdvancedContext, ContextCommands, ContextHeaders, Data,
};
use barewire_spec::ixgbe::*;
use nic_rig::*;

fn ready() -> Rig {
    let rig = rig();
    rig.init();
    rig.assert_clean();
    rig
}

#[test]
fn undefined_offsets() {
    let rig = ready();
    assert_eq!(rig.bar.read32(0x0001_FFFC), u32::MAX);
    rig.assert_violation(Rule::UndefinedRegister, "BAR0+0x1fffc");
    let rig = ready();
    rig.bar.write32(0x8000_0000, 1);
    rig.assert_violation(Rule::UndefinedRegister, "BAR0+0x80000000");
}

#[test]
fn misaligned_accesses() {
    let rig = ready();
    rig.bar.write32(CTRL.at(0) + 2, 0);
    rig.assert_violation(Rule::Misaligned, "BAR0+0x2");
}

#[test]
fn reserved_bits() {
    for (register, value) in [(&EIMC, u32::MAX), (&DTXMXSZRQ, 0xFFFF), (&FCTRL, 0x0800)] {
        let rig = ready();
        rig.write(register, 0, value);
        rig.assert_violation(Rule::ReservedBit, register.name);
    }
}

#[test]
fn access_modes() {
    let rig = ready();
    rig.write(&LINKS, 0, 0);
    rig.assert_violation(Rule::ReadOnly, "LINKS");
    let rig = ready();
    rig.write(&GPRC, 0, 0);
    rig.assert_violation(Rule::ReadOnly, "GPRC");
    let rig = ready();
    rig.read(&EIMC, 0);
    rig.assert_violation(Rule::WriteOnly, "EIMC");
}

#[test]
fn filters_and_queue_choice_while_receiving() {
    for (register, value) in [(&FCTRL, 0x400), (&MRQC, 0x0003_0001), (&RXPBSIZE, 0x4_0000)] {
        let rig = ready();
        rig.start_receiving();
        rig.write(register, 0, value);
        rig.assert_violation(Rule::ForbiddenState, register.name);
    }
}

#[test]
fn rings_moved_while_in_use() {
    for register in [&RDBAL, &RDBAH, &RDLEN, &SRRCTL] {
        let rig = ready();
        rig.rx_queue(2, 64, one_buffer());
        rig.write(register, 2, 0);
        rig.assert_violation(Rule::ForbiddenState, &format!("{}[2]", register.name));
    }
    for register in [&TDBAL, &TDBAH, &TDLEN, &TDH, &TDWBAL] {
        let rig = ready();
        rig.tx_queue(2, 64);
        rig.write(register, 2, 0);
        rig.assert_violation(Rule::ForbiddenState, &format!("{}[2]", register.name));
    }
}

#[test]
fn tails() {
    let rig = ready();
    rig.write(&RDT, 1, 5);
    rig.assert_violation(Rule::Tail, "RDT[1]");
    let rig = ready();
    rig.tx_queue(0, 64);
    rig.write(&TDT, 0, 64);
    rig.assert_violation(Rule::Tail, "TDT[0]");
    let rig = ready();
    let ring = rig.ring(64);
    rig.write(&TDBAL, 0, ring.base as u32);
    rig.write(&TDBAH, 0, (ring.base >> 32) as u32);
    rig.write(&TDLEN, 0, 1024);
    rig.write(&TXDCTL, 0, 1 << 25);
    rig.write(&TDT, 0, 1);
    rig.assert_violation(Rule::Tail, "TDT[0]");
}

#[test]
fn geometry_of_rings() {
    for (register, value) in [
        (&RDBAL, 0x40),
        (&RDLEN, 0x40),
        (&TDBAL, 0x40),
        (&TDLEN, 0x40),
    ] {
        let rig = ready();
        rig.write(register, 0, value);
        rig.assert_violation(Rule::RingGeometry, register.name);
    }
    let rig = ready();
    rig.write(&SRRCTL, 0, one_buffer().into_bits());
    rig.write(&RXDCTL, 0, 1 << 25);
    rig.assert_violation(Rule::RingGeometry, "RXDCTL[0]");
    let rig = ready();
    rig.write(&TDLEN, 0, 1024);
    rig.write(&TXDCTL, 0, 1 << 25);
    rig.assert_violation(Rule::Unmapped, "TXDCTL[0]");
    let rig = ready();
    let ring = rig.ring(8);
    let end = ring.base + ring.region.len() as u64 - 128;
    rig.write(&TDBAL, 0, end as u32);
    rig.write(&TDBAH, 0, (end >> 32) as u32);
    rig.write(&TDLEN, 0, 256);
    rig.write(&TXDCTL, 0, 1 << 25);
    rig.assert_violation(Rule::PastMapping, "TXDCTL[0]");
    rig.wait(1);
    assert!(!Txdctl::from_bits(rig.read(&TXDCTL, 0)).enable());
}

fn try_rx(rig: &Rig, srrctl: Srrctl) {
    let ring = rig.ring(64);
    rig.write(&RDBAL, 0, ring.base as u32);
    rig.write(&RDBAH, 0, (ring.base >> 32) as u32);
    rig.write(&RDLEN, 0, 1024);
    rig.write(&SRRCTL, 0, srrctl.into_bits());
    rig.write(&RXDCTL, 0, 1 << 25);
    rig.wait(1);
    assert!(!Rxdctl::from_bits(rig.read(&RXDCTL, 0)).enable());
}

#[test]
fn buffer_sizes_and_formats() {
    for size in [0, 17, 31] {
        let rig = ready();
        try_rx(&rig, one_buffer().with_bsizepacket(size));
        rig.assert_violation(Rule::ForbiddenValue, "RXDCTL[0]");
    }
    let rig = ready();
    try_rx(&rig, one_buffer().with_desctype(3));
    rig.assert_violation(Rule::ForbiddenValue, "RXDCTL[0]");
    let rig = ready();
    try_rx(
        &rig,
        one_buffer()
            .with_desctype(desctype::ADVANCED_HEADER_SPLIT)
            .with_bsizeheader(0),
    );
    rig.assert_violation(Rule::ForbiddenValue, "RXDCTL[0]");
}

#[test]
fn order_of_starting() {
    let rig = ready();
    rig.write(&DMATXCTL, 0, DMATXCTL.reset);
    let ring = rig.ring(64);
    rig.write(&TDBAL, 0, ring.base as u32);
    rig.write(&TDBAH, 0, (ring.base >> 32) as u32);
    rig.write(&TDLEN, 0, 1024);
    rig.write(&TXDCTL, 0, 1 << 25);
    rig.assert_violation(Rule::ForbiddenState, "TXDCTL[0]");

    let rig = ready();
    let value = Rdrxctl::from_bits(rig.read(&RDRXCTL, 0)).with_rscacksum_of_reset();
    rig.write(&RDRXCTL, 0, value);
    rig.start_receiving();
    rig.assert_violation(Rule::ForbiddenValue, "RDRXCTL");

    let rig = ready();
    let value = Rdrxctl::from_bits(rig.read(&RDRXCTL, 0)).with_crcstrip(false);
    rig.write(&RDRXCTL, 0, value.into_bits());
    rig.start_receiving();
    rig.assert_violation(Rule::Disagreement, "RXCTRL");

    let rig = ready();
    rig.write(&MTQC, 0, 0);
    rig.assert_violation(Rule::ForbiddenState, "MTQC");
}

trait OfReset {
    fn with_rscacksum_of_reset(self) -> u32;
}

impl OfReset for Rdrxctl {
    fn with_rscacksum_of_reset(self) -> u32 {
        self.with_rscfrstsize(8).with_rscackc(false).into_bits()
    }
}

#[test]
fn thresholds() {
    let rig = ready();
    rig.tx_queue(0, 64);
    let txdctl = Txdctl::new().with_enable(true).with_pthresh(36);
    rig.write(&TXDCTL, 0, txdctl.into_bits());
    rig.assert_violation(Rule::ForbiddenValue, "TXDCTL[0]");

    let rig = ready();
    let (_memory, address) = rig.memory(64);
    rig.write(&TDWBAH, 0, (address >> 32) as u32);
    rig.write(&TDWBAL, 0, address as u32 | 1);
    let ring = rig.ring(64);
    rig.write(&TDBAL, 0, ring.base as u32);
    rig.write(&TDBAH, 0, (ring.base >> 32) as u32);
    rig.write(&TDLEN, 0, 1024);
    rig.write(
        &TXDCTL,
        0,
        Txdctl::new().with_enable(true).with_wthresh(4).into_bits(),
    );
    rig.assert_violation(Rule::ForbiddenValue, "TXDCTL[0]");
}

#[test]
fn resets() {
    let rig = ready();
    rig.write(&CTRL, 0, 1 << 26);
    rig.read(&RAL, 0);
    rig.assert_violation(Rule::DuringReset, "RAL[0]");

    let rig = ready();
    rig.tx_queue(0, 64);
    rig.write(&CTRL, 0, 1 << 26);
    rig.assert_violation(Rule::ForbiddenState, "CTRL");

    let rig = ready();
    rig.write(&CTRL, 0, 1 << 26);
    rig.wait(2);
    rig.write(&EERD, 0, 1);
    rig.assert_violation(Rule::ForbiddenState, "EERD");
}

#[test]
fn memory_before_bus_mastering() {
    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    let command = barewire_spec::pci::config::COMMAND;
    barewire_bus::PciFunction::config_write32(&rig.function, command, 0x2).unwrap();
    rig.post(&mut ring, 0, &frame(OWN, 60, 0));
    rig.run();
    rig.assert_violation(Rule::NotBusMaster, "command");
    assert!(rig.wire.taken().is_empty());
    rig.enable_bus_master();
    rig.run();
    assert_eq!(rig.wire.taken().len(), 1);
}

#[test]
fn memory_outside_the_mappings() {
    for (offset, rule) in [(0x1000_0000_0000, Rule::Unmapped), (-8, Rule::PastMapping)] {
        let rig = ready();
        let mut ring = rig.tx_queue(0, 64);
        let end = ring.base + ring.region.len() as u64;
        let data = Data::whole_packet(60).with_rs(true);
        rig.post_words(
            &mut ring,
            0,
            [end.wrapping_add_signed(offset), data.into_bits()],
        );
        rig.run();
        rig.assert_violation(rule, "transmit DMA of queue 0");

        let rig = ready();
        let ring = rig.rx_queue(0, 64, one_buffer());
        ring.put(0, [end.wrapping_add_signed(offset), 0]);
        rig.start_receiving();
        rig.wire.send(&frame(OWN, 60, 0));
        rig.run();
        assert_eq!(rig.nic.violations().len(), 1);
        assert_eq!(rig.nic.violations()[0].what, "receive DMA of queue 0");
    }
}

#[test]
fn memory_that_was_taken_away() {
    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    let layout = barewire_dma::Layout::Linear(barewire_dma::Iova::new(ring.base));
    rig.dma.unmap(&ring.region, &layout);
    rig.post(&mut ring, 0, &frame(OWN, 60, 0));
    rig.run();
    rig.assert_violation(Rule::Unmapped, "transmit DMA of queue 0");
}

#[test]
fn receive_descriptors_not_renewed() {
    let rig = ready();
    let ring = rig.rx_queue(0, 64, one_buffer());
    ring.put(0, [ring.buffer(0), 1]);
    rig.start_receiving();
    rig.wire.send(&frame(OWN, 60, 0));
    rig.run();
    rig.assert_violation(Rule::Descriptor, "receive descriptor of queue 0");
}

/// Descriptors that must not be, and what the line about them says.
#[test]
fn transmit_descriptors() {
    let whole = Data::whole_packet(60);
    let cases = [
        (whole.with_dtyp(5), Rule::Descriptor, "DTYP"),
        (whole.with_dtalen(0), Rule::Descriptor, "length is 0"),
        (
            whole.with_eop(false).with_rs(true),
            Rule::Descriptor,
            "RS without EOP",
        ),
        (whole.with_paylen(61), Rule::Descriptor, "PAYLEN"),
        (whole.with_dd(true), Rule::Descriptor, "reserved"),
        (
            whole.with_ixsm(true),
            Rule::Descriptor,
            "context was never set",
        ),
        (whole.with_ifcs(false), Rule::Frame, "IFCS"),
        (
            whole.with_tse(true),
            Rule::Descriptor,
            "context was never set",
        ),
        (whole.with_ipsec(true), Rule::NotImplemented, "IPsec"),
        (Data::whole_packet(16), Rule::Frame, "17 bytes"),
        (Data::whole_packet(1515), Rule::Frame, "MAXFRS"),
        (Data::whole_packet(15_873), Rule::Frame, "15.5 KiB"),
    ];
    for (data, rule, says) in cases {
        let rig = ready();
        let mut ring = rig.tx_queue(0, 64);
        let address = ring.buffer(0);
        rig.post_words(&mut ring, 0, [address, data.into_bits()]);
        rig.run();
        assert!(rig.wire.taken().is_empty(), "{says}");
        let violations = rig.nic.violations();
        assert_eq!(violations.len(), 1, "{says}: {violations:?}");
        assert!(violations[0].state.contains(says), "{}", violations[0]);
        if rule != Rule::Descriptor {
            assert_eq!(violations[0].rule, rule, "{}", violations[0]);
        }
        // The queue goes on with the next packet.
        if data.eop() {
            rig.post(&mut ring, 0, &frame(OWN, 60, 0));
            rig.run();
            assert_eq!(rig.wire.taken().len(), 1, "{says}");
        }
    }
}

#[test]
fn packets_of_many_descriptors() {
    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    for at in 0..41 {
        let address = ring.buffer(0);
        let data = Data::new()
            .with_dtalen(2)
            .with_ifcs(true)
            .with_paylen(82)
            .with_eop(at == 40);
        rig.post_words(&mut ring, 0, [address, data.into_bits()]);
    }
    rig.run();
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");

    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    let address = ring.buffer(0);
    let first = Data::new().with_dtalen(60).with_ifcs(true).with_paylen(120);
    rig.post_words(&mut ring, 0, [address, first.into_bits()]);
    let second = first.with_ifcs(false).with_eop(true);
    rig.post_words(&mut ring, 0, [address, second.into_bits()]);
    rig.run();
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");
}

#[test]
fn contexts() {
    let context = |idx| AdvancedContext {
        headers: ContextHeaders::new().with_maclen(14),
        commands: ContextCommands::new().with_idx(idx),
    };
    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    rig.post_words(&mut ring, 0, context(2).into_words());
    rig.run();
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");

    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    let address = ring.buffer(0);
    let open = Data::new().with_dtalen(60).with_ifcs(true).with_paylen(60);
    rig.post_words(&mut ring, 0, [address, open.into_bits()]);
    rig.post_words(&mut ring, 0, context(0).into_words());
    rig.run();
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");
}

#[test]
fn short_frames_without_padding() {
    let rig = ready();
    let hlreg0 = Hlreg0::from_bits(rig.read(&HLREG0, 0)).with_txpaden(false);
    rig.write(&HLREG0, 0, hlreg0.into_bits());
    let mut ring = rig.tx_queue(0, 64);
    rig.post(&mut ring, 0, &frame(OWN, 59, 0));
    rig.run();
    rig.assert_violation(Rule::Frame, "transmit descriptor of queue 0");
}

#[test]
fn packets_not_reported_with_a_threshold() {
    let rig = ready();
    let mut ring = rig.tx_queue(0, 64);
    rig.write(
        &TXDCTL,
        0,
        Txdctl::new().with_enable(true).with_wthresh(4).into_bits(),
    );
    let address = ring.buffer(0);
    rig.post_words(&mut ring, 0, [address, Data::whole_packet(60).into_bits()]);
    rig.run();
    rig.assert_violation(Rule::Descriptor, "transmit descriptor of queue 0");
}

#[test]
fn octets_in_the_wrong_order() {
    let rig = ready();
    rig.read(&GORCH, 0);
    rig.assert_violation(Rule::ForbiddenState, "GORCH");
}

#[test]
fn what_is_not_implemented_says_so() {
    for entry in UNIMPLEMENTED {
        let rig = ready();
        let value = (entry.register.reset_of(0) & entry.register.reserved) | entry.bits;
        rig.write(entry.register, 0, value);
        let found = rig.nic.violations().iter().any(|violation| {
            violation.rule == Rule::NotImplemented && violation.state == entry.what
        });
        assert!(found, "{}", entry.what);
    }
}

#[test]
fn serial_link_registers_on_copper() {
    let rig = Rig::new(NicConfig {
        device: Device::X540,
        ..NicConfig::default()
    });
    rig.init();
    rig.write(&AUTOC, 0, AUTOC.reset);
    rig.assert_violation(Rule::UndefinedRegister, "BAR0+0x42a0");
}

#[test]
fn the_list_is_bounded_and_the_count_is_not() {
    let rig = ready();
    for _ in 0..1000 {
        rig.bar.read32(0x0001_FFFC);
    }
    assert_eq!(rig.nic.violations().len(), 256);
    assert_eq!(rig.nic.violation_count(), 1000);
}
