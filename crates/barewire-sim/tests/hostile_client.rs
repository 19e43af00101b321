//! A server under clients that send anything: messages that make sense, that nearly do and that do
//! not, to a device whose rings, memory and mapped pages they own. The next client is served.
//!
//! `cargo test` runs this for a moment; `cargo xtask fuzz hostile_client` for longer.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation
)]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barewire_bus::vfio_user::{
    Command, Connection, Kind, MapRequest, RegionAccess, RegionInfo, UnmapRequest, Version, pci,
};
use barewire_dma::{DmaRegion, Pages};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::serve::{Doorbells, ServeConfig, Server};
use barewire_sim::wire::Loopback;
use barewire_spec::ixgbe::table;
use bolero::TypeGenerator;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, TypeGenerator)]
enum Action {
    /// A message of any content.
    Raw(u8, bool, Vec<u8>, Vec<Descriptor>),
    Map(u8, u8, u8, u8, Descriptor),
    Unmap(u8, u8),
    /// A register there is, and a value.
    Register(u16, u8, Value, bool),
    Config(u16, [u8; 4], bool),
    Irqs(u8, u8, u8, u8, Vec<Descriptor>),
    /// Words of the mapped pages, and a look of the device.
    Page(Vec<(u16, Value)>),
    /// Words of the memory that may be mapped.
    Memory(Vec<(u16, u64)>),
    /// Asks for something and waits, so that the device has worked.
    Settle,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Descriptor {
    Sealed,
    Open,
    Event,
    Socket,
    None,
}

/// A register's value: anything, or what starts queues or is an address in reach.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Value {
    Any(u32),
    Small(u8),
    Enable(u8),
    Page(u8),
}

impl Value {
    fn get(self) -> u32 {
        match self {
            Self::Any(value) => value,
            Self::Small(value) => value.into(),
            Self::Enable(value) => 1 << 25 | u32::from(value),
            Self::Page(value) => u32::from(value % 16) << 12,
        }
    }
}

struct Files {
    sealed: std::sync::Arc<DmaRegion>,
    open: OwnedFd,
    event: OwnedFd,
}

impl Files {
    fn get(&self, which: Descriptor, stream: &UnixStream) -> Option<OwnedFd> {
        let fd = match which {
            Descriptor::Sealed => self.sealed.memfd(),
            Descriptor::Open => self.open.as_fd(),
            Descriptor::Event => self.event.as_fd(),
            Descriptor::Socket => stream.as_fd(),
            Descriptor::None => return None,
        };
        Some(fd.try_clone_to_owned().unwrap())
    }
}

struct Client<'a> {
    connection: Connection,
    stream: UnixStream,
    files: &'a Files,
    pages: Option<std::sync::Arc<DmaRegion>>,
}

