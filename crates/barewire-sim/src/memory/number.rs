//! Numbers in memory that device and driver share: read and written whole, in an order that holds.

use std::sync::atomic::{AtomicU64, Ordering};

use super::iommu::{Fault, Hint, Iommu};

/// How many bytes a number has. It lies at a multiple of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Two,
    Four,
    Eight,
}

impl Width {
    const fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    const fn mask(self) -> u64 {
        match self {
            Self::Two => 0xFFFF,
            Self::Four => 0xFFFF_FFFF,
            Self::Eight => u64::MAX,
        }
    }
}

impl Iommu {
    /// The word that a number at `iova` lies in and how far up; none where it can't be reached
    /// directly or is not in one word.
    fn cell(
        &self,
        hint: &mut Hint,
        iova: u64,
        width: Width,
    ) -> Result<Option<(&AtomicU64, u32)>, Fault> {
        let (entry, offset, _) = self.find(hint, iova)?;
        let shift = offset % 8;
        if !entry.direct || shift + width.bytes() > 8 {
            return Ok(None);
        }
        let bits = u32::try_from(shift * 8).unwrap_or(0);
        Ok(entry.words().get(offset / 8).map(|word| (word, bits)))
    }

    /// Reads a little-endian number. What its writer had written before it can be read afterwards.
    #[inline]
    pub(crate) fn load(&self, hint: &mut Hint, iova: u64, width: Width) -> Result<u64, Fault> {
        if let Some((word, shift)) = self.cell(hint, iova, width)? {
            let value = u64::from_le(word.load(Ordering::Acquire));
            return Ok(value >> shift & width.mask());
        }
        let mut bytes = [0; 8];
        let read = bytes.get_mut(..width.bytes()).unwrap_or_default();
        self.read_pieces(hint, iova, read)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads an entry of a table: two little-endian numbers of 64 bits, wherever it lies.
    #[inline]
    pub(crate) fn entry(&self, hint: &mut Hint, iova: u64) -> Result<[u64; 2], Fault> {
        let (entry, offset, _) = self.find(hint, iova)?;
        let words = entry.words().get(offset / 8..).unwrap_or_default();
        if offset.is_multiple_of(8)
            && let Some(words) = words.first_chunk::<2>()
        {
            return Ok(words
                .each_ref()
                .map(|word| u64::from_le(word.load(Ordering::Relaxed))));
        }
        let mut bytes = [0; 16];
        self.read_pieces(hint, iova, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        let words = words.first_chunk::<2>();
        Ok(words.map_or([0; 2], |words| words.map(u64::from_le_bytes)))
    }

    /// Writes a little-endian number, and nothing beside it. Who reads it can read what was written
    /// before it.
    #[inline]
    pub(crate) fn store(
        &self,
        hint: &mut Hint,
        iova: u64,
        width: Width,
        value: u64,
    ) -> Result<(), Fault> {
        let Some((word, shift)) = self.cell(hint, iova, width)? else {
            let bytes = value.to_le_bytes();
            let written = bytes.get(..width.bytes()).unwrap_or_default();
            return self.write_pieces(hint, iova, written);
        };
        if width == Width::Eight {
            word.store(value.to_le(), Ordering::Release);
            return Ok(());
        }
        let mask = width.mask() << shift;
        let value = (value << shift) & mask;
        let replaced = |old: u64| (u64::from_le(old) & !mask | value).to_le();
        // What lies beside it may be the driver's, which may write it at the same moment.
        let mut current = word.load(Ordering::Relaxed);
        while let Err(now) = word.compare_exchange_weak(
            current,
            replaced(current),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            current = now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_dma::{DmaRegion, Pages};

    #[test]
    fn numbers_of_all_widths_leave_their_neighbours_alone() {
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let mut iommu = Iommu::new();
        let base = iommu.map(&region).unwrap().get();
        let mut hint = Hint::default();
        for (at, width, value) in [
            (0, Width::Eight, 0x1122_3344_5566_7788),
            (8, Width::Four, 0x99AA_BBCC),
            (12, Width::Two, 0xDDEE),
            (14, Width::Two, 0xFF00),
            // across two words
            (20, Width::Eight, 0x0102_0304_0506_0708),
        ] {
            iommu.store(&mut hint, base + at, width, value).unwrap();
        }
        let mut all = [0; 28];
        region.device_read(0, &mut all).unwrap();
        let expected = [
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xCC, 0xBB, 0xAA, 0x99, 0xEE, 0xDD,
            0x00, 0xFF, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
        ];
        assert_eq!(all, expected);
        assert_eq!(
            iommu.load(&mut hint, base + 8, Width::Four),
            Ok(0x99AA_BBCC)
        );
        assert_eq!(iommu.load(&mut hint, base + 14, Width::Two), Ok(0xFF00));
        let across = iommu.load(&mut hint, base + 20, Width::Eight);
        assert_eq!(across, Ok(0x0102_0304_0506_0708));
        assert!(iommu.load(&mut hint, 0, Width::Two).is_err());
    }
}
