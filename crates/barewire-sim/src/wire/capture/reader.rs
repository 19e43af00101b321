//! Reads the frames of a capture, one after the other, from a stream that may lie.
//!
//! The framing of records and blocks is pcap-file's; its readers are not used, because they reject
//! records cut by the snap length, cannot tell a file that is cut short from one that is damaged,
//! and give up at options that do not concern us. Memory is bounded by the largest record a capture
//! may hold, and grows only as far as there are bytes in the file.

use byteorder_slice::{BigEndian, LittleEndian};
use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::RawBlock;
use pcap_file::{DataLink, Endianness, PcapError};
use std::io::{self, Read};
use std::ops::Range;
use thiserror::Error;

/// Bytes of a packet that libpcap accepts in a file at most (its `MAXIMUM_SNAPLEN`).
const MAX_PACKET: usize = 262_144;
/// Bytes of a pcapng block that Wireshark accepts at most.
const MAX_BLOCK: usize = 16 << 20;
/// Interfaces of a pcapng section.
const MAX_INTERFACES: usize = 65_536;
/// Bytes read at once.
const CHUNK: usize = 256 << 10;

const PCAP_HEADER: usize = 24;
const PCAP_RECORD_HEADER: usize = 16;
/// First word of a pcapng file, the same in both byte orders.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// What is wrong with a capture file.
#[derive(Debug, Error)]
pub enum Defect {
    /// The file cannot be opened or read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory, a pipe or a device: a capture is read twice, so it must be a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file has no bytes at all.
    #[error("the file is empty")]
    Empty,
    /// The file does not begin as pcap or pcapng files do.
    #[error("it is neither a pcap nor a pcapng file")]
    NotACapture,
    /// A version of the format that is not known.
    #[error("version {0}.{1} of the file format is not supported")]
    Version(u16, u16),
    /// The frames are not Ethernet frames.
    #[error("its link type is {name}, not Ethernet")]
    LinkType {
        /// Name and number of the link type, and in pcapng files the interface.
        name: String,
    },
    /// The file ends within a header or a record.
    #[error("it is cut short: the record at byte {offset} is incomplete")]
    CutShort {
        /// Where the incomplete record starts.
        offset: u64,
    },
    /// A header or a record contradicts itself or the format.
    #[error("it is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// The bytes in the file.
    pub(super) data: &'a [u8],
    /// True if the file holds all bytes of the packet.
    pub(super) whole: bool,
}

#[derive(Debug)]
struct Span {
    data: Range<usize>,
    original: u32,
}

#[derive(Debug)]
enum Format {
    Pcap(PcapParser),
    PcapNg {
        endianness: Endianness,
        /// The snap length of each interface, zero if unlimited.
        interfaces: Vec<u32>,
    },
}

/// Reads records from `R`.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    format: Format,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of the byte at `start`.
    offset: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub(super) fn new(input: R) -> Result<Self, Defect> {
        let mut reader = Self {
            input,
            format: Format::PcapNg {
                endianness: Endianness::Little,
                interfaces: Vec::new(),
            },
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            offset: 0,
        };
        while reader.end < PCAP_HEADER && reader.fill()? {}
        let bytes = &reader.buffer[..reader.end];
        if bytes.is_empty() {
            return Err(Defect::Empty);
        }
        // A section header is read with the other blocks.
        if bytes.starts_with(&SECTION_HEADER.to_be_bytes()) {
            return Ok(reader);
        }
        let parser = match PcapParser::new(bytes) {
            Ok((_, parser)) => parser,
            Err(PcapError::IncompleteBuffer) if begins_as_capture(bytes) => {
                return Err(Defect::CutShort { offset: 0 });
            }
            Err(_) => return Err(Defect::NotACapture),
        };
        let header = parser.header();
        if header.version_major != 2 {
            return Err(Defect::Version(header.version_major, header.version_minor));
        }
        // The upper bits say how long the FCS is, if the capture has one.
        let link = DataLink::from(u32::from(header.datalink) & 0x03ff_ffff);
        if link != DataLink::ETHERNET {
            return Err(link_type(link, None));
        }
        reader.format = Format::Pcap(parser);
        reader.consume(PCAP_HEADER);
        Ok(reader)
    }

    /// The next packet, or none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>, Defect> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            let step = match &mut self.format {
                Format::Pcap(parser) => pcap_record(parser, bytes),
                Format::PcapNg {
                    endianness,
                    interfaces,
                } => pcapng_block(endianness, interfaces, bytes),
            };
            match step {
                Ok((length, span)) => {
                    let start = self.start;
                    self.consume(length);
                    if let Some(span) = span {
                        let data = &self.buffer[start + span.data.start..start + span.data.end];
                        // Some writers leave the original length smaller: then nothing was cut.
                        let whole = u32::try_from(data.len()).is_ok_and(|len| len >= span.original);
                        return Ok(Some(Record { data, whole }));
                    }
                }
                Err(Stop::More) => {
                    if !self.fill()? {
                        return self.finish();
                    }
                }
                Err(Stop::Bad(reason)) => {
                    return Err(Defect::Damaged {
                        offset: self.offset,
                        reason,
                    });
                }
                Err(Stop::Defect(defect)) => return Err(defect),
            }
        }
    }

    /// Offset in the file of the next record.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of memory taken.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.buffer.len()
    }

    fn finish(&self) -> Result<Option<Record<'_>>, Defect> {
        if self.start == self.end {
            return Ok(None);
        }
        Err(Defect::CutShort {
            offset: self.offset,
        })
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.offset += crate::wire::widen(length);
    }

    /// Reads more bytes, false at the end of the file.
    fn fill(&mut self) -> Result<bool, Defect> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            // A record that claims more than MAX_BLOCK is refused before it is read, so this ends.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Defect::Io(error)),
            }
        }
    }
}

