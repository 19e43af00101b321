//! An open VFIO device: its regions and interrupts.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::abi::{DeviceInfo, IrqInfo, IrqSet, RegionInfo, irq};
use super::capabilities;
use super::request::{request, reset_device};
use crate::{DeviceBar, Event, InterruptKind, Interrupts};

/// `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
const SPARSE_MMAP: u16 = 1;

/// A device that the kernel has given to this process. When the last handle is closed, the kernel
/// turns interrupts and bus mastering off and resets the device.
#[derive(Debug)]
pub(super) struct Device {
    file: Arc<File>,
    /// Where configuration space is in the file.
    configuration: u64,
    /// Signalled when the system wants the device back.
    request: Option<Event>,
}

impl Device {
    /// Takes a device that was opened, and resets it where it can be.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut info = DeviceInfo::new();
        request(&file, &mut info)?;
        if info.flags & DeviceInfo::PCI == 0 {
            return Err(io::Error::other("VFIO says that it is no PCI device"));
        }
        if info.flags & DeviceInfo::RESET != 0
            && let Err(error) = reset_device(file.as_fd())
        {
            tracing::info!(%error, "the device was not reset; its driver will do it");
        }
        let mut configuration = RegionInfo::new(RegionInfo::CONFIGURATION);
        request(&file, &mut configuration)?;
        let mut device = Self {
            file: Arc::new(file),
            configuration: configuration.head.offset,
            request: None,
        };
        match device.connect_request() {
            Ok(event) => device.request = event,
            Err(error) => tracing::debug!(%error, "the system can't ask for the device back"),
        }
        Ok(device)
    }

    fn connect_request(&self) -> io::Result<Option<Event>> {
        if self.vectors(irq::REQUEST)? == 0 {
            return Ok(None);
        }
        let event = Event::new()?;
        self.connect(irq::REQUEST, &[&event])?;
        Ok(Some(event))
    }

    /// Whether the system wants the device back.
    pub(super) fn is_wanted_back(&self) -> bool {
        let now = Some(std::time::Duration::ZERO);
        let request = self.request.as_ref();
        request.is_some_and(|request| request.wait(now).unwrap_or(false))
    }

    pub(super) fn config_read32(&self, offset: u16) -> io::Result<u32> {
        let mut bytes = [0; 4];
        let place = self.configuration + u64::from(offset);
        self.file.read_exact_at(&mut bytes, place)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn config_write32(&self, offset: u16, value: u32) -> io::Result<()> {
        let place = self.configuration + u64::from(offset);
        self.file.write_all_at(&value.to_le_bytes(), place)
    }

    /// The window of BAR `index`; `None` if there is none.
    pub(super) fn bar(&self, index: u8) -> io::Result<Option<DeviceBar>> {
        let mut info = RegionInfo::new(u32::from(index));
        request(&self.file, &mut info)?;
        let RegionInfo {
            size,
            offset,
            flags,
            capabilities: first,
            ..
        } = info.head;
        if size == 0 || index > 5 {
            return Ok(None);
        }
        let size = u32::try_from(size).map_err(|_| io::Error::other("it is 4 GiB or larger"))?;
        let mut areas = Vec::new();
        if flags & RegionInfo::MMAP != 0 {
            let base = size_of::<RegionInfo>();
            let sparse = Some(flags & RegionInfo::CAPABILITIES != 0)
                .filter(|has| *has)
                .and_then(|_| capabilities::find(&info.capabilities, base, first, SPARSE_MMAP));
            match sparse {
                None => return DeviceBar::mapped(&self.file, offset, size).map(Some),
                Some(sparse) => areas = areas_inside(sparse, size),
            }
        }
        DeviceBar::file(&self.file, offset, size, &areas).map(Some)
    }

    /// How many interrupts of a kind there are that can signal an event.
    fn vectors(&self, index: u32) -> io::Result<u32> {
        let mut info = IrqInfo::new(index);
        request(&self.file, &mut info)?;
        Ok(if info.flags & IrqInfo::EVENTFD == 0 {
            0
        } else {
            info.count
        })
    }

    fn connect(&self, index: u32, events: &[&Event]) -> io::Result<()> {
        let eventfds: Vec<_> = events.iter().map(AsFd::as_fd).collect();
        let mut set = IrqSet::connect(index, &eventfds)
            .ok_or_else(|| io::Error::other(format!("only {} vectors at a time", IrqSet::MOST)))?;
        request(&self.file, &mut set).map(drop)
    }

    /// Turns `wanted` vectors on. The inner error says why there are not so many.
    pub(super) fn interrupts(&self, wanted: u16) -> io::Result<Result<Interrupts, String>> {
        let msix = self.vectors(irq::MSIX)?;
        let (kind, index, most) = if msix > 0 {
            (InterruptKind::MsiX, irq::MSIX, msix)
        } else {
            // one vector: more of them would have to be contiguous for the processor
            (InterruptKind::Msi, irq::MSI, self.vectors(irq::MSI)?.min(1))
        };
        if u32::from(wanted) > most {
            let had = match (kind, most) {
                (_, 0) => "it has no message-signalled interrupts: poll".to_owned(),
                (InterruptKind::Msi, _) => "it has MSI with one vector: use one queue".to_owned(),
                _ => format!("it has {most} vectors: use fewer queues"),
            };
            return Ok(Err(had));
        }
        let events: Vec<_> = (0..wanted)
            .map(|_| Event::new().map(Arc::new))
            .collect::<io::Result<_>>()?;
        let borrowed: Vec<&Event> = events.iter().map(AsRef::as_ref).collect();
        self.connect(index, &borrowed)?;
        let switch = Switch {
            file: Arc::clone(&self.file),
            index,
        };
        Ok(Ok(Interrupts::new(kind, events, switch)))
    }
}

/// Turns interrupts off when dropped.
struct Switch {
    file: Arc<File>,
    index: u32,
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(error) = request(&self.file, &mut IrqSet::disconnect(self.index)) {
            tracing::debug!(%error, "interrupts were not turned off");
        }
    }
}

/// The areas of a sparse window that can be mapped: those that lie inside it, on whole pages.
fn areas_inside(sparse: &[u8], size: u32) -> Vec<(u32, u32)> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let inside = |(start, length): (u64, u64)| {
        let (start, length) = (u32::try_from(start).ok()?, u32::try_from(length).ok()?);
        let end = start.checked_add(length)?;
        (length > 0 && end <= size && start % page == 0).then_some((start, length))
    };
    let areas = capabilities::pairs(sparse).unwrap_or_default();
    areas.into_iter().filter_map(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_outside_the_window_or_across_pages_are_not_mapped() {
        let mut sparse = 5u32.to_le_bytes().to_vec();
        sparse.extend([0; 4]);
        for number in [0u64, 4096, 8192, 8192, 100, 4096, 4096, u64::MAX, 0, 0] {
            sparse.extend(number.to_le_bytes());
        }
        assert_eq!(areas_inside(&sparse, 12_288), [(0, 4096)]);
        assert_eq!(areas_inside(&sparse, 16_384), [(0, 4096), (8192, 8192)]);
        assert_eq!(areas_inside(&[], 16_384), []);
    }
}
