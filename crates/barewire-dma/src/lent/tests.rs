//! Buffers on their way through rings and batches.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::{DmaMap, DmaRegion, Layout, PacketRef, Pages, PoolConfig};

/// A device that finds memory where the process has it, page by page or in one piece.
#[derive(Debug, Default)]
struct Direct {
    paged: bool,
    scattered: bool,
    mapped: AtomicUsize,
}

impl DmaMap for Direct {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        use std::sync::atomic::Ordering;
        self.mapped.fetch_add(1, Ordering::Relaxed);
        let base = region.address().get() as u64;
        let page = region.page_size();
        Ok(if self.paged {
            Layout::Paged(
                (0..region.len() / page)
                    .map(|n| n * page * if self.scattered { 2 } else { 1 })
                    .map(|offset| Iova::new(base + offset as u64))
                    .collect(),
            )
        } else {
            Layout::Linear(Iova::new(base))
        })
    }

    fn unmap(&self, _: &Arc<DmaRegion>, _: &Layout) {
        self.mapped
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn pool(buffers: usize) -> Pool {
    let config = PoolConfig {
        buffers,
        data_room: 64,
        headroom: 0,
        pages: Pages::Ordinary,
    };
    Pool::new(config).unwrap()
}

fn lent(slots: usize, pools: &[&Pool]) -> (Lent, Domain) {
    let domain = Domain::new(Arc::new(Direct::default()));
    let mut lent = Lent::new(slots).unwrap();
    for pool in pools {
        lent.attach(pool, &domain).unwrap();
    }
    (lent, domain)
}

#[test]
fn empty_buffers_go_out_and_come_back_as_frames_in_order() {
    let pool = pool(64);
    let (mut lent, _) = lent(64, &[&pool]);
    let mut batch = Batch::new(64);
    let mut addresses = Vec::new();
    assert!(lent.lend_chunk(&mut batch, |_, iova| addresses.push(iova.get())));
    assert!(lent.lend_chunk(&mut batch, |_, iova| addresses.push(iova.get())));
    assert!(!lent.lend_chunk(&mut batch, |_, _| panic!("the ring is full")));
    assert_eq!(pool.free(), 0);
    assert_eq!(lent.receive(&mut batch, 40, |n| n as u16).unwrap(), 40);
    for (n, packet) in batch.iter().enumerate() {
        assert_eq!(packet.len(), n.min(64));
        assert_eq!(packet.bytes().as_ptr().addr() as u64, addresses[n]);
    }
    assert_eq!(lent.len(), 24);
}

#[test]
fn a_length_beyond_the_buffer_is_cut_to_it() {
    let pool = pool(64);
    let (mut lent, _) = lent(64, &[&pool]);
    let mut batch = Batch::new(4);
    lent.lend_chunk(&mut batch, |_, _| ());
    lent.receive(&mut batch, 1, |_| u16::MAX).unwrap();
    lent.receive_frame(&mut batch, 2, |_| u16::MAX).unwrap();
    let lengths: Vec<_> = batch.iter().map(PacketRef::len).collect();
    assert_eq!(lengths, [64, 128]);
}

#[test]
fn a_frame_of_several_buffers_is_one_packet_and_goes_home_whole() {
    let pool = pool(64);
    let (mut lent, _) = lent(64, &[&pool]);
    let mut batch = Batch::new(2);
    lent.lend_chunk(&mut batch, |_, _| ());
    assert!(
        lent.receive_frame(&mut batch, 3, |n| [64, 64, 5][n])
            .unwrap()
    );
    assert!(!lent.receive_frame(&mut batch, 0, |_| 1).unwrap());
    assert!(!lent.receive_frame(&mut batch, 30, |_| 1).unwrap());
    let packet = batch.pop().unwrap();
    assert_eq!((packet.len(), packet.as_ref().segments().len()), (133, 3));
    drop(packet);
    assert_eq!(pool.free() + lent.len(), 64);
}

#[test]
fn whole_frames_only_are_lent_for_sending() {
    let pool = pool(64);
    let (mut receive, domain) = lent(64, &[&pool]);
    let mut send = Lent::new(32).unwrap();
    let tag = send.attach(&pool, &domain).unwrap();
    let mut batch = Batch::new(8);
    receive.lend_chunk(&mut batch, |_, _| ());
    receive.receive(&mut batch, 1, |_| 60).unwrap();
    receive
        .receive_frame(&mut batch, 3, |n| [64, 64, 5][n])
        .unwrap();
    let mut slots = Vec::new();
    assert_eq!(
        send.lend_frames(&mut batch, tag, 3, |slot| slots.push(slot)),
        1
    );
    assert_eq!(batch.len(), 1);
    assert_eq!(
        send.lend_frames(&mut batch, tag, 3, |slot| slots.push(slot)),
        1
    );
    assert!(batch.is_empty());
    let seen: Vec<_> = slots
        .iter()
        .map(|s| (s.position, s.len, s.frame_len, s.last))
        .collect();
    assert_eq!(
        seen,
        [
            (0, 60, 60, true),
            (1, 64, 133, false),
            (2, 64, 133, false),
            (3, 5, 133, true)
        ]
    );
    // back into the batch, and from there to the receive ring without touching the pool
    let free = pool.free();
    assert_eq!(send.reclaim(4, Some(&mut batch)), 4);
    assert_eq!(pool.free(), free);
    drop(batch);
    assert_eq!(pool.free(), free + 4);
}

#[test]
fn pools_meet_on_one_ring_and_each_buffer_goes_home() {
    let (a, b) = (pool(64), pool(64));
    let (mut send, _) = lent(64, &[&a, &b]);
    for n in 0..40 {
        let mut batch = Batch::new(1);
        let from = if n % 3 == 0 { &a } else { &b };
        batch.push(from.packet(&[n; 60]).unwrap()).unwrap();
        let tag = send.tag(from).unwrap();
        assert_eq!(send.lend_frames(&mut batch, tag, 64, |_| ()), 1);
    }
    assert_eq!((a.free(), b.free()), (64 - 14, 64 - 26));
    assert_eq!(send.reclaim(100, None), 40);
    assert_eq!((a.free(), b.free()), (64, 64));
}

#[test]
fn a_batch_of_one_pool_takes_no_frame_of_another() {
    let (a, b) = (pool(64), pool(64));
    let (mut lent, _) = lent(64, &[&a]);
    let mut batch = Batch::new(4);
    lent.lend_chunk(&mut batch, |_, _| ());
    batch.push(b.packet(b"foreign").unwrap()).unwrap();
    assert!(matches!(
        lent.receive(&mut batch, 1, |_| 60),
        Err(DmaError::OtherPool)
    ));
    let rejected = batch.push(a.packet(b"other").unwrap()).unwrap_err();
    assert!(!rejected.full);
    batch.clear();
    assert_eq!(lent.receive(&mut batch, 1, |_| 60).unwrap(), 1);
}

#[test]
fn paged_memory_is_found_page_by_page_and_scattered_buffers_are_refused() {
    for scattered in [false, true] {
        let device = Direct {
            paged: true,
            scattered,
            ..Direct::default()
        };
        let domain = Domain::new(Arc::new(device));
        let mut lent = Lent::new(64).unwrap();
        let across_pages = PoolConfig {
            buffers: 8,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        };
        let attached = lent.attach(&Pool::new(across_pages).unwrap(), &domain);
        assert_eq!(
            matches!(attached, Err(DmaError::Scattered { .. })),
            scattered
        );
    }
}

#[test]
fn a_ring_of_several_pools_receives_nothing() {
    let (a, b) = (pool(64), pool(64));
    let (mut lent, _) = lent(64, &[&a, &b]);
    let mut batch = Batch::new(4);
    batch.push(b.packet(b"b").unwrap()).unwrap();
    assert_eq!(lent.lend_frames(&mut batch, 1, 64, |_| ()), 1);
    assert_eq!(lent.receive(&mut batch, 1, |_| 60).unwrap(), 0);
    assert!(!lent.receive_frame(&mut batch, 1, |_| 60).unwrap());
}

#[test]
fn abandoned_buffers_never_come_back() {
    let pool = pool(64);
    let (mut lent, _) = lent(64, &[&pool]);
    let mut batch = Batch::new(4);
    lent.lend_chunk(&mut batch, |_, _| ());
    lent.abandon();
    assert_eq!(pool.free(), 32);
}

#[test]
fn a_panicking_driver_makes_no_second_owner() {
    let pool = pool(64);
    let (mut lent, _) = lent(64, &[&pool]);
    let mut batch = Batch::new(4);
    for n in 0..3 {
        batch.push(pool.packet(&[n; 60]).unwrap()).unwrap();
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        lent.lend_frames(&mut batch, 0, 64, |slot| assert!(slot.position < 1))
    }));
    assert!(result.is_err());
    // the first frame is the ring's, the second is lost, the third still the batch's
    assert_eq!((lent.len(), batch.len()), (1, 1));
    drop((lent, batch));
    assert_eq!(pool.free(), 63);
}

