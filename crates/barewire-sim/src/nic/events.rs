//! Interrupts as events, for a driver in the same process.

use std::sync::Arc;

use barewire_bus::{BusError, Event, InterruptKind, Interrupts};
use barewire_spec::ixgbe::limits;

use super::interrupt::Signal;
use super::{Nic, Shared};

/// Signals the event of each vector that fires.
struct Events(Vec<Arc<Event>>);

impl Signal for Events {
    fn signal(&mut self, vector: u16) {
        if let Some(event) = self.0.get(usize::from(vector)) {
            event.signal();
        }
    }
}

/// Takes the interrupts away from the events when it is dropped.
struct Switch(Nic);

impl Drop for Switch {
    fn drop(&mut self) {
        self.0.connect_interrupts(Events(Vec::new()));
    }
}

/// Turns MSI-X on, with `vectors` vectors.
pub(super) fn connect(shared: &Arc<Shared>, vectors: u16) -> Result<Interrupts, BusError> {
    let refused = |reason: String| BusError::NoInterrupts {
        device: shared.name.clone(),
        reason,
    };
    if vectors == 0 || u32::from(vectors) > limits::MSIX_VECTORS {
        let most = limits::MSIX_VECTORS;
        return Err(refused(format!(
            "it has 1 to {most} vectors: use fewer queues"
        )));
    }
    let events: std::io::Result<Vec<_>> =
        (0..vectors).map(|_| Event::new().map(Arc::new)).collect();
    let events = events.map_err(|error| refused(error.to_string()))?;
    let nic = Nic {
        shared: Arc::clone(shared),
    };
    nic.connect_interrupts(Events(events.clone()));
    Ok(Interrupts::new(InterruptKind::MsiX, events, Switch(nic)))
}
