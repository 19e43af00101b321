//! Memory that stays where it is: what a device may be told the address of.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::fs::{
    MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, ftruncate,
    memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::DmaError;
use crate::claim::Claims;

/// Bytes of a hugepage on the machines that the ixgbe family lives in.
const HUGE: usize = 2 << 20;

/// Which pages a region is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Hugepages where enough are free, ordinary ones where not.
    #[default]
    PreferHuge,
    /// 2 MiB hugepages, or an error.
    Huge,
    /// Ordinary pages.
    Ordinary,
}

/// A piece of memory for devices, zeroed, shared with whoever holds its file descriptor.
///
/// It is backed by a memfd, which can be handed to another process (as vfio-user does) and
/// vanishes with its last user: no file in a hugepage mount is left behind. The memfd is sealed
/// against changes of its size: a page of a mapping that another process cut off would be a signal
/// that kills this one.
#[derive(Debug)]
pub struct DmaRegion {
    base: NonNull<u8>,
    len: usize,
    page: usize,
    memfd: OwnedFd,
    claims: Claims,
}

// SAFETY: the region is a shared mapping that lives until drop. It is reached through atomics, or
// through slices that the pool hands out to a buffer's single owner, on any thread.
unsafe impl Send for DmaRegion {}
// SAFETY: as for Send; `&DmaRegion` gives out atomics and plain numbers only.
unsafe impl Sync for DmaRegion {}

impl DmaRegion {
    /// Allocates at least `len` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// [`DmaError::Range`] for `len` 0 or beyond the address space, [`DmaError::Allocate`] when
    /// the system has no such memory.
    pub fn allocate(len: usize, pages: Pages) -> Result<Arc<Self>, DmaError> {
        if len == 0 || len > isize::MAX as usize - HUGE {
            return Err(DmaError::Range {
                what: "region size",
                value: len,
                allowed: "1 byte to the address space",
            });
        }
        if pages != Pages::Ordinary {
            match Self::map(
                len.next_multiple_of(HUGE),
                HUGE,
                MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
            ) {
                Ok(region) => {
                    tracing::info!(bytes = region.len, "DMA memory on 2 MiB hugepages");
                    return Ok(Arc::new(region));
                }
                Err(error) if pages == Pages::Huge => return Err(error),
                Err(error) => {
                    tracing::info!(
                        bytes = len,
                        %error,
                        "no free hugepages: DMA memory on ordinary pages"
                    );
                }
            }
        }
        let page = rustix::param::page_size();
        Self::map(len.next_multiple_of(page), page, MemfdFlags::empty()).map(Arc::new)
    }

