//! Receive: filters that choose a queue ahead of RSS.
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

use barewire_sim::violation::Rule;
use barewire_spec::ixgbe::descriptor::rx::rss_type;
use barewire_spec::ixgbe::*;
use etherparse::PacketBuilder;
use nic_rig::*;

const SOURCE: [u8; 4] = [10, 0, 0, 7];
const DESTINATION: [u8; 4] = [10, 0, 0, 9];

fn tcp(from: u16, to: u16, syn: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN)
        .ipv4(SOURCE, DESTINATION, 64)
        .tcp(from, to, 1, 1024);
    let builder = if syn { builder.syn() } else { builder.ack(3) };
    builder.write(&mut bytes, &[5; 20]).unwrap();
    bytes
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN)
        .ipv4(SOURCE, DESTINATION, 64)
        .udp(from, to)
        .write(&mut bytes, &[5; 30])
        .unwrap();
    bytes
}

fn udp6(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN)
        .ipv6([1; 16], [2; 16], 64)
        .udp(from, to)
        .write(&mut bytes, &[5; 30])
        .unwrap();
    bytes
}

struct Queues {
    rig: Rig,
    rings: Vec<Ring>,
}

impl Queues {
    fn new(prepare: impl FnOnce(&Rig)) -> Self {
        let rig = rig();
        rig.init();
        prepare(&rig);
        let rings = (0..8)
            .map(|queue| rig.rx_queue(queue, 64, one_buffer()))
            .collect();
        rig.start_receiving();
        Self { rig, rings }
    }

    /// The queue that a frame arrives at, and how.
    fn arrives(&mut self, frame: &[u8]) -> Option<(u32, Received)> {
        self.rig.wire.send(frame);
        self.rig.run();
        (0..8).find_map(|queue| {
            let received = self.rig.take(&mut self.rings[queue as usize], queue)?;
            Some((queue, received))
        })
    }

    fn queue_of(&mut self, frame: &[u8]) -> u32 {
        self.arrives(frame).expect("a queue").0
    }
}

#[test]
fn an_ethertype_has_a_queue() {
    let mut queues = Queues::new(|rig| {
        let filter = Etqf::new().with_etype(0x88F7).with_filter_enable(true);
        rig.write(&ETQF, 3, filter.into_bits());
        let action = Etqs::new().with_rx_queue(5).with_queue_enable(true);
        rig.write(&ETQS, 3, action.into_bits());
    });
    let mut ptp = frame(OWN, 60, 1);
    ptp[12..14].copy_from_slice(&[0x88, 0xF7]);
    let (queue, received) = queues.arrives(&ptp).unwrap();
    assert_eq!(queue, 5);
    assert!(received.info.packet_type().l2());
    assert_eq!(received.info.packet_type().into_bits() & 7, 3);
    assert_eq!(queues.queue_of(&frame(OWN, 60, 1)), 0);
    queues.rig.assert_clean();
}

#[test]
fn syn_and_five_tuples_are_asked_in_the_order_that_software_chose() {
    for ahead in [false, true] {
        let mut queues = Queues::new(|rig| {
            let syn = Synqf::new()
                .with_queue_enable(true)
                .with_rx_queue(2)
                .with_synqfp(ahead);
            rig.write(&SYNQF, 0, syn.into_bits());
            // All to port 80, and with a higher priority those from port 1000 too.
            let any = Ftqf::new()
                .with_queue_enable(true)
                .with_mask_source_address(true)
                .with_mask_destination_address(true)
                .with_mask_pool(true)
                .with_priority(1);
            let ports = u32::from(1000u16.to_be()) | u32::from(80u16.to_be()) << 16;
            for (index, filter, queue) in [
                (4, any.with_mask_source_port(true), 3),
                (90, any.with_priority(7), 4),
            ] {
                rig.write(&SDPQF, index, ports);
                rig.write(&SAQF, index, 0);
                rig.write(&DAQF, index, 0);
                let action = L34timir::new().with_rx_queue(queue);
                rig.write(&L34TIMIR, index, action.into_bits());
                rig.write(&FTQF, index, filter.into_bits());
            }
        });
        assert_eq!(queues.queue_of(&tcp(999, 80, false)), 3);
        assert_eq!(queues.queue_of(&tcp(1000, 80, false)), 4);
        assert_eq!(queues.queue_of(&tcp(1000, 81, true)), 2);
        assert_eq!(
            queues.queue_of(&tcp(1000, 80, true)),
            if ahead { 2 } else { 4 }
        );
        assert_eq!(queues.queue_of(&udp(1000, 80)), 0, "the protocol is TCP");
        assert_eq!(queues.queue_of(&tcp(1000, 81, false)), 0);
        queues.rig.assert_clean();
    }
}