/// Why there is no record.
enum Stop {
    More,
    Bad(String),
    Defect(Defect),
}

type Step = Result<(usize, Option<Span>), Stop>;

fn bad(reason: impl Into<String>) -> Stop {
    Stop::Bad(reason.into())
}

impl From<PcapError> for Stop {
    fn from(error: PcapError) -> Self {
        match error {
            PcapError::IncompleteBuffer => Self::More,
            other => bad(other.to_string()),
        }
    }
}

/// True if the first bytes, of which there may be few, are those of one of the formats.
fn begins_as_capture(bytes: &[u8]) -> bool {
    const MAGIC: [u32; 5] = [
        0xa1b2_c3d4,
        0xa1b2_3c4d,
        0xd4c3_b2a1,
        0x4d3c_b2a1,
        SECTION_HEADER,
    ];
    let begin = &bytes[..bytes.len().min(4)];
    MAGIC
        .iter()
        .any(|magic| magic.to_be_bytes().starts_with(begin))
}

fn link_type(link: DataLink, interface: Option<usize>) -> Defect {
    let number = u32::from(link);
    let mut name = match link {
        DataLink::Unknown(_) => format!("{number}"),
        known => format!("{known:?} ({number})"),
    };
    if let Some(interface) = interface {
        name = format!("{name} on interface {interface}");
    }
    Defect::LinkType { name }
}

fn word(endianness: Endianness, bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(match endianness {
        Endianness::Big => u32::from_be_bytes(*word),
        Endianness::Little => u32::from_le_bytes(*word),
    })
}

fn half(endianness: Endianness, bytes: &[u8], at: usize) -> Option<u16> {
    let half = bytes.get(at..)?.first_chunk()?;
    Some(match endianness {
        Endianness::Big => u16::from_be_bytes(*half),
        Endianness::Little => u16::from_le_bytes(*half),
    })
}

