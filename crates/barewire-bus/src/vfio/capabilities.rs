//! The chain of capabilities behind a structure of VFIO (`vfio_info_cap_header`).

/// The capability `id` in `bytes`, which lie `base` bytes into the structure that `first` counts
/// from; without its header. `None` if it is not there or the chain makes no sense.
pub(super) fn find(bytes: &[u8], base: usize, first: u32, id: u16) -> Option<&[u8]> {
    let mut offset = first;
    // each header takes 8 bytes, so a longer chain goes in circles
    for _ in 0..=bytes.len() / 8 {
        let start = usize::try_from(offset).ok()?.checked_sub(base)?;
        let header: [u8; 8] = bytes.get(start..)?.first_chunk().copied()?;
        let [id_low, id_high, _, _, next @ ..] = header;
        if u16::from_le_bytes([id_low, id_high]) == id {
            return bytes.get(start + header.len()..);
        }
        offset = u32::from_le_bytes(next);
        if offset == 0 {
            return None;
        }
    }
    None
}

/// A capability's list of pairs of 64-bit numbers: their count, 4 reserved bytes, the pairs.
pub(super) fn pairs(capability: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (count, rest) = capability.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let words: Vec<u64> = rest
        .get(4..)?
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    let pairs = words.as_chunks::<2>().0.get(..count)?;
    Some(
        pairs
            .iter()
            .map(|[first, second]| (*first, *second))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn capability(id: u16, next: u32, body: &[u64]) -> Vec<u8> {
        let mut bytes = id.to_le_bytes().to_vec();
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        bytes.extend(body.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    #[test]
    fn the_second_of_a_chain() {
        let mut bytes = capability(3, 32 + 16, &[0]);
        bytes.extend(capability(1, 0, &[2, 0x1000, 0x2000, 0x5000, 0x1000]));
        let found = find(&bytes, 32, 32, 1).unwrap();
        assert_eq!(pairs(found), Some(vec![(0x1000, 0x2000), (0x5000, 0x1000)]));
        assert_eq!(find(&bytes, 32, 32, 2), None);
    }

    #[test]
    fn circles_and_holes_end() {
        let circle = capability(3, 32, &[]);
        assert_eq!(find(&circle, 32, 32, 1), None);
        assert_eq!(find(&circle, 32, 0, 3), None);
        assert_eq!(find(&circle, 32, u32::MAX, 3), None);
        assert_eq!(pairs(&[9, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), first in 0u32..200, id in 0u16..4) {
            if let Some(found) = find(&bytes, 32, first, id) {
                let _ = pairs(found);
            }
        }
    }
}
