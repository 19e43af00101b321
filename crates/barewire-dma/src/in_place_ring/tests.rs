//! Frames that are sent from where they were received.

use super::*;
use crate::tests::Direct;
use crate::{DmaMap, Layout, PoolConfig};

/// The simplest descriptors that will do.
struct Format;

const GOOD: u64 = 3;

impl InPlaceFormat for Format {
    const DONE: u64 = 1;
    const MASK: u64 = GOOD;
    const WHOLE: u64 = GOOD;
    const REPORT: u64 = 1 << 27;
    const NOTHING: u64 = 0;

    fn len(&self, status: u64) -> u16 {
        (status >> 32) as u16
    }
    fn ends(&self, status: u64) -> bool {
        status & GOOD == GOOD
    }
    fn send(&self, len: u16) -> u64 {
        u64::from(len) << 4
    }
}

fn pool() -> Pool {
    let config = PoolConfig {
        buffers: 64,
        data_room: 64,
        headroom: 0,
        pages: Pages::Ordinary,
    };
    Pool::new(config).unwrap()
}

/// A ring in place, and the word that its transmitter writes its head to.
fn in_place(count: usize, pool: &Pool) -> (InPlaceRing<Format>, Arc<DmaRegion>, usize) {
    #[derive(Debug, Default)]
    struct Keeping(std::sync::Mutex<Vec<Arc<DmaRegion>>>);
    impl DmaMap for Keeping {
        fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
            self.0.lock().unwrap().push(Arc::clone(region));
            Ok(Layout::Linear(Iova::new(region.address().get() as u64)))
        }
        fn unmap(&self, _: &Arc<DmaRegion>, _: &Layout) {}
    }
    let device = Arc::new(Keeping::default());
    let domain = Domain::new(Arc::clone(&device) as Arc<dyn DmaMap>);
    let ring = InPlaceRing::new([&domain, &domain], count, pool, &(17..=60), Format).unwrap();
    let head = ring.head().unwrap().get();
    let regions = device.0.lock().unwrap();
    let inside = |region: &&Arc<DmaRegion>| {
        let start = region.address().get() as u64;
        (start..start + region.len() as u64).contains(&head)
    };
    let region = Arc::clone(regions.iter().find(inside).unwrap());
    let offset = (head - region.address().get() as u64) as usize / 8;
    (ring, region, offset)
}

fn fill_in_place(ring: &InPlaceRing<Format>, n: usize, status: u64) {
    let position = ring.oldest().wrapping_add(n);
    let shared = ring.ring().shared();
    let first = shared.first(position);
    shared.write_back(position, [first, status]);
}

#[test]
fn a_transmitter_that_lies_about_its_head_is_not_believed() {
    let pool = pool();
    let (mut ring, region, head) = in_place(64, &pool);
    let say = |value: u64| region.words()[head].store(value, Ordering::Release);
    for n in 0..40 {
        fill_in_place(&ring, n, 60 << 32 | GOOD);
    }
    let mut unfit = 0;
    let turned = ring.turn(40, |_| Verdict::Send, |_| unfit += 1);
    assert_eq!((turned.descriptors, unfit), (40, 0));
    for lie in [41, 63, 64 + 41, u64::from(u32::MAX)] {
        say(lie);
        assert!(!ring.take_back(), "{lie}");
    }
    say(40);
    assert!(ring.take_back() && !ring.take_back());
    say(3);
    assert!(!ring.take_back(), "backwards");
    drop(ring);
    assert_eq!(pool.free(), 64);
}

#[test]
fn what_is_no_frame_that_can_be_sent_is_skipped_in_place() {
    let pool = pool();
    let (mut ring, ..) = in_place(32, &pool);
    let good = 60 << 32 | GOOD;
    let cases = [
        good,
        16 << 32 | GOOD,
        61 << 32 | GOOD,
        good,
        60 << 32 | 1, // the end comes with the next
        good,
        good,
    ];
    for (n, status) in cases.into_iter().enumerate() {
        fill_in_place(&ring, n, status);
    }
    let (mut seen, mut unfit) = (0, Vec::new());
    let each = |frame: &mut [u8]| {
        assert_eq!(frame.len(), 60);
        seen += 1;
        Verdict::Send
    };
    let turned = ring.turn(100, each, |status| unfit.push(status));
    assert_eq!((turned.descriptors, turned.unfit, seen), (7, 4, 3));
    assert_eq!(unfit, [cases[1], cases[2], cases[4]]);
    let shared = ring.ring().shared();
    let sent: Vec<_> = (0..7).map(|n| shared.second(n)).collect();
    assert_eq!(sent, [60 << 4, 0, 0, 60 << 4, 0, 0, 60 << 4]);
}

#[test]
fn no_frame_is_handed_out_that_is_longer_than_a_buffer() {
    let domain = Domain::new(Arc::<Direct>::default());
    let pool = pool();
    let made = |lens| InPlaceRing::new([&domain, &domain], 32, &pool, &lens, Format);
    let mut ring = made(64..=200).unwrap();
    fill_in_place(&ring, 0, 65 << 32 | GOOD);
    let turned = ring.turn(1, |_| Verdict::Send, |_| {});
    assert_eq!((turned.descriptors, turned.unfit), (1, 1));
    drop(ring);
    // the shortest frame would not fit
    assert!(matches!(made(65..=200), Err(DmaError::Range { .. })));
    assert!(matches!(
        made(RangeInclusive::new(2, 1)),
        Err(DmaError::Range { .. })
    ));
    assert_eq!(pool.free(), 64);
}