impl Client<'_> {
    fn send(&mut self, command: u16, posted: bool, payload: &[u8], fds: &[Descriptor]) {
        let fds: Vec<OwnedFd> = fds
            .iter()
            .take(20)
            .filter_map(|which| self.files.get(*which, &self.stream))
            .collect();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let kind = Kind::Request { posted };
        // The server may have hung up.
        let _ = self
            .connection
            .send(7, command, kind, &[payload], &fds, LIMIT);
    }

    fn perform(&mut self, action: &Action) {
        let number = Command::number;
        match action {
            Action::Raw(command, posted, payload, fds) => {
                self.send((command % 20).into(), *posted, payload, fds);
            }
            Action::Map(address, size, offset, flags, fd) => {
                let request = MapRequest {
                    flags: (flags % 4).into(),
                    offset: u64::from(offset % 16) << 12,
                    address: u64::from(address % 16) << 12,
                    size: u64::from(size % 18) << 12,
                };
                self.send(number(Command::DmaMap), false, &request.encode(), &[*fd]);
            }
            Action::Unmap(address, size) => {
                let request = UnmapRequest {
                    flags: 0,
                    address: u64::from(address % 16) << 12,
                    size: u64::from(*size) << 11,
                };
                self.send(number(Command::DmaUnmap), false, &request.encode(), &[]);
            }
            Action::Register(which, index, value, posted) => {
                let count = table::all().count();
                let register = table::all().nth(usize::from(*which) % count).unwrap();
                let offset = register.at(u32::from(index % 4) % register.count());
                self.write(0, offset.into(), &value.get().to_le_bytes(), *posted);
            }
            Action::Config(offset, value, posted) => {
                let count = 1 + usize::from(offset % 4);
                let offset = u64::from(offset % 256);
                self.write(pci::REGION_CONFIG, offset, &value[..count], *posted);
            }
            Action::Irqs(index, start, count, flags, fds) => {
                let mut payload = Vec::new();
                let flags = 1 << (flags % 3) | 8 << (flags / 3 % 3);
                let fields = [
                    20,
                    flags,
                    u32::from(index % 6),
                    (*start).into(),
                    (*count).into(),
                ];
                for field in fields {
                    payload.extend_from_slice(&u32::to_ne_bytes(field));
                }
                payload.resize(payload.len() + usize::from(*count), 1);
                self.send(number(Command::DeviceSetIrqs), false, &payload, fds);
            }
            Action::Page(words) => {
                if let Some(pages) = &self.pages {
                    for (place, value) in words {
                        // Mostly the first queues of both directions.
                        let pair = [0x1000, 0x6000][usize::from(place % 2)] / 8
                            + usize::from(place / 2 % 64);
                        let value = u64::from(value.get());
                        let shift = place / 128 % 2 * 32;
                        pages.words()[pair].store(value << shift, Ordering::Release);
                    }
                }
            }
            Action::Memory(words) => {
                for (place, value) in words {
                    let cell = &self.files.sealed.words()[usize::from(*place) % 0x2000];
                    cell.store(*value, Ordering::Release);
                }
            }
            Action::Settle => {
                let access = RegionAccess {
                    offset: 8,
                    region: 0,
                    count: 4,
                };
                let ask = number(Command::RegionRead);
                self.send(ask, false, &access.encode(), &[]);
                let _ = self.connection.receive(Duration::from_millis(2));
            }
        }
        // What the server says is of no interest, but it must be able to say it.
        while let Ok(Some(_)) = self.connection.try_receive() {}
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8], posted: bool) {
        let access = RegionAccess {
            offset,
            region,
            count: data.len() as u32,
        };
        let payload = [&access.encode()[..], data].concat();
        self.send(Command::RegionWrite.number(), posted, &payload, &[]);
    }
}

fn connect<'a>(path: &Path, files: &'a Files) -> Client<'a> {
    let stream = UnixStream::connect(path).unwrap();
    let mut connection = Connection::new(stream.try_clone().unwrap()).unwrap();
    let version = Version {
        minor: 1,
        ..Version::default()
    };
    connection
        .call(Command::Version, &[&version.encode()], &[], LIMIT)
        .expect("the next client is served");
    let asked = RegionInfo {
        argsz: 1000,
        ..RegionInfo::default()
    };
    let reply = connection
        .call(
            Command::DeviceGetRegionInfo,
            &[&asked.encode(32)],
            &[],
            LIMIT,
        )
        .expect("the next client is served");
    let pages = reply.fds.into_iter().next();
    Client {
        pages: pages.map(|file| DmaRegion::from_file(file, None).unwrap()),
        connection,
        stream,
        files,
    }
}

#[test]
fn a_hostile_client_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nic.sock");
    let open = memfd_create("open", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&open, 0x1_0000).unwrap();
    let files = Files {
        sealed: DmaRegion::allocate(0x1_0000, Pages::Ordinary).unwrap(),
        open,
        event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap(),
    };
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    let config = ServeConfig {
        doorbells: Doorbells::Mapped,
        patience: Duration::from_millis(100),
    };
    let mut server = Server::bind(&path, Arc::new(nic.clone()), config).unwrap();
    let stop = AtomicBool::new(false);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let result = server.run(&stop);
            ended.store(true, Ordering::Relaxed);
            result.unwrap();
        });
        let _stop = Stop(&stop);
        bolero::check!()
            .with_type::<Vec<Action>>()
            .for_each(|actions| {
                let mut client = connect(&path, &files);
                for action in actions {
                    client.perform(action);
                }
                drop(client);
                // Each run begins with the client that the run before must not have kept away.
                assert!(!ended.load(Ordering::Relaxed));
            });
        connect(&path, &files);
        assert!(nic.violations().len() <= 256);
    });
}

/// Stops the server however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
