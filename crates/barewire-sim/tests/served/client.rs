//! A client of the tests' own, which can give its memory in every way there is, and which answers
//! for it on a thread, as virtual machines do.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barewire_bus::vfio_user::{
    Command, Connection, DMA_READABLE, DMA_WRITABLE, DmaAccess, Kind, MapRequest, Message,
    RegionAccess, RegionWrite, UnmapRequest, Version, pci,
};
use barewire_bus::{Bar, BusError, PciFunction};
use barewire_dma::{DmaError, DmaMap, DmaRegion, Iova, Layout};
use rustix::io::Errno;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How a client gives its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// As a file that can't be cut off.
    Sealed,
    /// By message only.
    Asked,
}

/// Memory of the client, by the address at which the device finds it.
type Pieces = Arc<Mutex<HashMap<u64, Arc<DmaRegion>>>>;

struct Shared {
    writer: Mutex<Connection>,
    replies: Mutex<HashMap<u16, Sender<Message>>>,
    pieces: Pieces,
    given: Given,
    next: AtomicU64,
    /// Accesses to memory that the server asked for.
    asked: AtomicU64,
}

#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// The window that it is as a [`Bar`].
    window: u32,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    pub(crate) fn connect(path: &Path, given: Given) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        let reader = Connection::new(stream.try_clone().unwrap()).unwrap();
        let shared = Arc::new(Shared {
            writer: Mutex::new(Connection::new(stream).unwrap()),
            replies: Mutex::default(),
            pieces: Pieces::default(),
            given,
            next: AtomicU64::new(0x40_0000_0000),
            asked: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            let mut reader = reader;
            while let Ok(message) = reader.receive(LIMIT) {
                let Some(shared) = weak.upgrade() else { return };
                shared.take(message);
            }
        });
        let client = Self { shared, window: 0 };
        let version = Version {
            minor: 1,
            ..Version::default()
        };
        let reply = client
            .call(Command::Version, &version.encode(), &[])
            .unwrap();
        assert!(Version::decode(&reply.payload).unwrap().minor <= 1);
        client
    }

    /// How often the server has asked for memory.
    pub(crate) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn call(
        &self,
        command: Command,
        payload: &[u8],
        fds: &[&OwnedFd],
    ) -> Result<Message, Errno> {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        let receiver: Receiver<Message> = {
            let mut writer = self.shared.writer.lock().unwrap();
            let mut replies = self.shared.replies.lock().unwrap();
            let id = writer.request(command, &[payload], &fds, LIMIT).unwrap();
            let (sender, receiver) = channel();
            replies.insert(id, sender);
            receiver
        };
        let reply = receiver.recv_timeout(LIMIT).expect("a reply");
        match reply.header.kind {
            Kind::Reply { error: None } => Ok(reply),
            Kind::Reply { error: Some(errno) } => Err(Errno::from_raw_os_error(errno as i32)),
            Kind::Request { .. } => unreachable!(),
        }
    }

    pub(crate) fn read(&self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let access = RegionAccess {
            offset,
            region,
            count: data.len() as u32,
        };
        let reply = self.call(Command::RegionRead, &access.encode(), &[])?;
        let read = RegionWrite::decode(&reply.payload).unwrap();
        assert_eq!(read.access, access);
        data.copy_from_slice(read.data);
        Ok(())
    }

    pub(crate) fn write(&self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let access = RegionAccess {
            offset,
            region,
            count: data.len() as u32,
        };
        let payload = [&access.encode()[..], data].concat();
        self.call(Command::RegionWrite, &payload, &[])?;
        Ok(())
    }

    pub(crate) fn register(&self, offset: u32) -> u32 {
        let mut word = [0; 4];
        self.read(pci::REGION_BAR0, offset.into(), &mut word)
            .unwrap();
        u32::from_le_bytes(word)
    }

    pub(crate) fn set_register(&self, offset: u32, value: u32) {
        self.write(pci::REGION_BAR0, offset.into(), &value.to_le_bytes())
            .unwrap();
    }

    pub(crate) fn config(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.read(pci::REGION_CONFIG, offset, &mut word).unwrap();
        u32::from_le_bytes(word)
    }

    pub(crate) fn map(&self, region: &Arc<DmaRegion>) -> u64 {
        let size = region.len() as u64;
        let address = self
            .shared
            .next
            .fetch_add(size + 0x20_0000, Ordering::Relaxed);
        let file = match self.shared.given {
            Given::Sealed => Some(region.memfd().try_clone_to_owned().unwrap()),
            Given::Asked => None,
        };
        self.shared
            .pieces
            .lock()
            .unwrap()
            .insert(address, Arc::clone(region));
        self.map_at(address, size, 0, file.as_ref(), DMA_READABLE | DMA_WRITABLE)
            .unwrap();
        address
    }

    pub(crate) fn map_at(
        &self,
        address: u64,
        size: u64,
        offset: u64,
        file: Option<&OwnedFd>,
        flags: u32,
    ) -> Result<(), Errno> {
        let request = MapRequest {
            flags,
            offset,
            address,
            size,
        };
        let fds: Vec<_> = file.into_iter().collect();
        self.call(Command::DmaMap, &request.encode(), &fds)?;
        Ok(())
    }

    pub(crate) fn unmap_at(&self, address: u64, size: u64) -> Result<(), Errno> {
        let request = UnmapRequest {
            flags: 0,
            address,
            size,
        };
        let reply = self.call(Command::DmaUnmap, &request.encode(), &[])?;
        assert_eq!(UnmapRequest::decode(&reply.payload), Ok(request));
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread has the socket too.
        let writer = self.writer.lock().unwrap();
        let _ = rustix::net::shutdown(&*writer, rustix::net::Shutdown::Both);
    }
}

