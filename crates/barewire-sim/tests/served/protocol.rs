//! What the server says and what it refuses.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use barewire_bus::vfio_user::{
    Command, Connection, DMA_READABLE, DMA_WRITABLE, DeviceInfo, IrqAction, IrqData, IrqInfo, Kind,
    RegionAccess, RegionInfo, RegionWrites, SetIrqs, Version, pci,
};
use barewire_dma::{DmaRegion, Pages};
use barewire_sim::serve::Doorbells;
use barewire_spec::ixgbe::{EICS, EIMS, GPIE, IVAR_MISC, LEDCTL, STATUS};
use barewire_spec::pci::config::{self, i82599};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::bench::Bench;
use crate::client::{Client, Given, LIMIT};

fn bench() -> (Bench, Client) {
    let bench = Bench::new(Doorbells::Trapped);
    let client = Client::connect(&bench.path, Given::Sealed);
    (bench, client)
}

#[test]
fn the_minor_version_is_never_above_the_clients() {
    let bench = Bench::new(Doorbells::Trapped);
    for (minor, expected) in [(0, 0), (1, 1), (7, 1)] {
        let stream = UnixStream::connect(&bench.path).unwrap();
        let mut connection = Connection::new(stream).unwrap();
        let version = Version {
            minor,
            ..Version::default()
        };
        let reply = connection
            .call(Command::Version, &[&version.encode()], &[], LIMIT)
            .unwrap();
        let answer = Version::decode(&reply.payload).unwrap();
        assert_eq!((answer.major, answer.minor), (0, expected));
        assert!(answer.capabilities.max_msg_fds.unwrap() <= 16);
        assert_eq!(answer.capabilities.write_multiple, None);
    }
    let stream = UnixStream::connect(&bench.path).unwrap();
    let mut connection = Connection::new(stream).unwrap();
    // Nothing before the version, and no other major one.
    let early = connection
        .call(Command::DeviceReset, &[], &[], LIMIT)
        .unwrap();
    assert!(matches!(early.header.kind, Kind::Reply { error: Some(_) }));
    let version = Version {
        major: 1,
        ..Version::default()
    };
    let refused = connection
        .call(Command::Version, &[&version.encode()], &[], LIMIT)
        .unwrap();
    assert!(matches!(
        refused.header.kind,
        Kind::Reply { error: Some(_) }
    ));
    assert!(connection.receive(LIMIT).is_err());
}

#[test]
fn the_device_describes_itself() {
    let (_bench, client) = bench();
    let info = DeviceInfo {
        argsz: 16,
        ..DeviceInfo::default()
    };
    let reply = client
        .call(Command::DeviceGetInfo, &info.encode(), &[])
        .unwrap();
    let info = DeviceInfo::decode(&reply.payload).unwrap();
    assert_eq!((info.flags, info.regions, info.irqs), (3, 9, 5));
    let sizes: Vec<u64> = (0..9)
        .map(|index| {
            let asked = RegionInfo {
                argsz: 32,
                index,
                ..RegionInfo::default()
            };
            let reply = client
                .call(Command::DeviceGetRegionInfo, &asked.encode(32), &[])
                .unwrap();
            RegionInfo::decode(&reply.payload).unwrap().size
        })
        .collect();
    assert_eq!(sizes, [0x2_0000, 0, 0, 0x4000, 0, 0, 0, 4096, 0]);
    let counts: Vec<u32> = (0..5)
        .map(|index| {
            let asked = IrqInfo {
                argsz: 16,
                index,
                ..IrqInfo::default()
            };
            let reply = client
                .call(Command::DeviceGetIrqInfo, &asked.encode(), &[])
                .unwrap();
            IrqInfo::decode(&reply.payload).unwrap().count
        })
        .collect();
    assert_eq!(counts, [1, 1, 64, 1, 1]);
    for (command, payload) in [
        (
            Command::DeviceGetRegionInfo,
            RegionInfo {
                index: 9,
                ..RegionInfo::default()
            }
            .encode(32),
        ),
        (
            Command::DeviceGetIrqInfo,
            IrqInfo {
                index: 5,
                ..IrqInfo::default()
            }
            .encode(),
        ),
        (Command::DeviceGetInfo, vec![0; 3]),
    ] {
        assert_eq!(
            client.call(command, &payload, &[]).unwrap_err(),
            Errno::INVAL
        );
    }
    let unknown = client.call(Command::DeviceFeature, &[], &[]);
    assert_eq!(unknown.unwrap_err(), Errno::NOSYS);
}

