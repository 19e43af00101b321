//! Traffic from capture files and into capture files, pcap and pcapng.

#[cfg(test)]
mod hostile;
mod reader;
mod record;
mod replay;
#[cfg(test)]
mod samples;

pub use reader::{Defect, Summary, inspect};
pub use record::{RecordError, Recorded, Recorder, Recording};
pub use replay::Replay;

use std::path::PathBuf;
use thiserror::Error;

/// A capture file that cannot be replayed.
#[derive(Debug, Error)]
#[error("cannot replay {}: {defect}", path.display())]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub defect: Defect,
}
