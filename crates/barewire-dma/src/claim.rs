//! Who in this process may use a piece of a region as plain memory.
//!
//! Devices, of silicon or software, reach a region through its words, which are atomics. Frames and
//! descriptors that the program owns are plain memory: the compiler may copy and fill them with
//! wide moves. So each byte has at most one such user, a pool or a ring, and says so here.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{DmaError, DmaRegion};

/// The pieces of a region that have a user.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Vec<Range<usize>>>);

/// A piece of a region, claimed until dropped. It keeps the region mapped.
#[derive(Debug)]
pub(crate) struct Claim {
    region: Arc<DmaRegion>,
    range: Range<usize>,
    first: NonNull<u8>,
}

// SAFETY: a claim is a part of its region, which may be sent to and used on any thread; `first` is
// an address in it.
unsafe impl Send for Claim {}
// SAFETY: as for Send. `&Claim` gives out the address, and every use of it is argued where it is.
unsafe impl Sync for Claim {}

impl Claim {
    /// Claims `len` bytes of `region` at `offset`.
    ///
    /// # Errors
    /// [`DmaError::OutOfBounds`] outside the region, [`DmaError::Claimed`] where a pool or ring is
    /// already.
    pub(crate) fn new(
        region: &Arc<DmaRegion>,
        offset: usize,
        len: usize,
    ) -> Result<Self, DmaError> {
        let size = region.len();
        let end = offset.checked_add(len).filter(|end| *end <= size);
        let end = end.ok_or(DmaError::OutOfBounds { offset, len, size })?;
        let range = offset..end;
        let mut claims = region.claims().lock();
        if claims
            .iter()
            .any(|other| other.start < end && offset < other.end)
        {
            return Err(DmaError::Claimed { offset, len });
        }
        claims.push(range.clone());
        drop(claims);
        // SAFETY: `offset` is at most the size of the region, which is one mapping from `base` on.
        let first = unsafe { region.base().add(offset) };
        Ok(Self {
            region: Arc::clone(region),
            range,
            first,
        })
    }

    /// The region it is a part of.
    pub(crate) fn region(&self) -> &Arc<DmaRegion> {
        &self.region
    }

    /// Its first byte. As many as were claimed are mapped from there, as long as it lives.
    #[inline]
    pub(crate) fn first(&self) -> NonNull<u8> {
        self.first
    }
}

impl Claims {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Range<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.region
            .claims()
            .lock()
            .retain(|range| *range != self.range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pages;

    #[test]
    fn a_byte_has_one_user_at_a_time() {
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let first = Claim::new(&region, 128, 128).unwrap();
        let _neighbours = [Claim::new(&region, 0, 128), Claim::new(&region, 256, 64)];
        for (offset, len) in [(128, 128), (0, 4096), (200, 1), (255, 2), (127, 2)] {
            let again = Claim::new(&region, offset, len);
            assert!(matches!(again, Err(DmaError::Claimed { .. })), "{offset}");
        }
        drop(first);
        assert!(Claim::new(&region, 128, 128).is_ok());
    }

    #[test]
    fn nothing_outside_the_region_is_claimed() {
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        for (offset, len) in [(region.len(), 1), (usize::MAX, 2), (0, region.len() + 1)] {
            assert!(matches!(
                Claim::new(&region, offset, len),
                Err(DmaError::OutOfBounds { .. })
            ));
        }
    }
}