/// A length of the file as a length in memory; one that does not fit is beyond every bound.
fn length(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn check_packet(captured: u32) -> Result<usize, Stop> {
    let captured = length(captured);
    if captured > MAX_PACKET {
        let reason = format!("a packet of {captured} bytes, more than {MAX_PACKET}");
        return Err(bad(reason));
    }
    Ok(captured)
}

fn pcap_record(parser: &PcapParser, bytes: &[u8]) -> Step {
    let endianness = parser.header().endianness;
    if let Some(captured) = word(endianness, bytes, 8) {
        check_packet(captured)?;
    }
    let (rest, packet) = parser.next_raw_packet(bytes)?;
    let used = bytes.len() - rest.len();
    let span = Span {
        data: PCAP_RECORD_HEADER..used,
        original: packet.orig_len,
    };
    Ok((used, Some(span)))
}

fn pcapng_block(endianness: &mut Endianness, interfaces: &mut Vec<u32>, bytes: &[u8]) -> Step {
    if word(Endianness::Big, bytes, 0) == Some(SECTION_HEADER) {
        *endianness = match word(Endianness::Big, bytes, 8) {
            Some(0x1a2b_3c4d) => Endianness::Big,
            Some(0x4d3c_2b1a) => Endianness::Little,
            Some(_) => return Err(bad("a section header without byte-order magic")),
            None => return Err(Stop::More),
        };
    }
    let order = *endianness;
    if let Some(total) = word(order, bytes, 4)
        && length(total) > MAX_BLOCK
    {
        return Err(bad(format!(
            "a block of {total} bytes, more than {MAX_BLOCK}"
        )));
    }
    let (rest, block) = match order {
        Endianness::Big => RawBlock::from_slice::<BigEndian>(bytes)?,
        Endianness::Little => RawBlock::from_slice::<LittleEndian>(bytes)?,
    };
    let body: &[u8] = &block.body;
    let span = match block.type_ {
        SECTION_HEADER => {
            interfaces.clear();
            section(order, body)?;
            None
        }
        INTERFACE_DESCRIPTION => {
            interface(order, body, interfaces)?;
            None
        }
        ENHANCED_PACKET => {
            let interface = word(order, body, 0);
            Some(packet(order, body, interface, interfaces)?)
        }
        PACKET => {
            let interface = half(order, body, 0).map(u32::from);
            Some(packet(order, body, interface, interfaces)?)
        }
        SIMPLE_PACKET => Some(simple_packet(order, body, interfaces)?),
        _ => None,
    };
    Ok((bytes.len() - rest.len(), span))
}

fn section(order: Endianness, body: &[u8]) -> Result<(), Stop> {
    let (Some(major), Some(minor)) = (half(order, body, 4), half(order, body, 6)) else {
        return Err(bad("a section header that is too short"));
    };
    if major != 1 {
        return Err(Stop::Defect(Defect::Version(major, minor)));
    }
    Ok(())
}

fn interface(order: Endianness, body: &[u8], interfaces: &mut Vec<u32>) -> Result<(), Stop> {
    let (Some(link), Some(snap)) = (half(order, body, 0), word(order, body, 4)) else {
        return Err(bad("an interface description that is too short"));
    };
    let link = DataLink::from(u32::from(link));
    if link != DataLink::ETHERNET {
        return Err(Stop::Defect(link_type(link, Some(interfaces.len()))));
    }
    if interfaces.len() == MAX_INTERFACES {
        return Err(bad(format!("more than {MAX_INTERFACES} interfaces")));
    }
    interfaces.push(snap);
    Ok(())
}

/// Enhanced packet blocks and the packet blocks they replaced differ only in the interface's width.
fn packet(
    order: Endianness,
    body: &[u8],
    interface: Option<u32>,
    interfaces: &[u32],
) -> Result<Span, Stop> {
    const FIXED: usize = 20;
    let (Some(interface), Some(captured), Some(original)) =
        (interface, word(order, body, 12), word(order, body, 16))
    else {
        return Err(bad("a packet block that is too short"));
    };
    if length(interface) >= interfaces.len() {
        return Err(bad(format!("interface {interface} is not described")));
    }
    let captured = check_packet(captured)?;
    if captured > body.len() - FIXED {
        return Err(bad("a packet that is longer than its block"));
    }
    Ok(span(FIXED, captured, original))
}

fn simple_packet(order: Endianness, body: &[u8], interfaces: &[u32]) -> Result<Span, Stop> {
    const FIXED: usize = 4;
    let Some(original) = word(order, body, 0) else {
        return Err(bad("a packet block that is too short"));
    };
    let Some(&snap) = interfaces.first() else {
        return Err(bad("interface 0 is not described"));
    };
    let captured = if snap == 0 {
        original
    } else {
        original.min(snap)
    };
    let captured = check_packet(captured)?;
    if captured > body.len() - FIXED {
        return Err(bad("a packet that is longer than its block"));
    }
    Ok(span(FIXED, captured, original))
}

/// `at` counts from the block's body, which follows type and length.
fn span(at: usize, captured: usize, original: u32) -> Span {
    let start = 8 + at;
    Span {
        data: start..start + captured,
        original,
    }
}

/// What a valid capture holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets that are there in full.
    pub whole: u64,
    /// Packets cut by the snap length.
    pub cut: u64,
}

/// Reads a capture to its end and reports what it holds.
///
/// # Errors
/// The first [`Defect`] met.
pub fn inspect(input: impl Read) -> Result<Summary, Defect> {
    let mut reader = Reader::new(input)?;
    let mut summary = Summary::default();
    while let Some(record) = reader.next()? {
        if record.whole {
            summary.whole += 1;
        } else {
            summary.cut += 1;
        }
    }
    Ok(summary)
}
