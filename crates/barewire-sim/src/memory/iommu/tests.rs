use super::*;
use crate::wire::BLOCK;
use barewire_dma::Pages;
use proptest::prelude::*;

fn put(iommu: &Iommu, iova: u64, bytes: &[u8]) -> Result<(), Fault> {
    iommu.write(&mut Hint::default(), iova, bytes, bytes.len())
}

fn get(iommu: &Iommu, iova: u64, bytes: &mut [u8]) -> Result<(), Fault> {
    let mut room = vec![0; bytes.len() + BLOCK];
    iommu.read(&mut Hint::default(), iova, &mut room, bytes.len())?;
    bytes.copy_from_slice(&room[..bytes.len()]);
    Ok(())
}

proptest! {
    #[test]
    fn a_write_changes_its_bytes_and_no_others(
        at in 0u64..300,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        buffer in 0usize..256,
    ) {
        let (iommu, first, _) = table();
        put(&iommu, first, &[0xEE; 1024]).unwrap();
        let buffer = buffer.max(bytes.len());
        iommu.write(&mut Hint::default(), first + at, &bytes, buffer).unwrap();
        let mut all = vec![0; 1024];
        get(&iommu, first, &mut all).unwrap();
        let at = usize::try_from(at).unwrap();
        prop_assert_eq!(&all[at..at + bytes.len()], &bytes[..]);
        prop_assert!(all[..at].iter().all(|byte| *byte == 0xEE));
        prop_assert!(all[at + bytes.len()..].iter().all(|byte| *byte == 0xEE));
        let mut back = vec![0; bytes.len()];
        get(&iommu, first + at as u64, &mut back).unwrap();
        prop_assert_eq!(back, bytes);
    }
}

/// Memory that is told apart by its first byte.
fn marked(mark: u8) -> Memory {
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    region.device_write(0, &[mark; 4096]).unwrap();
    Memory::Mapped(region, 0)
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Map(u8, u8, u8),
    Unmap(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0u8..60, 0u8..16, 1u8..).prop_map(|(at, size, mark)| Change::Map(at, size, mark)),
        (0u8..60, 0u8..30).prop_map(|(at, size)| Change::Unmap(at, size)),
    ]
}

proptest! {
    /// The table against a list of 80 bytes, each of which is mapped to a mark or not.
    #[test]
    fn ranges_come_and_go(changes in proptest::collection::vec(change(), 0..40)) {
        let mut iommu = Iommu::new();
        let mut model = [0u8; 80];
        for change in changes {
            match change {
                Change::Map(at, size, mark) => {
                    let (first, count) = (usize::from(at), usize::from(size));
                    let range = &mut model[first..first + count];
                    let mapped =
                        iommu.map_at(at.into(), size.into(), Access::BOTH, marked(mark));
                    let expected = if size == 0 {
                        Err(Refused::Range)
                    } else if range.iter().any(|byte| *byte != 0) {
                        Err(Refused::Overlap)
                    } else {
                        range.fill(mark);
                        Ok(())
                    };
                    prop_assert_eq!(mapped, expected);
                }
                Change::Unmap(at, size) => {
                    let (first, count) = (usize::from(at), usize::from(size));
                    let end = (first + count).min(model.len());
                    let any = model[first..end].iter().any(|byte| *byte != 0);
                    model[first..end].fill(0);
                    let touched = iommu.unmap_range(at.into(), size.into());
                    prop_assert_eq!(touched > 0, any);
                }
            }
            for (at, mark) in model.iter().enumerate() {
                let mut byte = [0];
                let read = get(&iommu, at as u64, &mut byte);
                if *mark == 0 {
                    prop_assert_eq!(read, Err(Fault::Unmapped(at as u64)));
                } else {
                    prop_assert_eq!((read, byte[0]), (Ok(()), *mark));
                }
            }
        }
        iommu.clear();
        prop_assert!(!iommu.has_indirect());
    }
}

