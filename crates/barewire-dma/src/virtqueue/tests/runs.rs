//! Many chains at a time: in whatever order they come back, and whatever is between them.

use barewire_spec::virtio::header::{self, Header};
use proptest::prelude::*;

use super::device::{Chain, Side};
use super::rig::{Rig, bytes};
use crate::*;

/// What a device does to a receive buffer.
#[derive(Clone, Copy, Debug)]
enum Buffer {
    Frame(u8),
    Noted(u8),
    /// The first of two.
    InTwo(u8),
    TooShort,
    TooLong,
    NoBuffers,
}

/// Which of the buffers that it has the device fills: the oldest, most of the time.
type Which = Option<prop::sample::Index>;

fn buffers() -> impl Strategy<Value = Vec<(Buffer, Which)>> {
    let buffer = prop_oneof![
        8 => any::<u8>().prop_map(Buffer::Frame),
        1 => any::<u8>().prop_map(Buffer::Noted),
        1 => any::<u8>().prop_map(Buffer::InTwo),
        1 => Just(Buffer::TooShort),
        1 => Just(Buffer::TooLong),
        1 => Just(Buffer::NoBuffers),
    ];
    let which = prop_oneof![4 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    prop::collection::vec((buffer, which), 1..80)
}

fn give<Q: Side>(rig: &mut Rig<Q>, chain: &Chain, header: Header, frame: &[u8], len: u32) {
    let mut all = header.to_bytes().to_vec();
    all.extend(frame);
    rig.memory.write(chain.pieces[0].address, &all);
    let words = rig.rx.memory().words();
    Q::give(&mut rig.rx_side, words, chain, u32::from(chain.id), len);
}

fn received_is_what_came<Q: Side>(buffers: &[(Buffer, Which)]) {
    let mut rig = Rig::<Q>::plain(QueueFeatures::default());
    let room = u32::from(rig.rx.whole_frame()) + 12;
    for round in buffers.chunks(11) {
        rig.refill();
        let (mut expected, mut lies) = (Vec::new(), 0);
        for (buffer, which) in round {
            if rig.empty.len() < 2 {
                break;
            }
            let at = which.map_or(0, |which| which.index(rig.empty.len()));
            let chain = rig.empty.remove(at).unwrap();
            let one = Header {
                num_buffers: 1,
                ..Header::default()
            };
            let frame = |seed: u8| bytes(60 + usize::from(seed / 2), seed);
            match *buffer {
                Buffer::Frame(seed) => {
                    let frame = frame(seed);
                    give(&mut rig, &chain, one, &frame, 12 + frame.len() as u32);
                    expected.push((frame, Offload::NONE));
                }
                Buffer::Noted(seed) => {
                    let flags = header::DATA_VALID;
                    let frame = frame(seed);
                    let len = 12 + frame.len() as u32;
                    give(&mut rig, &chain, Header { flags, ..one }, &frame, len);
                    let note = Offload {
                        checksum: Checksum::Verified,
                        ..Offload::NONE
                    };
                    expected.push((frame, note));
                }
                Buffer::InTwo(seed) => {
                    let mut whole = bytes(usize::try_from(room).unwrap() - 12, seed);
                    let two = Header {
                        num_buffers: 2,
                        ..one
                    };
                    give(&mut rig, &chain, two, &whole, room);
                    let chain = rig.empty.pop_front().unwrap();
                    rig.memory.write(chain.pieces[0].address, &[seed; 20]);
                    let words = rig.rx.memory().words();
                    Q::give(&mut rig.rx_side, words, &chain, u32::from(chain.id), 20);
                    whole.extend([seed; 20]);
                    expected.push((whole, Offload::NONE));
                }
                Buffer::TooShort => give(&mut rig, &chain, one, &[], 25),
                Buffer::TooLong => give(&mut rig, &chain, one, &[], room + 1),
                Buffer::NoBuffers => give(&mut rig, &chain, Header::default(), &[1; 60], 72),
            }
            if matches!(
                buffer,
                Buffer::TooShort | Buffer::TooLong | Buffer::NoBuffers
            ) {
                lies += 1;
            }
        }
        let mut batch = Batch::new(32);
        let received = rig.rx.receive(&mut batch).unwrap();
        assert_eq!(
            (received.frames, received.malformed),
            (expected.len(), lies)
        );
        let lens = expected.iter().map(|(frame, _)| frame.len() as u64);
        assert_eq!(received.bytes, lens.sum::<u64>());
        let came = batch.iter().map(|packet| {
            let mut bytes = Vec::new();
            packet.copy_to(&mut bytes);
            (bytes, packet.offload())
        });
        assert_eq!(came.collect::<Vec<_>>(), expected);
    }
    let pool = rig.pool.clone();
    drop(rig);
    assert_eq!(pool.free(), pool.buffers());
}

fn sent_is_what_leaves<Q: Side>(order: &[prop::sample::Index]) {
    let mut rig = Rig::<Q>::plain(QueueFeatures::default());
    let pool = rig.pool.clone();
    let (mut with_device, mut number) = (Vec::new(), 0u8);
    for order in order.chunks(5) {
        let mut batch = Batch::new(8);
        for n in 0..7 {
            let frame = bytes(60 + n, number.wrapping_add(n as u8));
            let _ = batch.push(pool.packet(&frame).unwrap());
        }
        let (sent, lens) = rig.tx.send(&mut batch);
        rig.tx.publish();
        assert_eq!(lens, (0..sent.sent as u64).map(|n| 60 + n).sum::<u64>());
        assert_eq!((batch.len(), sent.refused), (7 - sent.sent, 0));
        for n in 0..sent.sent {
            let (chain, all) = rig.on_the_wire().unwrap();
            let frame = bytes(60 + n, number.wrapping_add(n as u8));
            assert_eq!(all, [[0; 12].as_slice(), &frame].concat());
            with_device.push(chain);
        }
        assert!(rig.on_the_wire().is_none());
        number = number.wrapping_add(7);
        let mut back = 0;
        for place in order {
            if !with_device.is_empty() {
                let chain = with_device.remove(place.index(with_device.len()));
                rig.sent(&chain);
                back += 1;
            }
        }
        assert_eq!(rig.tx.take_back(Some(&mut batch)).unwrap(), back);
        assert_eq!(rig.tx.lent(), with_device.len());
    }
    drop(rig);
    assert_eq!(pool.free(), pool.buffers());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn received_is_what_came_in_both_formats(buffers in buffers()) {
        received_is_what_came::<Split>(&buffers);
        received_is_what_came::<Packed>(&buffers);
    }

    #[test]
    fn sent_is_what_leaves_in_both_formats(
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..100),
    ) {
        sent_is_what_leaves::<Split>(&order);
        sent_is_what_leaves::<Packed>(&order);
    }
}
