//! A far end made of two halves: a source of frames one way, a sink the other way.

use super::{SinkCounters, Train, Wire};
use crate::time::Nanos;
use std::mem;
use std::sync::Arc;

/// Where the frames that arrive at a NIC come from.
pub trait Source: Send {
    /// As [`Wire::pull`].
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool;

    /// As [`Wire::pull_train`].
    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        let mut frame = mem::take(&mut train.single);
        while !train.is_full() && self.pull(now, train.len() < room, &mut frame) {
            train.push(&frame);
        }
        train.single = frame;
    }

    /// True if no frame will come any more.
    fn idle(&self) -> bool {
        true
    }
}

/// Where the frames that leave a NIC go to.
pub trait Sink: Send {
    /// As [`Wire::push`].
    fn push(&mut self, now: Nanos, frame: &[u8]);

    /// As [`Wire::push_train`].
    fn push_train(&mut self, now: Nanos, train: &Train) {
        for frame in train.iter() {
            self.push(now, frame);
        }
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        (**self).pull(now, room, frame)
    }

    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        (**self).pull_train(now, room, train);
    }

    fn idle(&self) -> bool {
        (**self).idle()
    }
}

impl<K: Sink + ?Sized> Sink for Box<K> {
    fn push(&mut self, now: Nanos, frame: &[u8]) {
        (**self).push(now, frame);
    }

    fn push_train(&mut self, now: Nanos, train: &Train) {
        (**self).push_train(now, train);
    }
}

/// A far end that sends what `source` gives and hands what it receives to `sink`.
#[derive(Debug)]
pub struct Duplex<S, K> {
    source: S,
    sink: K,
}

impl<S: Source, K: Sink> Duplex<S, K> {
    /// Joins the two halves.
    pub const fn new(source: S, sink: K) -> Self {
        Self { source, sink }
    }
}

impl<S: Source, K: Sink> Wire for Duplex<S, K> {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.source.pull(now, room, frame)
    }

    fn push(&mut self, now: Nanos, frame: &[u8]) {
        self.sink.push(now, frame);
    }

    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        self.source.pull_train(now, room, train);
    }

    fn push_train(&mut self, now: Nanos, train: &Train) {
        self.sink.push_train(now, train);
    }

    fn idle(&self) -> bool {
        self.source.idle()
    }

    fn into_halves(self) -> Result<[Box<dyn Wire>; 2], Self>
    where
        Self: Sized + 'static,
    {
        let from = Duplex::new(self.source, Nowhere);
        let to = Duplex::new(Silence, self.sink);
        Ok([Box::new(from), Box::new(to)])
    }
}

/// A sink that forgets what it is given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn push(&mut self, _now: Nanos, _frame: &[u8]) {}
}

/// A source that never sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence;

impl Source for Silence {
    fn pull(&mut self, _now: Nanos, _room: bool, _frame: &mut Vec<u8>) -> bool {
        false
    }
}

/// A sink that counts frames as delivered, unread.
#[derive(Debug, Default)]
pub struct Discard {
    counters: Arc<SinkCounters>,
}

impl Discard {
    /// A sink with its counters at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters, to be read from any thread.
    pub fn counters(&self) -> Arc<SinkCounters> {
        Arc::clone(&self.counters)
    }
}

impl Sink for Discard {
    fn push(&mut self, _now: Nanos, frame: &[u8]) {
        self.counters.delivered.add(1);
        self.counters.delivered_bytes.add(super::widen(frame.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MIN_FRAME;

    #[test]
    fn halves_are_kept_apart() {
        let sink = Discard::new();
        let counters = sink.counters();
        let mut wire: Box<dyn Wire> = Box::new(Duplex::new(Silence, sink));
        let mut frame = Vec::new();
        wire.push(Nanos::ZERO, &[0; MIN_FRAME]);
        assert!(!wire.pull(Nanos::ZERO, true, &mut frame));
        assert!(wire.idle());
        assert_eq!(counters.delivered.get(), 1);
        assert_eq!(counters.delivered_bytes.get(), 60);
    }
}
