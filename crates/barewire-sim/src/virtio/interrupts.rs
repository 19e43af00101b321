//! Interrupts (VIRTIO §4.1.4.5, §4.1.5.1.2, §4.1.5.3, §4.1.5.4).

use std::fmt;

use barewire_spec::pci::config::msix;
use barewire_spec::virtio::NO_VECTOR;
use barewire_spec::virtio::pci::isr;

use super::config_space::MSIX;
use super::model::Model;
use crate::nic::Signal;
use crate::pci::VectorTable;

/// What the device knows of its interrupts.
pub(super) struct Interrupts {
    pub(super) signal: Option<Box<dyn Signal>>,
    pub(super) table: VectorTable,
    /// Vectors that are masked and have something to say.
    pub(super) waiting: u64,
    pub(super) vectors: u16,
    pub(super) config_vector: u16,
    /// The interrupt status, which is cleared when it is read.
    pub(super) status: u8,
}

impl fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupts")
            .field("waiting", &self.waiting)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Vectors of a device with `pairs` of queues: one a queue, one for the control queue and one for
/// changes of the configuration.
pub(super) const fn vectors(pairs: u16) -> u16 {
    2 * pairs + 2
}

impl Interrupts {
    pub(super) fn new(pairs: u16) -> Self {
        let vectors = vectors(pairs);
        Self {
            signal: None,
            table: VectorTable::new(vectors.into()),
            waiting: 0,
            vectors,
            config_vector: NO_VECTOR,
            status: 0,
        }
    }

    /// A reset of the device: no event has a vector any more.
    pub(super) fn reset(&mut self) {
        self.waiting = 0;
        self.config_vector = NO_VECTOR;
        self.status = 0;
    }
}

impl Model {
    /// MSI-X is on.
    pub(super) fn has_msix(&self) -> bool {
        let control = self.pci.read(MSIX) >> 16;
        control & u32::from(msix::ENABLE) != 0
    }

    /// The vector that an event is given, or none where there is no such vector.
    pub(super) fn vector(&self, wanted: u16) -> u16 {
        if wanted < self.interrupts.vectors {
            wanted
        } else {
            NO_VECTOR
        }
    }

    pub(super) fn interrupt_for_queue(&mut self, vector: u16) {
        self.interrupt(vector, isr::QUEUE);
    }

    pub(super) fn interrupt_for_configuration(&mut self) {
        self.interrupt(self.interrupts.config_vector, isr::CONFIG);
    }

    fn interrupt(&mut self, vector: u16, cause: u8) {
        if !self.has_msix() {
            self.interrupts.status |= cause;
            self.fire(0);
            return;
        }
        if vector < self.interrupts.vectors {
            self.interrupts.waiting |= 1 << vector;
            self.send_waiting();
        }
    }

    /// Sends the messages of vectors that are not masked.
    pub(super) fn send_waiting(&mut self) {
        let control = self.pci.read(MSIX) >> 16;
        if control & u32::from(msix::FUNCTION_MASK) != 0 {
            return;
        }
        let mut ready = self.interrupts.waiting & !self.interrupts.table.masked();
        self.interrupts.waiting &= !ready;
        while ready != 0 {
            let vector = u16::try_from(ready.trailing_zeros()).unwrap_or(0);
            ready &= ready - 1;
            self.fire(vector);
        }
    }

    fn fire(&mut self, vector: u16) {
        self.counters.interrupts += 1;
        self.note("fires", &format_args!("vector {vector}"));
        if let Some(signal) = &mut self.interrupts.signal {
            signal.signal(vector);
        }
    }

    /// Reads the interrupt status, which clears it.
    pub(super) fn read_isr(&mut self) -> u8 {
        std::mem::take(&mut self.interrupts.status)
    }
}