#[test]
fn configuration_space_in_every_size() {
    let (_bench, client) = bench();
    let mut all = vec![0; 4096];
    client.read(pci::REGION_CONFIG, 0, &mut all).unwrap();
    assert_eq!(all[..4], [0x86, 0x80, 0xFB, 0x10]);
    for offset in [0u64, 1, 2, 0x3D, 0xFF, 0x100, 0xFFE] {
        for size in [1, 2] {
            let mut part = vec![0; size];
            client.read(pci::REGION_CONFIG, offset, &mut part).unwrap();
            assert_eq!(part, all[offset as usize..][..size], "{offset:#x}");
        }
    }
    let (space, bar) = (pci::REGION_CONFIG, u64::from(config::BAR0));
    client.write(space, bar, &[0xFF; 4]).unwrap();
    client.write(space, bar + 4, &[0xFF; 4]).unwrap();
    assert_eq!(client.config(bar) & !0xF, !(0x2_0000 - 1));
    assert_eq!(client.config(bar + 4), u32::MAX);
    // The power state reads back what was written, by one byte or by two.
    let power = u64::from(i82599::POWER_MANAGEMENT + config::power_management::CONTROL);
    for state in [3u8, 0] {
        client.write(space, power, &[state]).unwrap();
        assert_eq!(client.config(power) & 3, u32::from(state));
    }
    let wrong = [(4096, 1), (4095, 2), (0, 0), (u64::MAX, 4)];
    for (offset, size) in wrong {
        let refused = client.read(space, offset, &mut vec![0; size]);
        assert_eq!(refused.unwrap_err(), Errno::INVAL, "{offset:#x}");
    }
    let refused = client.read(pci::REGION_ROM, 0, &mut [0; 4]);
    assert_eq!(refused.unwrap_err(), Errno::INVAL);
}

#[test]
fn resets_are_three() {
    let (bench, client) = bench();
    let space = pci::REGION_CONFIG;
    let express = i82599::PCI_EXPRESS + config::express::DEVICE_CONTROL;
    let flr = config::express::DEVICE_CONTROL_FLR.to_le_bytes();
    let fresh = client.register(LEDCTL.base);
    let mark = fresh ^ 0x1;
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    let address = client.map(&region);

    client.set_register(LEDCTL.base, mark);
    client.call(Command::DeviceReset, &[], &[]).unwrap();
    assert_eq!(client.register(LEDCTL.base), fresh);

    client.set_register(LEDCTL.base, mark);
    client.write(space, express.into(), &flr).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(10));
    assert_eq!(client.register(LEDCTL.base), fresh);

    // Memory is the client's: no reset takes it away, and it is there once.
    let file = region.memfd().try_clone_to_owned().unwrap();
    let again = client.map_at(address, 4096, 0, Some(&file), DMA_READABLE | DMA_WRITABLE);
    assert_eq!(again.unwrap_err(), Errno::EXIST);
    client.set_register(LEDCTL.base, mark);
    drop(client);

    let client = Client::connect(&bench.path, Given::Sealed);
    assert_eq!(client.register(LEDCTL.base), fresh);
    client
        .map_at(address, 4096, 0, Some(&file), DMA_READABLE | DMA_WRITABLE)
        .unwrap();
    bench.assert_clean();
}

