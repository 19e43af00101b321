//! Interrupts as events, for a driver in the same process.

use std::sync::Arc;

use barewire_bus::{BusError, Event, InterruptKind, Interrupts};
use barewire_spec::pci::config::msix;

use super::config_space::MSIX;
use super::{Shared, VirtioNic};
use crate::nic::Signal;

/// Signals the event of each vector that fires.
struct Events(Vec<Arc<Event>>);

impl Signal for Events {
    fn signal(&mut self, vector: u16) {
        if let Some(event) = self.0.get(usize::from(vector)) {
            event.signal();
        }
    }
}

/// Turns MSI-X off when it is dropped.
struct Switch(VirtioNic);

impl Drop for Switch {
    fn drop(&mut self) {
        self.0.connect_interrupts(Events(Vec::new()));
        set_msix(&self.0.shared, false);
    }
}

/// Turns MSI-X on or off in the configuration space, as a bus's driver does.
fn set_msix(shared: &Shared, on: bool) {
    let mut model = shared.access();
    let word = model.pci.read(MSIX);
    let enable = u32::from(msix::ENABLE) << 16;
    model
        .pci
        .write(MSIX, if on { word | enable } else { word & !enable });
}

/// Turns MSI-X on, with `vectors` vectors.
pub(super) fn connect(shared: &Arc<Shared>, vectors: u16) -> Result<Interrupts, BusError> {
    let refused = |reason: String| BusError::NoInterrupts {
        device: shared.name.clone(),
        reason,
    };
    let most = shared.access().interrupts.vectors;
    if vectors == 0 || vectors > most {
        return Err(refused(format!(
            "it has 1 to {most} vectors: use fewer queues"
        )));
    }
    let events: std::io::Result<Vec<_>> =
        (0..vectors).map(|_| Event::new().map(Arc::new)).collect();
    let events = events.map_err(|error| refused(error.to_string()))?;
    let nic = VirtioNic {
        shared: Arc::clone(shared),
    };
    nic.connect_interrupts(Events(events.clone()));
    set_msix(shared, true);
    Ok(Interrupts::new(InterruptKind::MsiX, events, Switch(nic)))
}
