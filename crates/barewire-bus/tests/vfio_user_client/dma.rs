//! The client's memory: what the device may reach of it, and how.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use barewire_bus::vfio_user::{
    Command, DMA_READABLE, DMA_WRITABLE, DmaAccess, Kind, MAX_DATA, MapRequest, RemoteFunction,
};
use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use rustix::io::Errno;

use super::device::{Device, LONG, open};

#[test]
fn memory_is_shared_at_addresses_of_its_own_until_unmapped() {
    let (function, server) = open(Device::new().trick(|_, message| {
        // the device writes into what it was given
        if message.header.command() == Some(Command::DmaMap) {
            let map = MapRequest::decode(&message.payload).unwrap();
            assert_eq!(map.flags, DMA_READABLE | DMA_WRITABLE);
            let file = File::from(message.fds[0].try_clone().unwrap());
            file.write_all_at(&map.address.to_ne_bytes(), map.offset)
                .unwrap();
        }
        None
    }));
    let function = function.unwrap();
    let dma = function.dma();
    let regions: Vec<_> = (1..4)
        .map(|pages| DmaRegion::allocate(pages * 4096, Pages::Ordinary).unwrap())
        .collect();
    let mut end = 1 << 32;
    let layouts: Vec<_> = regions
        .iter()
        .map(|region| dma.map(region).unwrap())
        .collect();
    for (region, layout) in regions.iter().zip(&layouts) {
        let Layout::Linear(iova) = layout else {
            panic!("{layout:?}")
        };
        assert!(iova.get() >= end);
        end = iova.get() + region.len() as u64;
        assert_eq!(region.words()[0].load(Ordering::Relaxed), iova.get());
    }
    dma.unmap(&regions[1], &layouts[1]);
    let again = dma.map(&regions[1]).unwrap();
    assert!(!layouts.contains(&again));
    drop((dma, function));
    let maps = server.join().unwrap().maps;
    let sizes: Vec<_> = maps.iter().map(|(map, _)| map.size).collect();
    assert_eq!(sizes, [4096, 3 * 4096, 2 * 4096]);
}

#[test]
fn a_server_that_cannot_map_memory_reads_and_writes_it_by_message() {
    let mut address = 0;
    let (function, server) = open(Device::new().trick(move |connection, message| {
        match message.header.command() {
            Some(Command::DmaMap) => {
                address = MapRequest::decode(&message.payload).unwrap().address;
            }
            // before it answers a read, it doubles a number in the client's memory
            Some(Command::RegionRead) => {
                let mut call = |command, access: DmaAccess, data: &[u8]| {
                    let payload = [&access.encode()[..], data];
                    connection.call(command, &payload, &[], LONG).unwrap()
                };
                let at = |offset, count| DmaAccess {
                    address: address + offset,
                    count,
                };
                let read = call(Command::DmaRead, at(4000, 8), &[]);
                let (_, data) = DmaAccess::decode_with_data(&read.payload).unwrap();
                let doubled = 2 * u64::from_ne_bytes(data.try_into().unwrap());
                call(Command::DmaWrite, at(4000, 8), &doubled.to_ne_bytes());
                // what is not there is refused, and nothing else happens
                for wrong in [at(4090, 8), at(4096, 1), at(u64::MAX - address, 2)] {
                    let data = vec![0; wrong.count as usize];
                    for (command, data) in [(Command::DmaRead, &[][..]), (Command::DmaWrite, &data)]
                    {
                        let refused = call(command, wrong, data).header.kind;
                        let error = Errno::FAULT.raw_os_error() as u32;
                        assert_eq!(refused, Kind::Reply { error: Some(error) });
                    }
                }
            }
            _ => {}
        }
        None
    }));
    let function = function.unwrap();
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    function.dma().map(&region).unwrap();
    region.words()[500].store(21, Ordering::Relaxed);
    assert_eq!(function.bar(0).unwrap().read32(0), 0x0302_0100);
    assert_eq!(region.words()[500].load(Ordering::Relaxed), 42);
    drop(function);
    server.join().unwrap();
}

#[test]
fn requests_of_the_server_are_answered_while_the_driver_waits() {
    let (near, far) = UnixStream::pair().unwrap();
    let (go, told) = std::sync::mpsc::channel();
    let device = Device::new().trick(move |connection, message| {
        if message.header.command() != Some(Command::DmaMap) {
            return None;
        }
        let map = MapRequest::decode(&message.payload).unwrap();
        connection.reply(&message.header, &[], &[], LONG).unwrap();
        told.recv().unwrap();
        let access = DmaAccess {
            address: map.address,
            count: 8,
        };
        let payload = [&access.encode()[..], &7u64.to_ne_bytes()];
        connection
            .call(Command::DmaWrite, &payload, &[], LONG)
            .unwrap();
        Some(())
    });
    let server = device.serve(far);
    let function = RemoteFunction::over(near, "vfio-user:test", LONG).unwrap();
    let bar = function.bar(0).unwrap();
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    function.dma().map(&region).unwrap();
    go.send(()).unwrap();
    for _ in 0..10_000 {
        bar.delay(Duration::from_millis(1));
        if region.words()[0].load(Ordering::Relaxed) == 7 {
            drop((function, bar));
            server.join().unwrap();
            return;
        }
    }
    panic!("the device never got at the memory");
}

#[test]
fn the_limits_of_one_message_are_kept() {
    // more than a message carries is refused before anything is sent
    let (function, server) = open(Device::new().trick(|connection, message| {
        if message.header.command() != Some(Command::RegionRead) {
            return None;
        }
        let access = DmaAccess {
            address: 1 << 32,
            count: MAX_DATA as u64 + 1,
        };
        let answer = connection
            .call(Command::DmaRead, &[&access.encode()], &[], LONG)
            .unwrap();
        let error = Errno::INVAL.raw_os_error() as u32;
        assert_eq!(answer.header.kind, Kind::Reply { error: Some(error) });
        None
    }));
    let function = function.unwrap();
    let region = DmaRegion::allocate(2 << 20, Pages::Ordinary).unwrap();
    function.dma().map(&region).unwrap();
    assert_eq!(function.config_read32(0).unwrap(), 0x0302_0100);
    drop(function);
    server.join().unwrap();
}
