//! The client's memory, as the device reaches it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use barewire_bus::vfio_user::{DMA_READABLE, DMA_WRITABLE, MapRequest};
use barewire_dma::DmaRegion;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatfs};
use rustix::io::Errno;

use super::peer::Peer;
use super::served::Served;
use crate::memory::{Access, Distant, Memory, Refused, Unanswered};
use crate::wire::widen;

/// The file system of hugepages, whose files can be mapped but not written.
const HUGETLBFS: i64 = 0x9584_58F6;

/// What the client has mapped.
#[derive(Debug)]
pub(super) struct GuestMemory {
    device: Arc<dyn Served>,
    peer: Arc<Peer>,
    /// Mapped files, by device and inode: a virtual machine maps the same file many times.
    files: HashMap<(u64, u64), Weak<DmaRegion>>,
}

impl GuestMemory {
    pub(super) fn new(device: Arc<dyn Served>, peer: Arc<Peer>) -> Self {
        Self {
            device,
            peer,
            files: HashMap::new(),
        }
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
        self.device
            .map_memory(request.address, request.size, access, memory)
            .map_err(|refused| match refused {
                Refused::Range => Errno::INVAL,
                Refused::Overlap => Errno::EXIST,
                Refused::Full => Errno::NOSPC,
            })
    }

    pub(super) fn unmap(&mut self, address: u64, size: u64) {
        self.device.unmap_memory(address, size);
        self.peer.forget();
        self.files.retain(|_, region| region.strong_count() > 0);
    }

    pub(super) fn unmap_all(&mut self) {
        self.device.unmap_all();
        self.peer.forget();
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
    fn place(&self, address: u64) -> Result<u64, Unanswered> {
        let inside = address.checked_sub(self.address).ok_or(Unanswered::Lost)?;
        self.offset.checked_add(inside).ok_or(Unanswered::Lost)
    }
}

impl Distant for InFile {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unanswered> {
        let place = self.place(address)?;
        self.file.read_exact_at(into, place).map_err(|error| {
            tracing::debug!(%error, "the client's memory can't be read");
            Unanswered::Lost
        })
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Unanswered> {
        let place = self.place(address)?;
        // Writing behind the end would make a file longer that its owner has cut off.
        let end = place
            .checked_add(widen(from.len()))
            .ok_or(Unanswered::Lost)?;
        let size = self.file.metadata().map_err(|_| Unanswered::Lost)?.len();
        if end > size {
            return Err(Unanswered::Lost);
        }
        self.file.write_all_at(from, place).map_err(|error| {
            tracing::debug!(%error, "the client's memory can't be written");
            Unanswered::Lost
        })
    }
}
