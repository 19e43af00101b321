//! A network interface of the kernel as the far end.

use super::{Frames, Line, OutsideCounters};
use crate::time::Nanos;
use crate::wire::Wire;
use barewire_bus::{Tap, TapError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A wire whose far end is a TAP interface of the kernel: what the NIC sends arrives there, and
/// what the kernel sends there arrives at the NIC.
///
/// An interface that is down is a cable that is not plugged in.
#[derive(Debug)]
pub struct TapWire {
    frames: Frames<Tap>,
}

impl TapWire {
    /// Opens the interface `name`, or makes it, which takes `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// As [`Tap::open`].
    pub fn open(name: &str) -> Result<Self, TapError> {
        Tap::open(name).map(|tap| Self {
            frames: Frames::new(tap),
        })
    }

    /// What the wire counts, readable from any thread.
    pub fn counters(&self) -> Arc<OutsideCounters> {
        Arc::clone(&self.frames.counters)
    }
}

impl Line for Tap {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Self::receive(self, into)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        Self::send(self, message)
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Wire for TapWire {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.frames.pull(now, room, frame)
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        self.frames.push(now, frame);
    }

    fn idle(&self) -> bool {
        self.frames.idle()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.frames.readiness()
    }
}
