//! The source of frames from a capture file.

use super::CaptureError;
use super::reader::{Defect, Reader, Summary, inspect};
use crate::time::Nanos;
use crate::wire::pace::Gate;
use crate::wire::{MIN_FRAME, Rate, Source, SourceControl};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Offers the Ethernet frames of a pcap or pcapng file, once and in order.
///
/// The whole file is checked before it is replayed, then read again as the frames are needed:
/// memory stays small however long the file is. The capture's timestamps are not used: a replay is
/// closed-loop unless it is given a [`Rate`].
///
/// - Frames shorter than [`MIN_FRAME`] are padded with zeros, as their sender did.
/// - Packets that the file holds only in part (cut by the snap length) are left out.
/// - Frames longer than any NIC takes are offered all the same.
/// - A frame check sequence, where the capture has it, is taken for the end of the frame.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    reader: Reader<File>,
    summary: Summary,
    remaining: u64,
    gate: Gate,
    control: SourceControl,
    failure: Arc<OnceLock<CaptureError>>,
}

impl Replay {
    /// Opens and checks the file.
    ///
    /// # Errors
    /// If it cannot be read, is no capture, is cut short or damaged, or holds anything but Ethernet
    /// frames. A capture without frames is none: its replay is over at once.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let path = path.as_ref().to_path_buf();
        match check(&path) {
            Ok((reader, summary)) => {
                let control = SourceControl::default();
                control.counters().source_skipped.set(summary.cut);
                Ok(Self {
                    path,
                    reader,
                    summary,
                    remaining: summary.whole,
                    gate: Gate::default(),
                    control,
                    failure: Arc::default(),
                })
            }
            Err(defect) => Err(CaptureError { path, defect }),
        }
    }

    /// Open-loop at `rate`, as a [`Generator`](crate::wire::Generator) with one.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.gate.pace(rate);
        self
    }

    /// What the file holds: [`Summary::whole`] frames will be offered.
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// The handle that stops the replay and reads its counters.
    /// [`source_skipped`](crate::wire::SourceCounters::source_skipped) is known from the start.
    pub fn control(&self) -> SourceControl {
        self.control.clone()
    }

    /// Set if the file could not be read a second time: someone changed it, or the disk failed. The
    /// replay is then over.
    pub fn failure(&self) -> Arc<OnceLock<CaptureError>> {
        Arc::clone(&self.failure)
    }

    /// The next whole frame.
    fn read(&mut self, frame: &mut Vec<u8>) -> Result<(), Defect> {
        while let Some(record) = self.reader.next()? {
            if !record.whole {
                continue;
            }
            frame.clear();
            frame.extend_from_slice(record.data);
            if frame.len() < MIN_FRAME {
                frame.resize(MIN_FRAME, 0);
                self.control.counters().undersize_padded.add(1);
            }
            return Ok(());
        }
        Err(Defect::CutShort {
            offset: self.reader.offset(),
        })
    }
}

fn check(path: &Path) -> Result<(Reader<File>, Summary), Defect> {
    // Looked at before it is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Defect::NotAFile);
    }
    let mut file = File::open(path)?;
    let summary = inspect(&file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok((Reader::new(file)?, summary))
}

impl Source for Replay {
    fn pull(&mut self, now: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        if self.idle() || !self.gate.open(now, room, self.control.counters()) {
            return false;
        }
        if let Err(defect) = self.read(frame) {
            self.remaining = 0;
            let path = self.path.clone();
            // Set once: a replay that has failed is over.
            let _ = self.failure.set(CaptureError { path, defect });
            return false;
        }
        self.gate.offered(frame.len(), self.control.counters());
        self.remaining -= 1;
        true
    }

    fn idle(&self) -> bool {
        self.remaining == 0 || self.control.stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, MICROSECONDS, Order, frame};
    use super::*;
    use std::io::Write;
    use tempfile::NamedTempFile;

    fn file(bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn drain(replay: &mut Replay) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = vec![9; 3];
        while replay.pull(Nanos::ZERO, true, &mut frame) {
            frames.push(frame.clone());
        }
        frames
    }

    #[test]
    fn frames_are_offered_in_order_and_short_ones_padded() {
        let frames = [frame(1, 60), frame(2, 42), frame(3, 20_000), frame(4, 0)];
        let file = file(&samples::pcap(Order::Little, MICROSECONDS, &frames));
        let mut replay = Replay::open(file.path()).unwrap();
        assert_eq!(replay.summary(), Summary { whole: 4, cut: 0 });
        assert!(!replay.pull(Nanos::ZERO, false, &mut Vec::new()));
        let mut short = frame(2, 42);
        short.resize(60, 0);
        let expected = [frame(1, 60), short, frame(3, 20_000), frame(0, 60)];
        assert_eq!(drain(&mut replay), expected);
        assert!(replay.idle());
        let control = replay.control();
        assert_eq!(control.counters().offered.get(), 4);
        assert_eq!(control.counters().undersize_padded.get(), 2);
        assert!(replay.failure().get().is_none());
    }

    #[test]
    fn packets_cut_by_the_snap_length_are_skipped() {
        let mut bytes = samples::pcap(Order::Big, MICROSECONDS, &[frame(1, 60)]);
        bytes.extend(samples::pcap_record(Order::Big, &frame(2, 68), 1514));
        bytes.extend(samples::pcap_record(Order::Big, &frame(3, 70), 70));
        bytes.extend(samples::pcap_record(Order::Big, &frame(4, 68), u32::MAX));
        let file = file(&bytes);
        let mut replay = Replay::open(file.path()).unwrap();
        assert_eq!(drain(&mut replay), [frame(1, 60), frame(3, 70)]);
        assert_eq!(replay.control().counters().source_skipped.get(), 2);
    }

    #[test]
    fn a_rate_paces_the_replay() {
        let frames: Vec<_> = (0..10).map(|byte| frame(byte, 60)).collect();
        let file = file(&samples::pcapng(Order::Little, &frames));
        let mut replay = Replay::open(file.path())
            .unwrap()
            .rate("1Mpps".parse().unwrap());
        let mut buffer = Vec::new();
        assert!(replay.pull(Nanos::ZERO, false, &mut buffer));
        assert!(!replay.pull(Nanos(999), true, &mut buffer));
        assert!(replay.pull(Nanos(1_000), false, &mut buffer));
    }

    #[test]
    fn a_file_changed_meanwhile_is_a_failure_not_a_panic() {
        let frames: Vec<_> = (0..10_000).map(|_| frame(1, 60)).collect();
        let file = file(&samples::pcap(Order::Little, MICROSECONDS, &frames));
        let mut replay = Replay::open(file.path()).unwrap();
        let failure = replay.failure();
        assert!(replay.pull(Nanos::ZERO, true, &mut Vec::new()));
        file.as_file().set_len(300_000).unwrap();
        assert!(drain(&mut replay).len() < 10_000);
        assert!(replay.idle());
        let text = failure.get().unwrap().to_string();
        assert!(text.contains("cut short"), "{text}");
    }

    #[test]
    fn what_is_no_capture_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.pcap");
        for (path, reason) in [
            (directory.path(), "not a regular file"),
            (Path::new("/dev/zero"), "not a regular file"),
            (missing.as_path(), "No such file"),
            (file(&[]).path(), "empty"),
            (
                file(b"#!/bin/sh\necho this is no capture\n").path(),
                "neither a pcap nor",
            ),
        ] {
            // The temporary files of this list live until its end.
            let text = Replay::open(path).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}
