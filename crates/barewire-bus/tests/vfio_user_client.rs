//! The client against a server made here: one that tells the truth, and ones that do not.
#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use barewire_bus::vfio_user::{
    Capabilities, Command, Connection, DEVICE_FLAG_PCI, DEVICE_FLAG_RESET, DMA_READABLE,
    DMA_WRITABLE, DeviceInfo, DmaAccess, IRQ_FLAG_EVENTFD, IrqAction, IrqData, IrqInfo, MAX_DATA,
    MapRequest, Message, REGION_FLAG_MMAP, REGION_FLAG_READ, REGION_FLAG_WRITE, RegionAccess,
    RegionInfo, RegionWrite, RemoteFunction, SetIrqs, SparseArea, UnmapRequest, Version, pci,
};
use barewire_bus::{Bar, BusError, InterruptKind, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;

/// For answers that come.
const LONG: Duration = Duration::from_secs(20);
/// For answers that don't.
const SHORT: Duration = Duration::from_millis(30);

/// A register that fires the interrupt whose number is written to it.
const DOORBELL: u32 = 0x20;
const BAR_BYTES: u64 = 0x4000;
/// The mapped page of the BAR.
const PAGE: SparseArea = SparseArea {
    offset: 0x1000,
    size: 0x1000,
};

/// What a test makes of a message of the client before the device sees it; `None` to let it pass.
type Trick = Box<dyn FnMut(&mut Connection, &Message) -> Option<()> + Send>;

/// A device with a BAR, configuration space and interrupts.
struct Device {
    bar: Vec<u8>,
    shared: File,
    config: Vec<u8>,
    bar_info: RegionInfo,
    maps: Vec<(MapRequest, OwnedFd)>,
    events: Vec<OwnedFd>,
    message_fds: u64,
    resets: usize,
    posted: usize,
    waited_for: usize,
    trick: Option<Trick>,
}

fn memory(bytes: u64, sealed: bool) -> File {
    let memfd = memfd_create("bar", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memfd, bytes).unwrap();
    if sealed {
        fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
    }
    memfd.into()
}

impl Device {
    fn new() -> Self {
        Self {
            bar: (0..BAR_BYTES).map(|at| at as u8).collect(),
            shared: memory(BAR_BYTES, true),
            config: (0..=255).collect(),
            bar_info: RegionInfo {
                flags: REGION_FLAG_READ | REGION_FLAG_WRITE | REGION_FLAG_MMAP,
                size: BAR_BYTES,
                areas: vec![PAGE],
                ..RegionInfo::default()
            },
            maps: Vec::new(),
            events: Vec::new(),
            message_fds: 3,
            resets: 0,
            posted: 0,
            waited_for: 0,
            trick: None,
        }
    }

    fn trick(
        mut self,
        trick: impl FnMut(&mut Connection, &Message) -> Option<()> + Send + 'static,
    ) -> Self {
        self.trick = Some(Box::new(trick));
        self
    }

    /// Serves until the client goes.
    fn serve(mut self, stream: UnixStream) -> JoinHandle<Self> {
        std::thread::spawn(move || {
            let mut connection = Connection::new(stream).unwrap();
            while let Ok(message) = connection.receive(LONG) {
                let tricked = self
                    .trick
                    .as_mut()
                    .and_then(|trick| trick(&mut connection, &message));
                if tricked.is_none() && self.answer(&mut connection, message).is_none() {
                    break;
                }
            }
            self
        })
    }

    fn region(&mut self, number: u32) -> &mut [u8] {
        match number {
            pci::REGION_BAR0 => &mut self.bar,
            pci::REGION_CONFIG => &mut self.config,
            _ => &mut [],
        }
    }

    fn answer(&mut self, connection: &mut Connection, message: Message) -> Option<()> {
        let header = message.header;
        let mut fds = Vec::new();
        let payload = match header.command()? {
            Command::Version => Version {
                capabilities: Capabilities {
                    max_msg_fds: Some(self.message_fds),
                    ..Capabilities::default()
                },
                ..Version::decode(&message.payload).ok()?
            }
            .encode(),
            Command::DeviceGetInfo => DeviceInfo {
                argsz: 16,
                flags: DEVICE_FLAG_PCI | DEVICE_FLAG_RESET,
                regions: pci::REGIONS,
                irqs: pci::IRQS,
            }
            .encode(),
            Command::DeviceGetRegionInfo => {
                let asked = RegionInfo::decode(&message.payload).ok()?;
                let mut info = match asked.index {
                    pci::REGION_BAR0 => self.bar_info.clone(),
                    pci::REGION_CONFIG => RegionInfo {
                        size: 256,
                        flags: REGION_FLAG_READ | REGION_FLAG_WRITE,
                        ..RegionInfo::default()
                    },
                    _ => RegionInfo::default(),
                };
                info.index = asked.index;
                info.argsz = info.full_bytes();
                if info.flags & REGION_FLAG_MMAP != 0 && asked.argsz >= info.argsz {
                    fds.push(self.shared.as_fd());
                }
                info.encode(asked.argsz)
            }
            Command::DeviceReset => {
                self.resets += 1;
                Vec::new()
            }
            Command::DmaMap => {
                let map = MapRequest::decode(&message.payload).ok()?;
                self.maps.push((map, message.fds.into_iter().next()?));
                Vec::new()
            }
            Command::DmaUnmap => {
                let unmap = UnmapRequest::decode(&message.payload).ok()?;
                self.maps.retain(|(map, _)| map.address != unmap.address);
                message.payload
            }
            Command::RegionRead => {
                let access = RegionAccess::decode(&message.payload).ok()?;
                let start = access.offset as usize;
                let bytes = &self.region(access.region)[start..start + access.count as usize];
                [&access.encode()[..], bytes].concat()
            }
            Command::RegionWrite => {
                let write = RegionWrite::decode(&message.payload).ok()?;
                let start = write.access.offset as usize;
                self.region(write.access.region)[start..start + write.data.len()]
                    .copy_from_slice(write.data);
                if write.access.offset == u64::from(DOORBELL)
                    && let Some(event) = self.events.get(usize::from(write.data[0]))
                {
                    rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
                }
                if header.wants_reply() {
                    self.waited_for += 1;
                } else {
                    self.posted += 1;
                }
                write.access.encode().to_vec()
            }
            Command::DeviceGetIrqInfo => {
                let asked = IrqInfo::decode(&message.payload).ok()?;
                IrqInfo {
                    flags: IRQ_FLAG_EVENTFD,
                    count: if asked.index == pci::IRQ_MSIX { 8 } else { 0 },
                    ..asked
                }
                .encode()
            }
            Command::DeviceSetIrqs => {
                let set = SetIrqs::decode(&message.payload).ok()?;
                assert_eq!(set.action, IrqAction::Trigger);
                if set.data == IrqData::None && set.count == 0 {
                    self.events.clear();
                } else {
                    assert_eq!(set.start as usize, self.events.len());
                    assert_eq!(set.count as usize, message.fds.len());
                    self.events.extend(message.fds);
                }
                Vec::new()
            }
            _ => return connection.refuse(&header, Errno::NOTSUP, LONG).ok(),
        };
        connection.reply(&header, &[&payload], &fds, LONG).ok()
    }
}

fn open(device: Device) -> (Result<RemoteFunction, BusError>, JoinHandle<Device>) {
    open_within(device, LONG)
}

fn open_within(
    device: Device,
    patience: Duration,
) -> (Result<RemoteFunction, BusError>, JoinHandle<Device>) {
    let (near, far) = UnixStream::pair().unwrap();
    let server = device.serve(far);
    let function = RemoteFunction::over(near, "vfio-user:test", patience);
    (function, server)
}

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
                        assert_eq!(
                            refused,
                            barewire_bus::vfio_user::Kind::Reply { error: Some(error) }
                        );
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
fn interrupts_come_by_eventfd_each_on_its_own() {
    let (function, server) = open(Device::new());
    let function = function.unwrap();
    let too_many = function.interrupts(9).unwrap_err().to_string();
    assert!(too_many.contains("8 MSI-X vectors"), "{too_many}");
    // with at most three descriptors a message
    let interrupts = function.interrupts(8).unwrap();
    assert_eq!(interrupts.kind(), InterruptKind::MsiX);
    assert_eq!(interrupts.vectors().len(), 8);
    let bar = function.bar(0).unwrap();
    for fired in 0..8 {
        bar.write32(DOORBELL, fired);
        for (vector, event) in (0..).zip(interrupts.vectors()) {
            assert_eq!(event.clear(), vector == fired);
        }
    }
    // taken down, for the next who wants them
    drop(interrupts);
    let again = function.interrupts(2).unwrap();
    bar.write32(DOORBELL, 1);
    assert!(again.vectors()[1].clear());
    drop((function, bar, again));
    assert!(server.join().unwrap().events.is_empty());
}

#[test]
fn a_server_that_goes_leaves_a_device_that_is_gone() {
    let (function, server) = open(Device::new().trick(|_, message| {
        let gone = message.header.command() == Some(Command::RegionRead);
        gone.then(|| panic!("the server dies"))
    }));
    let function = function.unwrap();
    let bar = function.bar(0).unwrap();
    bar.write32(0x1000, 5);
    assert_eq!(bar.read32(0x1000), 5);
    assert!(!function.is_gone());
    assert_eq!(bar.read32(0), u32::MAX);
    assert!(function.is_gone());
    assert_eq!(
        (bar.read32(0x1000), bar.read16(0), bar.read8(0)),
        (u32::MAX, u16::MAX, u8::MAX)
    );
    bar.write32(0, 1);
    bar.write32(0x1000, 1);
    let error = function.config_read32(0).unwrap_err().to_string();
    assert!(
        error.contains("vfio-user:test") && error.contains("gone"),
        "{error}"
    );
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    assert!(function.dma().map(&region).is_err());
    assert!(function.interrupts(1).is_err());
    assert!(server.join().is_err());
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let (near, _far) = UnixStream::pair().unwrap();
    let error = RemoteFunction::over(near, "vfio-user:silent", SHORT).unwrap_err();
    assert!(
        error.to_string().contains("busy with another client"),
        "{error}"
    );

    let (function, server) = open_within(
        Device::new().trick(|_, message| {
            (message.header.command() == Some(Command::RegionRead)).then_some(())
        }),
        SHORT,
    );
    let bar = function.unwrap().bar(0).unwrap();
    for _ in 0..1_000 {
        // the first waits, the others know
        assert_eq!(bar.read32(0), u32::MAX);
    }
    drop(bar);
    server.join().unwrap();
}

/// A device that answers `command` with what `lie` makes of the truth.
fn lying(command: Command, lie: impl Fn(&Message) -> Vec<u8> + Send + 'static) -> Device {
    Device::new().trick(move |connection, message| {
        if message.header.command() != Some(command) {
            return None;
        }
        let payload = lie(message);
        connection
            .reply(&message.header, &[&payload], &[], LONG)
            .ok()
    })
}

#[test]
fn answers_about_something_else_are_the_end() {
    let lies: [fn(RegionAccess) -> Vec<u8>; 6] = [
        |access| [&access.encode()[..], &[0; 3]].concat(),
        |access| [&access.encode()[..], &[0; 5]].concat(),
        |access| {
            RegionAccess { count: 3, ..access }
                .encode()
                .into_iter()
                .chain([0; 3])
                .collect()
        },
        |access| {
            RegionAccess {
                offset: access.offset + 4,
                ..access
            }
            .encode()
            .into_iter()
            .chain([0; 4])
            .collect()
        },
        |access| {
            RegionAccess {
                region: 3,
                ..access
            }
            .encode()
            .into_iter()
            .chain([0; 4])
            .collect()
        },
        |_| Vec::new(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (function, server) = open(lying(Command::RegionRead, move |message| {
            lie(RegionAccess::decode(&message.payload).unwrap())
        }));
        let function = function.unwrap();
        assert_eq!(function.bar(0).unwrap().read32(8), u32::MAX, "lie {number}");
        assert!(function.is_gone(), "lie {number}");
        drop(function);
        server.join().unwrap();
    }
}

#[test]
fn a_refusal_is_no_end() {
    let (function, server) = open(Device::new().trick(|connection, message| {
        let refused = [
            Command::RegionRead,
            Command::DmaMap,
            Command::DeviceGetIrqInfo,
        ];
        let refused = refused.contains(&message.header.command().unwrap());
        refused.then(|| {
            connection
                .refuse(&message.header, Errno::INVAL, LONG)
                .unwrap()
        })
    }));
    let function = function.unwrap();
    assert_eq!(function.bar(0).unwrap().read32(8), u32::MAX);
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    let error = function.dma().map(&region).unwrap_err().to_string();
    assert!(error.contains("Invalid argument"), "{error}");
    let error = function.interrupts(1).unwrap_err().to_string();
    assert!(error.contains("0 MSI-X vectors"), "{error}");
    assert!(!function.is_gone());
    drop(function);
    server.join().unwrap();
}

#[test]
fn servers_of_another_kind_are_refused_by_what_they_are() {
    let version = |major, minor| {
        Version {
            major,
            minor,
            ..Version::default()
        }
        .encode()
    };
    let info = |flags, regions| {
        DeviceInfo {
            argsz: 16,
            flags,
            regions,
            irqs: 0,
        }
        .encode()
    };
    for (device, reason) in [
        (
            lying(Command::Version, move |_| version(1, 0)),
            "version 1.0",
        ),
        (
            lying(Command::Version, move |_| version(0, 2)),
            "version 0.2",
        ),
        (lying(Command::Version, |_| vec![0; 3]), "makes no sense"),
        (
            lying(Command::Version, |_| b"\0\0\0\0{".to_vec()),
            "version data",
        ),
        (
            lying(Command::DeviceGetInfo, |_| vec![0; 15]),
            "makes no sense",
        ),
        (
            lying(Command::DeviceGetInfo, move |_| info(0, 9)),
            "no PCI device",
        ),
        (
            lying(Command::DeviceGetInfo, move |_| info(DEVICE_FLAG_PCI, 7)),
            "configuration",
        ),
        (
            lying(Command::DeviceGetRegionInfo, |_| vec![0; 40]),
            "something else",
        ),
    ] {
        let (function, server) = open(device);
        let refusal = match function {
            Ok(_) => panic!("{reason}"),
            Err(error) => error.to_string(),
        };
        assert!(refusal.contains(reason), "{reason}: {refusal}");
        server.join().unwrap();
    }
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

#[test]
fn sockets_that_lead_nowhere_are_named_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nic.sock");
    let refusal = |path: &std::path::Path| {
        let error = RemoteFunction::connect(path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("vfio-user:{}", path.display())),
            "{error}"
        );
        error
    };
    assert!(refusal(&path).contains("barewire nic serve --socket"));
    let listener = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(refusal(&path).contains("start it again"));
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(refusal(&file).contains("vfio-user:"));
    assert!(refusal(&directory.path().join("x".repeat(200))).contains("107"));
}

/// Whatever a server answers: no panic, no wait beyond its patience, no access outside of what was
/// checked. The script says what it does with each request.
#[test]
fn a_lying_server_does_no_harm() {
    let script = bolero::generator::produce::<Vec<(u8, u8, u32)>>();
    bolero::check!().with_generator(script).for_each(|script| {
        let mut script = script.clone().into_iter();
        let device = Device::new().trick(move |connection, message| {
            let (what, place, value) = script.next()?;
            let header = &message.header;
            match what % 8 {
                // the truth
                0..=2 => None,
                3 => connection
                    .refuse(header, Errno::from_raw_os_error(i32::from(place)), LONG)
                    .ok(),
                // as many bytes as it likes
                4 => {
                    let payload = vec![place; value as usize % 5000];
                    connection.reply(header, &[&payload], &[], LONG).ok()
                }
                // the request, with another number somewhere
                5 => {
                    let mut payload = message.payload.clone();
                    let at = usize::from(place) * 4 % payload.len().max(1);
                    for (byte, new) in payload.iter_mut().skip(at).zip(value.to_ne_bytes()) {
                        *byte = new;
                    }
                    let fds: Vec<_> = message.fds.iter().map(AsFd::as_fd).collect();
                    connection.reply(header, &[&payload], &fds, LONG).ok()
                }
                // a request of its own first, for memory that may be there
                6 => {
                    let access = DmaAccess {
                        address: (1 << 32) + u64::from(value),
                        count: u64::from(place),
                    };
                    let command = if place % 2 == 0 {
                        Command::DmaRead
                    } else {
                        Command::DmaWrite
                    };
                    let data = vec![place; if place % 3 == 0 { 0 } else { place.into() }];
                    let payload = [&access.encode()[..], &data];
                    connection.request(command, &payload, &[], LONG).ok();
                    None
                }
                // it goes
                _ => panic!("the server ends here"),
            }
        });
        let (near, far) = UnixStream::pair().unwrap();
        let server = device.serve(far);
        if let Ok(function) = RemoteFunction::over(near, "liar", SHORT) {
            let _ = function.config_read32(0);
            if let Ok(bar) = function.bar(0) {
                for offset in [0, 8, 0x1000, 0x1ffc, 0x3ffc, 0x4000] {
                    bar.write32(offset, bar.read32(offset));
                }
                bar.delay(Duration::from_micros(10));
            }
            let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
            if let Ok(layout) = function.dma().map(&region) {
                let _ = function.bar(0).map(|bar| bar.read32(0));
                function.dma().unmap(&region, &layout);
            }
            drop(function.interrupts(2));
            let _ = function.reset();
        }
        let _ = server.join();
    });
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
        assert_eq!(
            answer.header.kind,
            barewire_bus::vfio_user::Kind::Reply { error: Some(error) }
        );
        None
    }));
    let function = function.unwrap();
    let region = DmaRegion::allocate(2 << 20, Pages::Ordinary).unwrap();
    function.dma().map(&region).unwrap();
    assert_eq!(function.config_read32(0).unwrap(), 0x0302_0100);
    drop(function);
    server.join().unwrap();
}
