//! No sequence of accesses makes the model panic, hang or grow.
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

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use barewire_sim::nic::{Device, Nic, NicConfig};
use barewire_spec::ixgbe::table;
use nic_rig::*;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

#[derive(Clone, Debug)]
enum Action {
    Read(u32),
    Write(u32, u32),
    /// A write to a register there is, by its place in the table and in its array.
    Known(usize, u32, u32),
    Tail(bool, u32, u32),
    Descriptor(usize, u64, u64),
    Frame(Vec<u8>),
    Config(u16, u32),
    Cable(bool),
    Step(u8),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => any::<u32>().prop_map(Action::Read),
        2 => (0u32..0x8000).prop_map(|word| Action::Read(word * 4)),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(offset, value)| Action::Write(offset, value)),
        2 => (0u32..0x8000, any::<u32>()).prop_map(|(word, value)| Action::Write(word * 4, value)),
        8 => (any::<usize>(), 0u32..4, prop_oneof![any::<u32>(), 0u32..64, Just(u32::MAX)])
            .prop_map(|(register, index, value)| Action::Known(register, index, value)),
        6 => (any::<bool>(), 0u32..4, 0u32..70).prop_map(|(rx, queue, tail)| Action::Tail(rx, queue, tail)),
        8 => (0usize..256, any::<u64>(), any::<u64>()).prop_map(|(at, low, high)| Action::Descriptor(at, low, high)),
        4 => proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Action::Frame),
        1 => (0u16..5000, any::<u32>()).prop_map(|(offset, value)| Action::Config(offset, value)),
        1 => any::<bool>().prop_map(Action::Cable),
        8 => any::<u8>().prop_map(Action::Step),
    ]
}

fn perform(rig: &Rig, region: &DmaRegion, base: u64, action: Action) {
    match action {
        Action::Read(offset) => {
            rig.bar.read32(offset);
        }
        Action::Write(offset, value) => rig.bar.write32(offset, value),
        Action::Known(at, index, value) => {
            let count = table::all().count();
            if let Some(register) = table::all().nth(at % count) {
                rig.write(register, index % register.count(), value);
            }
        }
        Action::Tail(receive, queue, tail) => {
            let offset = if receive { 0x1018 } else { 0x6018 } + queue * 0x40;
            rig.bar.write32(offset, tail);
        }
        Action::Descriptor(at, low, high) => {
            // Half of the addresses lie in memory.
            let low = if low % 2 == 0 {
                base + low % 0x8000
            } else {
                low
            };
            let high = if high % 4 == 0 {
                high
            } else {
                high & 0xFFFF_C0FF_0B00_07FF | 0x2030_0000
            };
            region.words()[at * 2].store(low, Ordering::Relaxed);
            region.words()[at * 2 + 1].store(high, Ordering::Relaxed);
        }
        Action::Frame(bytes) => rig.wire.send(&bytes),
        Action::Config(offset, value) => {
            rig.function.config_write32(offset, value).unwrap();
            rig.function.config_read32(offset).unwrap();
        }
        Action::Cable(plugged) => rig.nic.set_cable(plugged),
        Action::Step(count) => (0..count).for_each(|_| {
            rig.nic.step();
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_accesses(
        running in any::<bool>(),
        device in 0..3,
        actions in proptest::collection::vec(action(), 0..400),
    ) {
        let device = [Device::I82599, Device::X540, Device::X550][device as usize];
        let rig = Rig::new(NicConfig { device, ..NicConfig::default() });
        let region = DmaRegion::allocate(64 * 1024, Pages::Ordinary).unwrap();
        let Layout::Linear(base) = rig.dma.map(&region).unwrap() else { panic!("one piece") };
        let base = base.get();
        if running {
            rig.init();
            for queue in 0..2 {
                let ring = base + u64::from(queue) * 1024;
                for (low, length) in [(0x1000, 0x1008), (0x6000, 0x6008)] {
                    let offset = queue * 0x40;
                    let half = if low == 0x1000 { 0 } else { 2048 };
                    rig.bar.write32(low + offset, (ring + half) as u32);
                    rig.bar.write32(low + 4 + offset, (ring >> 32) as u32);
                    rig.bar.write32(length + offset, 1024);
                }
                rig.write(&barewire_spec::ixgbe::SRRCTL, queue, one_buffer().into_bits());
                rig.write(&barewire_spec::ixgbe::RXDCTL, queue, 1 << 25);
                rig.write(&barewire_spec::ixgbe::TXDCTL, queue, 1 << 25);
            }
            rig.wait(1);
            rig.start_receiving();
        }
        for action in actions {
            perform(&rig, &region, base, action);
        }
        rig.run();
        prop_assert!(rig.nic.violations().len() <= 256);
        for violation in rig.nic.violations() {
            prop_assert!(!violation.to_string().contains('\n'));
        }
    }
}

#[test]
fn the_same_steps_do_the_same() {
    let run = || {
        let rig = rig();
        rig.init();
        let mut ring = rig.rx_queue(0, 8, one_buffer());
        rig.start_receiving();
        (0..100).for_each(|tag| rig.wire.send(&frame(OWN, 60, tag)));
        let mut seen = Vec::new();
        for _ in 0..200 {
            rig.nic.step();
            if let Some(received) = rig.take(&mut ring, 0) {
                seen.push((rig.nic.now(), received.bytes));
            }
        }
        seen
    };
    let first = run();
    assert_eq!(first.len(), 100);
    assert_eq!(first, run());
}

#[test]
fn a_device_can_be_shared_among_threads() {
    fn check<T: Send + Sync + Clone>(_: &T) {}
    let wire = Script::default();
    let nic = Nic::new(NicConfig::default(), wire);
    check(&nic);
}
