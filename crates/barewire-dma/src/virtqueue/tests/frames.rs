//! Frames through queues whose device keeps to the rules.

use std::sync::atomic::Ordering;

use barewire_spec::virtio::header::{self, Header};

use super::device::{SIZE, Side};
use super::rig::{HEADERS, Rig, all_features, bytes, small_pool, tx_headers};
use crate::virtqueue::lanes::put16;
use crate::*;

fn frames_come_in_one_buffer_or_several<Q: Side>() {
    for features in all_features() {
        let mut rig = Rig::<Q>::plain(features);
        for round in 0..60u8 {
            rig.refill();
            let long = bytes(900, round);
            rig.deliver(Header::default(), &bytes(60, round));
            rig.deliver(Header::default(), &long);
            let valid = Header {
                flags: header::DATA_VALID,
                ..Header::default()
            };
            rig.deliver(valid, &bytes(70, round));
            let checked = Offload {
                checksum: Checksum::Verified,
                segmentation: None,
            };
            let expected = [
                (bytes(60, round), Offload::NONE),
                (long, Offload::NONE),
                (bytes(70, round), checked),
            ];
            assert_eq!(rig.received(), expected);
        }
        let pool = rig.pool.clone();
        drop(rig);
        assert_eq!(pool.free(), pool.buffers());
    }
}

#[test]
fn frames_come_in_one_buffer_or_several_split() {
    frames_come_in_one_buffer_or_several::<Split>();
}

#[test]
fn frames_come_in_one_buffer_or_several_packed() {
    frames_come_in_one_buffer_or_several::<Packed>();
}

fn frames_leave_with_their_headers<Q: Side>() {
    for features in all_features() {
        for apart in [false, true] {
            let headers = TxHeaders {
                apart,
                ..tx_headers()
            };
            let mut rig = Rig::<Q>::new(features, HEADERS, headers, small_pool());
            let offload = Offload {
                checksum: Checksum::Partial {
                    start: 34,
                    offset: 16,
                },
                segmentation: Some(Segmentation {
                    protocol: Cut::TcpIpv4,
                    size: 100,
                    ecn: false,
                }),
            };
            let mut held = Vec::new();
            for round in 0..50u8 {
                for offload in [Offload::NONE, offload] {
                    let frame = bytes(200, round);
                    assert_eq!(rig.send(&frame, offload).sent, 1);
                    let (chain, all) = rig.on_the_wire().unwrap();
                    let (header, rest) = all.split_at(12);
                    assert_eq!(rest, frame);
                    let header = Header::from_bytes(header.try_into().unwrap());
                    assert_eq!(Offload::from_header(header), Some(offload));
                    assert_eq!(header.num_buffers, 0);
                    held.push(chain);
                }
                // out of order
                while held.len() > 3 {
                    rig.sent(&held.swap_remove(usize::from(round) % 3));
                }
                rig.tx.take_back(None).unwrap();
                assert_eq!(rig.tx.lent(), held.len());
            }
            let pool = rig.pool.clone();
            drop(rig);
            assert_eq!(pool.free(), pool.buffers());
        }
    }
}

#[test]
fn frames_leave_with_their_headers_split() {
    frames_leave_with_their_headers::<Split>();
}

#[test]
fn frames_leave_with_their_headers_packed() {
    frames_leave_with_their_headers::<Packed>();
}

fn what_the_device_cannot_do_is_done_or_refused<Q: Side>() {
    let headers = TxHeaders {
        checksum: false,
        segmentation: [false; 3],
        ..tx_headers()
    };
    let mut rig = Rig::<Q>::new(QueueFeatures::default(), HEADERS, headers, small_pool());
    let partial = Offload {
        checksum: Checksum::Partial {
            start: 14,
            offset: 2,
        },
        segmentation: None,
    };
    let frame = bytes(60, 3);
    rig.send(&frame, partial);
    let (_, all) = rig.on_the_wire().unwrap();
    assert_eq!(all[..12], [0; 12]);
    let mut by_hand = rig.pool.packet(&frame).unwrap();
    by_hand.as_mut().set_offload(partial).unwrap();
    assert!(by_hand.as_mut().finish_checksum());
    assert_eq!(&all[12..], by_hand.bytes());
    let cut = Offload {
        segmentation: Some(Segmentation {
            protocol: Cut::TcpIpv4,
            size: 20,
            ecn: false,
        }),
        ..partial
    };
    assert_eq!(rig.send(&frame, cut).refused, 1);
    assert_eq!(rig.send(&bytes(13, 0), Offload::NONE).refused, 1);
    assert!(rig.on_the_wire().is_none());
}