#[test]
fn memory_is_mapped_within_reason() {
    let (_bench, client) = bench();
    let region = DmaRegion::allocate(0x4000, Pages::Ordinary).unwrap();
    let file = region.memfd().try_clone_to_owned().unwrap();
    let both = DMA_READABLE | DMA_WRITABLE;
    let map =
        |address, size, offset, flags| client.map_at(address, size, offset, Some(&file), flags);
    map(0x1_0000, 0x2000, 0, both).unwrap();
    assert_eq!(map(0x1_1000, 0x2000, 0, both).unwrap_err(), Errno::EXIST);
    assert_eq!(map(0xF000, 0x1001, 0, both).unwrap_err(), Errno::EXIST);
    map(0x1_2000, 0x1000, 0x3000, DMA_READABLE).unwrap();
    // Behind the end of the file, past the end of all addresses, without size, without sense.
    for (address, size, offset, flags) in [
        (0x5_0000, 0x4000, 0x1000, both),
        (0x5_0000, 0x1000, u64::MAX, both),
        (0x5_0000, 0, 0, both),
        (u64::MAX, 0x1000, 0, both),
        (0x5_0000, 0x1000, 0, 0x80),
    ] {
        assert_eq!(map(address, size, offset, flags).unwrap_err(), Errno::INVAL);
    }
    let (_, pipe) = std::io::pipe().unwrap();
    let pipe = OwnedFd::from(pipe);
    let refused = client.map_at(0x5_0000, 0x1000, 0, Some(&pipe), both);
    assert_eq!(refused.unwrap_err(), Errno::INVAL);
    // Without a file, and of any size: it is the client's word.
    client.map_at(0x10_0000, 1 << 40, 0, None, both).unwrap();
    // What was never mapped may be unmapped; a part of what was, too.
    client.unmap_at(0x9000_0000, 0x1000).unwrap();
    client.unmap_at(0x1_1000, 0x1000).unwrap();
    map(0x1_1000, 0x1000, 0, both).unwrap();
    client.unmap_at(0, 1 << 63).unwrap();
    map(0x1_0000, 0x2000, 0, both).unwrap();
    assert_eq!(client.unmap_at(0, 0).unwrap_err(), Errno::INVAL);
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

fn count(event: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::read(event, &mut bytes) {
        Ok(_) => u64::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}

fn set(index: u32, start: u32, count: u32, action: IrqAction, data: IrqData) -> Vec<u8> {
    SetIrqs {
        index,
        start,
        count,
        action,
        data,
    }
    .encode()
}

/// Waits until an eventfd has been signalled.
fn wait(event: &OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(
        event,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)), Ok(1));
}

#[test]
fn vectors_reach_their_eventfds() {
    let (bench, client) = bench();
    let irqs = |payload: Vec<u8>, fds: &[&OwnedFd]| {
        client
            .call(Command::DeviceSetIrqs, &payload, fds)
            .map(|_| ())
    };
    let events: Vec<_> = (0..4).map(|_| event()).collect();
    let fds: Vec<_> = events.iter().collect();
    let (msix, trigger) = (pci::IRQ_MSIX, IrqAction::Trigger);
    irqs(set(msix, 2, 4, trigger, IrqData::EventFd), &fds).unwrap();
    // The client may fire them itself.
    irqs(
        set(msix, 2, 2, trigger, IrqData::Bool(vec![false, true])),
        &[],
    )
    .unwrap();
    assert_eq!(events.iter().map(count).collect::<Vec<_>>(), [0, 1, 0, 0]);

    // The device fires the vector of "other" causes.
    let space = pci::REGION_CONFIG;
    let control = u64::from(i82599::MSIX + config::msix::CONTROL);
    client
        .write(space, control, &(config::msix::ENABLE | 63).to_le_bytes())
        .unwrap();
    client.set_register(GPIE.base, 0x10);
    client.set_register(IVAR_MISC.base, 0x8000 | 5 << 8);
    client.set_register(EIMS.base, 1 << 20);
    client.set_register(EICS.base, 1 << 20);
    wait(&events[3]);
    assert_eq!(count(&events[3]), 1);
    // Taken down by a count of 1 without descriptor, and not by what makes no sense.
    irqs(set(msix, 5, 1, trigger, IrqData::EventFd), &[]).unwrap();
    irqs(set(msix, 5, 1, trigger, IrqData::None), &[]).unwrap();
    assert_eq!(count(&events[3]), 0);
    let file = tempfile::tempfile().unwrap().into();
    for (payload, fds) in [
        (set(msix, 2, 1, trigger, IrqData::EventFd), vec![&file]),
        (set(msix, 2, 2, trigger, IrqData::EventFd), vec![&events[0]]),
        (set(msix, 63, 2, trigger, IrqData::EventFd), vec![]),
        (set(msix, 64, 0, trigger, IrqData::None), vec![]),
        (set(9, 0, 1, trigger, IrqData::None), vec![]),
        (set(msix, 0, 1, IrqAction::Mask, IrqData::None), vec![]),
    ] {
        assert_eq!(irqs(payload, &fds).unwrap_err(), Errno::INVAL);
    }
    irqs(set(msix, 2, 1, trigger, IrqData::None), &[]).unwrap();
    assert_eq!(count(&events[0]), 1);
    irqs(set(msix, 0, 0, trigger, IrqData::None), &[]).unwrap();
    irqs(set(msix, 2, 1, trigger, IrqData::None), &[]).unwrap();
    assert_eq!(count(&events[0]), 0);
    bench.assert_clean();
}

