//! The device's regions: registers, the table of MSI-X vectors, configuration space.

use barewire_bus::vfio_user::{REGION_FLAG_READ, REGION_FLAG_WRITE, RegionAccess, RegionInfo, pci};
use barewire_spec::ixgbe::{self as spec, limits};
use barewire_spec::pci::config;
use rustix::io::Errno;

use super::session::Session;

/// Region of the MSI-X table and its pending bits.
const REGION_BAR3: u32 = pci::REGION_BAR0 + 3;

/// Bytes of a region; 0 for one that the device has not.
fn size(region: u32) -> Option<u64> {
    match region {
        pci::REGION_BAR0 => Some(limits::BAR0_SIZE.into()),
        REGION_BAR3 => Some(limits::BAR3_SIZE.into()),
        pci::REGION_CONFIG => Some(config::SIZE.into()),
        region if region < pci::REGIONS => Some(0),
        _ => None,
    }
}

/// What the client is told of a region, before what can be mapped.
pub(super) fn info(index: u32) -> Option<RegionInfo> {
    let size = size(index)?;
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
pub(super) fn check(access: &RegionAccess, count: usize) -> Result<(), Errno> {
    let size = size(access.region).ok_or(Errno::INVAL)?;
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

impl Session {
    /// Reads a region, within its bounds.
    pub(super) fn read_region(&mut self, access: &RegionAccess, data: &mut [u8]) {
        // Within the bounds of a region, offsets fit.
        let offset = u32::try_from(access.offset).unwrap_or(u32::MAX);
        if access.region == pci::REGION_BAR0 {
            if offset % 4 == 0 && data.len().is_multiple_of(4) {
                let words = data.as_chunks_mut::<4>().0;
                for (word, at) in words.iter_mut().zip((offset..).step_by(4)) {
                    *word = self.read_register(at).to_le_bytes();
                }
            } else {
                self.nic.misaligned(access.offset, data.len(), "read");
                data.fill(0xFF);
            }
            return;
        }
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let start = (at % 4) as usize;
            let count = rest.len().min(4 - start);
            let word = match access.region {
                pci::REGION_CONFIG => self.nic.config_word(u16::try_from(at & !3).unwrap_or(0)),
                REGION_BAR3 => self.nic.read_vectors(at & !3),
                _ => 0,
            };
            let (now, later) = rest.split_at_mut(count);
            for (to, from) in now.iter_mut().zip(word.to_le_bytes().iter().skip(start)) {
                *to = *from;
            }
            at = (at & !3).wrapping_add(4);
            rest = later;
        }
    }

    /// Writes a region, within its bounds.
    pub(super) fn write_region(&mut self, access: &RegionAccess, data: &[u8]) {
        let offset = u32::try_from(access.offset).unwrap_or(u32::MAX);
        match access.region {
            pci::REGION_BAR0 if offset % 4 == 0 && data.len().is_multiple_of(4) => {
                let words = data.as_chunks::<4>().0;
                for (word, at) in words.iter().zip((offset..).step_by(4)) {
                    self.write_register(at, u32::from_le_bytes(*word));
                }
            }
            pci::REGION_BAR0 => self.nic.misaligned(access.offset, data.len(), "write"),
            pci::REGION_CONFIG => {
                for (word, start, piece) in by_word(offset, data) {
                    let at = word.saturating_add(u32::try_from(start).unwrap_or(0));
                    self.nic.write_config(u16::try_from(at).unwrap_or(0), piece);
                }
                // A reset may have been among them.
                self.device_changed();
            }
            REGION_BAR3 => {
                for (at, start, piece) in by_word(offset, data) {
                    let mut word = self.nic.read_vectors(at).to_le_bytes();
                    for (to, from) in word.iter_mut().skip(start).zip(piece) {
                        *to = *from;
                    }
                    self.nic.write_vectors(at, u32::from_le_bytes(word));
                }
            }
            _ => {}
        }
    }

    fn read_register(&mut self, offset: u32) -> u32 {
        let nic = &self.nic;
        match &mut self.pages {
            Some(pages) => {
                if offset == spec::MPC.base {
                    pages.collect_counters(nic);
                }
                let counted = pages.take_counter(offset);
                nic.read_register(offset).wrapping_add(counted)
            }
            None => nic.read_register(offset),
        }
    }

    fn write_register(&mut self, offset: u32, value: u32) {
        self.nic.write_register(offset, value);
        if offset == spec::CTRL.base {
            self.device_changed();
        } else if let Some(pages) = &mut self.pages {
            pages.refresh(&self.nic, offset);
        }
    }

    /// The device may have been reset: what the pages show may be another.
    pub(super) fn device_changed(&mut self) {
        if let Some(pages) = &mut self.pages {
            pages.refresh_all(&self.nic);
        }
    }
}
