//! Cutting a packet into segments: TCP and UDP.

/// Which TCP flags stay in the segments of a packet: masks of the twelve bits behind the data
/// offset (82599 §8.2.3.9.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlagMasks {
    pub(crate) first: u16,
    pub(crate) middle: u16,
    pub(crate) last: u16,
}

/// Why a segment can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutError {
    /// The headers are not where they were said to be.
    Outside,
    /// A segment is longer than a packet can be.
    TooLong,
}

/// A packet that is to be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'a> {
    /// Ethernet, network and transport header.
    pub(crate) headers: &'a [u8],
    /// What is cut; not empty.
    pub(crate) payload: &'a [u8],
    /// Where the network header starts.
    pub(crate) l3: usize,
    /// Where the transport header starts.
    pub(crate) l4: usize,
    pub(crate) ipv4: bool,
    /// UDP, or else TCP.
    pub(crate) udp: bool,
    /// Payload bytes of a segment.
    pub(crate) size: usize,
    pub(crate) masks: FlagMasks,
}

impl Segments<'_> {
    /// How many segments there are.
    pub(crate) fn count(&self) -> usize {
        self.payload.len().div_ceil(self.size.max(1))
    }

    /// Puts a segment, finished but for checksums and padding, at the beginning of `into`; returns
    /// its length.
    pub(crate) fn build(&self, number: usize, into: &mut [u8]) -> Result<usize, CutError> {
        let Self { l3, l4, size, .. } = *self;
        let start = number * size;
        let end = (start + size).min(self.payload.len());
        let payload = self.payload.get(start..end).ok_or(CutError::Outside)?;
        let length = self.headers.len() + payload.len();
        let segment = into.get_mut(..length).ok_or(CutError::TooLong)?;
        let (head, rest) = segment.split_at_mut(self.headers.len());
        head.copy_from_slice(self.headers);
        rest.copy_from_slice(payload);

        let step = u16::try_from(number & 0xFFFF).unwrap_or(0);
        let all = narrow(length, l3)?;
        if self.ipv4 {
            put(segment, l3 + 2, all)?;
            let id = get(segment, l3 + 4)?.wrapping_add(step);
            put(segment, l3 + 4, id)?;
        } else {
            put(segment, l3 + 4, all.saturating_sub(40))?;
        }
        if self.udp {
            put(segment, l4 + 4, narrow(length, l4)?)?;
        } else {
            self.tcp(segment, start, end)?;
        }
        Ok(length)
    }

    /// The sequence number, and the flags that belong into this segment.
    fn tcp(&self, segment: &mut [u8], start: usize, end: usize) -> Result<(), CutError> {
        let l4 = self.l4;
        let sequence = segment.get_mut(l4 + 4..).and_then(<[u8]>::first_chunk_mut);
        let sequence: &mut [u8; 4] = sequence.ok_or(CutError::Outside)?;
        let offset = u32::try_from(start).unwrap_or(0);
        *sequence = u32::from_be_bytes(*sequence)
            .wrapping_add(offset)
            .to_be_bytes();
        let mask = match (start == 0, end == self.payload.len()) {
            // The only segment has all that the packet had.
            (true, true) => return Ok(()),
            (true, false) => self.masks.first,
            (false, false) => self.masks.middle,
            (false, true) => self.masks.last,
        };
        let flags = get(segment, l4 + 12)? & (mask | 0xF000);
        put(segment, l4 + 12, flags)
    }
}

/// How many bytes there are from `start` to `end`.
fn narrow(end: usize, start: usize) -> Result<u16, CutError> {
    let bytes = end.checked_sub(start).ok_or(CutError::Outside)?;
    u16::try_from(bytes).map_err(|_| CutError::TooLong)
}

fn get(bytes: &[u8], at: usize) -> Result<u16, CutError> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field
        .map(|field| u16::from_be_bytes(*field))
        .ok_or(CutError::Outside)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> Result<(), CutError> {
    let field = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    *field.ok_or(CutError::Outside)? = value.to_be_bytes();
    Ok(())
}
