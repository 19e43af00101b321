//! Descriptors: two little-endian 64-bit words, written by software and rewritten by the
//! device (82599 §7.1.5, §7.1.6 and §7.2.3).
//!
//! Types here hold one word or both in the host's byte order. Whoever puts them in memory
//! converts with [`u64::to_le`] and [`u64::from_le`].

pub mod rx;
pub mod tx;