#[test]
fn addresses_and_protocol_of_a_five_tuple() {
    let mut queues = Queues::new(|rig| {
        let filter = Ftqf::new()
            .with_queue_enable(true)
            .with_protocol(1)
            .with_mask_source_port(true)
            .with_mask_destination_port(true)
            .with_mask_pool(true)
            .with_priority(1);
        rig.write(&SAQF, 0, u32::from_le_bytes(SOURCE));
        rig.write(&DAQF, 0, u32::from_le_bytes(DESTINATION));
        rig.write(&L34TIMIR, 0, L34timir::new().with_rx_queue(6).into_bits());
        rig.write(&FTQF, 0, filter.into_bits());
    });
    assert_eq!(queues.queue_of(&udp(1, 2)), 6);
    assert_eq!(queues.queue_of(&tcp(1, 2, false)), 0);
    let mut other = udp(1, 2);
    other[29] ^= 1;
    assert_eq!(queues.queue_of(&other), 0);
    queues.rig.assert_clean();
}

const HASH_KEY: u32 = 0x3DAD_14E2;
const SIGNATURE_KEY: u32 = 0x174D_3614;

fn start_flow_director(rig: &Rig, control: Fdirctrl) {
    rig.write(&FDIRHKEY, 0, HASH_KEY);
    rig.write(&FDIRSKEY, 0, SIGNATURE_KEY);
    let control = control
        .with_pballoc(1)
        .with_flex_offset(6)
        .with_max_length(10)
        .with_full_thresh(4);
    rig.write(&FDIRCTRL, 0, control.into_bits());
    assert!(!Fdirctrl::from_bits(rig.read(&FDIRCTRL, 0)).init_done());
    rig.wait(1);
    assert!(Fdirctrl::from_bits(rig.read(&FDIRCTRL, 0)).init_done());
}

/// A hash as drivers compute it: all words added first, then shifted along the key.
fn driver_hash(flow_type: u32, frame: &[u8], ports: u32, flex: u32) -> u32 {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    let common = word(26) ^ word(30) ^ ports ^ flex << 16;
    let first = flow_type << 16;
    let of = |key: u32| {
        let high = common ^ first ^ first >> 16;
        let mut low = common.rotate_left(16);
        let mut sum = 0;
        for bit in 0..16 {
            if bit == 1 {
                low ^= first ^ first << 16;
            }
            if key >> bit & 1 == 1 {
                sum ^= low >> bit;
            }
            if key >> (bit + 16) & 1 == 1 {
                sum ^= high >> bit;
            }
        }
        sum & 0x7FFF
    };
    of(SIGNATURE_KEY) << 16 | of(HASH_KEY)
}

fn command(rig: &Rig, hash: u32, command: Fdircmd) -> Fdircmd {
    rig.write(&FDIRHASH, 0, hash);
    rig.write(&FDIRCMD, 0, command.into_bits());
    let done = Fdircmd::from_bits(rig.read(&FDIRCMD, 0));
    assert_eq!(done.cmd(), fdircmd::NONE);
    done
}

fn add(queue: u8, l4type: u8) -> Fdircmd {
    Fdircmd::new()
        .with_cmd(fdircmd::ADD)
        .with_filter_update(true)
        .with_last(true)
        .with_queue_en(true)
        .with_l4type(l4type)
        .with_rx_queue(queue)
}

#[test]
fn a_signature_filter_leads_a_flow_to_its_queue() {
    let mut queues = Queues::new(|rig| start_flow_director(rig, Fdirctrl::new()));
    let flow = tcp(5001, 40_000, false);
    assert_eq!(queues.queue_of(&flow), 0);
    let hash = driver_hash(2, &flow, 5001 << 16 | 40_000, 0x0800);
    command(&queues.rig, hash, add(7, 2));
    let (queue, received) = queues.arrives(&flow).unwrap();
    assert_eq!(queue, 7);
    assert!(received.status.flm());
    assert_ne!(
        received.info.rss_type(),
        rss_type::FLOW_DIRECTOR,
        "not asked for"
    );
    assert_eq!(queues.queue_of(&tcp(5001, 40_001, false)), 0);
    assert_eq!(queues.queue_of(&udp(5001, 40_000)), 0);
    // The filter's queue changes, and then it goes.
    command(&queues.rig, hash, add(3, 2));
    assert_eq!(queues.queue_of(&flow), 3);
    assert_eq!(queues.rig.read(&FDIRFREE, 0), 8189);
    assert_eq!(queues.rig.read(&FDIRUSTAT, 0), 1, "a change adds none");
    assert_eq!(queues.rig.read(&FDIRMATCH, 0), 2);
    assert_eq!(queues.rig.read(&FDIRMISS, 0), 3);
    assert_eq!(queues.rig.read(&FDIRLEN, 0) & 0x3F, 1);
    command(&queues.rig, hash, Fdircmd::new().with_cmd(fdircmd::REMOVE));
    assert_eq!(queues.queue_of(&flow), 0);
    command(&queues.rig, hash, Fdircmd::new().with_cmd(fdircmd::REMOVE));
    assert_eq!(queues.rig.read(&FDIRUSTAT, 0), 1 << 16);
    assert_eq!(queues.rig.read(&FDIRFSTAT, 0), 1 << 8);
    assert_eq!(queues.rig.read(&FDIRFREE, 0), 8190);
    queues.rig.assert_clean();
}

