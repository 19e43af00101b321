//! What the ports' wires are plugged into: a source of frames and a sink that checks them.
//!
//! A frame's way is called a direction: from the source at the far end of one port, through both
//! ports, to the sink at the far end of the other. Where a port's device is not of this program,
//! neither is its far end: a direction has no source then, or no sink.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use barewire::Statistics;
use barewire_sim::time::Nanos;
use barewire_sim::wire::capture::{CaptureError, Recorder, Recording, Replay};
use barewire_sim::wire::{
    Discard, Duplex, Generator, Pattern, Silence, Sink, SinkCounters, Source, SourceControl, Touch,
    Train, Unplugged, Verifier, Wire,
};

use super::ledger::{Crossing, Ledger, Noted};
use super::software::{Order, Software};
use crate::arguments::{Forward, Switch};
use crate::port_name::PortName;

/// Both far ends, seen from the thread that watches the run.
#[derive(Debug)]
pub(super) struct FarEnds {
    /// From the first port to the second, and back.
    pub(super) directions: [Direction; 2],
    /// Opened when both ports are ready.
    pub(super) gate: Gate,
    pub(super) recording: Option<Recording>,
    /// Frames of the capture, if one is replayed.
    pub(super) replayed: Option<u64>,
}

/// The two ends of one direction.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) source: SourceControl,
    pub(super) sink: Watch,
    /// Whether the frames come from here, and whether what comes out is seen here.
    pub(super) is_ours: [bool; 2],
    /// How many frames the source will offer, or are wanted from it, if that is known.
    pub(super) expected: Option<u64>,
    failure: Option<Arc<OnceLock<CaptureError>>>,
}

/// The counters of a sink.
#[derive(Debug)]
pub(super) enum Watch {
    /// Of generated frames.
    Verifier(Arc<SinkCounters>),
    /// Of a capture's frames.
    Ledger(Arc<Ledger>),
    /// Where no frame is expected.
    Nothing(Arc<SinkCounters>),
    /// Where nobody knows what to expect.
    Anything(Arc<SinkCounters>),
}

/// What arrived at a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrivals {
    /// Frames as they were sent.
    pub(super) delivered: u64,
    /// Of these, those that came after a later one.
    pub(super) reordered: u64,
    /// Frames that nobody sent so: damaged, twice, or from nowhere.
    pub(super) corrupted: u64,
}

/// Makes a card whose port is plugged into a wire. (A wire of its own type in each, so that the
/// card reaches it with one virtual call.)
pub(super) type Plug = Box<dyn FnOnce(Order) -> Software>;

/// For the first and the second port.
pub(super) type Plugs = [Plug; 2];

fn plug(wire: impl Wire + 'static) -> Plug {
    Box::new(|order| Software::new(order, wire))
}

impl FarEnds {
    /// Builds what the command line asks for.
    ///
    /// # Errors
    /// When the capture can't be replayed or the recording can't be created. Nothing is left behind
    /// then.
    pub(super) fn build(command: &Forward) -> Result<(Self, Plugs)> {
        let touch = match command.touch {
            Switch::On => Touch::Incremented,
            Switch::Off => Touch::Unchanged,
        };
        let ours = [0, 1].map(|port| command.ports.get(port).is_none_or(PortName::is_ours));
        // The capture is checked before a file is created.
        let replay = command.replay.as_ref().map(Replay::open).transpose()?;
        let recording = command.record.as_ref().map(Recording::create).transpose()?;
        let recorder = recording.as_ref().map(Recording::sink);
        let gate = Gate::default();
        let replayed = replay.as_ref().map(|replay| replay.summary().whole);
        let (directions, plugs) = match (ours, replay) {
            ([true, true], Some(replay)) => replaying(command, touch, replay, recorder, &gate),
            ([true, true], None) => generating(command, touch, recorder, &gate),
            (_, replay) => half_ours(command, ours, replay, recorder, &gate),
        };
        let far_ends = Self {
            directions,
            gate,
            recording,
            replayed,
        };
        Ok((far_ends, plugs))
    }

    /// Frames put on both wires.
    pub(super) fn offered(&self) -> u64 {
        self.directions.iter().map(Direction::offered).sum()
    }

    /// Frames that came out at the far ends, in whatever state.
    pub(super) fn arrived(&self) -> u64 {
        let arrivals = self.directions.iter().map(|way| way.sink.arrivals());
        arrivals.map(|sink| sink.delivered + sink.corrupted).sum()
    }

