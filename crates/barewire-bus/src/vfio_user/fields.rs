//! Numbers in a payload, in the byte order of the host.

use super::DecodeError;

/// Takes fields off the front of a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    what: &'static str,
    total: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &'static str, payload: &'a [u8]) -> Self {
        Self {
            what,
            total: payload.len(),
            rest: payload,
        }
    }

    fn short(&self, count: usize) -> DecodeError {
        let taken = self.total - self.rest.len();
        DecodeError::Short {
            what: self.what,
            needed: taken.saturating_add(count),
            found: self.total,
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((first, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.short(N));
        };
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_ne_bytes)
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((first, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.short(count));
        };
        self.rest = rest;
        Ok(first)
    }

    /// All bytes that were not taken.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Checks that every byte was taken.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Surplus {
            what: self.what,
            surplus: self.rest.len(),
        })
    }
}

/// Checks a count of bytes or things against its limit and makes it a `usize`.
pub(super) fn at_most(what: &'static str, value: u64, most: usize) -> Result<usize, DecodeError> {
    match usize::try_from(value) {
        Ok(count) if count <= most => Ok(count),
        _ => Err(DecodeError::TooMuch {
            what,
            value,
            most: u64::try_from(most).unwrap_or(u64::MAX),
        }),
    }
}

/// Puts fields one after the other.
#[derive(Debug, Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.bytes
    }
}