/// The bucket of a perfect filter, with all that is ignored left out of the sum.
fn bucket(flow_type: u32, addresses: [[u8; 4]; 2], ports: u32) -> u32 {
    let mut frame = vec![0; 34];
    frame[26..30].copy_from_slice(&addresses[0]);
    frame[30..34].copy_from_slice(&addresses[1]);
    driver_hash(flow_type, &frame, ports, 0) & 0x1FFF
}

fn describe(rig: &Rig, source: [u8; 4], destination: [u8; 4], from: u16, to: u16) {
    rig.write(&FDIRIPSA, 0, u32::from_le_bytes(source));
    rig.write(&FDIRIPDA, 0, u32::from_le_bytes(destination));
    rig.write(&FDIRPORT, 0, u32::from(from) | u32::from(to) << 16);
    rig.write(&FDIRVLAN, 0, 0);
}

/// Ignores VLANs, flexible bytes, pools, IPv6, the source's port and the source's last byte.
fn mask_some(rig: &Rig) {
    let fdirm = Fdirm::new()
        .with_vlanid(true)
        .with_vlanp(true)
        .with_pool(true)
        .with_flex(true)
        .with_dipv6(true);
    rig.write(&FDIRM, 0, fdirm.into_bits());
    rig.write(&FDIRSIP4M, 0, u32::from_le_bytes([0, 0, 0, 0xFF]));
    rig.write(&FDIRDIP4M, 0, 0);
    for register in [&FDIRTCPM, &FDIRUDPM] {
        rig.write(register, 0, 0x0000_FFFF);
    }
    rig.write(&FDIRIP6M, 0, u32::MAX);
}

#[test]
fn a_perfect_filter_compares_fields_and_reports_its_number() {
    let control = Fdirctrl::new()
        .with_perfect_match(true)
        .with_report_status(true)
        .with_drop_queue(127);
    let mut queues = Queues::new(|rig| {
        mask_some(rig);
        start_flow_director(rig, control);
    });
    let network = [10, 0, 0, 0];
    let hash = bucket(1, [network, DESTINATION], 53) | 0x123 << 16;
    describe(&queues.rig, network, DESTINATION, 0, 53);
    command(&queues.rig, hash, add(4, 1));
    let (queue, received) = queues.arrives(&udp(999, 53)).unwrap();
    assert_eq!(queue, 4);
    assert!(received.status.flm());
    assert_eq!(received.info.rss_type(), rss_type::FLOW_DIRECTOR);
    assert_eq!(received.info.rss_hash() & 0xFFFF, 0x123);
    assert_eq!(received.info.rss_hash() >> 16, hash & 0x1FFF);
    assert_eq!(queues.queue_of(&udp(999, 54)), 0);
    assert_eq!(queues.queue_of(&tcp(999, 53, false)), 0);
    assert_eq!(queues.queue_of(&udp6(999, 53)), 0);
    // It is found, made one that drops, and removed.
    let query = Fdircmd::new().with_cmd(fdircmd::QUERY);
    let found = command(&queues.rig, hash, query);
    assert!(found.filter_valid());
    assert_eq!(found.rx_queue(), 4);
    command(&queues.rig, hash, add(127, 1).with_drop(true));
    queues.rig.read(&QPRDC, 0);
    assert!(queues.arrives(&udp(1, 53)).is_none());
    assert_eq!(queues.rig.read(&QPRDC, 0), 1);
    command(&queues.rig, hash, Fdircmd::new().with_cmd(fdircmd::REMOVE));
    assert!(!command(&queues.rig, hash, query).filter_valid());
    assert_eq!(queues.queue_of(&udp(1, 53)), 0);
    queues.rig.assert_clean();
}

#[test]
fn the_table_is_emptied_and_bounded() {
    let queues =
        Queues::new(|rig| start_flow_director(rig, Fdirctrl::new().with_perfect_match(true)));
    let rig = &queues.rig;
    for flow in 0..2100u16 {
        describe(rig, SOURCE, DESTINATION, flow, 9);
        command(
            rig,
            u32::from(flow % 0x7FF) | u32::from(flow) << 16,
            add(1, 1),
        );
    }
    assert_eq!(rig.read(&FDIRFREE, 0) & 0xFFFF, 0);
    assert_eq!(rig.read(&FDIRUSTAT, 0), 2046);
    assert_eq!(rig.read(&FDIRFSTAT, 0), 54);
    assert!(
        Eicr::from_bits(rig.read(&EICR, 0)).flow_director(),
        "few are free"
    );
    rig.write(&FDIRCMD, 0, Fdircmd::new().with_clearht(true).into_bits());
    rig.write(&FDIRCMD, 0, 0);
    assert_eq!(rig.read(&FDIRFREE, 0), 2046);
    rig.assert_clean();
}

#[test]
fn filters_before_the_memory_is_ready() {
    let rig = rig();
    rig.init();
    rig.write(&FDIRCTRL, 0, Fdirctrl::new().with_pballoc(1).into_bits());
    rig.write(&FDIRCMD, 0, add(1, 1).into_bits());
    rig.assert_violation(Rule::ForbiddenState, "FDIRCMD");
}
