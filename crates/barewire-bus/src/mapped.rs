//! Registers that are mapped into the process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::Bar;

/// A window of a device's registers, mapped from a file: sysfs's `resourceN`, a VFIO device, the
/// memory that a device in another process shares.
///
/// An access costs what the bus makes it cost, and no system call.
#[derive(Debug)]
pub struct MappedBar {
    base: NonNull<u8>,
    size: u32,
}

// SAFETY: the mapping belongs to this value until drop and is reached by volatile accesses of one
// register each, which a device on a bus takes from any processor.
unsafe impl Send for MappedBar {}
// SAFETY: as for Send; no access makes a Rust reference into the mapping.
unsafe impl Sync for MappedBar {}

/// An integer of a register's size: any bits are a value of it.
trait Register: Copy {
    const ALL_ONES: Self;
}

impl Register for u8 {
    const ALL_ONES: Self = Self::MAX;
}
impl Register for u16 {
    const ALL_ONES: Self = Self::MAX;
}
impl Register for u32 {
    const ALL_ONES: Self = Self::MAX;
}

impl MappedBar {
    /// Maps `size` bytes of `file` from `offset` on, which is a multiple of the page size.
    ///
    /// # Errors
    /// What `mmap` says; [`io::ErrorKind::InvalidInput`] for a window of no bytes.
    pub fn new(file: impl AsFd, offset: u64, size: u32) -> io::Result<Self> {
        let length = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                offset,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { base, size })
    }

    /// Where the register at `offset` is; `None` outside the window or between two registers.
    #[inline]
    fn at<T: Register>(&self, offset: u32) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(size_of::<T>())?;
        if end > usize::try_from(self.size).ok()? || !offset.is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: `offset` is below `size`, the number of bytes mapped from `base` on.
        Some(unsafe { self.base.byte_add(offset) }.cast())
    }

    #[inline]
    fn read<T: Register>(&self, offset: u32) -> T {
        match self.at::<T>(offset) {
            // SAFETY: `at` gives an aligned place of `size_of::<T>()` bytes inside the mapping,
            // which lives as long as `self`; every bit pattern is a `T`.
            Some(register) => unsafe { register.read_volatile() },
            None => T::ALL_ONES,
        }
    }

    #[inline]
    fn write<T: Register>(&self, offset: u32, value: T) {
        let Some(register) = self.at::<T>(offset) else {
            return;
        };
        // what was written to memory before must not be seen after the register
        fence(Ordering::Release);
        // SAFETY: as for `read`; nobody holds a reference into the mapping.
        unsafe { register.write_volatile(value) };
    }
}

impl Bar for MappedBar {
    fn size(&self) -> u32 {
        self.size
    }

    #[inline]
    fn read32(&self, offset: u32) -> u32 {
        u32::from_le(self.read(offset))
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        self.write(offset, value.to_le());
    }

    #[inline]
    fn read16(&self, offset: u32) -> u16 {
        u16::from_le(self.read(offset))
    }

    #[inline]
    fn write16(&self, offset: u32, value: u16) {
        self.write(offset, value.to_le());
    }

    #[inline]
    fn read8(&self, offset: u32) -> u8 {
        self.read(offset)
    }

    #[inline]
    fn write8(&self, offset: u32, value: u8) {
        self.write(offset, value);
    }
}

impl Drop for MappedBar {
    fn drop(&mut self) {
        let Ok(length) = usize::try_from(self.size) else {
            return;
        };
        // SAFETY: `base` and `size` are the mapping that `new` made, and nothing borrows from it.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), length) } {
            tracing::error!(%error, bytes = length, "munmap of registers failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn window(bytes: &[u8], size: u32) -> (MappedBar, File) {
        let memfd = memfd_create("registers", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memfd, 8192).unwrap();
        let file = File::from(memfd);
        file.write_all_at(bytes, 4096).unwrap();
        (MappedBar::new(&file, 4096, size).unwrap(), file)
    }

    #[test]
    fn each_width_reads_its_bytes_in_the_order_of_the_bus() {
        let (bar, _file) = window(&[1, 2, 3, 4, 5, 6, 7, 8], 4096);
        assert_eq!((bar.read32(0), bar.read32(4)), (0x0403_0201, 0x0807_0605));
        assert_eq!((bar.read16(2), bar.read16(6)), (0x0403, 0x0807));
        assert_eq!((bar.read8(1), bar.read8(7)), (2, 8));
    }

    #[test]
    fn each_width_writes_its_bytes_and_no_others() {
        let (bar, file) = window(&[0xEE; 12], 4096);
        bar.write32(0, 0x0403_0201);
        bar.write16(6, 0x0807);
        bar.write8(9, 10);
        let mut bytes = [0; 12];
        file.read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 0xEE, 0xEE, 7, 8, 0xEE, 10, 0xEE, 0xEE]);
    }

    #[test]
    fn outside_and_between_registers_is_all_ones_and_no_write() {
        // the window ends inside a page: the rest of the page is not the device's
        let (bar, file) = window(&[0; 4096], 16);
        for offset in [16, 14, 13, 4096, u32::MAX, u32::MAX - 3, 1, 2] {
            assert_eq!(bar.read32(offset), u32::MAX, "{offset:#x}");
            bar.write32(offset, u32::MAX);
        }
        for offset in [16, 15, 1, u32::MAX] {
            assert_eq!(bar.read16(offset), u16::MAX, "{offset:#x}");
            bar.write16(offset, u16::MAX);
        }
        for offset in [16, u32::MAX] {
            assert_eq!(bar.read8(offset), u8::MAX, "{offset:#x}");
            bar.write8(offset, u8::MAX);
        }
        let mut bytes = [0xEE; 4096];
        file.read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(bytes, [0; 4096]);
        assert_eq!((bar.read32(12), bar.read16(14), bar.read8(15)), (0, 0, 0));
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let (bar, file) = window(&[], 4096);
        assert!(MappedBar::new(&file, 4096, 0).is_err());
        assert!(MappedBar::new(&file, 100, 4096).is_err());
        drop(bar);
    }
}
