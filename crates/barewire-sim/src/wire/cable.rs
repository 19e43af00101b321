//! A cable between two NICs.
//!
//! Each direction is a pair of single-producer single-consumer queues: one carries full buffers to
//! the far end, the other brings them back empty. A buffer is swapped with the receiver's, not
//! copied, so after the first round of the queue a frame costs one copy and no allocation.

use super::{Counter, Wire};
use crate::time::Nanos;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;

/// Frames that [`cable`] holds in each direction: twice the largest number of descriptors of one
/// queue, so that a burst of a whole ring fits.
pub const CABLE_CAPACITY: usize = 8192;

/// What one end of a cable counts of the frames that leave its NIC.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CableCounters {
    /// Frames put on the cable.
    pub carried: Counter,
    /// Frames dropped because the cable was full or its other end is gone.
    pub dropped: Counter,
}

/// One end of a cable: the [`Wire`] of one of the two NICs. The ends may be on different threads.
///
/// A dropped end is an unplugged cable: the other end drops and counts what its NIC sends, and
/// still delivers what was under way.
#[derive(Debug)]
pub struct CableEnd {
    outgoing: Producer<Vec<u8>>,
    returned: Consumer<Vec<u8>>,
    incoming: Consumer<Vec<u8>>,
    returning: Producer<Vec<u8>>,
    counters: Arc<CableCounters>,
}

struct Lane {
    outgoing: Producer<Vec<u8>>,
    returned: Consumer<Vec<u8>>,
    incoming: Consumer<Vec<u8>>,
    returning: Producer<Vec<u8>>,
}

fn lane(capacity: usize) -> Lane {
    let capacity = capacity.max(1);
    let (outgoing, incoming) = RingBuffer::new(capacity);
    let (returning, returned) = RingBuffer::new(capacity);
    Lane {
        outgoing,
        returned,
        incoming,
        returning,
    }
}

/// A cable between two NICs that holds [`CABLE_CAPACITY`] frames each way.
pub fn cable() -> (CableEnd, CableEnd) {
    cable_with_capacity(CABLE_CAPACITY)
}

/// A cable that holds `frames` frames each way, at least one.
///
/// A receiving NIC without room leaves the frames on the cable; a sending NIC that finds the cable
/// full loses the frame, which is counted.
pub fn cable_with_capacity(frames: usize) -> (CableEnd, CableEnd) {
    let (there, back) = (lane(frames), lane(frames));
    (
        CableEnd {
            outgoing: there.outgoing,
            returned: there.returned,
            incoming: back.incoming,
            returning: back.returning,
            counters: Arc::default(),
        },
        CableEnd {
            outgoing: back.outgoing,
            returned: back.returned,
            incoming: there.incoming,
            returning: there.returning,
            counters: Arc::default(),
        },
    )
}

/// A cable whose only end is plugged into itself.
pub(super) fn loop_end(capacity: usize) -> CableEnd {
    let lane = lane(capacity);
    CableEnd {
        outgoing: lane.outgoing,
        returned: lane.returned,
        incoming: lane.incoming,
        returning: lane.returning,
        counters: Arc::default(),
    }
}

impl CableEnd {
    /// Counters of the frames that leave the NIC at this end, readable from any thread.
    pub fn counters(&self) -> Arc<CableCounters> {
        Arc::clone(&self.counters)
    }

    /// True if the other end still exists.
    pub fn connected(&self) -> bool {
        !self.outgoing.is_abandoned()
    }
}

impl Wire for CableEnd {
    fn pull(&mut self, _now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        if !room {
            return false;
        }
        let Ok(mut arrived) = self.incoming.pop() else {
            return false;
        };
        std::mem::swap(frame, &mut arrived);
        // A sender never has more buffers under way than its queue holds, so the way back can only
        // be full after a receiver brought buffers of its own: then this one is given up.
        drop(self.returning.push(arrived));
        true
    }

    fn push(&mut self, _now: Nanos, frame: &[u8]) {
        if self.outgoing.is_full() || !self.connected() {
            self.counters.dropped.add(1);
            return;
        }
        let mut buffer = self.returned.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        match self.outgoing.push(buffer) {
            Ok(()) => self.counters.carried.add(1),
            Err(_) => self.counters.dropped.add(1),
        }
    }

    fn idle(&self) -> bool {
        self.incoming.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(number: u32) -> [u8; 60] {
        let mut frame = [0; 60];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        frame
    }

    #[test]
    fn both_directions_carry_their_own_frames() {
        let (mut a, mut b) = cable();
        let mut frame = Vec::new();
        a.push(Nanos::ZERO, &frame_of(1));
        b.push(Nanos::ZERO, &frame_of(2));
        assert!(a.pull(Nanos::ZERO, true, &mut frame));
        assert_eq!(frame, frame_of(2));
        assert!(b.pull(Nanos::ZERO, true, &mut frame));
        assert_eq!(frame, frame_of(1));
        assert!(a.idle() && b.idle());
    }

    #[test]
    fn a_receiver_without_room_leaves_frames_on_the_cable() {
        let (mut a, mut b) = cable();
        let mut frame = Vec::new();
        a.push(Nanos::ZERO, &frame_of(1));
        assert!(!b.pull(Nanos::ZERO, false, &mut frame));
        assert!(!b.idle());
        assert!(b.pull(Nanos::ZERO, true, &mut frame));
    }

    #[test]
    fn a_full_cable_drops_and_counts() {
        let (mut a, mut b) = cable_with_capacity(2);
        let mut frame = Vec::new();
        for number in 0..5 {
            a.push(Nanos::ZERO, &frame_of(number));
        }
        assert_eq!(a.counters().carried.get(), 2);
        assert_eq!(a.counters().dropped.get(), 3);
        assert!(b.pull(Nanos::ZERO, true, &mut frame));
        a.push(Nanos::ZERO, &frame_of(9));
        assert_eq!(a.counters().carried.get(), 3);
    }

    #[test]
    fn a_dropped_end_is_an_unplugged_cable() {
        let (mut a, mut b) = cable();
        let mut frame = Vec::new();
        b.push(Nanos::ZERO, &frame_of(7));
        drop(b);
        assert!(a.pull(Nanos::ZERO, true, &mut frame));
        a.push(Nanos::ZERO, &frame_of(1));
        assert!(!a.connected());
        assert_eq!(a.counters().dropped.get(), 1);
    }

    #[test]
    fn buffers_go_around() {
        let (mut a, mut b) = cable_with_capacity(4);
        let mut frame = Vec::with_capacity(64);
        let mut seen = std::collections::HashSet::new();
        for number in 0..100 {
            a.push(Nanos::ZERO, &frame_of(number));
            assert!(b.pull(Nanos::ZERO, true, &mut frame));
            seen.insert(frame.as_ptr());
        }
        assert!(seen.len() <= 2, "{} buffers for one frame", seen.len());
    }

    #[test]
    fn ends_work_on_two_threads() {
        const FRAMES: u32 = 20_000;
        let (mut a, mut b) = cable_with_capacity(64);
        let counters = a.counters();
        let sender = std::thread::spawn(move || {
            for number in 0..FRAMES {
                let before = counters.carried.get();
                while counters.carried.get() == before {
                    a.push(Nanos::ZERO, &frame_of(number));
                    std::thread::yield_now();
                }
            }
            a
        });
        let mut frame = Vec::new();
        for number in 0..FRAMES {
            while !b.pull(Nanos::ZERO, true, &mut frame) {
                std::thread::yield_now();
            }
            assert_eq!(frame, frame_of(number));
        }
        drop(sender.join().unwrap());
    }
}
