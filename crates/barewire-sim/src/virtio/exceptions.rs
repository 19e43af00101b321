//! Where drivers of others break the specification themselves, in one list.
//!
//! Each entry is as narrow as what was seen: a place, a rule, the bits, who does it, and why the
//! device and its users come to no harm. What matches an entry is counted
//! ([`VirtioNic::exceptions`](super::VirtioNic::exceptions)) and is no violation, if
//! [`VirtioConfig::tolerate`](super::VirtioConfig::tolerate) is set. Nothing else is let through.

use crate::exceptions::Exception;

/// All exceptions.
pub static EXCEPTIONS: &[Exception] = &[];
