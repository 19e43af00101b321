//! Captures, written and read byte by byte, independently of the code under test.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::path::Path;

/// A packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The bytes in the file.
    pub(crate) data: Vec<u8>,
    /// Bytes of the packet as it was.
    pub(crate) original: usize,
}

impl Record {
    /// A packet that the file holds in full.
    pub(crate) fn whole(data: Vec<u8>) -> Self {
        let original = data.len();
        Self { data, original }
    }
}

/// Which format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Micro,
    MicroBig,
    Nano,
    NanoBig,
    Ng,
    NgBig,
}

pub(crate) const FORMATS: [Format; 6] = [
    Format::Micro,
    Format::MicroBig,
    Format::Nano,
    Format::NanoBig,
    Format::Ng,
    Format::NgBig,
];

impl Format {
    fn big(self) -> bool {
        matches!(self, Self::MicroBig | Self::NanoBig | Self::NgBig)
    }

    fn half(self, value: u16) -> [u8; 2] {
        if self.big() {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn word(self, value: u32) -> [u8; 4] {
        if self.big() {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let total = self.word(u32::try_from(padded + 12).unwrap());
        let mut block = [self.word(kind), total].concat();
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(total);
        block
    }

    /// A capture with this link type.
    pub(crate) fn write(self, link: u16, records: &[Record]) -> Vec<u8> {
        let mut file = Vec::new();
        let length = |bytes: usize| self.word(u32::try_from(bytes).unwrap());
        if matches!(self, Self::Ng | Self::NgBig) {
            let mut section = self.word(0x1a2b_3c4d).to_vec();
            section.extend([self.half(1), self.half(0)].concat());
            section.extend([0xff; 8]);
            file.extend(self.block(0x0a0d_0d0a, &section));
            let interface = [self.half(link), [0; 2], [0; 2], [0; 2]].concat();
            file.extend(self.block(1, &interface));
            for record in records {
                let mut body = vec![0; 12];
                body.extend(length(record.data.len()));
                body.extend(length(record.original));
                body.extend(&record.data);
                file.extend(self.block(6, &body));
            }
            return file;
        }
        let nano = matches!(self, Self::Nano | Self::NanoBig);
        file.extend(self.word(if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
        file.extend([self.half(2), self.half(4)].concat());
        file.extend([0; 8]);
        file.extend(self.word(262_144));
        file.extend(self.word(u32::from(link)));
        for record in records {
            file.extend(self.word(1_700_000_000));
            file.extend(self.word(7));
            file.extend(length(record.data.len()));
            file.extend(length(record.original));
            file.extend(&record.data);
        }
        file
    }
}

/// The packets of a capture file.
pub(crate) fn read(path: &Path) -> Vec<Record> {
    let bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        read_ng(&bytes)
    } else {
        read_classic(&bytes)
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> u32 {
    let word: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
    if big {
        u32::from_be_bytes(word)
    } else {
        u32::from_le_bytes(word)
    }
}

fn size(bytes: &[u8], at: usize, big: bool) -> usize {
    usize::try_from(word(bytes, at, big)).unwrap()
}

fn read_classic(bytes: &[u8]) -> Vec<Record> {
    let magics = [0xa1b2_c3d4, 0xa1b2_3c4d];
    let big = magics.contains(&word(bytes, 0, true));
    assert!(big || magics.contains(&word(bytes, 0, false)), "no capture");
    let mut records = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let captured = size(bytes, at + 8, big);
        let original = size(bytes, at + 12, big);
        let data = bytes[at + 16..at + 16 + captured].to_vec();
        records.push(Record { data, original });
        at += 16 + captured;
    }
    records
}

fn read_ng(bytes: &[u8]) -> Vec<Record> {
    let big = word(bytes, 8, true) == 0x1a2b_3c4d;
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if word(bytes, at, big) == 6 {
            let captured = size(bytes, at + 20, big);
            let original = size(bytes, at + 24, big);
            let data = bytes[at + 28..at + 28 + captured].to_vec();
            records.push(Record { data, original });
        }
        at += size(bytes, at + 4, big);
    }
    records
}

/// What must become of a capture's frames, and how many fall into each class.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) padded: usize,
    pub(crate) oversize: usize,
    pub(crate) skipped: usize,
}

/// Forwards on paper.
pub(crate) fn expected(records: &[Record], mtu: usize, touch: bool) -> Expected {
    let mut expected = Expected::default();
    for record in records {
        if record.data.len() < record.original {
            expected.skipped += 1;
            continue;
        }
        let mut frame = record.data.clone();
        if frame.len() < 60 {
            expected.padded += 1;
            frame.resize(60, 0);
        }
        let tag = if frame[12..14] == [0x81, 0x00] { 4 } else { 0 };
        if frame.len() > mtu + 14 + tag {
            expected.oversize += 1;
            continue;
        }
        if touch {
            frame[5] = frame[5].wrapping_add(1);
        }
        expected.frames.push(frame);
    }
    expected
}