impl Shared {
    fn take(&self, message: Message) {
        if let Kind::Reply { .. } = message.header.kind {
            let sender = self.replies.lock().unwrap().remove(&message.header.id);
            if let Some(sender) = sender {
                let _ = sender.send(message);
            }
            return;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let pieces = self.pieces.lock().unwrap();
        let find = |access: &DmaAccess| {
            let end = access.address + access.count;
            let (base, region) = pieces
                .iter()
                .find(|(base, region)| {
                    **base <= access.address && end <= **base + region.len() as u64
                })
                .expect("memory that was mapped");
            (Arc::clone(region), (access.address - base) as usize)
        };
        let mut writer = self.writer.lock().unwrap();
        match message.header.command() {
            Some(Command::DmaRead) => {
                let access = DmaAccess::decode(&message.payload).unwrap();
                let (region, at) = find(&access);
                let mut data = vec![0; access.count as usize];
                region.device_read(at, &mut data).unwrap();
                writer
                    .reply(&message.header, &[&access.encode(), &data], &[], LIMIT)
                    .unwrap();
            }
            Some(Command::DmaWrite) => {
                let (access, data) = DmaAccess::decode_with_data(&message.payload).unwrap();
                let (region, at) = find(&access);
                region.device_write(at, data).unwrap();
                writer
                    .reply(&message.header, &[&access.encode()], &[], LIMIT)
                    .unwrap();
            }
            other => panic!("the server asks for {other:?}"),
        }
    }
}

impl Client {
    fn get<const N: usize>(&self, offset: u32) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(self.window, offset.into(), &mut bytes).unwrap();
        bytes
    }

    fn put(&self, offset: u32, bytes: &[u8]) {
        self.write(self.window, offset.into(), bytes).unwrap();
    }
}

impl Bar for Client {
    fn size(&self) -> u32 {
        if self.window == 0 { 0x2_0000 } else { 0x4000 }
    }

    fn read32(&self, offset: u32) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }

    fn write32(&self, offset: u32, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }

    fn read16(&self, offset: u32) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }

    fn write16(&self, offset: u32, value: u16) {
        self.put(offset, &value.to_le_bytes());
    }

    fn read8(&self, offset: u32) -> u8 {
        u8::from_le_bytes(self.get(offset))
    }

    fn write8(&self, offset: u32, value: u8) {
        self.put(offset, &[value]);
    }
}

impl PciFunction for Client {
    type Bar = Self;

    fn name(&self) -> &str {
        "client"
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        Ok(self.config(offset.into()))
    }

    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        self.write(pci::REGION_CONFIG, offset.into(), &value.to_le_bytes())
            .unwrap();
        Ok(())
    }

    fn bar(&self, index: u8) -> Result<Self, BusError> {
        Ok(Self {
            window: index.into(),
            ..self.clone()
        })
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::new(self.clone())
    }
}

impl DmaMap for Client {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        Ok(Layout::Linear(Iova::new(Client::map(self, region))))
    }

    fn unmap(&self, region: &Arc<DmaRegion>, layout: &Layout) {
        let Layout::Linear(address) = layout else {
            return;
        };
        self.unmap_at(address.get(), region.len() as u64).unwrap();
        self.shared.pieces.lock().unwrap().remove(&address.get());
    }
}