#[test]
fn what_the_device_cannot_do_is_done_or_refused_split() {
    what_the_device_cannot_do_is_done_or_refused::<Split>();
}

#[test]
fn what_the_device_cannot_do_is_done_or_refused_packed() {
    what_the_device_cannot_do_is_done_or_refused::<Packed>();
}

fn headers_apart_and_no_headroom<Q: Side>() {
    for (apart, headroom) in [(true, 128), (true, 0), (false, 0)] {
        let headers = RxHeaders {
            bytes: 10,
            mergeable: false,
            apart,
            offloads: false,
        };
        let out = TxHeaders {
            bytes: 10,
            ..tx_headers()
        };
        let pool = PoolConfig {
            headroom,
            ..small_pool()
        };
        let mut rig = Rig::<Q>::new(QueueFeatures::default(), headers, out, pool);
        for round in 0..40u8 {
            rig.refill();
            assert_eq!(rig.empty[0].pieces.len(), 1 + usize::from(apart));
            rig.deliver(Header::default(), &bytes(100, round));
            assert_eq!(rig.received(), [(bytes(100, round), Offload::NONE)]);
            rig.send(&bytes(80, round), Offload::NONE);
            let (chain, all) = rig.on_the_wire().unwrap();
            assert_eq!(all[10..], bytes(80, round));
            rig.sent(&chain);
            rig.tx.take_back(None).unwrap();
        }
    }
}

#[test]
fn headers_apart_and_no_headroom_split() {
    headers_apart_and_no_headroom::<Split>();
}

#[test]
fn headers_apart_and_no_headroom_packed() {
    headers_apart_and_no_headroom::<Packed>();
}

fn an_armed_queue_tells<Q: Side>() {
    for event_idx in [false, true] {
        let features = QueueFeatures {
            event_idx,
            ..QueueFeatures::default()
        };
        let mut rig = Rig::<Q>::plain(features);
        for round in 0..40 {
            rig.refill();
            assert!(rig.rx.arm());
            rig.deliver(Header::default(), &bytes(60, round));
            assert!(!rig.rx.arm(), "a frame has come already");
            assert_eq!(rig.received().len(), 1);
        }
    }
}

#[test]
fn an_armed_queue_tells_split() {
    an_armed_queue_tells::<Split>();
}

#[test]
fn an_armed_queue_tells_packed() {
    an_armed_queue_tells::<Packed>();
}

#[test]
fn in_order_one_used_entry_stands_for_many() {
    let features = QueueFeatures {
        in_order: true,
        ..QueueFeatures::default()
    };
    let mut rig = Rig::<Split>::plain(features);
    for round in 0..30u8 {
        for n in 0..4 {
            rig.send(&bytes(60, round + n), Offload::NONE);
        }
        let chains: Vec<_> = std::iter::from_fn(|| rig.on_the_wire()).collect();
        // descriptors go round the table
        let ids: Vec<_> = chains.iter().map(|(chain, _)| chain.id).collect();
        let first = u16::from(round) * 4;
        assert_eq!(
            ids,
            (first..first + 4).map(|n| n % SIZE).collect::<Vec<_>>()
        );
        rig.sent(&chains[3].0);
        // it skips as many entries as it has used
        rig.tx_side.used = rig.tx_side.used.wrapping_add(3);
        let parts = Split::parts(SIZE, features);
        let used = rig.tx_side.used;
        put16(
            rig.tx.memory().words(),
            parts.device + 2,
            used,
            Ordering::Release,
        );
        assert_eq!(rig.tx.take_back(None).unwrap(), 4);
    }
}
