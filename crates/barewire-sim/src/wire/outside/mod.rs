//! Wires that leave the process: frames go to another program, or to the kernel, one a message.

mod cable;
mod socket_file;
mod tap;

pub use cable::{SocketCable, SocketCableError};
pub use tap::TapWire;

use super::{Counter, MIN_FRAME, Wire, widen};
use crate::time::Nanos;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Bytes of the longest frame that is carried. No NIC here takes one as long, so what a NIC calls
/// oversize is still the NIC's to count.
pub const LONGEST_CARRIED: usize = 16 << 10;

/// Bytes of an Ethernet header: less is no frame.
const HEADER: usize = 14;

/// Frames held for a far end whose queue is full. Linux queues as few as eleven datagrams of a
/// socket, and a NIC's segmentation sends forty frames at once.
const HELD: usize = 1024;

/// How long a far end may take nothing until it counts as one that has stopped reading. What is
/// held for it is dropped then, and nothing more is held before it takes a frame.
const PATIENCE: Nanos = Nanos::from_millis(100);

/// Messages looked at in one pull: a pull must end, whatever arrives.
const ATTEMPTS: usize = 32;

/// What a wire to the outside counts, readable from any thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct OutsideCounters {
    /// Frames given to the NIC.
    pub received: Counter,
    /// Bytes of these frames, without FCS, with padding.
    pub received_bytes: Counter,
    /// Of these, frames that arrived with less than [`MIN_FRAME`] bytes and were padded.
    pub undersize_padded: Counter,
    /// Messages from outside dropped because they are longer than [`LONGEST_CARRIED`].
    pub oversize_dropped: Counter,
    /// Messages from outside dropped because they are shorter than an Ethernet header.
    pub malformed_dropped: Counter,
    /// Frames from the NIC that the far end took.
    pub sent: Counter,
    /// Bytes of these frames, without FCS.
    pub sent_bytes: Counter,
    /// Frames from the NIC dropped because nobody is at the far end.
    pub unplugged_dropped: Counter,
    /// Frames from the NIC dropped because the far end does not read as fast as they come.
    pub full_dropped: Counter,
}

/// What carries messages to the outside, without ever waiting.
trait Line: Send {
    /// Takes the next message into `into`; a longer one is cut. `WouldBlock` if there is none; with
    /// any other error nothing will come any more.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends one message. `WouldBlock` if the far end's queue is full; with any other error nobody
    /// is there now.
    fn send(&mut self, message: &[u8]) -> io::Result<()>;

    fn readable(&self) -> BorrowedFd<'_>;
}

/// The frames of a [`Line`].
///
/// It is a wire without flow control: a frame that arrives is given to the NIC at once, whether it
/// has room or not, so that a NIC that does not listen loses it as it would with a real cable.
#[derive(Debug)]
struct Frames<L> {
    line: L,
    /// One byte longer than the longest frame, to know a longer one.
    message: Box<[u8]>,
    held: VecDeque<Vec<u8>>,
    /// Empty buffers for what is to be held.
    spare: Vec<Vec<u8>>,
    /// Since when the far end takes nothing.
    full_since: Option<Nanos>,
    /// The line broke: nothing comes in any more.
    broken: bool,
    counters: Arc<OutsideCounters>,
}

/// What became of an attempt to send.
enum Sent {
    Taken,
    Full,
    Nobody,
}

impl<L: Line> Frames<L> {
    fn new(line: L) -> Self {
        Self {
            line,
            message: vec![0; LONGEST_CARRIED + 1].into_boxed_slice(),
            held: VecDeque::new(),
            spare: Vec::new(),
            full_since: None,
            broken: false,
            counters: Arc::default(),
        }
    }

    fn send(&mut self, now: Nanos, frame: &[u8]) -> Sent {
        match self.line.send(frame) {
            Ok(()) => {
                self.full_since = None;
                self.counters.sent.add(1);
                self.counters.sent_bytes.add(widen(frame.len()));
                Sent::Taken
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full_since.get_or_insert(now);
                Sent::Full
            }
            Err(_) => {
                self.full_since = None;
                Sent::Nobody
            }
        }
    }

    /// Whether the far end has stopped reading.
    fn stalled(&self, now: Nanos) -> bool {
        self.full_since
            .is_some_and(|since| now.since(since) >= PATIENCE)
    }

    /// Sends what is held, in order, as far as the far end takes it.
    fn release(&mut self, now: Nanos) {
        while let Some(frame) = self.held.pop_front() {
            match self.send(now, &frame) {
                Sent::Taken => {}
                Sent::Full if !self.stalled(now) => {
                    self.held.push_front(frame);
                    return;
                }
                Sent::Full => self.counters.full_dropped.add(1),
                Sent::Nobody => self.counters.unplugged_dropped.add(1),
            }
            self.spare.push(frame);
        }
    }

    fn hold(&mut self, now: Nanos, frame: &[u8]) {
        if self.held.len() >= HELD || self.stalled(now) {
            self.counters.full_dropped.add(1);
            return;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.held.push_back(buffer);
    }
}

impl<L: Line> Wire for Frames<L> {
    fn pull(&mut self, now: Nanos, _room: bool, frame: &mut Vec<u8>) -> bool {
        if !self.held.is_empty() {
            self.release(now);
        }
        for _ in 0..ATTEMPTS {
            if self.broken {
                return false;
            }
            let length = match self.line.receive(&mut self.message) {
                Ok(length) => length,
                Err(error) => {
                    self.broken = error.kind() != io::ErrorKind::WouldBlock;
                    return false;
                }
            };
            if length < HEADER {
                self.counters.malformed_dropped.add(1);
                continue;
            }
            let Some(message) = self
                .message
                .get(..length)
                .filter(|_| length <= LONGEST_CARRIED)
            else {
                self.counters.oversize_dropped.add(1);
                continue;
            };
            frame.clear();
            frame.extend_from_slice(message);
            if length < MIN_FRAME {
                frame.resize(MIN_FRAME, 0);
                self.counters.undersize_padded.add(1);
            }
            self.counters.received.add(1);
            self.counters.received_bytes.add(widen(frame.len()));
            return true;
        }
        false
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        if !self.held.is_empty() {
            self.release(now);
        }
        if !self.held.is_empty() {
            self.hold(now, frame);
            return;
        }
        match self.send(now, frame) {
            Sent::Taken => {}
            Sent::Full => self.hold(now, frame),
            Sent::Nobody => self.counters.unplugged_dropped.add(1),
        }
    }

    fn idle(&self) -> bool {
        self.held.is_empty()
    }

    /// None while frames are held: no descriptor tells when the far end has read.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        (self.held.is_empty() && !self.broken).then(|| self.line.readable())
    }
}

#[cfg(test)]
mod tests;
