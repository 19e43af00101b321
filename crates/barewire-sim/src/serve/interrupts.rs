//! From the device's interrupts to the client's eventfds.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_bus::vfio_user::{
    IRQ_FLAG_AUTOMASKED, IRQ_FLAG_EVENTFD, IRQ_FLAG_MASKABLE, IrqAction, IrqData, IrqInfo, SetIrqs,
    pci,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::nic::Signal;

/// Interrupts that have fired and are still to be told to the client: one bit a vector. The device
/// fires in the middle of its work; the client is told when what the interrupt is about is done.
#[derive(Clone, Debug, Default)]
pub struct Fired(Arc<AtomicU64>);

impl Signal for Fired {
    fn signal(&mut self, vector: u16) {
        if vector < 64 {
            self.0.fetch_or(1 << vector, Ordering::Relaxed);
        }
    }
}

impl Fired {
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The eventfd of an interrupt.
type Slot = Option<File>;

/// What the client has set up.
#[derive(Debug)]
pub(super) struct Interrupts {
    fired: Fired,
    intx: Slot,
    intx_masked: bool,
    /// Set by the client to unmask `INTx` without a message.
    intx_unmask: Slot,
    msi: Slot,
    msix: Vec<Slot>,
    /// Told about errors and requests; neither occurs.
    other: [Slot; 2],
}

impl Interrupts {
    /// For a device with so many vectors of MSI-X.
    pub(super) fn new(fired: Fired, vectors: u32) -> Self {
        // What fired for a client before is not for this one.
        fired.take();
        Self {
            fired,
            intx: None,
            intx_masked: false,
            intx_unmask: None,
            msi: None,
            msix: (0..vectors).map(|_| None).collect(),
            other: [None, None],
        }
    }

    /// How many interrupts of a type there are.
    fn count(&self, index: u32) -> Option<u32> {
        match index {
            pci::IRQ_MSIX => u32::try_from(self.msix.len()).ok(),
            pci::IRQ_INTX | pci::IRQ_MSI | pci::IRQ_ERR | pci::IRQ_REQ => Some(1),
            _ => None,
        }
    }

    /// What the client is told of a type of interrupt.
    pub(super) fn info(&self, index: u32) -> Option<IrqInfo> {
        let flags = match index {
            pci::IRQ_INTX => IRQ_FLAG_EVENTFD | IRQ_FLAG_MASKABLE | IRQ_FLAG_AUTOMASKED,
            _ => IRQ_FLAG_EVENTFD,
        };
        Some(IrqInfo {
            argsz: IrqInfo::BYTES,
            flags,
            index,
            count: self.count(index)?,
        })
    }

    fn slots(&mut self, index: u32) -> &mut [Slot] {
        match index {
            pci::IRQ_INTX => std::slice::from_mut(&mut self.intx),
            pci::IRQ_MSI => std::slice::from_mut(&mut self.msi),
            pci::IRQ_MSIX => &mut self.msix,
            pci::IRQ_ERR => std::slice::from_mut(&mut self.other[0]),
            pci::IRQ_REQ => std::slice::from_mut(&mut self.other[1]),
            _ => &mut [],
        }
    }

    /// Does what the client asks for.
    pub(super) fn set(&mut self, set: &SetIrqs, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let have = self.count(set.index).ok_or(Errno::INVAL)?;
        let end = set.start.checked_add(set.count).ok_or(Errno::INVAL)?;
        if end > have || set.start >= have {
            return Err(Errno::INVAL);
        }
        if set.data != IrqData::EventFd && !fds.is_empty() {
            return Err(Errno::INVAL);
        }
        match (set.action, &set.data) {
            (IrqAction::Trigger, IrqData::None) if set.count == 0 => {
                self.slots(set.index).fill_with(|| None);
                if set.index == pci::IRQ_INTX {
                    self.intx_masked = false;
                    self.intx_unmask = None;
                }
                Ok(())
            }
            (IrqAction::Trigger, IrqData::EventFd) => self.bind(set, fds),
            (IrqAction::Trigger, data) => {
                for vector in chosen(set, data) {
                    fire(self.slots(set.index).get(vector));
                }
                Ok(())
            }
            // Masking is for INTx only; MSI and MSI-X have masks of their own.
            _ if set.index != pci::IRQ_INTX => Err(Errno::INVAL),
            (IrqAction::Unmask, IrqData::EventFd) => {
                self.intx_unmask = eventfds(fds, 1)?.pop();
                Ok(())
            }
            (IrqAction::Mask, IrqData::EventFd) => Err(Errno::INVAL),
            (action, data) => {
                if chosen(set, data).next().is_some() {
                    self.intx_masked = action == IrqAction::Mask;
                }
                Ok(())
            }
        }
    }

