//! A BAR of a served device.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::SealFlags;

use super::link::{Link, Region};
use crate::vfio_user::{REGION_FLAG_MMAP, SparseArea};
use crate::{Bar, MappedBar};

/// Bytes of what is mapped at least; a machine with larger pages maps only what suits it.
const PAGE: u32 = 4096;
/// The most parts of a BAR that are mapped; more are reached by message.
const MOST_PARTS: usize = u8::MAX as usize;

/// The registers of a device that another process serves.
///
/// What the server shares is memory: an access is a load or a store. Everything else is a message
/// and, for a read, its answer, which takes some 20 µs. A write that is a message is waited for,
/// unless no part of the BAR is memory: then it is posted, as on a bus, and only arrives in its
/// turn. (Where both are mixed, a store could overtake a write that is not waited for.)
///
/// When the server has gone, all of it reads all ones.
#[derive(Clone)]
pub struct RemoteBar {
    link: Arc<Link>,
    region: u32,
    size: u32,
    parts: Arc<Parts>,
}

/// The mapped parts.
struct Parts {
    /// The part that each page belongs to, counted from 1; 0 where it is not mapped.
    pages: Vec<u8>,
    parts: Vec<Part>,
}

struct Part {
    start: u32,
    memory: MappedBar,
}

impl RemoteBar {
    /// The BAR that is region `region`; `None` if there is none.
    pub(super) fn new(link: &Arc<Link>, region: u32) -> Option<Self> {
        let found = link.region(region)?;
        // No BAR here is larger; what lies beyond can't be named by a register's offset anyway.
        let size = u32::try_from(found.info.size).unwrap_or(u32::MAX - (PAGE - 1));
        let parts = Parts::map(found, size).unwrap_or_else(|why| {
            tracing::info!(
                device = link.name(),
                region,
                why,
                "registers are not mapped"
            );
            Parts::none()
        });
        Some(Self {
            link: Arc::clone(link),
            region,
            size,
            parts: Arc::new(parts),
        })
    }

    /// How many bytes of the BAR are memory.
    pub fn mapped_bytes(&self) -> u32 {
        self.parts.parts.iter().map(|part| part.memory.size()).sum()
    }

    /// Whether `N` bytes at `offset` are one register of the BAR.
    fn holds<const N: usize>(&self, offset: u32) -> bool {
        let bytes = u32::try_from(N).unwrap_or(u32::MAX);
        let end = offset.checked_add(bytes);
        end.is_some_and(|end| end <= self.size) && offset.is_multiple_of(bytes)
    }

    fn read<const N: usize>(&self, offset: u32) -> [u8; N] {
        if !self.holds::<N>(offset) {
            return [u8::MAX; N];
        }
        let read = self.link.read(self.region, offset.into());
        read.unwrap_or_else(|failure| {
            tracing::debug!(device = self.link.name(), offset, %failure, "a register was not read");
            [u8::MAX; N]
        })
    }

    fn write<const N: usize>(&self, offset: u32, data: [u8; N]) {
        if !self.holds::<N>(offset) {
            return;
        }
        let written = if self.parts.parts.is_empty() {
            self.link.post(self.region, offset.into(), data)
        } else {
            self.link.write(self.region, offset.into(), data)
        };
        if let Err(failure) = written {
            tracing::debug!(device = self.link.name(), offset, %failure, "a register was not written");
        }
    }
}

