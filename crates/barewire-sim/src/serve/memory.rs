//! The client's memory, as the device reaches it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use barewire_bus::vfio_user::{
    Command, Connection, DMA_READABLE, DMA_WRITABLE, DmaAccess, Kind, MAX_DATA, MapRequest, Message,
};
use barewire_dma::DmaRegion;
use parking_lot::Mutex;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatfs};
use rustix::io::Errno;

use crate::nic::{Access, Distant, Lost, Memory, Nic, Refused};
use crate::wire::widen;

/// The file system of hugepages, whose files can be mapped but not written.
const HUGETLBFS: i64 = 0x9584_58F6;

/// What the client has mapped.
#[derive(Debug)]
pub(super) struct GuestMemory {
    nic: Nic,
    peer: Arc<Peer>,
    /// Mapped files, by device and inode: a virtual machine maps the same file many times.
    files: HashMap<(u64, u64), Weak<DmaRegion>>,
}

impl GuestMemory {
    pub(super) fn new(nic: Nic, connection: Arc<Mutex<Connection>>, patience: Duration) -> Self {
        Self {
            nic,
            peer: Arc::new(Peer {
                connection,
                patience,
                lost: AtomicBool::new(false),
                most: std::sync::atomic::AtomicUsize::new(MAX_DATA),
            }),
            files: HashMap::new(),
        }
    }

    /// The client takes so many bytes in one message.
    pub(super) fn set_most(&self, bytes: usize) {
        self.peer.most.store(bytes.max(64), Ordering::Relaxed);
    }

    /// The client did not answer for its memory.
    pub(super) fn is_lost(&self) -> bool {
        self.peer.lost.load(Ordering::Relaxed)
    }

    pub(super) fn map(&mut self, request: &MapRequest, file: Option<OwnedFd>) -> Result<(), Errno> {
        if request.flags & !(DMA_READABLE | DMA_WRITABLE) != 0 {
            return Err(Errno::INVAL);
        }
        let access = Access {
            read: request.flags & DMA_READABLE != 0,
            write: request.flags & DMA_WRITABLE != 0,
        };
        let memory = match file {
            None => Memory::Distant(Arc::clone(&self.peer) as Arc<dyn Distant>),
            Some(file) => self.memory_of(file, request)?,
        };
        self.nic
            .map_memory(request.address, request.size, access, memory)
            .map_err(|refused| match refused {
                Refused::Range => Errno::INVAL,
                Refused::Overlap => Errno::EXIST,
                Refused::Full => Errno::NOSPC,
            })
    }

    pub(super) fn unmap(&mut self, address: u64, size: u64) {
        self.nic.unmap_memory(address, size);
        self.files.retain(|_, region| region.strong_count() > 0);
    }

    pub(super) fn unmap_all(&mut self) {
        self.nic.unmap_all();
        self.files.clear();
    }

    /// Memory in a file: mapped if that can't be turned against us, else read and written, else
    /// asked for.
    fn memory_of(&mut self, file: OwnedFd, request: &MapRequest) -> Result<Memory, Errno> {
        let status = fstat(&file)?;
        let end = request
            .offset
            .checked_add(request.size)
            .ok_or(Errno::INVAL)?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || end > size {
            return Err(Errno::INVAL);
        }
        let offset = usize::try_from(request.offset).map_err(|_| Errno::INVAL)?;
        let identity = (status.st_dev, status.st_ino);
        if let Some(region) = self.files.get(&identity).and_then(Weak::upgrade)
            && end <= widen(region.len())
        {
            return Ok(Memory::Mapped(region, offset));
        }
        let mode = fcntl_getfl(&file)? & OFlags::RWMODE;
        let huge = fstatfs(&file).is_ok_and(|system| system.f_type == HUGETLBFS);
        let copy = rustix::io::fcntl_dupfd_cloexec(&file, 0)?;
        match DmaRegion::from_file(copy, None) {
            Ok(region) if end <= widen(region.len()) => {
                self.files.insert(identity, Arc::downgrade(&region));
                return Ok(Memory::Mapped(region, offset));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the client's memory is not mapped"),
        }
        if huge || mode != OFlags::RDWR {
            return Ok(Memory::Distant(Arc::clone(&self.peer) as Arc<dyn Distant>));
        }
        Ok(Memory::Distant(Arc::new(InFile {
            file: File::from(file),
            address: request.address,
            offset: request.offset,
        })))
    }
}

/// Memory that is read and written as a file, since its owner could cut it off while it is mapped.
#[derive(Debug)]
struct InFile {
    file: File,
    /// Where the device finds it.
    address: u64,
    /// Where it begins in the file.
    offset: u64,
}

impl InFile {
    fn place(&self, address: u64) -> Result<u64, Lost> {
        let inside = address.checked_sub(self.address).ok_or(Lost)?;
        self.offset.checked_add(inside).ok_or(Lost)
    }
}

impl Distant for InFile {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Lost> {
        let place = self.place(address)?;
        self.file.read_exact_at(into, place).map_err(|error| {
            tracing::debug!(%error, "the client's memory can't be read");
            Lost
        })
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Lost> {
        let place = self.place(address)?;
        // Writing behind the end would make a file longer that its owner has cut off.
        let end = place.checked_add(widen(from.len())).ok_or(Lost)?;
        let size = self.file.metadata().map_err(|_| Lost)?.len();
        if end > size {
            return Err(Lost);
        }
        self.file.write_all_at(from, place).map_err(|error| {
            tracing::debug!(%error, "the client's memory can't be written");
            Lost
        })
    }
}

/// Memory that the client reads and writes for us.
#[derive(Debug)]
struct Peer {
    connection: Arc<Mutex<Connection>>,
    patience: Duration,
    /// The client did not answer: nobody waits for it again.
    lost: AtomicBool,
    /// The most bytes of one message.
    most: std::sync::atomic::AtomicUsize,
}

impl Peer {
    fn call(&self, command: Command, payload: &[&[u8]]) -> Result<Message, Lost> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Lost);
        }
        let called = self
            .connection
            .lock()
            .call(command, payload, &[], self.patience);
        let reply = called.map_err(|error| {
            tracing::warn!(%error, "the client does not answer for its memory");
            self.lost.store(true, Ordering::Relaxed);
            Lost
        })?;
        match reply.header.kind {
            Kind::Reply { error: None } if reply.header.number == command.number() => Ok(reply),
            _ => Err(Lost),
        }
    }
}

impl Distant for Peer {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Lost> {
        let most = self.most.load(Ordering::Relaxed);
        let mut at = address;
        for piece in into.chunks_mut(most) {
            let count = widen(piece.len());
            let access = DmaAccess { address: at, count };
            let reply = self.call(Command::DmaRead, &[&access.encode()])?;
            let (_, data) = DmaAccess::decode_with_data(&reply.payload).map_err(|_| Lost)?;
            if data.len() != piece.len() {
                return Err(Lost);
            }
            piece.copy_from_slice(data);
            at = at.wrapping_add(count);
        }
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Lost> {
        let most = self.most.load(Ordering::Relaxed);
        let mut at = address;
        for piece in from.chunks(most) {
            let count = widen(piece.len());
            let access = DmaAccess { address: at, count };
            self.call(Command::DmaWrite, &[&access.encode(), piece])?;
            at = at.wrapping_add(count);
        }
        Ok(())
    }
}