    /// Whether both ends of both directions are here.
    pub(super) fn are_ours(&self) -> bool {
        self.directions.iter().all(|way| way.is_ours == [true; 2])
    }

    /// Whether any frames come from here.
    pub(super) fn has_source(&self) -> bool {
        self.directions.iter().any(|way| way.is_ours[0])
    }

    /// Which of the ports, called `a` and `b`, are fed from here.
    pub(super) fn fed(&self, a: &str, b: &str) -> String {
        match self.directions.each_ref().map(|way| way.is_ours[0]) {
            [true, false] => a.to_owned(),
            [false, true] => b.to_owned(),
            _ => "both".to_owned(),
        }
    }

    /// Whether everything was offered that was to be, or so many frames forwarded from each port
    /// whose far end is not here. Nothing is to be expected from ports that are `lost`.
    pub(super) fn ended(&self, forwarded: [u64; 2], lost: [bool; 2]) -> bool {
        let mut ways = self.directions.iter().zip(forwarded).zip(lost);
        ways.all(|((way, forwarded), lost)| way.ended(forwarded) || lost && way.expected.is_some())
    }

    /// Stops both sources.
    pub(super) fn stop(&self) {
        for direction in &self.directions {
            direction.source.stop();
        }
    }

    /// Why a source ended before its time.
    pub(super) fn source_failure(&self) -> Option<String> {
        let failures = self
            .directions
            .iter()
            .filter_map(|way| way.failure.as_ref());
        failures
            .filter_map(|failure| failure.get())
            .map(ToString::to_string)
            .next()
    }

    pub(super) fn recording_failed(&self) -> bool {
        self.recording.as_ref().is_some_and(Recording::failed)
    }
}

impl Direction {
    pub(super) fn offered(&self) -> u64 {
        self.source.counters().offered.get()
    }

    fn ended(&self, forwarded: u64) -> bool {
        let failed = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.get().is_some());
        let [source_is_here, _] = self.is_ours;
        let seen = if source_is_here {
            self.offered()
        } else {
            forwarded
        };
        failed || self.expected.is_some_and(|expected| seen >= expected)
    }
}

impl Direction {
    /// Whether all of the `forwarded` frames, and all that were offered here, have come out or been
    /// dropped, as the ports at its beginning and its end have counted.
    pub(super) fn is_drained(&self, forwarded: u64, [first, last]: [&Statistics; 2]) -> bool {
        let [source_is_here, sink_is_here] = self.is_ours;
        let missing = first.rx_dropped + first.rx_errors;
        let gone_in = !source_is_here || forwarded + missing >= self.offered();
        let come_out = if sink_is_here {
            self.sink.arrivals().delivered
        } else {
            last.tx_packets
        };
        gone_in && come_out >= forwarded
    }
}

impl Watch {
    pub(super) fn arrivals(&self) -> Arrivals {
        match self {
            Self::Ledger(ledger) => ledger.arrivals(),
            Self::Verifier(counters) => Arrivals {
                delivered: counters.delivered.get(),
                reordered: counters.reordered.get(),
                corrupted: counters.corrupted.get()
                    + counters.duplicated.get()
                    + counters.foreign.get(),
            },
            Self::Nothing(counters) => Arrivals {
                corrupted: counters.delivered.get(),
                ..Arrivals::default()
            },
            Self::Anything(counters) => Arrivals {
                delivered: counters.delivered.get(),
                ..Arrivals::default()
            },
        }
    }
}

fn generating(
    command: &Forward,
    touch: Touch,
    recorder: Option<Recorder>,
    gate: &Gate,
) -> ([Direction; 2], Plugs) {
    let pattern = |stream| {
        Pattern::new(stream)
            .size(command.size)
            .flows(command.flows())
    };
    let end = |stream| {
        let pattern = pattern(stream);
        let generator = generator(command, &pattern);
        let verifier = Verifier::new(&pattern, touch);
        let direction = Direction {
            source: generator.control(),
            sink: Watch::Verifier(verifier.counters()),
            is_ours: [true; 2],
            expected: command.packets,
            failure: None,
        };
        (gate.before(generator), verifier, direction)
    };
    let (there_source, there_sink, there) = end(0);
    let (back_source, back_sink, back) = end(1);
    let first = plug(Duplex::new(there_source, back_sink));
    let second = match recorder {
        Some(recorder) => plug(Duplex::new(back_source, Both(there_sink, recorder))),
        None => plug(Duplex::new(back_source, there_sink)),
    };
    ([there, back], [first, second])
}

