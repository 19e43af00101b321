//! A port's end of the wire, in two halves if it can be divided.

use std::os::fd::BorrowedFd;

use crate::time::Nanos;
use crate::wire::{Duplex, Nowhere, Silence, Train, Wire};

/// What a port is plugged into.
pub(super) enum Plug {
    Whole(Box<dyn Wire>),
    /// One for what arrives, one for what leaves.
    Halves([Box<dyn Wire>; 2]),
}

impl Plug {
    pub(super) fn new(wire: impl Wire + 'static) -> Self {
        match wire.into_halves() {
            Ok(halves) => Self::Halves(halves),
            Err(wire) => Self::Whole(Box::new(wire)),
        }
    }

    /// A wire from nowhere to nowhere. It takes no memory.
    pub(super) fn nothing() -> Box<dyn Wire> {
        Box::new(Duplex::new(Silence, Nowhere))
    }

    fn incoming(&self) -> &dyn Wire {
        match self {
            Self::Whole(wire) | Self::Halves([wire, _]) => &**wire,
        }
    }

    fn incoming_mut(&mut self) -> &mut dyn Wire {
        match self {
            Self::Whole(wire) | Self::Halves([wire, _]) => &mut **wire,
        }
    }

    fn outgoing_mut(&mut self) -> &mut dyn Wire {
        match self {
            Self::Whole(wire) | Self::Halves([_, wire]) => &mut **wire,
        }
    }
}

impl Wire for Plug {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.incoming_mut().pull(now, room, frame)
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        self.outgoing_mut().push(now, frame);
    }

    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        self.incoming_mut().pull_train(now, room, train);
    }

    fn push_train(&mut self, now: Nanos, train: &Train) {
        self.outgoing_mut().push_train(now, train);
    }

    fn idle(&self) -> bool {
        self.incoming().idle()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.incoming().readiness()
    }
}
