//! What a port is plugged into, and everything that can be at the far end.
//!
//! A NIC knows its wire only as a [`Wire`]: it pulls the frames that arrive and pushes the frames
//! that leave. The pieces compose:
//!
//! ```text
//!  Generator, Replay, Silence ──(Source)──┐
//!                                         ├─ Duplex ─┐
//!  Verifier, Recorder, Discard ──(Sink)───┘          ├─ Faulty ─ NIC
//!  CableEnd, Loopback, Unplugged ───────────────────┤
//!  SocketCable, TapWire: out of the process ────────┘
//! ```
//!
//! A frame is what an Ethernet MAC hands over: destination address first, no preamble, no FCS, at
//! least [`MIN_FRAME`] bytes. The wire itself has no speed; sources that want one keep it with
//! [`Rate`].
//!
//! ```
//! use barewire_sim::time::Nanos;
//! use barewire_sim::wire::{Duplex, Faults, Faulty, Generator, Pattern, Touch, Verifier, Wire, WireTotals};
//!
//! let pattern = Pattern::new(0);
//! let generator = Generator::new(&pattern).limit(1_000);
//! let verifier = Verifier::new(&pattern, Touch::Unchanged);
//! let (control, counters) = (generator.control(), verifier.counters());
//! // One frame in a hundred gets lost on its way to the NIC.
//! let mut wire = Faulty::new(Duplex::new(generator, verifier), 42)
//!     .towards_nic(Faults::new().drop(10_000));
//!
//! // In place of a NIC: what arrives is sent back.
//! let mut frame = Vec::new();
//! while !wire.idle() {
//!     if wire.pull(Nanos::ZERO, true, &mut frame) {
//!         wire.push(Nanos::ZERO, &frame);
//!     }
//! }
//! let totals = WireTotals::read(control.counters(), &counters).drained();
//! assert_eq!(totals.offered, 1_000);
//! assert!(totals.lost > 0);
//! assert_eq!(totals.lost + totals.delivered, 1_000);
//! ```
//!
//! Everything here is driven by one thread, that of the NIC it is plugged into. What another thread
//! may want to see or do (counters, stopping a source, finishing a recording) has a handle that is
//! taken before the wire is plugged in.

mod cable;

pub mod capture;
mod counters;
mod duplex;
mod faults;
mod generator;
mod loopback;
mod outside;
mod pace;
mod pattern;
mod plug;
mod rate;
mod test_frame;
pub(crate) mod train;
mod unplugged;
mod verifier;
mod window;
mod word;

pub use cable::{CABLE_CAPACITY, CableCounters, CableEnd, cable, cable_with_capacity};
pub use counters::{Counter, SinkCounters, SourceControl, SourceCounters, WireTotals};
pub(crate) use duplex::Nowhere;
pub use duplex::{Discard, Duplex, Silence, Sink, Source};
pub use faults::{FaultCounters, Faults, Faulty, PARTS_PER_MILLION};
pub use generator::Generator;
pub use loopback::Loopback;
pub use outside::{LONGEST_CARRIED, OutsideCounters, SocketCable, SocketCableError, TapWire};
pub use pattern::{MAX_FRAME, Pattern, Size, SizeError, Touch};
pub use plug::{Plugged, WireError, WireWatch};
pub use rate::{LINE_RATE, Rate, RateError, WIRE_OVERHEAD};
pub use train::Train;
pub(crate) use train::{BLOCK, Block};
pub use unplugged::Unplugged;
pub use verifier::Verifier;
pub use word::{WireWord, WireWordError};

use crate::time::Nanos;
use std::mem;
use std::os::fd::BorrowedFd;

/// Bytes of the shortest Ethernet frame, without FCS (IEEE 802.3 §3.2.8: 64 with it).
pub const MIN_FRAME: usize = 60;

/// What a NIC's port is plugged into.
///
/// Implementations must not block and, once warm, must not allocate: a NIC asks millions of times a
/// second.
pub trait Wire: Send {
    /// Puts the next frame towards the NIC (no FCS) into `frame`, replacing what was there, and
    /// returns true; returns false if none is due at `now`, and `frame` is then unspecified.
    ///
    /// `room` says whether the NIC has room for a frame now. A closed-loop source gives none
    /// without it, as with Ethernet flow control; an open-loop one ignores it and the NIC drops.
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool;

    /// Takes a frame that leaves the NIC (padded to [`MIN_FRAME`], no FCS).
    fn push(&mut self, now: Nanos, frame: &[u8]);

    /// Puts frames that are due at `now` behind those of `train`, until it is full or no more are
    /// due. The NIC has room for `room` frames in all; beyond, it is as with
    /// [`pull`](Self::pull) without room.
    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        let mut frame = mem::take(&mut train.single);
        while !train.is_full() && self.pull(now, train.len() < room, &mut frame) {
            train.push(&frame);
        }
        train.single = frame;
    }

    /// Takes frames that leave the NIC, as if each were [pushed](Self::push).
    fn push_train(&mut self, now: Nanos, train: &Train) {
        for frame in train.iter() {
            self.push(now, frame);
        }
    }

    /// True if nothing is held back or still to be offered: the replay has ended, the generator
    /// is stopped, nothing is delayed.
    fn idle(&self) -> bool {
        true
    }

    /// Divides the wire into its two directions: one that is only pulled, and asked whether it is
    /// [idle](Self::idle), and one that is only pushed. Two threads may move frames through them at
    /// once. The wire itself if it can't be divided.
    ///
    /// # Errors
    /// The wire, as it was.
    fn into_halves(self) -> Result<[Box<dyn Wire>; 2], Self>
    where
        Self: Sized + 'static,
    {
        Err(self)
    }

    /// A file descriptor that becomes readable when [`pull`](Self::pull) may have a frame, for a
    /// device that sleeps between frames. Ask before each wait: a wire that holds frames back has
    /// none meanwhile.
    ///
    /// `None` means that nothing tells when a frame comes. If the wire is [`idle`](Self::idle) too,
    /// none comes before the NIC has sent one; otherwise it has to be asked again and again.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<W: Wire + ?Sized> Wire for Box<W> {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        (**self).pull(now, room, frame)
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        (**self).push(now, frame);
    }

    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        (**self).pull_train(now, room, train);
    }

    fn push_train(&mut self, now: Nanos, train: &Train) {
        (**self).push_train(now, train);
    }

    fn idle(&self) -> bool {
        (**self).idle()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        (**self).readiness()
    }
}

/// Widens a length: no supported target has a `usize` of more than 64 bits.
pub(crate) const fn widen(length: usize) -> u64 {
    length as u64
}