    fn map(len: usize, page: usize, flags: MemfdFlags) -> Result<Self, DmaError> {
        let failed = |what| {
            move |errno: rustix::io::Errno| DmaError::Allocate {
                bytes: len,
                what,
                source: errno.into(),
            }
        };
        let memfd = memfd_create(
            "barewire-dma",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags,
        )
        .map_err(failed("memfd_create"))?;
        let size = u64::try_from(len).map_err(|_| DmaError::Range {
            what: "region size",
            value: len,
            allowed: "what fits 64 bits",
        })?;
        ftruncate(&memfd, size).map_err(failed("ftruncate"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&memfd, seals).map_err(failed("sealing"))?;
        Self::map_file(memfd, len, page, MapFlags::POPULATE)
    }

    /// Maps the first `len` bytes of a file that another process gave, all of it if `len` is
    /// `None`. Pages are brought in when they are touched.
    ///
    /// Only a memfd that is sealed against shrinking is taken. What can be cut off behind the back
    /// of whoever maps it kills him at the next access; such a file is to be read and written as
    /// a file instead.
    ///
    /// # Errors
    /// [`DmaError::Unsealed`] for such a file; [`DmaError::Range`] where it is empty, shorter than
    /// `len`, or `len` is no multiple of 8; [`DmaError::Allocate`] where it can't be mapped, for
    /// one because it was not opened for reading and writing.
    pub fn from_file(file: OwnedFd, len: Option<usize>) -> Result<Arc<Self>, DmaError> {
        let failed = |what| {
            move |errno: rustix::io::Errno| DmaError::Allocate {
                bytes: len.unwrap_or(0),
                what,
                source: errno.into(),
            }
        };
        let seals = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        if !seals.contains(SealFlags::SHRINK) {
            return Err(DmaError::Unsealed);
        }
        let mode = fcntl_getfl(&file).map_err(failed("fcntl"))?;
        if mode & OFlags::RWMODE != OFlags::RDWR {
            return Err(failed("opening for reading and writing")(
                rustix::io::Errno::ACCESS,
            ));
        }
        let status = fstat(&file).map_err(failed("fstat"))?;
        let size = usize::try_from(status.st_size).unwrap_or(0);
        let wanted = len.unwrap_or(size - size % 8);
        if wanted == 0 || wanted > size || !wanted.is_multiple_of(8) {
            return Err(DmaError::Range {
                what: "size of a mapped file",
                value: wanted,
                allowed: "a multiple of 8 bytes, not beyond the end of the file",
            });
        }
        // A hugepage's file says so; others have blocks of an ordinary page.
        let page = usize::try_from(status.st_blksize).unwrap_or(0);
        let page = page.max(rustix::param::page_size());
        Self::map_file(file, wanted, page, MapFlags::empty()).map(Arc::new)
    }

    /// Maps `len` bytes of a file that is at least as long and can't be shrunk.
    fn map_file(
        memfd: OwnedFd,
        len: usize,
        page: usize,
        extra: MapFlags,
    ) -> Result<Self, DmaError> {
        let failed = |source| DmaError::Allocate {
            bytes: len,
            what: "mmap",
            source,
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | extra,
                &memfd,
                0,
            )
        }
        .map_err(|errno| failed(errno.into()))?;
        let base = NonNull::new(base.cast::<u8>())
            .ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
        Ok(Self {
            base,
            len,
            page,
            memfd,
            claims: Claims::default(),
        })
    }

    /// Size in bytes, a multiple of 8, and of the page size where it was allocated here.
    #[allow(clippy::len_without_is_empty)] // a region is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of a page: what is certainly contiguous for a device without an IOMMU.
    pub fn page_size(&self) -> usize {
        self.page
    }

    /// Whether the region lies on hugepages.
    pub fn is_huge(&self) -> bool {
        self.page == HUGE
    }

    /// The address of the first byte in this process, to be told to VFIO or to a device model
    /// that shares the address space. It is a number; nothing can be done with it in safe code.
    pub fn address(&self) -> NonZeroUsize {
        self.base.addr()
    }