impl Parts {
    const fn none() -> Self {
        Self {
            pages: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Maps what the server lets be mapped; or says why not.
    fn map(region: &Region, size: u32) -> Result<Self, &'static str> {
        let info = &region.info;
        let Some(file) = &region.file else {
            return Err("the server gives no memory");
        };
        if info.flags & REGION_FLAG_MMAP == 0 {
            return Err("the server does not allow it");
        }
        let bytes = sealed_size(file)?;
        let whole = [SparseArea {
            offset: 0,
            size: size.into(),
        }];
        let areas = if info.areas.is_empty() {
            &whole[..]
        } else {
            &info.areas[..]
        };
        if areas.len() > MOST_PARTS {
            return Err("the server names too many parts");
        }
        let mut pages = vec![0; index(size.div_ceil(PAGE))];
        let mut parts = Vec::new();
        for area in areas {
            let (start, length, in_file) = within(area, info.offset, size, bytes)
                .ok_or("the server names a part that is not there")?;
            let number = u8::try_from(parts.len() + 1).unwrap_or(0);
            for page in start / PAGE..(start + length) / PAGE {
                match pages.get_mut(index(page)) {
                    Some(of_part @ 0) => *of_part = number,
                    _ => return Err("the server names a part twice"),
                }
            }
            let memory = MappedBar::new(file, in_file, length)
                .map_err(|_| "the server's memory can't be mapped")?;
            parts.push(Part { start, memory });
        }
        Ok(Self { pages, parts })
    }

    /// The memory that the register at `offset` is in, and where.
    #[inline]
    fn find(&self, offset: u32) -> Option<(&MappedBar, u32)> {
        let number = usize::from(*self.pages.get(index(offset / PAGE))?);
        let part = self.parts.get(number.checked_sub(1)?)?;
        Some((&part.memory, offset - part.start))
    }
}

/// A number of pages as an index. No `usize` here is smaller than 32 bits.
const fn index(page: u32) -> usize {
    page as usize
}

/// Where an area is in its region of `size` bytes, how long it is, and where it is in a file of
/// `bytes` bytes; `None` for one that is not whole pages of both.
fn within(area: &SparseArea, in_file: u64, size: u32, bytes: u64) -> Option<(u32, u32, u64)> {
    let page = u64::from(PAGE);
    let in_file = in_file.checked_add(area.offset)?;
    let fits = area.offset.checked_add(area.size)? <= size.into()
        && in_file.checked_add(area.size)? <= bytes;
    let aligned = [area.offset, area.size, in_file]
        .iter()
        .all(|place| place.is_multiple_of(page));
    let start = u32::try_from(area.offset).ok()?;
    let length = u32::try_from(area.size).ok()?;
    (fits && aligned && length > 0).then_some((start, length, in_file))
}

/// How long a file is, if it can't become shorter.
fn sealed_size(file: &OwnedFd) -> Result<u64, &'static str> {
    let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    if !seals.contains(SealFlags::SHRINK) {
        return Err("the server's memory is not sealed against shrinking");
    }
    let size = rustix::fs::fstat(file).map(|found| found.st_size);
    size.ok()
        .and_then(|size| u64::try_from(size).ok())
        .ok_or("the server's memory has no size")
}

impl Bar for RemoteBar {
    fn size(&self) -> u32 {
        self.size
    }

    #[inline]
    fn read32(&self, offset: u32) -> u32 {
        match self.parts.find(offset) {
            Some(_) if self.link.is_gone() => u32::MAX,
            Some((memory, offset)) => memory.read32(offset),
            None => u32::from_le_bytes(self.read(offset)),
        }
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        match self.parts.find(offset) {
            Some((memory, offset)) => memory.write32(offset, value),
            None => self.write(offset, value.to_le_bytes()),
        }
    }

    fn read16(&self, offset: u32) -> u16 {
        match self.parts.find(offset) {
            Some(_) if self.link.is_gone() => u16::MAX,
            Some((memory, offset)) => memory.read16(offset),
            None => u16::from_le_bytes(self.read(offset)),
        }
    }

    fn write16(&self, offset: u32, value: u16) {
        match self.parts.find(offset) {
            Some((memory, offset)) => memory.write16(offset, value),
            None => self.write(offset, value.to_le_bytes()),
        }
    }

    fn read8(&self, offset: u32) -> u8 {
        match self.parts.find(offset) {
            Some(_) if self.link.is_gone() => u8::MAX,
            Some((memory, offset)) => memory.read8(offset),
            None => u8::from_le_bytes(self.read(offset)),
        }
    }

    fn write8(&self, offset: u32, value: u8) {
        match self.parts.find(offset) {
            Some((memory, offset)) => memory.write8(offset, value),
            None => self.write(offset, value.to_le_bytes()),
        }
    }

    /// The device is in another process and has the world's time. Meanwhile its requests for our
    /// memory are answered.
    fn delay(&self, duration: Duration) {
        self.link.listen(duration);
    }
}

impl fmt::Debug for RemoteBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBar")
            .field("device", &self.link.name())
            .field("region", &self.region)
            .field("bytes", &self.size)
            .field("mapped_bytes", &self.mapped_bytes())
            .finish_non_exhaustive()
    }
}
