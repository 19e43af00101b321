//! Both ends of a wire in a test's hands, and frames for it.
#![allow(dead_code)] // each test file uses its own part
#![allow(unreachable_pub)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use barewire_sim::time::Nanos;
use barewire_sim::wire::{Duplex, Sink, Source, Wire};

/// Frames to and from a device, as a test puts and finds them.
#[derive(Clone, Default)]
pub struct Script {
    ends: Arc<Mutex<Ends>>,
}

#[derive(Default)]
struct Ends {
    arriving: VecDeque<Vec<u8>>,
    left: Vec<Vec<u8>>,
    open_loop: bool,
}

impl Script {
    /// Puts a frame on its way to the device.
    pub fn send(&self, frame: &[u8]) {
        self.ends.lock().unwrap().arriving.push_back(frame.to_vec());
    }

    /// What the device has sent since this was asked last.
    pub fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.ends.lock().unwrap().left)
    }

    /// How many frames the device has not fetched.
    pub fn waiting(&self) -> usize {
        self.ends.lock().unwrap().arriving.len()
    }

    /// Offers frames whether there is room or not.
    pub fn insist(&self) {
        self.ends.lock().unwrap().open_loop = true;
    }
}

impl Wire for Script {
    fn pull(&mut self, _: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        let mut ends = self.ends.lock().unwrap();
        if !room && !ends.open_loop {
            return false;
        }
        let Some(next) = ends.arriving.pop_front() else {
            return false;
        };
        frame.clear();
        frame.extend_from_slice(&next);
        true
    }

    fn push(&mut self, _: Nanos, frame: &[u8]) {
        self.ends.lock().unwrap().left.push(frame.to_vec());
    }

    fn idle(&self) -> bool {
        self.ends.lock().unwrap().arriving.is_empty()
    }
}

impl Script {
    /// The same as a wire whose two directions two threads may use at once.
    pub fn divisible(&self) -> Duplex<Way, Way> {
        Duplex::new(Way(self.clone()), Way(self.clone()))
    }
}

/// One direction of a script.
pub struct Way(Script);

impl Source for Way {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        Wire::pull(&mut self.0, now, room, frame)
    }

    fn idle(&self) -> bool {
        Wire::idle(&self.0)
    }
}

impl Sink for Way {
    fn push(&mut self, now: Nanos, frame: &[u8]) {
        Wire::push(&mut self.0, now, frame);
    }
}

/// The address that devices have unless told otherwise.
pub const OWN: [u8; 6] = [0x02, 0x42, 0x57, 0x00, 0x00, 0x01];

/// A frame to `destination` of `length` bytes whose payload counts up from `tag`.
pub fn frame(destination: [u8; 6], length: usize, tag: u8) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend_from_slice(&[0x02, 0, 0, 0, 0, 0x99, 0x88, 0xB5]);
    frame.extend((0..length.saturating_sub(14)).map(|at| (at as u8).wrapping_add(tag)));
    frame.truncate(length);
    frame
}
