//! From the word for a wire to the wire.

use super::capture::{CaptureError, RecordError, Recorded, Recording, Replay};
use super::word::{FarEnd, Traffic};
use super::{
    CableCounters, Counter, Discard, Duplex, Generator, Loopback, OutsideCounters, Pattern,
    SinkCounters, SocketCable, SocketCableError, SourceControl, TapWire, Unplugged, Verifier, Wire,
    WireTotals, WireWord,
};
use barewire_bus::TapError;
use std::fmt;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// A wire that was made from a [`WireWord`], and the handle that stays outside.
pub struct Plugged {
    /// What the NIC is plugged into.
    pub wire: Box<dyn Wire>,
    /// What is seen of it from outside.
    pub watch: WireWatch,
}

impl fmt::Debug for Plugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugged")
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}

/// Why a wire can't be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The cable's end can't be had.
    #[error(transparent)]
    Cable(#[from] SocketCableError),
    /// The TAP interface can't be had.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The capture can't be replayed.
    #[error(transparent)]
    Replay(#[from] CaptureError),
    /// The recording can't be made.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What a wire counts, and what has to be done when it has served.
#[derive(Debug)]
pub struct WireWatch {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Nothing(Arc<Counter>),
    Loopback(Arc<CableCounters>),
    Outside(Arc<OutsideCounters>),
    Capture {
        source: SourceControl,
        sink: Arc<SinkCounters>,
        recording: Option<Recording>,
        failure: Arc<OnceLock<CaptureError>>,
    },
    Generator {
        source: SourceControl,
        sink: Arc<SinkCounters>,
    },
}

impl WireWord {
    /// Makes the wire.
    ///
    /// # Errors
    /// When a socket, an interface or a file can't be had; nothing is left behind then.
    pub fn plug_in(&self) -> Result<Plugged, WireError> {
        Ok(match &self.far_end {
            FarEnd::Nothing => {
                let wire = Unplugged::new();
                let kind = Kind::Nothing(wire.dropped());
                plugged(wire, kind)
            }
            FarEnd::Loopback => {
                let wire = Loopback::new();
                let kind = Kind::Loopback(wire.counters());
                plugged(wire, kind)
            }
            FarEnd::Cable { local, remote } => {
                let wire = SocketCable::open(local, remote)?;
                let kind = Kind::Outside(wire.counters());
                plugged(wire, kind)
            }
            FarEnd::Tap { name } => {
                let wire = TapWire::open(name)?;
                let kind = Kind::Outside(wire.counters());
                plugged(wire, kind)
            }
            FarEnd::Capture { replay, record } => {
                // The capture is checked before a file is created.
                let replay = Replay::open(replay)?;
                let recording = record.as_ref().map(Recording::create).transpose()?;
                let (source, failure) = (replay.control(), replay.failure());
                let capture = |sink, recording| Kind::Capture {
                    source,
                    sink,
                    recording,
                    failure,
                };
                if let Some(recording) = recording {
                    let wire = Duplex::new(replay, recording.sink());
                    plugged(wire, capture(recording.counters(), Some(recording)))
                } else {
                    let sink = Discard::new();
                    let counters = sink.counters();
                    plugged(Duplex::new(replay, sink), capture(counters, None))
                }
            }
            FarEnd::Generator(traffic) => generator(traffic),
        })
    }
}

fn plugged(wire: impl Wire + 'static, kind: Kind) -> Plugged {
    Plugged {
        wire: Box::new(wire),
        watch: WireWatch { kind },
    }
}

fn generator(traffic: &Traffic) -> Plugged {
    // All generators send the same stream, so that each verifier knows what any of them sent: the
    // frames may come back to the port they came from or leave by another one.
    let mut pattern = Pattern::new(0).size(traffic.size).flows(traffic.flows);
    if let Some(destination) = traffic.destination {
        pattern = pattern.destination(destination);
    }
    // nobody can say when the driver on the other side will be ready
    let mut source = Generator::new(&pattern).from_first_room();
    if let Some(rate) = traffic.rate {
        source = source.rate(rate);
    }
    if let Some(packets) = traffic.packets {
        source = source.limit(packets);
    }
    let sink = Verifier::new(&pattern, traffic.touch);
    let kind = Kind::Generator {
        source: source.control(),
        sink: sink.counters(),
    };
    plugged(Duplex::new(source, sink), kind)
}

impl WireWatch {
    /// What was counted up to now, by name, in the order in which it is to be read.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        match &self.kind {
            Kind::Nothing(dropped) => vec![("dropped", dropped.get())],
            Kind::Loopback(counters) => vec![
                ("carried", counters.carried.get()),
                ("dropped", counters.dropped.get()),
            ],
            Kind::Outside(counters) => vec![
                ("received", counters.received.get()),
                ("received_bytes", counters.received_bytes.get()),
                ("sent", counters.sent.get()),
                ("sent_bytes", counters.sent_bytes.get()),
                ("unplugged_dropped", counters.unplugged_dropped.get()),
                ("full_dropped", counters.full_dropped.get()),
                ("oversize_dropped", counters.oversize_dropped.get()),
                ("malformed_dropped", counters.malformed_dropped.get()),
                ("undersize_padded", counters.undersize_padded.get()),
            ],
            Kind::Capture { source, sink, .. } => vec![
                ("offered", source.counters().offered.get()),
                ("recorded", sink.delivered.get()),
                ("undersize_padded", source.counters().undersize_padded.get()),
                ("source_skipped", source.counters().source_skipped.get()),
            ],
            Kind::Generator { source, sink } => {
                let totals = WireTotals::read(source.counters(), sink);
                vec![
                    ("offered", totals.offered),
                    ("delivered", totals.delivered),
                    ("lost", totals.lost),
                    ("reordered", totals.reordered),
                    ("duplicated", totals.duplicated),
                    ("corrupted", totals.corrupted),
                    ("foreign", totals.foreign),
                ]
            }
        }
    }

    /// Stops a source of frames; others know nothing of an end.
    pub fn stop(&self) {
        match &self.kind {
            Kind::Capture { source, .. } | Kind::Generator { source, .. } => source.stop(),
            Kind::Nothing(_) | Kind::Loopback(_) | Kind::Outside(_) => {}
        }
    }

    /// Writes a recording to its end and gives it its name; `None` where nothing is recorded.
    ///
    /// # Errors
    /// What went wrong with the recording or, earlier, with the replay.
    pub fn finish(self) -> Result<Option<Recorded>, WireError> {
        let Kind::Capture {
            recording, failure, ..
        } = self.kind
        else {
            return Ok(None);
        };
        let recorded = recording.map(Recording::finish).transpose()?;
        match Arc::try_unwrap(failure).map(OnceLock::into_inner) {
            Ok(Some(failure)) => Err(failure.into()),
            _ => Ok(recorded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Nanos;
    use crate::wire::Sink;
    use std::path::Path;

    fn capture(path: &Path, frames: impl IntoIterator<Item = Vec<u8>>) {
        let recording = Recording::create(path).unwrap();
        let mut sink = recording.sink();
        for frame in frames {
            sink.push(Nanos::ZERO, &frame);
        }
        recording.finish().unwrap();
    }

    fn plug_in(word: &str) -> Plugged {
        word.parse::<WireWord>().unwrap().plug_in().unwrap()
    }

    fn count(watch: &WireWatch, name: &str) -> u64 {
        let counts = watch.counts();
        counts.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn pulled(plugged: &mut Plugged) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        while plugged.wire.pull(Nanos::ZERO, true, &mut frame) {
            frames.push(frame.clone());
        }
        frames
    }

    #[test]
    fn nothing_and_loopback_count_what_they_drop_and_carry() {
        let mut nothing = plug_in("none");
        nothing.wire.push(Nanos::ZERO, &[0; 60]);
        assert_eq!(nothing.watch.counts(), [("dropped", 1)]);
        let mut looped = plug_in("loopback");
        looped.wire.push(Nanos::ZERO, &[7; 60]);
        assert_eq!(pulled(&mut looped), [[7; 60]]);
        assert_eq!(looped.watch.counts(), [("carried", 1), ("dropped", 0)]);
        assert!(looped.watch.finish().unwrap().is_none());
    }

    #[test]
    fn a_generators_frames_may_come_back_here_or_there() {
        let (mut a, mut b) = (
            plug_in("generator:packets=10,flows=2"),
            plug_in("generator:packets=5,flows=2,touch=off"),
        );
        for mut frame in pulled(&mut a) {
            b.wire.push(Nanos::ZERO, &frame);
            frame[5] = frame[5].wrapping_add(1);
            a.wire.push(Nanos::ZERO, &frame);
        }
        for watch in [&a.watch, &b.watch] {
            assert_eq!(count(watch, "delivered"), 10);
            for bad in ["lost", "reordered", "duplicated", "corrupted", "foreign"] {
                assert_eq!(count(watch, bad), 0, "{bad}");
            }
        }
        assert_eq!(count(&a.watch, "offered"), 10);
        b.watch.stop();
        assert!(pulled(&mut b).is_empty());
    }

    #[test]
    fn a_generators_destination_is_the_one_asked_for() {
        let mut wire = plug_in("generator:packets=1,to=02:00:00:00:00:07");
        assert_eq!(pulled(&mut wire)[0][..6], [2, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn two_ends_of_a_cable_meet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        let mut a = plug_in(&format!("cable:{}", path.display()));
        let mut b = plug_in(&format!("cable:{}.peer", path.display()));
        a.wire.push(Nanos::ZERO, &[7; 60]);
        assert_eq!(pulled(&mut b), [[7; 60]]);
        assert_eq!(count(&a.watch, "sent"), 1);
        assert_eq!(count(&b.watch, "received"), 1);
        drop((a, b));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_capture_goes_in_and_a_recording_comes_out() {
        let directory = tempfile::tempdir().unwrap();
        let [input, output, again] =
            ["in.pcap", "out.pcap", "again.pcap"].map(|name| directory.path().join(name));
        capture(&input, [vec![1; 60], vec![2; 100], vec![3; 20]]);
        let mut wire = plug_in(&format!("pcap:{},{}", input.display(), output.display()));
        let offered = pulled(&mut wire);
        assert_eq!(offered.len(), 3);
        for frame in &offered {
            wire.wire.push(Nanos::ZERO, frame);
        }
        assert_eq!(
            wire.watch.counts(),
            [
                ("offered", 3),
                ("recorded", 3),
                ("undersize_padded", 1),
                ("source_skipped", 0)
            ]
        );
        drop(wire.wire);
        let recorded = wire.watch.finish().unwrap().unwrap();
        assert_eq!((recorded.frames, recorded.bytes), (3, 220));
        let mut replayed = plug_in(&format!("pcap:{}", output.display()));
        assert_eq!(pulled(&mut replayed), offered);
        // a recording is not begun where the replay can't be
        let word = format!("pcap:{},{}", directory.path().display(), again.display());
        let refusal = word.parse::<WireWord>().unwrap().plug_in().unwrap_err();
        assert!(matches!(refusal, WireError::Replay(_)), "{refusal}");
        assert!(!again.exists());
    }

    #[test]
    fn a_capture_that_changed_meanwhile_is_told_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("in.pcap");
        capture(&input, (0..10_000).map(|_| vec![1; 60]));
        let mut wire = plug_in(&format!("pcap:{}", input.display()));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&input)
            .unwrap();
        file.set_len(300_000).unwrap();
        assert!(pulled(&mut wire).len() < 10_000);
        drop(wire.wire);
        assert!(matches!(wire.watch.finish(), Err(WireError::Replay(_))));
    }
}