#[test]
fn a_line_fires_once_until_it_is_unmasked() {
    let (bench, client) = bench();
    let irqs = |payload: Vec<u8>, fds: &[&OwnedFd]| {
        client
            .call(Command::DeviceSetIrqs, &payload, fds)
            .map(|_| ())
            .unwrap();
    };
    let line = event();
    let index = pci::IRQ_INTX;
    irqs(
        set(index, 0, 1, IrqAction::Trigger, IrqData::EventFd),
        &[&line],
    );
    client.set_register(EIMS.base, 1 << 20);
    client.set_register(EICS.base, 1 << 20);
    wait(&line);
    assert_eq!(count(&line), 1);
    // Masked by itself: it is still down, and says nothing more.
    client.register(STATUS.base);
    assert_eq!(count(&line), 0);
    irqs(set(index, 0, 1, IrqAction::Unmask, IrqData::None), &[]);
    wait(&line);
    assert_eq!(count(&line), 1);
    // Unmasked by an eventfd of the client's, while the cause is there; then it is not.
    let unmask = event();
    irqs(
        set(index, 0, 1, IrqAction::Unmask, IrqData::EventFd),
        &[&unmask],
    );
    rustix::io::write(&unmask, &1u64.to_ne_bytes()).unwrap();
    wait(&line);
    assert_eq!(count(&line), 1);
    client.register(barewire_spec::ixgbe::EICR.base);
    irqs(set(index, 0, 1, IrqAction::Unmask, IrqData::None), &[]);
    client.register(STATUS.base);
    assert_eq!(count(&line), 0);
    bench.assert_clean();
}

#[test]
fn posted_writes_and_several_in_one_message() {
    let bench = Bench::new(Doorbells::Trapped);
    let stream = UnixStream::connect(&bench.path).unwrap();
    let mut connection = Connection::new(stream).unwrap();
    let mut version = Version {
        minor: 1,
        ..Version::default()
    };
    version.capabilities.write_multiple = Some(true);
    let reply = connection
        .call(Command::Version, &[&version.encode()], &[], LIMIT)
        .unwrap();
    let ours = Version::decode(&reply.payload).unwrap();
    assert_eq!(ours.capabilities.write_multiple, Some(true));
    let at = |count| RegionAccess {
        offset: LEDCTL.base.into(),
        region: 0,
        count,
    };
    let read = |connection: &mut Connection| {
        let reply = connection
            .call(Command::RegionRead, &[&at(4).encode()], &[], LIMIT)
            .unwrap();
        u32::from_le_bytes(reply.payload[16..20].try_into().unwrap())
    };
    let fresh = read(&mut connection);
    let value = fresh ^ 1;
    connection
        .post(
            Command::RegionWrite,
            &[&at(4).encode(), &value.to_le_bytes()],
            LIMIT,
        )
        .unwrap();
    assert_eq!(read(&mut connection), value);
    let word = |value: u32| {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&value.to_le_bytes());
        (at(4), data)
    };
    let writes = RegionWrites {
        writes: vec![word(value ^ 2), word(fresh)],
    };
    connection
        .call(Command::RegionWriteMulti, &[&writes.encode()], &[], LIMIT)
        .unwrap();
    assert_eq!(read(&mut connection), fresh);
    bench.assert_clean();
}

#[test]
fn who_gathers_writes_gets_no_pages_unless_they_are_forced() {
    let mappable = |doorbells: Doorbells, gathers: bool| {
        let bench = Bench::new(doorbells);
        let stream = UnixStream::connect(&bench.path).unwrap();
        let mut connection = Connection::new(stream).unwrap();
        let mut version = Version::default();
        version.capabilities.write_multiple = gathers.then_some(true);
        connection
            .call(Command::Version, &[&version.encode()], &[], LIMIT)
            .unwrap();
        let asked = RegionInfo {
            argsz: 256,
            index: pci::REGION_BAR0,
            ..RegionInfo::default()
        };
        let reply = connection
            .call(
                Command::DeviceGetRegionInfo,
                &[&asked.encode(256)],
                &[],
                LIMIT,
            )
            .unwrap();
        !RegionInfo::decode(&reply.payload).unwrap().areas.is_empty()
    };
    assert!(mappable(Doorbells::Auto, false));
    assert!(!mappable(Doorbells::Auto, true));
    assert!(mappable(Doorbells::Mapped, true));
    assert!(!mappable(Doorbells::Trapped, false));
}