#[test]
fn the_table_is_bounded_and_ends_with_the_addresses() {
    let mut iommu = Iommu::new();
    let memory = marked(1);
    for index in 0..MAX_MAPPINGS as u64 {
        let mapped = iommu.map_at(index * 8, 8, Access::BOTH, memory.clone());
        assert_eq!(mapped, Ok(()));
    }
    let full = iommu.map_at(1 << 40, 8, Access::BOTH, memory.clone());
    assert_eq!(full, Err(Refused::Full));
    assert_eq!(iommu.unmap_range(0, u64::MAX), MAX_MAPPINGS);
    let past = iommu.map_at(u64::MAX, 2, Access::BOTH, memory.clone());
    assert_eq!(past, Err(Refused::Range));
    iommu.map_at(u64::MAX - 7, 8, Access::BOTH, memory).unwrap();
    put(&iommu, u64::MAX - 3, &[1, 2, 3, 4]).unwrap();
    assert!(put(&iommu, u64::MAX, &[1, 2]).is_err());
}

#[test]
fn permissions_are_kept() {
    let mut iommu = Iommu::new();
    let read = Access {
        read: true,
        write: false,
    };
    let write = Access {
        read: false,
        write: true,
    };
    iommu.map_at(0x1000, 64, read, marked(7)).unwrap();
    iommu.map_at(0x2000, 64, write, marked(8)).unwrap();
    let mut bytes = [0; 8];
    get(&iommu, 0x1000, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 8]);
    assert_eq!(put(&iommu, 0x1000, &bytes), Err(Fault::Denied(0x1000)));
    put(&iommu, 0x2000, &bytes).unwrap();
    assert_eq!(get(&iommu, 0x2000, &mut bytes), Err(Fault::Denied(0x2000)));
    let mut hint = Hint::default();
    assert_eq!(
        iommu.write32(&mut hint, 0x1004, 9),
        Err(Fault::Denied(0x1004))
    );
    iommu.write32(&mut hint, 0x2004, 9).unwrap();
}

fn table() -> (Iommu, u64, u64) {
    let mut iommu = Iommu::new();
    let region = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
    let first = iommu.map(&region).unwrap().get();
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    let second = iommu.map(&region).unwrap().get();
    (iommu, first, second)
}

#[test]
fn bytes_go_through_and_addresses_have_a_high_half() {
    let (iommu, first, second) = table();
    assert!(first >> 32 != 0);
    put(&iommu, first + 5, &[1, 2, 3]).unwrap();
    put(&iommu, second, &[9]).unwrap();
    let mut bytes = [0; 3];
    get(&iommu, first + 5, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn the_end_of_a_mapping_is_the_end() {
    let (iommu, first, _) = table();
    assert_eq!(
        put(&iommu, first + 8190, &[0; 4]),
        Err(Fault::Past(first + 8192))
    );
    assert_eq!(
        get(&iommu, first - 1, &mut [0; 4]),
        Err(Fault::Unmapped(first - 1))
    );
    assert_eq!(iommu.covers(first, 8193), Err(Fault::Past(first + 8192)));
    assert_eq!(iommu.covers(first, 8192), Ok(()));
    assert!(iommu.covers(u64::MAX, 1).is_err());
}

#[test]
fn an_address_is_never_used_twice() {
    let (mut iommu, first, second) = table();
    iommu.unmap(Iova::new(first));
    assert_eq!(get(&iommu, first, &mut [0]), Err(Fault::Unmapped(first)));
    get(&iommu, second, &mut [0]).unwrap();
    let region = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
    assert!(iommu.map(&region).unwrap().get() > second);
}

#[test]
fn half_a_word_is_replaced() {
    let (iommu, first, _) = table();
    put(&iommu, first, &[0xAA; 8]).unwrap();
    iommu
        .write32(&mut Hint::default(), first + 4, 0x0102_0304)
        .unwrap();
    let mut bytes = [0; 8];
    get(&iommu, first, &mut bytes).unwrap();
    assert_eq!(bytes, [0xAA, 0xAA, 0xAA, 0xAA, 4, 3, 2, 1]);
}
