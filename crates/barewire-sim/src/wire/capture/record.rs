//! The sink that writes frames into a capture file.
//!
//! A recording is written beside its target under a temporary name and takes the target's name only
//! when it is finished: a failed or abandoned run leaves the target as it was.

use crate::time::Nanos;
use crate::wire::{MAX_FRAME, Sink, SinkCounters, widen};
use parking_lot::Mutex;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use std::borrow::Cow;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempPath;
use thiserror::Error;

/// Snap length written into the file: no frame is longer, so none is cut.
const SNAP_LENGTH: u32 = 262_144;
const _: () = assert!(MAX_FRAME < 262_144);

const BUFFER: usize = 256 << 10;

/// A recording that failed.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be created.
    #[error("cannot create {}: {cause}", path.display())]
    Create {
        /// The file asked for.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file cannot be written, for example because the disk is full.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file asked for.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// What a finished recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Frames.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
}

/// A capture file that is being written.
///
/// The file is pcapng if the name ends in `.pcapng`, otherwise pcap. Frames are kept byte for byte.
/// Timestamps are the model's time, to the nanosecond: moment zero of the model is written as
/// 1970-01-01 00:00:00 UTC, so that a run that is repeated gives the same file.
///
/// Frames come from the [`Recorder`] that [`sink`](Self::sink) gives; this handle stays with
/// whoever is to finish the file. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// The sink of a [`Recording`].
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    failed: AtomicBool,
    counters: Arc<SinkCounters>,
}

#[derive(Debug)]
enum State {
    Open(Output),
    Failed(io::Error),
    Closed,
}

#[derive(Debug)]
struct Output {
    format: Format,
    /// The file's temporary name and the one it shall have; none where the target is written in
    /// place, being a pipe or a device.
    rename: Option<(TempPath, PathBuf)>,
}

enum Format {
    Pcap(PcapWriter<BufWriter<File>>),
    PcapNg(PcapNgWriter<BufWriter<File>>),
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pcap(_) => "Pcap",
            Self::PcapNg(_) => "PcapNg",
        })
    }
}

