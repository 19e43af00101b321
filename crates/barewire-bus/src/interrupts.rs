//! A device's interrupts, as events.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::Event;

/// How a device interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// Messages with a table in a BAR: one for each vector.
    MsiX,
    /// Messages described in configuration space: one vector, for a device without MSI-X.
    Msi,
}

/// The vectors of a device, one [`Event`] each, until dropped.
///
/// Vector `n` of the device signals event `n`. Nothing is masked on the way: whether the device
/// interrupts is up to its own registers.
pub struct Interrupts {
    kind: InterruptKind,
    vectors: Vec<Arc<Event>>,
    /// Turns the messages off when dropped.
    _switch: Box<dyn Any + Send + Sync>,
}

impl Interrupts {
    /// Vectors that signal `vectors`, and a `switch` that turns them off when it is dropped. For
    /// whoever implements [`PciFunction`](crate::PciFunction).
    pub fn new(
        kind: InterruptKind,
        vectors: Vec<Arc<Event>>,
        switch: impl Any + Send + Sync,
    ) -> Self {
        Self {
            kind,
            vectors,
            _switch: Box::new(switch),
        }
    }

    /// How the device interrupts.
    pub fn kind(&self) -> InterruptKind {
        self.kind
    }

    /// The events, in the order of the vectors.
    pub fn vectors(&self) -> &[Arc<Event>] {
        &self.vectors
    }
}

impl fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupts")
            .field("kind", &self.kind)
            .field("vectors", &self.vectors.len())
            .finish_non_exhaustive()
    }
}
