//! Captures through the built program, frame by frame.
//!
//! Real ones are in the folder that `BAREWIRE_CAPTURES` names, by default `../shared/captures`
//! beside the workspace. Without them, the small ones written here cover the same cases.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod pcap;
mod program;

use std::path::{Path, PathBuf};

use pcap::{FORMATS, Format, Record, expected, read};
use program::{barewire, replay, stderr};
use tempfile::{TempDir, tempdir};

const ETHERNET: u16 = 1;

/// A frame of `length` bytes, IPv4 by its type field, different for each `seed`.
fn frame(seed: u8, length: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..length)
        .map(|at| seed ^ u8::try_from(at % 251).unwrap())
        .collect();
    if let Some(kind) = frame.get_mut(12..14) {
        kind.copy_from_slice(&[0x08, 0x00]);
    }
    frame
}

fn tagged(seed: u8, length: usize) -> Vec<u8> {
    let mut frame = frame(seed, length);
    frame[12..18].copy_from_slice(&[0x81, 0x00, 0x20, 0x07, 0x08, 0x00]);
    frame
}

/// Frames of every kind: short and empty ones, broadcast, VLAN, the largest that fits and one over.
fn mixture(mtu: usize) -> Vec<Record> {
    let mut frames = vec![
        frame(1, 60),
        frame(2, 42),
        frame(3, 14),
        frame(4, 0),
        frame(5, 59),
        frame(6, 61),
        tagged(7, 64),
        tagged(8, 60),
        tagged(9, 46),
    ];
    for length in [
        mtu + 13,
        mtu + 14,
        mtu + 15,
        mtu + 18,
        mtu + 19,
        9_728,
        20_000,
    ] {
        frames.push(frame(10, length));
        frames.push(tagged(11, length));
    }
    let mut broadcast = frame(12, 90);
    broadcast[..6].fill(0xff);
    frames.extend([
        broadcast,
        frame(13, 2_048),
        frame(14, 4_096),
        frame(15, 1_000),
    ]);
    let mut records: Vec<_> = frames.into_iter().map(Record::whole).collect();
    records.insert(
        4,
        Record {
            data: frame(16, 68),
            original: 1514,
        },
    );
    records
}

fn write(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn captures_of_every_format_come_out_as_they_went_in() {
    let directory = tempdir().unwrap();
    for (number, format) in FORMATS.into_iter().enumerate() {
        let records = mixture(1500);
        let source = write(&directory, "in", &format.write(ETHERNET, &records));
        let name = if number % 2 == 0 {
            "out.pcap"
        } else {
            "out.pcapng"
        };
        let expected = expected(&records, 1500, true);
        assert!(expected.padded > 0 && expected.oversize > 0 && expected.skipped > 0);
        replay(&source, &directory.path().join(name), &[], &expected);
    }
}

#[test]
fn the_mtu_decides_what_is_too_large() {
    let directory = tempdir().unwrap();
    for mtu in [68, 1496, 9_000, 9_710] {
        let records = mixture(mtu);
        let source = write(&directory, "in", &Format::Micro.write(ETHERNET, &records));
        let expected = expected(&records, mtu, true);
        let arguments = ["--mtu", &mtu.to_string()];
        replay(
            &source,
            &directory.path().join("out"),
            &arguments,
            &expected,
        );
    }
}

#[test]
fn frames_are_untouched_on_request() {
    let directory = tempdir().unwrap();
    let records = mixture(1500);
    let source = write(&directory, "in", &Format::Ng.write(ETHERNET, &records));
    let expected = expected(&records, 1500, false);
    replay(
        &source,
        &directory.path().join("out"),
        &["--touch", "off"],
        &expected,
    );
}

#[test]
fn more_frames_than_rings_and_packet_buffer_hold() {
    let directory = tempdir().unwrap();
    let records: Vec<_> = (0..20_000u32)
        .map(|number| {
            let mut frame = frame(0, 60 + usize::try_from(number % 97).unwrap());
            frame[20..24].copy_from_slice(&number.to_be_bytes());
            Record::whole(frame)
        })
        .collect();
    let source = write(&directory, "in", &Format::Micro.write(ETHERNET, &records));
    let expected = expected(&records, 1500, true);
    for arguments in [
        &["--ring", "64", "--batch", "1"],
        &["--ring", "4096", "--batch", "512"],
    ] {
        replay(&source, &directory.path().join("out"), arguments, &expected);
    }
}

#[test]
fn equal_frames_and_no_frames() {
    let directory = tempdir().unwrap();
    let equal = vec![Record::whole(frame(1, 60)); 1_000];
    for records in [equal, Vec::new()] {
        let source = write(&directory, "in", &Format::Nano.write(ETHERNET, &records));
        let expected = expected(&records, 1500, true);
        replay(&source, &directory.path().join("out"), &[], &expected);
    }
}

#[test]
fn what_is_no_ethernet_capture_is_refused_and_leaves_nothing() {
    let directory = tempdir().unwrap();
    let records = mixture(1500);
    let whole = Format::Micro.write(ETHERNET, &records);
    let whole_ng = Format::Ng.write(ETHERNET, &records);
    let raw_ip = Format::Micro.write(228, &records);
    let raw_ip_ng = Format::NgBig.write(101, &records);
    for (bytes, reason) in [
        (
            &b"not a capture, but long enough for a header"[..],
            "neither a pcap nor a pcapng",
        ),
        (&[], "empty"),
        (&whole[..10], "cut short"),
        (&whole[..whole.len() - 1], "cut short"),
        (&whole_ng[..whole_ng.len() - 5], "cut short"),
        (&raw_ip, "not Ethernet"),
        (&raw_ip_ng, "not Ethernet"),
    ] {
        let source = write(&directory, "in", bytes);
        refused(&source, &directory.path().join("out"), reason);
    }
    refused(
        &directory.path().join("missing"),
        &directory.path().join("out"),
        "No such file",
    );
    refused(
        directory.path(),
        &directory.path().join("out"),
        "not a regular file",
    );
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

fn refused(source: &Path, recording: &Path, reason: &str) {
    let (from, to) = (source.to_str().unwrap(), recording.to_str().unwrap());
    let output = barewire(&["forward", "--replay", from, "--record", to, "--json"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{reason}: {text}");
    assert!(
        text.contains(reason) && text.contains(from),
        "{reason}: {text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty() && !recording.exists(), "{reason}");
}

#[test]
fn real_captures() {
    let folder = std::env::var_os("BAREWIRE_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("no real captures: {} is not there", folder.display());
        return;
    };
    let mut captures: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    captures.retain(|path| {
        path.extension()
            .is_some_and(|end| end == "pcap" || end == "pcapng")
    });
    captures.sort();
    let directory = tempdir().unwrap();
    let recording = directory.path().join("out.pcap");
    for capture in captures {
        if capture
            .file_name()
            .is_some_and(|name| name == "linktype-ipv4.pcap")
        {
            refused(&capture, &recording, "not Ethernet");
            continue;
        }
        println!("{}", capture.display());
        let records = read(&capture);
        for mtu in [1500, 9_710] {
            let expected = expected(&records, mtu, true);
            replay(
                &capture,
                &recording,
                &["--mtu", &mtu.to_string()],
                &expected,
            );
        }
        std::fs::remove_file(&recording).unwrap();
    }
}
