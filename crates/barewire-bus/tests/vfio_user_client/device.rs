//! A device that tells the truth unless a test's trick comes first.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use barewire_bus::BusError;
use barewire_bus::vfio_user::{
    Capabilities, Command, Connection, DEVICE_FLAG_PCI, DEVICE_FLAG_RESET, DeviceInfo,
    IRQ_FLAG_EVENTFD, IrqAction, IrqData, IrqInfo, MapRequest, Message, REGION_FLAG_MMAP,
    REGION_FLAG_READ, REGION_FLAG_WRITE, RegionAccess, RegionInfo, RegionWrite, RemoteFunction,
    SetIrqs, SparseArea, UnmapRequest, Version, pci,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;

/// For answers that come.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// For answers that don't.
pub(crate) const SHORT: Duration = Duration::from_millis(30);

/// A register that fires the interrupt whose number is written to it.
pub(crate) const DOORBELL: u32 = 0x20;
pub(crate) const BAR_BYTES: u64 = 0x4000;
/// The mapped page of the BAR.
pub(crate) const PAGE: SparseArea = SparseArea {
    offset: 0x1000,
    size: 0x1000,
};

/// What a test makes of a message of the client before the device sees it; `None` to let it pass.
type Trick = Box<dyn FnMut(&mut Connection, &Message) -> Option<()> + Send>;

/// A device with a BAR, configuration space and interrupts.
pub(crate) struct Device {
    bar: Vec<u8>,
    pub(crate) shared: File,
    config: Vec<u8>,
    pub(crate) bar_info: RegionInfo,
    pub(crate) maps: Vec<(MapRequest, OwnedFd)>,
    pub(crate) events: Vec<OwnedFd>,
    message_fds: u64,
    pub(crate) resets: usize,
    pub(crate) posted: usize,
    pub(crate) waited_for: usize,
    trick: Option<Trick>,
}

pub(crate) fn memory(bytes: u64, sealed: bool) -> File {
    let memfd = memfd_create("bar", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memfd, bytes).unwrap();
    if sealed {
        fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
    }
    memfd.into()
}

impl Device {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn trick(
        mut self,
        trick: impl FnMut(&mut Connection, &Message) -> Option<()> + Send + 'static,
    ) -> Self {
        self.trick = Some(Box::new(trick));
        self
    }

    /// Serves until the client goes.
    pub(crate) fn serve(mut self, stream: UnixStream) -> JoinHandle<Self> {
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

pub(crate) fn open(device: Device) -> (Result<RemoteFunction, BusError>, JoinHandle<Device>) {
    open_within(device, LONG)
}

pub(crate) fn open_within(
    device: Device,
    patience: Duration,
) -> (Result<RemoteFunction, BusError>, JoinHandle<Device>) {
    let (near, far) = UnixStream::pair().unwrap();
    let server = device.serve(far);
    let function = RemoteFunction::over(near, "vfio-user:test", patience);
    (function, server)
}
