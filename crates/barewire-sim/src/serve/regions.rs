//! The device's regions: registers, the table of MSI-X vectors, configuration space.

use barewire_bus::vfio_user::{REGION_FLAG_READ, REGION_FLAG_WRITE, RegionAccess, RegionInfo, pci};
use rustix::io::Errno;

use super::served::{Served, region_bytes};
use super::session::Session;

/// What the client is told of a region, before what can be mapped.
pub(super) fn info(device: &dyn Served, index: u32) -> Option<RegionInfo> {
    let size = region_bytes(device, index)?;
    let flags = if size > 0 {
        REGION_FLAG_READ | REGION_FLAG_WRITE
    } else {
        0
    };
    Some(RegionInfo {
        flags,
        index,
        size,
        ..RegionInfo::default()
    })
}

/// Whether an access lies in its region.
pub(super) fn check(device: &dyn Served, access: &RegionAccess, count: usize) -> Result<(), Errno> {
    let size = region_bytes(device, access.region).ok_or(Errno::INVAL)?;
    let count = u64::try_from(count).map_err(|_| Errno::INVAL)?;
    let end = access.offset.checked_add(count).ok_or(Errno::INVAL)?;
    if count == 0 || end > size || count != u64::from(access.count) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// The pieces of an access that lie in one word each: the word's offset, where in it the piece
/// begins, and the piece.
fn by_word(offset: u32, data: &[u8]) -> impl Iterator<Item = (u32, usize, &[u8])> {
    let mut at = offset;
    let mut rest = data;
    std::iter::from_fn(move || {
        let start = (at % 4) as usize;
        let (now, later) = rest.split_at(rest.len().min(4 - start));
        let word = at & !3;
        at = word.wrapping_add(4);
        rest = later;
        (!now.is_empty()).then_some((word, start, now))
    })
}

/// Reads bytes of words that `read` returns.
pub(crate) fn read_words(offset: u32, data: &mut [u8], mut read: impl FnMut(u32) -> u32) {
    let mut at = offset;
    let mut rest = data;
    while !rest.is_empty() {
        let start = (at % 4) as usize;
        let count = rest.len().min(4 - start);
        let word = read(at & !3);
        let (now, later) = rest.split_at_mut(count);
        for (to, from) in now.iter_mut().zip(word.to_le_bytes().iter().skip(start)) {
            *to = *from;
        }
        at = (at & !3).wrapping_add(4);
        rest = later;
    }
}

/// Writes bytes of words: those that are written in part are read before.
pub(crate) fn write_words(
    offset: u32,
    data: &[u8],
    mut read: impl FnMut(u32) -> u32,
    mut write: impl FnMut(u32, u32),
) {
    for (at, start, piece) in by_word(offset, data) {
        let mut word = read(at).to_le_bytes();
        for (to, from) in word.iter_mut().skip(start).zip(piece) {
            *to = *from;
        }
        write(at, u32::from_le_bytes(word));
    }
}

impl Session {
    /// Reads a region, within its bounds.
    pub(super) fn read_region(&mut self, access: &RegionAccess, data: &mut [u8]) {
        // Within the bounds of a region, offsets fit.
        let offset = u32::try_from(access.offset).unwrap_or(u32::MAX);
        match (access.region, &mut self.pages) {
            (pci::REGION_CONFIG, _) => read_words(offset, data, |at| {
                self.device.config_word(u16::try_from(at).unwrap_or(0))
            }),
            (pci::REGION_BAR0, Some(pages)) => pages.read(offset, data),
            (index, _) => self.device.read_window(index, offset, data),
        }
    }

    /// Writes a region, within its bounds.
    pub(super) fn write_region(&mut self, access: &RegionAccess, data: &[u8]) {
        let offset = u32::try_from(access.offset).unwrap_or(u32::MAX);
        match (access.region, &mut self.pages) {
            (pci::REGION_CONFIG, _) => {
                for (word, start, piece) in by_word(offset, data) {
                    let at = word.saturating_add(u32::try_from(start).unwrap_or(0));
                    self.device
                        .write_config(u16::try_from(at).unwrap_or(0), piece);
                }
                // A reset may have been among them.
                self.device_changed();
            }
            (pci::REGION_BAR0, Some(pages)) => pages.write(offset, data),
            (index, _) => self.device.write_window(index, offset, data),
        }
    }

    /// The device may have been reset: what the pages show may be another.
    pub(super) fn device_changed(&mut self) {
        if let Some(pages) = &mut self.pages {
            pages.refresh_all();
        }
    }
}
