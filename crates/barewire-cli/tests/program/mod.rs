//! Running the built program.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::pcap::{Expected, read};

/// The program with these arguments, not yet started.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_barewire"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn barewire(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The JSON object of a run that must have succeeded.
pub(crate) fn report(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs `forward --json` with these arguments, which must succeed.
pub(crate) fn forward(arguments: &[&str]) -> Value {
    report(&barewire(&[&["forward", "--json"], arguments].concat()))
}

/// A count of the report's `wire`.
pub(crate) fn wire(report: &Value, name: &str) -> u64 {
    report["wire"][name].as_u64().unwrap()
}

/// Replays `capture` into a recording, which must hold what is expected, frame by frame.
pub(crate) fn replay(capture: &Path, recording: &Path, arguments: &[&str], expected: &Expected) {
    let files = [
        "--replay",
        capture.to_str().unwrap(),
        "--record",
        recording.to_str().unwrap(),
    ];
    let report = forward(&[&files, arguments].concat());
    let name = capture.display();
    let recorded = read(recording);
    assert_eq!(recorded.len(), expected.frames.len(), "{name}");
    for (at, (recorded, frame)) in recorded.iter().zip(&expected.frames).enumerate() {
        assert_eq!(recorded.data, *frame, "{name}: frame {at}");
        assert_eq!(recorded.original, frame.len(), "{name}: frame {at}");
    }
    for (count, expected) in [
        ("offered", expected.frames.len() + expected.oversize),
        ("delivered", expected.frames.len()),
        ("oversize_dropped", expected.oversize),
        ("undersize_padded", expected.padded),
        ("source_skipped", expected.skipped),
        ("lost", 0),
        ("reordered", 0),
        ("corrupted", 0),
    ] {
        assert_eq!(
            wire(&report, count),
            u64::try_from(expected).unwrap(),
            "{name}: {count}"
        );
    }
    assert_eq!(report["violations"], 0, "{name}");
}
