//! Registers, by message and through shared memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use barewire_bus::vfio_user::{REGION_FLAG_MMAP, SparseArea};
use barewire_bus::{Bar, BusError, PciFunction};

use super::device::{BAR_BYTES, Device, PAGE, memory, open};

#[test]
fn registers_are_reached_by_message_and_through_shared_memory() {
    let device = Device::new();
    let shared = device.shared.try_clone().unwrap();
    let (function, server) = open(device);
    let function = function.unwrap();
    assert_eq!(function.config_read32(4).unwrap(), 0x0706_0504);
    function.config_write32(4, 0x1234_5678).unwrap();
    assert_eq!(function.config_read32(4).unwrap(), 0x1234_5678);

    let bar = function.bar(0).unwrap();
    assert_eq!((bar.size(), bar.mapped_bytes()), (0x4000, 0x1000));
    assert_eq!(bar.read32(0x10), 0x1312_1110);
    bar.write32(0x10, 7);
    assert_eq!(
        (bar.read32(0x10), bar.read16(0x10), bar.read8(0x13)),
        (7, 7, 0)
    );
    bar.write16(0x12, 0x0102);
    bar.write8(0x11, 3);
    assert_eq!(bar.read32(0x10), 0x0102_0307);

    bar.write32(0x1ffc, 0xcafe);
    assert_eq!(bar.read32(0x1ffc), 0xcafe);
    let mut bytes = [0; 4];
    shared.read_exact_at(&mut bytes, 0x1ffc).unwrap();
    assert_eq!(bytes, 0xcafe_u32.to_le_bytes());
    shared.write_all_at(&9u32.to_le_bytes(), 0x1000).unwrap();
    assert_eq!(
        (bar.read32(0x1000), bar.read16(0x1000), bar.read8(0x1000)),
        (9, 9, 9)
    );

    for outside in [0x4000, 0x3ffe, u32::MAX, 1] {
        assert_eq!(bar.read32(outside), u32::MAX);
        bar.write32(outside, 1);
    }
    assert!(matches!(
        function.bar(1),
        Err(BusError::NoBar { index: 1, .. })
    ));
    assert!(matches!(
        function.bar(7),
        Err(BusError::NoBar { index: 7, .. })
    ));
    drop((function, bar));
    let device = server.join().unwrap();
    assert_eq!((device.resets, device.posted, device.waited_for), (1, 0, 4));
}

#[test]
fn writes_are_posted_where_no_store_can_overtake_them() {
    let mut device = Device::new();
    device.bar_info.flags &= !REGION_FLAG_MMAP;
    device.bar_info.areas.clear();
    let (function, server) = open(device);
    let bar = function.unwrap().bar(0).unwrap();
    assert_eq!(bar.mapped_bytes(), 0);
    for value in 0..100 {
        bar.write32(0x1000, value);
    }
    assert_eq!(bar.read32(0x1000), 99);
    drop(bar);
    assert_eq!(server.join().unwrap().posted, 100);
}

#[test]
fn only_memory_that_is_there_and_stays_there_is_mapped() {
    let area = |offset, size| SparseArea { offset, size };
    let sealed = || memory(BAR_BYTES, true);
    for (number, (areas, offset, shared)) in [
        (vec![PAGE], 0, memory(BAR_BYTES, false)),
        (vec![PAGE], 0, memory(0x1fff, true)),
        (vec![PAGE], BAR_BYTES - 0x1000, sealed()),
        (vec![PAGE], u64::MAX - 4095, sealed()),
        (vec![PAGE], 12, sealed()),
        (vec![area(0x3000, 0x2000)], 0, memory(1 << 20, true)),
        (vec![area(0x4000, 0x1000)], 0, memory(1 << 20, true)),
        (vec![area(u64::MAX - 4095, 0x2000)], 0, sealed()),
        (vec![area(0x1000, 0)], 0, sealed()),
        (vec![area(0x1004, 0x1000)], 0, sealed()),
        (vec![area(0x1000, 0x0800)], 0, sealed()),
        (vec![PAGE, PAGE], 0, sealed()),
        (vec![area(0, 0x3000), PAGE], 0, sealed()),
        (vec![PAGE; 300], 0, sealed()),
        (vec![PAGE], 0, File::open("/dev/null").unwrap()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut device = Device::new();
        device.bar_info.areas = areas;
        device.bar_info.offset = offset;
        device.shared = shared;
        let (function, server) = open(device);
        let function = function.unwrap();
        let bar = function.bar(0).unwrap();
        assert_eq!(bar.mapped_bytes(), 0, "{number}");
        // by message it works all the same
        assert_eq!(bar.read32(0x1000), 0x0302_0100, "{number}");
        drop((function, bar));
        server.join().unwrap();
    }
    // without a list of parts, all of it
    let mut device = Device::new();
    device.bar_info.areas.clear();
    let (function, server) = open(device);
    let bar = function.unwrap().bar(0).unwrap();
    assert_eq!(bar.mapped_bytes(), 0x4000);
    drop(bar);
    server.join().unwrap();
}

#[test]
fn a_bar_larger_than_offsets_reach_is_cut() {
    let mut device = Device::new();
    device.bar_info.size = u64::MAX;
    let (function, server) = open(device);
    let bar = function.unwrap().bar(0).unwrap();
    assert_eq!(bar.size(), u32::MAX - 4095);
    drop(bar);
    server.join().unwrap();
}
