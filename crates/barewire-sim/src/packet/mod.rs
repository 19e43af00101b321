//! What is in a frame: headers, checksums, hashes, and how a packet is cut into segments.

pub(crate) mod checksum;
mod parse;
mod segments;
mod toeplitz;

pub(crate) use parse::{Headers, Network, Tags, Transport, packet_type, parse, parse_again};
pub(crate) use segments::{CutError, FlagMasks, Segments};
pub(crate) use toeplitz::{KEY_BYTES, Toeplitz};
