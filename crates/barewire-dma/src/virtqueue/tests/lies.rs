//! Devices that use what they do not have, and ones that write nonsense.

use std::sync::atomic::Ordering;

use barewire_spec::virtio::header::Header;
use proptest::prelude::*;

use super::device::{SIZE, Side};
use super::rig::{Rig, bytes};
use crate::virtqueue::lanes::{put16, store};
use crate::*;

fn lies_end_the_queue_or_the_frame<Q: Side>() {
    // a chain that is none, and one that was used already
    for lie in [u32::from(SIZE), 0xffff] {
        let mut rig = Rig::<Q>::plain(QueueFeatures::default());
        rig.refill();
        let chain = rig.empty.pop_front().unwrap();
        let words = rig.rx.memory().words();
        Q::give(&mut rig.rx_side, words, &chain, lie, 72);
        let error = rig.rx.receive(&mut Batch::new(4)).unwrap_err();
        assert!(
            matches!(error, DmaError::Device(QueueFault::NoSuchChain { .. })),
            "{error}"
        );
    }
    let mut rig = Rig::<Q>::plain(QueueFeatures::default());
    rig.refill();
    let chain = rig.empty.pop_front().unwrap();
    let words = rig.rx.memory().words();
    for _ in 0..2 {
        Q::give(&mut rig.rx_side, words, &chain, u32::from(chain.id), 72);
    }
    assert!(rig.rx.receive(&mut Batch::new(4)).is_err());
    // lengths and numbers of buffers
    let room = rig.rx.whole_frame() + 12;
    for (len, buffers) in [
        (u32::MAX, 1),
        (u32::from(room) + 1, 1),
        (0, 1),
        (25, 1),
        (72, 0),
        (72, LONGEST_FRAME + 1),
        (72, u16::MAX),
    ] {
        let mut rig = Rig::<Q>::plain(QueueFeatures::default());
        rig.refill();
        let chain = rig.empty.pop_front().unwrap();
        let header = Header {
            num_buffers: buffers,
            ..Header::default()
        };
        rig.memory
            .write(chain.pieces[0].address, &header.to_bytes());
        let words = rig.rx.memory().words();
        Q::give(&mut rig.rx_side, words, &chain, u32::from(chain.id), len);
        let received = rig.rx.receive(&mut Batch::new(4)).unwrap();
        assert_eq!(
            (received.frames, received.malformed),
            (0, 1),
            "{len} {buffers}"
        );
        // and the next frame is good again
        rig.deliver(Header::default(), &bytes(60, 1));
        assert_eq!(rig.received().len(), 1);
    }
}

const LONGEST_FRAME: u16 = 64;

#[test]
fn lies_end_the_queue_or_the_frame_split() {
    lies_end_the_queue_or_the_frame::<Split>();
}

#[test]
fn lies_end_the_queue_or_the_frame_packed() {
    lies_end_the_queue_or_the_frame::<Packed>();
}

#[test]
fn a_split_ring_has_not_used_more_than_it_had() {
    let mut rig = Rig::<Split>::plain(QueueFeatures::default());
    rig.refill();
    let parts = Split::parts(SIZE, QueueFeatures::default());
    put16(
        rig.rx.memory().words(),
        parts.device + 2,
        SIZE + 1,
        Ordering::Release,
    );
    let error = rig.rx.receive(&mut Batch::new(4)).unwrap_err();
    let fault = QueueFault::TooMany {
        used: SIZE + 1,
        had: SIZE,
    };
    assert!(
        matches!(error, DmaError::Device(found) if found == fault),
        "{error}"
    );
}

proptest! {
    /// Whatever a device writes, nothing panics and no buffer gets two owners or is lost.
    #[test]
    fn nonsense_in_memory_is_survived(
        packed: bool,
        in_order: bool,
        noise in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u64>()), 1..60),
    ) {
        let features = QueueFeatures { in_order, ..QueueFeatures::default() };
        if packed {
            survive::<Packed>(features, &noise);
        } else {
            survive::<Split>(features, &noise);
        }
    }
}

fn survive<Q: Side>(features: QueueFeatures, noise: &[(proptest::sample::Index, u64)]) {
    let mut rig = Rig::<Q>::plain(features);
    let mut batch = Batch::new(8);
    for (at, word) in noise {
        rig.rx.refill(&mut batch);
        rig.rx.publish();
        rig.send(&bytes(60, 1), Offload::NONE);
        for words in [rig.rx.memory().words(), rig.tx.memory().words()] {
            store(words, at.index(words.len()), *word, Ordering::Relaxed);
        }
        let failed = rig.rx.receive(&mut batch).is_err() | rig.tx.take_back(None).is_err();
        rig.rx.arm();
        for packet in batch.iter() {
            assert!(packet.len() <= 64 * 512);
        }
        batch.clear();
        if failed {
            break;
        }
    }
    let pool = rig.pool.clone();
    drop(batch);
    drop(rig);
    assert_eq!(pool.free(), pool.buffers());
}
