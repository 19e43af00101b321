//! A window of a device of this machine: mapped where it can be, a file elsewhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::{Bar, MappedBar};

/// The registers of a device of this machine.
///
/// Most windows are mapped as a whole. Parts that may not be mapped, and I/O ports, are read and
/// written through a file, which takes a system call.
#[derive(Debug)]
pub struct DeviceBar {
    size: u32,
    /// Where mapped parts start in the window.
    mapped: Vec<(u32, MappedBar)>,
    file: Option<FileWindow>,
}

/// A window as a part of a file.
#[derive(Debug)]
struct FileWindow {
    file: Arc<File>,
    offset: u64,
}

impl DeviceBar {
    /// A window that is mapped as a whole, from `offset` in `file` on.
    pub(crate) fn mapped(file: &File, offset: u64, size: u32) -> io::Result<Self> {
        Ok(Self {
            size,
            mapped: vec![(0, MappedBar::new(file, offset, size)?)],
            file: None,
        })
    }

    /// A window that is a part of a file, of which `areas` (start and length) are mapped.
    pub(crate) fn file(
        file: &Arc<File>,
        offset: u64,
        size: u32,
        areas: &[(u32, u32)],
    ) -> io::Result<Self> {
        let mut mapped = Vec::new();
        for (start, length) in areas {
            let bar = MappedBar::new(file, offset + u64::from(*start), *length)?;
            mapped.push((*start, bar));
        }
        Ok(Self {
            size,
            mapped,
            file: Some(FileWindow {
                file: Arc::clone(file),
                offset,
            }),
        })
    }

    /// The mapped part that `offset` lies in, and where in there.
    #[inline]
    fn find(&self, offset: u32) -> Option<(&MappedBar, u32)> {
        self.mapped.iter().find_map(|(start, bar)| {
            let within = offset.checked_sub(*start)?;
            (within < bar.size()).then_some((bar, within))
        })
    }

    /// Where in the file the register is; `None` outside the window.
    fn place<const N: usize>(&self, offset: u32) -> Option<(&File, u64)> {
        let width = u32::try_from(N).ok()?;
        let end = offset.checked_add(width)?;
        let window = self.file.as_ref()?;
        (end <= self.size && offset.is_multiple_of(width))
            .then(|| (&*window.file, window.offset + u64::from(offset)))
    }

    #[cold]
    fn read_file<const N: usize>(&self, offset: u32) -> [u8; N] {
        let mut bytes = [0; N];
        let read = self
            .place::<N>(offset)
            .and_then(|(file, at)| file.read_exact_at(&mut bytes, at).ok());
        match read {
            Some(()) => bytes,
            None => [u8::MAX; N],
        }
    }

    #[cold]
    fn write_file<const N: usize>(&self, offset: u32, bytes: [u8; N]) {
        if let Some((file, at)) = self.place::<N>(offset) {
            // a device that is gone takes no writes
            let _ = file.write_all_at(&bytes, at);
        }
    }
}

impl Bar for DeviceBar {
    fn size(&self) -> u32 {
        self.size
    }

    #[inline]
    fn read32(&self, offset: u32) -> u32 {
        match self.find(offset) {
            Some((bar, offset)) => bar.read32(offset),
            None => u32::from_le_bytes(self.read_file(offset)),
        }
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        match self.find(offset) {
            Some((bar, offset)) => bar.write32(offset, value),
            None => self.write_file(offset, value.to_le_bytes()),
        }
    }

    #[inline]
    fn read16(&self, offset: u32) -> u16 {
        match self.find(offset) {
            Some((bar, offset)) => bar.read16(offset),
            None => u16::from_le_bytes(self.read_file(offset)),
        }
    }

    #[inline]
    fn write16(&self, offset: u32, value: u16) {
        match self.find(offset) {
            Some((bar, offset)) => bar.write16(offset, value),
            None => self.write_file(offset, value.to_le_bytes()),
        }
    }

    #[inline]
    fn read8(&self, offset: u32) -> u8 {
        match self.find(offset) {
            Some((bar, offset)) => bar.read8(offset),
            None => u8::from_le_bytes(self.read_file(offset)),
        }
    }

    #[inline]
    fn write8(&self, offset: u32, value: u8) {
        match self.find(offset) {
            Some((bar, offset)) => bar.write8(offset, value),
            None => self.write_file(offset, value.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5 * 4096).unwrap();
        for page in 0..5u8 {
            file.write_all_at(&[page; 4096], u64::from(page) * 4096)
                .unwrap();
        }
        Arc::new(file)
    }

    #[test]
    fn mapped_parts_and_the_rest_are_one_window() {
        // pages 1 to 3 of the file, of which the second is mapped
        let bar = DeviceBar::file(&file(), 4096, 3 * 4096, &[(4096, 4096)]).unwrap();
        assert_eq!(bar.read32(0), 0x0101_0101);
        assert_eq!(bar.read16(4094), 0x0101);
        assert_eq!(bar.read32(4096), 0x0202_0202);
        assert_eq!(bar.read8(8191), 2);
        assert_eq!(bar.read8(8192), 3);
        for offset in [8, 4096 + 8, 8192 + 8] {
            bar.write32(offset, 0x1234_5678);
            bar.write16(offset + 6, 0xABCD);
            bar.write8(offset + 5, 0xEF);
            assert_eq!(bar.read32(offset), 0x1234_5678);
            assert_eq!(bar.read32(offset + 4) >> 8, 0xAB_CDEF);
        }
    }

    #[test]
    fn the_neighbours_in_the_file_are_out_of_reach() {
        let whole = file();
        let bar = DeviceBar::file(&whole, 4096, 4096, &[]).unwrap();
        for offset in [4096, 4094, 4093, 1, 2, 3, u32::MAX] {
            assert_eq!(bar.read32(offset), u32::MAX, "{offset}");
            bar.write32(offset, 0);
        }
        assert_eq!((bar.read16(4095), bar.read8(4096)), (u16::MAX, u8::MAX));
        let mut bytes = [0; 4096];
        for page in [1u8, 2] {
            whole
                .read_exact_at(&mut bytes, u64::from(page) * 4096)
                .unwrap();
            assert_eq!(bytes, [page; 4096]);
        }
    }

    #[test]
    fn a_file_that_says_nothing_is_a_device_that_is_gone() {
        let empty = Arc::new(tempfile::tempfile().unwrap());
        let bar = DeviceBar::file(&empty, 0, 64, &[]).unwrap();
        assert_eq!(
            (bar.read32(0), bar.read16(2), bar.read8(3)),
            (u32::MAX, u16::MAX, u8::MAX)
        );
    }
}
