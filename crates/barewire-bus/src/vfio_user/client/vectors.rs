//! Interrupts by eventfd.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::link::{Failure, Link};
use crate::vfio_user::pci::{IRQ_MSI, IRQ_MSIX};
use crate::vfio_user::{IRQ_FLAG_EVENTFD, IrqAction, IrqData, SetIrqs};
use crate::{BusError, Event, InterruptKind, Interrupts};

/// Gives the server an eventfd for each of `vectors` vectors.
pub(super) fn turn_on(link: &Arc<Link>, vectors: u16) -> Result<Interrupts, BusError> {
    let refusal = |reason: String| BusError::NoInterrupts {
        device: link.name().to_owned(),
        reason,
    };
    let vectors = vectors.max(1);
    let (kind, index) = choose(link, vectors).map_err(refusal)?;
    let mut events = Vec::new();
    for _ in 0..vectors {
        let event = Event::new().map_err(|error| refusal(error.to_string()))?;
        events.push(Arc::new(event));
    }
    let switch = Switch {
        link: Arc::clone(link),
        index,
    };
    attach(link, index, &events).map_err(|error| refusal(error.to_string()))?;
    Ok(Interrupts::new(kind, events, switch))
}

fn choose(link: &Link, vectors: u16) -> Result<(InterruptKind, u32), String> {
    let count = |index| match link.irq_info(index) {
        Ok(info) if info.flags & IRQ_FLAG_EVENTFD != 0 => Ok(info.count),
        // a type of interrupt that it does not know
        Ok(_) | Err(Failure::Refused { .. }) => Ok(0),
        Err(error) => Err(error.to_string()),
    };
    let most = count(IRQ_MSIX)?;
    if most >= u32::from(vectors) {
        return Ok((InterruptKind::MsiX, IRQ_MSIX));
    }
    if most == 0 && vectors == 1 && count(IRQ_MSI)? > 0 {
        return Ok((InterruptKind::Msi, IRQ_MSI));
    }
    Err(format!(
        "it has {most} MSI-X vectors and {vectors} are wanted: use fewer queues, or poll"
    ))
}

/// In one message where the server takes so many descriptors, in several where not.
fn attach(link: &Link, index: u32, events: &[Arc<Event>]) -> Result<(), Failure> {
    let mut start = 0;
    for events in events.chunks(link.message_fds().max(1)) {
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let set = SetIrqs {
            index,
            start,
            count,
            action: IrqAction::Trigger,
            data: IrqData::EventFd,
        };
        let fds: Vec<_> = events.iter().map(|event| event.as_fd()).collect();
        link.set_irqs(&set, &fds)?;
        start += count;
    }
    Ok(())
}

/// Takes the interrupts of a type down when dropped.
struct Switch {
    link: Arc<Link>,
    index: u32,
}

impl Drop for Switch {
    fn drop(&mut self) {
        let set = SetIrqs {
            index: self.index,
            start: 0,
            count: 0,
            action: IrqAction::Trigger,
            data: IrqData::None,
        };
        // with a server that has gone there is nothing to take down
        let _ = self.link.set_irqs(&set, &[]);
    }
}