impl Recording {
    /// Starts a recording that will be `path`. An existing file is replaced when the recording is
    /// finished, not before.
    ///
    /// # Errors
    /// If the file cannot be created there.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref().to_path_buf();
        match Output::create(&path) {
            Ok(output) => Ok(Self {
                path,
                shared: Arc::new(Shared {
                    state: Mutex::new(State::Open(output)),
                    failed: AtomicBool::new(false),
                    counters: Arc::default(),
                }),
            }),
            Err(cause) => Err(RecordError::Create { path, cause }),
        }
    }

    /// The sink that records.
    pub fn sink(&self) -> Recorder {
        Recorder {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Counts the frames written as delivered.
    pub fn counters(&self) -> Arc<SinkCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// True once writing has failed, without a lock. Frames are ignored from then on;
    /// [`finish`](Self::finish) tells why. As writes are buffered, it may show some thousand
    /// frames late.
    pub fn failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Writes what is buffered and gives the file its name. Frames pushed later are ignored.
    ///
    /// # Errors
    /// The first error met while recording, or that of writing the rest. No file is left then.
    pub fn finish(self) -> Result<Recorded, RecordError> {
        let state = std::mem::replace(&mut *self.shared.state.lock(), State::Closed);
        let result = match state {
            State::Open(output) => output.finish(),
            State::Failed(error) => Err(error),
            State::Closed => Err(io::Error::other("already finished")),
        };
        match result {
            Ok(()) => Ok(Recorded {
                frames: self.shared.counters.delivered.get(),
                bytes: self.shared.counters.delivered_bytes.get(),
            }),
            Err(cause) => Err(RecordError::Write {
                path: self.path.clone(),
                cause,
            }),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        *self.shared.state.lock() = State::Closed;
    }
}

impl Sink for Recorder {
    fn push(&mut self, now: Nanos, frame: &[u8]) {
        let mut state = self.shared.state.lock();
        let State::Open(output) = &mut *state else {
            return;
        };
        match output.write(now, frame) {
            Ok(()) => {
                self.shared.counters.delivered.add(1);
                self.shared.counters.delivered_bytes.add(widen(frame.len()));
            }
            Err(error) => {
                // The temporary file goes at once: a full disk needs the room.
                *state = State::Failed(error);
                self.shared.failed.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Output {
    fn create(path: &Path) -> io::Result<Self> {
        let ng = path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("pcapng"));
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                Self::begin(file, ng, None)
            }
            // A link is followed, so that the file it names is replaced and not the link.
            Ok(_) => Self::beside(&fs::canonicalize(path)?, ng),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::beside(path, ng),
            Err(error) => Err(error),
        }
    }

    fn beside(target: &Path, ng: bool) -> io::Result<Self> {
        if target.file_name().is_none() {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let (file, name) = tempfile::Builder::new()
            .prefix(".recording-")
            // Temporary files are private by default; this one is to become an ordinary file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            // the message would name the temporary file, which nobody asked for
            .map_err(|error| io::Error::from(error.kind()))?
            .into_parts();
        Self::begin(file, ng, Some((name, target.to_path_buf())))
    }

    fn begin(file: File, ng: bool, rename: Option<(TempPath, PathBuf)>) -> io::Result<Self> {
        let writer = BufWriter::with_capacity(BUFFER, file);
        let format = if ng { pcapng(writer) } else { pcap(writer) };
        Ok(Self {
            format: format.map_err(reason)?,
            rename,
        })
    }

    fn write(&mut self, now: Nanos, frame: &[u8]) -> io::Result<()> {
        let timestamp = Duration::from_nanos(now.0);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        match &mut self.format {
            Format::Pcap(writer) => writer.write_packet(&PcapPacket::new(timestamp, length, frame)),
            Format::PcapNg(writer) => writer.write_pcapng_block(EnhancedPacketBlock {
                interface_id: 0,
                timestamp,
                original_len: length,
                data: Cow::Borrowed(frame),
                options: Vec::new(),
            }),
        }
        .map(drop)
        .map_err(reason)
    }

    fn finish(self) -> io::Result<()> {
        let mut writer = match self.format {
            Format::Pcap(writer) => writer.into_writer(),
            Format::PcapNg(writer) => writer.into_inner(),
        };
        writer.flush()?;
        let Some((name, target)) = self.rename else {
            return Ok(());
        };
        // Some file systems report a full disk no earlier.
        writer.get_ref().sync_all()?;
        name.persist(target).map_err(|failed| failed.error)
    }
}

fn pcap(writer: BufWriter<File>) -> Result<Format, PcapError> {
    let header = PcapHeader {
        snaplen: SNAP_LENGTH,
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    PcapWriter::with_header(writer, header).map(Format::Pcap)
}

fn pcapng(writer: BufWriter<File>) -> Result<Format, PcapError> {
    let mut writer = PcapNgWriter::with_endianness(writer, Endianness::Little)?;
    writer.write_pcapng_block(InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: SNAP_LENGTH,
        // Powers of ten: nanoseconds.
        options: vec![InterfaceDescriptionOption::IfTsResol(9)],
    })?;
    Ok(Format::PcapNg(writer))
}

fn reason(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Source;
    use crate::wire::capture::Replay;
    use tempfile::{TempDir, tempdir};

    fn names(directory: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_is_recorded_is_replayed() {
        let directory = tempdir().unwrap();
        for name in ["a.pcap", "a.pcapng", "a"] {
            let path = directory.path().join(name);
            let recording = Recording::create(&path).unwrap();
            let mut sink = recording.sink();
            let frames: Vec<Vec<u8>> = (60..200u8).map(|n| vec![n; usize::from(n)]).collect();
            for (at, frame) in frames.iter().enumerate() {
                sink.push(Nanos(widen(at) * 1_000_000_001), frame);
            }
            assert!(!path.exists());
            let recorded = recording.finish().unwrap();
            sink.push(Nanos::ZERO, &[0; 60]);
            let bytes = frames.iter().map(|frame| widen(frame.len())).sum();
            assert_eq!(recorded, Recorded { frames: 140, bytes });
            let mut replay = Replay::open(&path).unwrap();
            let mut frame = Vec::new();
            for expected in frames {
                assert!(replay.pull(Nanos::ZERO, true, &mut frame));
                assert_eq!(frame, expected);
            }
            assert!(replay.idle());
        }
        assert_eq!(names(&directory).len(), 3);
    }

    #[test]
    fn timestamps_are_the_models_nanoseconds() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("t.pcap");
        let recording = Recording::create(&path).unwrap();
        recording.sink().push(Nanos(3_000_000_007), &[1; 60]);
        recording.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[..4], 0xa1b2_3c4d_u32.to_le_bytes());
        assert_eq!(bytes[24..32], [3, 0, 0, 0, 7, 0, 0, 0]);

        let path = directory.path().join("t.pcapng");
        let recording = Recording::create(&path).unwrap();
        recording.sink().push(Nanos(3_000_000_007), &[1; 60]);
        recording.finish().unwrap();
        let file = File::open(&path).unwrap();
        let mut reader = pcap_file::pcapng::PcapNgReader::new(file).unwrap();
        let resolution = InterfaceDescriptionOption::IfTsResol(9);
        let interface = reader
            .next_block()
            .unwrap()
            .unwrap()
            .into_interface_description();
        assert!(interface.unwrap().options.contains(&resolution));
        let packet = reader
            .next_block()
            .unwrap()
            .unwrap()
            .into_enhanced_packet()
            .unwrap();
        assert_eq!(packet.timestamp, Duration::from_nanos(3_000_000_007));
    }

    #[test]
    fn dropped_unfinished_nothing_is_left_and_the_old_file_stays() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("old.pcap");
        fs::write(&path, "old").unwrap();
        let recording = Recording::create(&path).unwrap();
        let mut sink = recording.sink();
        sink.push(Nanos::ZERO, &[0; 60]);
        drop(recording);
        sink.push(Nanos::ZERO, &[0; 60]);
        assert_eq!(names(&directory), ["old.pcap"]);
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_full_disk_shows_at_once_and_is_reported() {
        let recording = Recording::create("/dev/full").unwrap();
        let mut sink = recording.sink();
        for _ in 0..300 {
            sink.push(Nanos::ZERO, &[0; 1514]);
        }
        assert!(recording.failed());
        let error = recording.finish().unwrap_err();
        assert!(matches!(error, RecordError::Write { .. }));
        assert!(error.to_string().contains("/dev/full"), "{error}");

        // Few frames, all still in the buffer.
        let recording = Recording::create("/dev/full").unwrap();
        recording.sink().push(Nanos::ZERO, &[0; 60]);
        assert!(recording.finish().is_err());
    }

    #[test]
    fn a_target_that_cannot_be_is_refused() {
        let directory = tempdir().unwrap();
        let missing = directory.path().join("missing/out.pcap");
        for path in [
            directory.path(),
            missing.as_path(),
            Path::new(""),
            Path::new("/"),
        ] {
            let error = Recording::create(path).unwrap_err();
            assert!(matches!(error, RecordError::Create { .. }), "{error}");
            assert!(!error.to_string().contains(".recording-"), "{error}");
        }
        assert!(names(&directory).is_empty());
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Recording::create(&link).unwrap().finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().len(), 24);
    }
}
