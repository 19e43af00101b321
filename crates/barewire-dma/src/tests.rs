//! Buffers on their way through rings and batches.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use crate::*;

/// A device that finds memory where the process has it, page by page or in one piece.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    paged: bool,
    scattered: bool,
    mapped: AtomicUsize,
}

impl DmaMap for Direct {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
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
        self.mapped.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The simplest descriptors that will do.
struct Format;

const GOOD: u64 = 3;
const LAST: u64 = 1 << 20;

impl RxFormat for Format {
    fn empty<W: Lanes>(&self, buffer: W) -> [W; 2] {
        [buffer, W::of(0)]
    }
    fn frame<W: Lanes>(&self, status: W) -> W {
        status & (GOOD | 0xffff << 32) ^ GOOD
    }
}

impl TxFormat for Format {
    const REPORT: u64 = 1 << 27;
    const DONE: u64 = 1 << 32;

    fn plain(&self) -> RangeInclusive<u16> {
        1..=60
    }
    fn sendable(&self, frame: PacketRef<'_>) -> bool {
        !frame.is_empty()
    }
    fn whole<W: Lanes>(&self, buffer: W, len: W) -> [W; 2] {
        [buffer, len | len << 40 | LAST]
    }
    fn part(&self, part: Part) -> [u64; 2] {
        let last = if part.last { LAST } else { 0 };
        let lens = u64::from(part.len) | u64::from(part.frame_len) << 40;
        [part.buffer.get(), lens | last]
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

fn domain() -> Domain {
    Domain::new(Arc::new(Direct::default()))
}

fn descriptors(count: usize) -> DescriptorRing {
    let region = DmaRegion::allocate(count * 16, Pages::Ordinary).unwrap();
    DescriptorRing::new(domain().map(&region).unwrap(), 0, count).unwrap()
}

fn rx_ring(count: usize, pool: &Pool) -> RxRing<Format> {
    RxRing::new(descriptors(count), pool, &domain(), u16::MAX, Format).unwrap()
}

fn tx_ring(count: usize, pools: &[&Pool]) -> TxRing<Format> {
    let mut ring = TxRing::new(descriptors(count), Format);
    for pool in pools {
        ring.attach(pool, &domain()).unwrap();
    }
    ring
}

/// The device writes so many bytes into the n-th of the oldest buffers.
fn arrive(ring: &RxRing<Format>, n: usize, len: u64) {
    let position = ring.oldest().wrapping_add(n);
    let shared = ring.ring().shared();
    shared.write_back(position, [0, len << 32 | GOOD]);
}

/// The device is done with everything that asked for a report.
fn report_all(ring: &TxRing<Format>) {
    let shared = ring.ring().shared();
    for position in ring.next().wrapping_sub(ring.lent())..ring.next() {
        let [first, second] = shared.fetch(position);
        if second & Format::REPORT != 0 {
            shared.write_back(position, [first, second | Format::DONE]);
        }
    }
}

fn all(ring: &mut TxRing<Format>, batch: &mut Batch) -> Sent {
    assert!(ring.knows(batch));
    ring.send(batch)
}

#[test]
fn empty_buffers_go_out_and_come_back_as_frames_in_order() {
    let pool = pool(64);
    let mut ring = rx_ring(64, &pool);
    let mut batch = Batch::new(64);
    assert!(ring.refill(&mut batch));
    assert!(!ring.refill(&mut batch), "the ring is full");
    assert_eq!((pool.free(), ring.lent()), (0, 64));
    let addresses: Vec<_> = (0..64).map(|n| ring.ring().shared().first(n)).collect();
    for n in 0..40 {
        arrive(&ring, n, n as u64 + 1);
    }
    assert_eq!(ring.receive(&mut batch).unwrap(), 40);
    for (n, packet) in batch.iter().enumerate() {
        assert_eq!(packet.len(), n + 1);
        assert_eq!(packet.bytes().as_ptr().addr() as u64, addresses[n]);
    }
    assert_eq!(ring.lent(), 24);
}

#[test]
fn what_is_not_a_whole_frame_that_fits_stays_in_the_ring() {
    for (status, taken) in [
        (0, 5),
        (1 << 32 | 1, 5),
        (GOOD, 5),
        (65 << 32 | GOOD, 5),
        (0xffff << 32 | GOOD, 5),
        (1 << 32 | GOOD, 6),
        (0xabcd << 48 | 64 << 32 | GOOD, 6),
    ] {
        // by groups, and one by one
        for room in [16, 6, 3] {
            let pool = pool(64);
            let mut ring = rx_ring(64, &pool);
            let mut batch = Batch::new(room);
            ring.refill(&mut batch);
            for n in 0..5 {
                arrive(&ring, n, 60);
            }
            ring.ring().shared().write_back(5, [0, status]);
            let mut received = 0;
            for _ in 0..3 {
                received += ring.receive(&mut batch).unwrap();
                batch.clear();
            }
            assert_eq!(received, taken, "{status:#x} with room for {room}");
        }
    }
}

#[test]
fn the_last_buffer_of_a_ring_is_not_asked_for() {
    let pool = pool(64);
    let mut ring = rx_ring(32, &pool);
    let mut batch = Batch::new(64);
    ring.refill(&mut batch);
    for n in 0..32 {
        arrive(&ring, n, 60);
    }
    assert_eq!(ring.receive(&mut batch).unwrap(), 31);
    assert_eq!(ring.receive(&mut batch).unwrap(), 0);
}

#[test]
fn a_frame_of_several_buffers_is_one_packet_and_goes_home_whole() {
    let pool = pool(64);
    let mut ring = rx_ring(64, &pool);
    let mut batch = Batch::new(2);
    ring.refill(&mut batch);
    assert!(ring.receive_frame(&mut batch, &[64, 64, 5]).unwrap());
    assert!(!ring.receive_frame(&mut batch, &[]).unwrap());
    assert!(!ring.receive_frame(&mut batch, &[1; 62]).unwrap());
    assert!(ring.receive_frame(&mut batch, &[u16::MAX, 1]).unwrap());
    assert!(
        !ring.receive_frame(&mut batch, &[1]).unwrap(),
        "the batch is full"
    );
    let lens: Vec<_> = batch.iter().map(PacketRef::len).collect();
    assert_eq!(lens, [133, 65], "a length beyond the buffer is cut to it");
    drop(batch.pop());
    let packet = batch.pop().unwrap();
    assert_eq!((packet.len(), packet.as_ref().segments().len()), (133, 3));
    drop(packet);
    assert_eq!(pool.free() + ring.lent(), 64);
}

#[test]
fn whole_frames_only_are_lent_for_sending() {
    let pool = pool(64);
    let mut receive = rx_ring(64, &pool);
    let mut send = tx_ring(32, &[&pool]);
    let mut batch = Batch::new(40);
    receive.refill(&mut batch);
    // 28 of the 31 descriptors that may be in use are gone
    for n in 0..28 {
        arrive(&receive, n, 60);
    }
    receive.receive(&mut batch).unwrap();
    assert_eq!(all(&mut send, &mut batch).sent, 28);
    receive.receive_frame(&mut batch, &[60]).unwrap();
    receive.receive_frame(&mut batch, &[64, 64, 5]).unwrap();
    assert_eq!(all(&mut send, &mut batch).sent, 1);
    assert_eq!((batch.len(), send.lent()), (1, 29));
    // nothing is reported yet, since no chunk is full
    report_all(&send);
    assert_eq!(send.take_back(None), 0);
}

#[test]
fn a_frame_of_several_buffers_is_described_buffer_by_buffer_and_reported() {
    let pool = pool(64);
    let mut receive = rx_ring(64, &pool);
    let mut send = tx_ring(32, &[&pool]);
    let mut batch = Batch::new(8);
    receive.refill(&mut batch);
    arrive(&receive, 0, 60);
    receive.receive(&mut batch).unwrap();
    receive.receive_frame(&mut batch, &[64, 64, 5]).unwrap();
    assert_eq!(all(&mut send, &mut batch).sent, 2);
    let shared = send.ring().shared();
    let seen: Vec<_> = (0..4).map(|n| shared.second(n)).collect();
    let part = |len: u64, flags| len | 133 << 40 | flags;
    assert_eq!(
        seen,
        [
            Format.whole(0, 60)[1],
            part(64, 0),
            part(64, 0),
            part(5, LAST | Format::REPORT)
        ]
    );
    // back into the batch, and from there to the receive ring without touching the pool
    report_all(&send);
    let free = pool.free();
    assert_eq!(send.take_back(Some(&mut batch)), 4);
    assert_eq!(pool.free(), free);
    drop(batch);
    assert_eq!(pool.free(), free + 4);
}

/// A batch of few frames may be one of many buffers.
#[test]
fn room_for_a_frame_of_several_buffers_is_taken_back_when_it_is_needed() {
    let pool = pool(128);
    let mut receive = rx_ring(64, &pool);
    let mut send = tx_ring(32, &[&pool]);
    let mut batch = Batch::new(1);
    for _ in 0..20 {
        receive.refill(&mut batch);
        receive.receive_frame(&mut batch, &[64; 6]).unwrap();
        assert_eq!(all(&mut send, &mut batch).sent, 1);
        report_all(&send);
    }
}

#[test]
fn one_descriptor_in_a_chunk_asks_for_a_report_whatever_the_batches() {
    for size in [1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 100] {
        let pool = pool(512);
        let mut send = tx_ring(128, &[&pool]);
        let mut batch = Batch::new(size);
        let mut total = 0;
        while total < 2000 {
            batch.allocate(&pool, size, 60);
            report_all(&send);
            while !batch.is_empty() {
                let wanted = batch.len();
                total += if send.knows(&batch) && send.send_one(&mut batch) {
                    wanted
                } else {
                    send.send(&mut batch).sent
                };
                assert!(send.lent() <= 127);
                let shared = send.ring().shared();
                for position in send.next() - send.lent()..send.next() {
                    let reports = shared.second(position) & Format::REPORT != 0;
                    assert_eq!(reports, position % 32 == 31, "{size}: {position}");
                }
                report_all(&send);
            }
        }
        drop((send, batch));
        assert_eq!(pool.free(), 512);
    }
}

#[test]
fn frames_that_cannot_be_sent_are_dropped_and_the_others_sent_in_order() {
    let pool = pool(64);
    let mut send = tx_ring(64, &[&pool]);
    let mut batch = Batch::new(16);
    for n in 0..12u8 {
        let len = if n % 5 == 2 { 0 } else { usize::from(n) + 50 };
        batch.push(pool.packet(&vec![n; len]).unwrap()).unwrap();
    }
    let outcome = all(&mut send, &mut batch);
    assert_eq!((outcome.sent, outcome.refused), (10, 2));
    let lens = (0..10).map(|n| send.ring().shared().second(n) & 0xff);
    let expected: Vec<_> = (50..62).filter(|len| len % 5 != 2).collect();
    assert_eq!(lens.collect::<Vec<_>>(), expected);
    drop((send, batch));
    assert_eq!(pool.free(), 64);
}

#[test]
fn pools_meet_on_one_ring_and_each_buffer_goes_home() {
    let (a, b) = (pool(64), pool(64));
    let mut send = tx_ring(64, &[&a, &b]);
    for n in 0..40 {
        let mut batch = Batch::new(1);
        let from = if n % 3 == 0 { &a } else { &b };
        batch.push(from.packet(&[n; 60]).unwrap()).unwrap();
        assert_eq!(all(&mut send, &mut batch).sent, 1);
    }
    assert_eq!((a.free(), b.free()), (64 - 14, 64 - 26));
    report_all(&send);
    assert_eq!(send.take_back(None), 32);
    assert_eq!((a.free(), b.free()), (64 - 3, 64 - 5));
    drop(send);
    assert_eq!((a.free(), b.free()), (64, 64));
}

#[test]
fn a_batch_of_one_pool_takes_no_frame_of_another() {
    let (a, b) = (pool(64), pool(64));
    let mut ring = rx_ring(64, &a);
    let mut batch = Batch::new(4);
    ring.refill(&mut batch);
    arrive(&ring, 0, 60);
    batch.push(b.packet(b"foreign").unwrap()).unwrap();
    let refused = ring.receive(&mut batch);
    assert!(matches!(refused, Err(DmaError::OtherPool)));
    let rejected = batch.push(a.packet(b"other").unwrap_or_else(|| {
        ring.discard(1, &mut Batch::new(1));
        a.packet(b"other").unwrap()
    }));
    assert!(!rejected.unwrap_err().full);
    batch.clear();
    arrive(&ring, 0, 60);
    assert_eq!(ring.receive(&mut batch).unwrap(), 1);
}

#[test]
fn a_ring_sends_nothing_of_a_pool_it_does_not_know() {
    let (a, b) = (pool(64), pool(64));
    let mut send = tx_ring(64, &[&a]);
    let mut batch = Batch::new(4);
    batch.push(b.packet(&[1; 60]).unwrap()).unwrap();
    assert!(!send.knows(&batch) && !send.send_one(&mut batch));
    assert_eq!(send.send(&mut batch), Sent::default());
    assert_eq!(batch.len(), 1);
}

#[test]
fn paged_memory_is_found_page_by_page_and_scattered_buffers_are_refused() {
    for scattered in [false, true] {
        let device = Direct {
            paged: true,
            scattered,
            ..Direct::default()
        };
        let across_pages = PoolConfig {
            buffers: 8,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        };
        let pool = Pool::new(across_pages).unwrap();
        let ring = RxRing::new(
            descriptors(64),
            &pool,
            &Domain::new(Arc::new(device)),
            2048,
            Format,
        );
        assert_eq!(matches!(ring, Err(DmaError::Scattered { .. })), scattered);
    }
}

/// Each page of the region has an address of its own, far from the next one's.
#[test]
fn buffers_on_scattered_pages_are_found_where_they_are() {
    let device = Direct {
        paged: true,
        scattered: true,
        ..Direct::default()
    };
    let domain = Domain::new(Arc::new(device));
    // 4,096 bytes are 64 buffers of 64 bytes: none lies across the end of a page
    let pool = pool(256);
    let base = pool.region().address().get() as u64;
    let mut receive = RxRing::new(descriptors(128), &pool, &domain, 64, Format).unwrap();
    let mut send = TxRing::new(descriptors(256), Format);
    send.attach(&pool, &domain).unwrap();
    let mut batch = Batch::new(100);
    receive.refill(&mut batch);
    for n in 0..100 {
        arrive(&receive, n, 60);
    }
    receive.receive(&mut batch).unwrap();
    let expected: Vec<_> = batch
        .iter()
        .map(|packet| packet.bytes().as_ptr().addr() as u64 - base)
        .map(|offset| base + offset / 4096 * 8192 + offset % 4096)
        .collect();
    let first = |n| receive.ring().shared().first(n);
    assert!((0..100).all(|n| first(n) == 0 || first(n) == expected[n]));
    assert_eq!(all(&mut send, &mut batch).sent, 100);
    let addresses: Vec<_> = (0..100).map(|n| send.ring().shared().first(n)).collect();
    assert_eq!(addresses, expected);
}

#[test]
fn abandoned_buffers_never_come_back() {
    let pool = pool(64);
    let mut ring = rx_ring(32, &pool);
    ring.refill(&mut Batch::new(4));
    ring.abandon();
    drop(ring);
    let mut send = tx_ring(32, &[&pool]);
    let mut batch = Batch::new(4);
    batch.push(pool.packet(&[1; 60]).unwrap()).unwrap();
    all(&mut send, &mut batch);
    send.abandon();
    drop(send);
    assert_eq!(pool.free(), 31);
}

/// A driver whose functions fail.
struct Panics;

impl TxFormat for Panics {
    const REPORT: u64 = Format::REPORT;
    const DONE: u64 = Format::DONE;

    fn plain(&self) -> RangeInclusive<u16> {
        1..=50
    }
    fn sendable(&self, _: PacketRef<'_>) -> bool {
        panic!("on purpose")
    }
    fn whole<W: Lanes>(&self, buffer: W, len: W) -> [W; 2] {
        Format.whole(buffer, len)
    }
    fn part(&self, part: Part) -> [u64; 2] {
        Format.part(part)
    }
}

#[test]
fn a_panicking_driver_makes_no_second_owner() {
    let pool = pool(64);
    let mut send = TxRing::new(descriptors(64), Panics);
    send.attach(&pool, &domain()).unwrap();
    let mut batch = Batch::new(4);
    for len in [40, 60, 40] {
        batch.push(pool.packet(&vec![1; len]).unwrap()).unwrap();
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| send.send(&mut batch)));
    assert!(result.is_err());
    // the first frame is the ring's, the others still the batch's
    assert_eq!((send.lent(), batch.len()), (1, 2));
    drop((send, batch));
    assert_eq!(pool.free(), 64);
}

#[derive(Clone, Debug)]
enum Op {
    Refill,
    Arrive(Vec<u8>),
    Receive,
    ReceiveFrame(Vec<u16>),
    Discard(usize),
    Send,
    SendOne,
    TakeBack(bool),
    Pop,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Refill),
        4 => proptest::collection::vec(prop_oneof![9 => Just(60u8), 1 => 0u8..70], 0..40).prop_map(Op::Arrive),
        4 => Just(Op::Receive),
        1 => proptest::collection::vec(1u16..70, 0..6).prop_map(Op::ReceiveFrame),
        1 => (0usize..6).prop_map(Op::Discard),
        4 => Just(Op::Send),
        2 => Just(Op::SendOne),
        4 => any::<bool>().prop_map(Op::TakeBack),
        1 => Just(Op::Pop),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    /// Whatever a program and a driver do, the buffers of a pool are conserved and no two
    /// frames share one: each frame keeps the pattern that was written into it.
    #[test]
    fn buffers_are_conserved(ops in proptest::collection::vec(op(), 1..200), room in 1usize..50) {
        let pool = pool(128);
        let mut receive = rx_ring(64, &pool);
        let mut send = tx_ring(64, &[&pool]);
        let mut batch = Batch::new(room);
        let mut in_batch = VecDeque::new();
        let mut stamp = 0u8;
        for op in ops {
            let before = batch.len();
            match op {
                Op::Refill => { receive.refill(&mut batch); }
                Op::Arrive(lens) => {
                    for (n, len) in lens.iter().enumerate().take(receive.lent()) {
                        arrive(&receive, n, u64::from(*len));
                    }
                }
                Op::Receive => {
                    let got = receive.receive(&mut batch).unwrap();
                    prop_assert_eq!(batch.len(), before + got);
                }
                Op::ReceiveFrame(lens) => { receive.receive_frame(&mut batch, &lens).unwrap(); }
                Op::Discard(count) => receive.discard(count, &mut batch),
                Op::Send => {
                    send.knows(&batch);
                    let sent = send.send(&mut batch);
                    in_batch.drain(..sent.sent + sent.refused);
                }
                Op::SendOne => if send.send_one(&mut batch) { in_batch.clear(); },
                Op::TakeBack(keep) => {
                    report_all(&send);
                    send.take_back(keep.then_some(&mut batch));
                }
                Op::Pop => if batch.pop().is_some() { in_batch.pop_back(); },
                Op::Clear => { batch.clear(); in_batch.clear(); }
            }
            for mut packet in batch.iter_mut().skip(in_batch.len()) {
                packet.bytes_mut().fill(stamp);
                in_batch.push_back(stamp);
                stamp = stamp.wrapping_add(1);
            }
            prop_assert_eq!(batch.len(), in_batch.len());
            for (packet, stamp) in batch.iter().zip(&in_batch) {
                prop_assert!(packet.bytes().iter().all(|byte| byte == stamp));
            }
        }
        drop((batch, send, receive));
        prop_assert_eq!(pool.free(), 128);
    }
}