fn replaying(
    command: &Forward,
    touch: Touch,
    mut replay: Replay,
    recorder: Option<Recorder>,
    gate: &Gate,
) -> ([Direction; 2], Plugs) {
    if let Some(rate) = &command.rate {
        replay = replay.rate(rate.rate);
    }
    let ledger = Arc::new(Ledger::default());
    let nothing = Discard::new();
    let there = Direction {
        source: replay.control(),
        sink: Watch::Ledger(Arc::clone(&ledger)),
        is_ours: [true; 2],
        expected: Some(replay.summary().whole),
        failure: Some(replay.failure()),
    };
    let back = Direction {
        source: SourceControl::default(),
        sink: Watch::Nothing(nothing.counters()),
        is_ours: [true; 2],
        expected: Some(0),
        failure: None,
    };
    let source = gate.before(Noted::new(replay, touch, Arc::clone(&ledger)));
    let first = plug(Duplex::new(source, nothing));
    let second = match recorder {
        Some(recorder) => plug(Duplex::new(Silence, Both(Crossing(ledger), recorder))),
        None => plug(Duplex::new(Silence, Crossing(ledger))),
    };
    ([there, back], [first, second])
}

/// Where at least one of the far ends is not here: what is here offers frames and takes whatever
/// comes out.
fn half_ours(
    command: &Forward,
    ours: [bool; 2],
    replay: Option<Replay>,
    recorder: Option<Recorder>,
    gate: &Gate,
) -> ([Direction; 2], Plugs) {
    let mut directions = [0, 1].map(|from| Direction {
        source: SourceControl::default(),
        sink: Watch::Anything(Arc::default()),
        is_ours: [ours[from], ours[1 - from]],
        expected: command.packets,
        failure: None,
    });
    let mut here: Option<Plug> = None;
    if let Some(position) = ours.iter().position(|ours| *ours) {
        let away = &mut directions[position];
        let source: Box<dyn Source> = if let Some(mut replay) = replay {
            if let Some(rate) = &command.rate {
                replay = replay.rate(rate.rate);
            }
            away.source = replay.control();
            away.expected = Some(replay.summary().whole);
            away.failure = Some(replay.failure());
            Box::new(gate.before(replay))
        } else {
            let pattern = Pattern::new(0).size(command.size).flows(command.flows());
            let generator = generator(command, &pattern);
            away.source = generator.control();
            Box::new(gate.before(generator))
        };
        let sink = Discard::new();
        directions[1 - position].sink = Watch::Anything(sink.counters());
        here = Some(match recorder {
            Some(recorder) => plug(Duplex::new(source, Both(sink, recorder))),
            None => plug(Duplex::new(source, sink)),
        });
    }
    // a device that is not ours is not made
    let plugs = ours.map(|ours| match here.take_if(|_| ours) {
        Some(here) => here,
        None => plug(Unplugged::new()),
    });
    (directions, plugs)
}

fn generator(command: &Forward, pattern: &Pattern) -> Generator {
    let mut generator = Generator::new(pattern);
    if let Some(rate) = &command.rate {
        generator = generator.rate(rate.rate);
    }
    if let Some(packets) = command.packets {
        generator = generator.limit(packets);
    }
    generator
}

/// Holds sources back until it is opened: while a port is being set up, a real wire would lose
/// what is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    open: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    fn before<S: Source>(&self, source: S) -> Gated<S> {
        Gated {
            gate: self.clone(),
            source,
        }
    }
}

/// A source behind a [`Gate`].
#[derive(Debug)]
struct Gated<S> {
    gate: Gate,
    source: S,
}

impl<S: Source> Source for Gated<S> {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        self.gate.open.load(Ordering::Relaxed) && self.source.pull(now, room, frame)
    }

    fn pull_train(&mut self, now: Nanos, room: usize, train: &mut Train) {
        if self.gate.open.load(Ordering::Relaxed) {
            self.source.pull_train(now, room, train);
        }
    }

    fn idle(&self) -> bool {
        self.source.idle()
    }
}

/// A sink that hands frames to two others.
#[derive(Debug)]
struct Both<A, B>(A, B);

impl<A: Sink, B: Sink> Sink for Both<A, B> {
    fn push(&mut self, now: Nanos, frame: &[u8]) {
        self.0.push(now, frame);
        self.1.push(now, frame);
    }

    fn push_train(&mut self, now: Nanos, train: &Train) {
        self.0.push_train(now, train);
        self.1.push_train(now, train);
    }
}