#[derive(Clone, Debug)]
enum Op {
    Lend,
    Receive(usize),
    ReceiveFrame(usize),
    Send(usize),
    Reclaim(usize, bool),
    Pop,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Lend),
        4 => (0usize..40).prop_map(Op::Receive),
        1 => (0usize..6).prop_map(Op::ReceiveFrame),
        4 => (0usize..70).prop_map(Op::Send),
        4 => ((0usize..70), any::<bool>()).prop_map(|(n, keep)| Op::Reclaim(n, keep)),
        1 => Just(Op::Pop),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    /// Whatever a program and a driver do, the buffers of a pool are conserved and no two
    /// frames share one: each frame keeps the pattern that was written into it.
    #[test]
    fn buffers_are_conserved(ops in proptest::collection::vec(op(), 1..200)) {
        let pool = pool(128);
        let (mut receive, domain) = lent(64, &[&pool]);
        let mut send = Lent::new(64).unwrap();
        let tag = send.attach(&pool, &domain).unwrap();
        let mut batch = Batch::new(48);
        let mut in_batch = std::collections::VecDeque::new();
        let mut stamp = 0u64;
        for op in ops {
            match op {
                Op::Lend => { receive.lend_chunk(&mut batch, |_, _| ()); }
                Op::Receive(n) => {
                    let before = batch.len();
                    let got = receive.receive(&mut batch, n, |_| 60).unwrap();
                    prop_assert_eq!(batch.len(), before + got);
                    for mut packet in batch.iter_mut().skip(before) {
                        packet.bytes_mut()[..8].copy_from_slice(&stamp.to_le_bytes());
                        in_batch.push_back(stamp);
                        stamp += 1;
                    }
                }
                Op::ReceiveFrame(n) => {
                    if receive.receive_frame(&mut batch, n, |_| 64).unwrap() {
                        let packet = batch.iter_mut().last();
                        packet.unwrap().bytes_mut()[..8].copy_from_slice(&stamp.to_le_bytes());
                        in_batch.push_back(stamp);
                        stamp += 1;
                    }
                }
                Op::Send(room) => {
                    let sent = send.lend_frames(&mut batch, tag, room, |_| ());
                    in_batch.drain(..sent);
                }
                Op::Reclaim(n, keep) => { send.reclaim(n, keep.then_some(&mut batch)); }
                Op::Pop => { if batch.pop().is_some() { in_batch.pop_back(); } }
                Op::Clear => { batch.clear(); in_batch.clear(); }
            }
            prop_assert_eq!(batch.len(), in_batch.len());
            for (packet, stamp) in batch.iter().zip(&in_batch) {
                prop_assert_eq!(&packet.bytes()[..8], &stamp.to_le_bytes());
            }
        }
        drop((batch, send, receive));
        prop_assert_eq!(pool.free(), 128);
    }
}