    fn bind(&mut self, set: &SetIrqs, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let start = set.start as usize;
        let count = set.count as usize;
        if !fds.is_empty() && fds.len() != count {
            return Err(Errno::INVAL);
        }
        let mut files = eventfds(fds, count)?.into_iter();
        let slots = self.slots(set.index);
        for slot in slots.iter_mut().skip(start).take(count) {
            *slot = files.next();
        }
        Ok(())
    }

    /// Something that unmasks `INTx` when it becomes readable.
    pub(super) fn unmask_event(&self) -> Option<BorrowedFd<'_>> {
        self.intx_unmask
            .as_ref()
            .filter(|_| self.intx_masked)
            .map(AsFd::as_fd)
    }

    /// Tells the client what has fired; true if anything was told. `line` says whether the device
    /// holds its interrupt line down.
    pub(super) fn deliver(&mut self, line: impl FnOnce() -> bool) -> bool {
        if self.intx_masked
            && let Some(event) = &self.intx_unmask
            && poll_now(event.as_fd(), PollFlags::IN)
        {
            let mut count = [0; 8];
            self.intx_masked = std::io::Read::read(&mut &*event, &mut count).is_err();
        }
        let fired = self.fired.take();
        if self.msix.iter().any(Option::is_some) {
            let mut left = fired;
            while left != 0 {
                let vector = left.trailing_zeros() as usize;
                left &= left - 1;
                fire(self.msix.get(vector));
            }
            return fired != 0;
        }
        if self.msi.is_some() {
            if fired != 0 {
                fire(Some(&self.msi));
            }
            return fired != 0;
        }
        // A line is not sent once: it is down until the driver has dealt with the cause.
        if self.intx.is_some() && !self.intx_masked && line() {
            self.intx_masked = true;
            fire(Some(&self.intx));
            return true;
        }
        false
    }
}

/// The interrupts of a request that it is about.
fn chosen<'a>(set: &'a SetIrqs, data: &'a IrqData) -> impl Iterator<Item = usize> + 'a {
    let start = set.start as usize;
    (0..set.count as usize)
        .filter(move |index| match data {
            IrqData::Bool(values) => values.get(*index).copied().unwrap_or(false),
            _ => true,
        })
        .map(move |index| start + index)
}

/// Takes descriptors that must be eventfds, at most `most`.
fn eventfds(fds: Vec<OwnedFd>, most: usize) -> Result<Vec<File>, Errno> {
    if fds.len() > most || !fds.iter().all(is_eventfd) {
        return Err(Errno::INVAL);
    }
    Ok(fds.into_iter().map(File::from).collect())
}

/// Whether it is an eventfd. Writing to anything else might wait, or do anything at all.
fn is_eventfd(fd: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]")
}

fn poll_now(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(events)
}

/// Adds 1 to an eventfd, unless it is full: then the client has not looked for a long time.
fn fire(slot: Option<&Slot>) {
    if let Some(Some(file)) = slot
        && poll_now(file.as_fd(), PollFlags::OUT)
        && let Err(error) = (&*file).write(&1u64.to_ne_bytes())
    {
        tracing::debug!(%error, "an eventfd took no interrupt");
    }
}