    /// The memfd behind the region, for a process that serves a device.
    pub fn memfd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The region as 64-bit words, as a device on a coherent bus sees it.
    ///
    /// This is the device's side: rings and software devices use it. The bytes of a packet are
    /// reached through [`Packet`](crate::Packet).
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        let words = self.base.cast::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, `len` is a multiple of 8, it lives as long as
        // `self`, and atomics may be shared with whoever else maps the memory.
        unsafe { std::slice::from_raw_parts(words.as_ptr(), self.len / 8) }
    }

    fn atomic_bytes(&self) -> &[AtomicU8] {
        let bytes = self.base.cast::<AtomicU8>();
        // SAFETY: as for `words`; a byte needs no alignment.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr(), self.len) }
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), DmaError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(DmaError::OutOfBounds {
                offset,
                len,
                size: self.len,
            }),
        }
    }

    /// Copies bytes out of the region as a device would: word by word, not as one atomic unit.
    ///
    /// # Errors
    /// [`DmaError::OutOfBounds`]; nothing is copied then.
    #[inline]
    pub fn device_read(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.check(offset, into.len())?;
        let (head, words) = into.split_at_mut(into.len().min(offset.wrapping_neg() % 8));
        for (byte, cell) in head.iter_mut().zip(&self.atomic_bytes()[offset..]) {
            *byte = cell.load(Ordering::Relaxed);
        }
        let offset = offset + head.len();
        let (words, tail) = words.as_chunks_mut::<8>();
        for (chunk, cell) in words.iter_mut().zip(&self.words()[offset / 8..]) {
            *chunk = cell.load(Ordering::Relaxed).to_ne_bytes();
        }
        let offset = offset + words.len() * 8;
        for (byte, cell) in tail.iter_mut().zip(&self.atomic_bytes()[offset..]) {
            *byte = cell.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies bytes into the region as a device would: word by word, not as one atomic unit.
    ///
    /// # Errors
    /// [`DmaError::OutOfBounds`]; nothing is copied then.
    #[inline]
    pub fn device_write(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.check(offset, from.len())?;
        let (head, words) = from.split_at(from.len().min(offset.wrapping_neg() % 8));
        for (byte, cell) in head.iter().zip(&self.atomic_bytes()[offset..]) {
            cell.store(*byte, Ordering::Relaxed);
        }
        let offset = offset + head.len();
        let (words, tail) = words.as_chunks::<8>();
        for (chunk, cell) in words.iter().zip(&self.words()[offset / 8..]) {
            cell.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        let offset = offset + words.len() * 8;
        for (byte, cell) in tail.iter().zip(&self.atomic_bytes()[offset..]) {
            cell.store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for DmaRegion {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are the mapping that `map` made, and nothing that borrowed from
        // it outlives `self`.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.len) } {
            tracing::error!(%error, bytes = self.len, "munmap of DMA memory failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_region_is_zeroed_and_whole_pages() {
        let region = DmaRegion::allocate(5000, Pages::Ordinary).unwrap();
        assert_eq!(region.len() % region.page_size(), 0);
        assert!(region.len() >= 5000);
        assert!(
            region
                .words()
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn nothing_and_everything_are_refused() {
        for len in [0, usize::MAX] {
            assert!(matches!(
                DmaRegion::allocate(len, Pages::Ordinary),
                Err(DmaError::Range { .. })
            ));
        }
    }

    fn file(bytes: u64, seals: SealFlags) -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("peer", flags).unwrap();
        ftruncate(&file, bytes).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file
    }

    #[test]
    fn a_sealed_file_of_a_peer_is_shared() {
        let mine = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
        let theirs = mine.memfd().try_clone_to_owned().unwrap();
        let theirs = DmaRegion::from_file(theirs, None).unwrap();
        assert_eq!(theirs.len(), 8192);
        theirs.device_write(5000, b"shared").unwrap();
        let mut bytes = [0; 6];
        mine.device_read(5000, &mut bytes).unwrap();
        assert_eq!(&bytes, b"shared");
        let part = mine.memfd().try_clone_to_owned().unwrap();
        assert_eq!(DmaRegion::from_file(part, Some(4096)).unwrap().len(), 4096);
    }

    #[test]
    fn a_file_that_can_be_cut_off_is_not_mapped() {
        let open = file(8192, SealFlags::GROW);
        assert!(matches!(
            DmaRegion::from_file(open, None),
            Err(DmaError::Unsealed)
        ));
        let (_, pipe) = std::io::pipe().unwrap();
        assert!(matches!(
            DmaRegion::from_file(pipe.into(), None),
            Err(DmaError::Unsealed)
        ));
        // Our own can't be cut off either.
        let mine = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
        assert!(ftruncate(mine.memfd(), 4096).is_err());
    }

    #[test]
    fn a_size_that_is_not_there_is_refused() {
        for (bytes, len) in [(0, None), (7, None), (4096, Some(4104)), (4096, Some(12))] {
            assert!(matches!(
                DmaRegion::from_file(file(bytes, SealFlags::SHRINK), len),
                Err(DmaError::Range { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn what_a_device_writes_it_reads_back(offset in 0usize..200, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
            region.device_write(offset, &bytes).unwrap();
            let mut whole = vec![0; 512];
            region.device_read(0, &mut whole).unwrap();
            prop_assert!(whole[..offset].iter().all(|b| *b == 0));
            prop_assert_eq!(&whole[offset..offset + bytes.len()], &bytes[..]);
            prop_assert!(whole[offset + bytes.len()..].iter().all(|b| *b == 0));
            let mut part = vec![0; bytes.len()];
            region.device_read(offset, &mut part).unwrap();
            prop_assert_eq!(part, bytes);
        }
    }

    #[test]
    fn an_access_outside_is_refused_and_copies_nothing() {
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        assert!(region.device_write(region.len() - 3, &[1; 4]).is_err());
        assert!(region.device_read(usize::MAX, &mut [0; 2]).is_err());
        assert!(
            region
                .words()
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
    }
}
