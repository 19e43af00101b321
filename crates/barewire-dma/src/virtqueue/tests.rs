//! Queues of both formats against a device that keeps to the rules, and one that does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_spec::virtio::header::{self, Header};
use barewire_spec::virtio::{packed, split};
use proptest::prelude::*;

use super::lanes::{get16, load, put16, store};
use super::{Virtqueue, *};
use crate::*;

const SIZE: u16 = 16;

/// The device finds memory at the offset in its region, a gibibyte further for each.
#[derive(Debug, Default)]
struct Memory {
    regions: std::sync::Mutex<Vec<Arc<DmaRegion>>>,
}

impl DmaMap for Memory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let mut regions = self.regions.lock().unwrap();
        regions.push(Arc::clone(region));
        Ok(Layout::Linear(Iova::new((regions.len() as u64) << 30)))
    }
    fn unmap(&self, _: &Arc<DmaRegion>, _: &Layout) {}
}

impl Memory {
    fn at(&self, address: u64) -> (Arc<DmaRegion>, usize) {
        let regions = self.regions.lock().unwrap();
        let region = (address >> 30) as usize - 1;
        (
            Arc::clone(&regions[region]),
            (address & 0x3fff_ffff) as usize,
        )
    }
    fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let (region, offset) = self.at(address);
        let mut bytes = vec![0; len];
        region.device_read(offset, &mut bytes).unwrap();
        bytes
    }
    fn write(&self, address: u64, bytes: &[u8]) {
        let (region, offset) = self.at(address);
        region.device_write(offset, bytes).unwrap();
    }
}

/// A chain as the device finds it.
#[derive(Clone, Debug)]
struct Chain {
    id: u16,
    pieces: Vec<Piece>,
}

/// The device's side of a format.
trait Side: Virtqueue {
    type State: Default;
    fn next(state: &mut Self::State, words: &[AtomicU64], memory: &Memory) -> Option<Chain>;
    fn give(state: &mut Self::State, words: &[AtomicU64], chain: &Chain, id: u32, len: u32);
}

fn table(memory: &Memory, piece: Piece, flags: u16) -> Vec<Piece> {
    if flags & split::INDIRECT == 0 {
        return vec![piece];
    }
    let bytes = memory.read(piece.address, piece.len as usize);
    let entries = bytes.as_chunks::<16>().0.iter();
    entries
        .map(|entry| {
            let half = |n: usize| u64::from_le_bytes(entry[n..n + 8].try_into().unwrap());
            Piece {
                address: half(0),
                len: half(8) as u32,
                ..Piece::default()
            }
        })
        .collect()
}

#[derive(Default)]
struct SplitSide {
    available: u16,
    used: u16,
}

impl Side for Split {
    type State = SplitSide;

    fn next(state: &mut SplitSide, words: &[AtomicU64], memory: &Memory) -> Option<Chain> {
        let parts = Self::parts(SIZE, QueueFeatures::default());
        if get16(words, parts.driver + 2, Ordering::Acquire) == state.available {
            return None;
        }
        let slot = usize::from(state.available % SIZE);
        let id = get16(words, parts.driver + 4 + 2 * slot, Ordering::Relaxed);
        state.available = state.available.wrapping_add(1);
        let (mut at, mut pieces) = (usize::from(id), Vec::new());
        loop {
            let both = [0, 1].map(|n| load(words, at * 2 + n, Ordering::Relaxed));
            let descriptor = split::Descriptor::from_words(both);
            let piece = Piece {
                address: descriptor.address,
                len: descriptor.length,
                writable: descriptor.flags & split::WRITE != 0,
                table: false,
            };
            pieces.extend(table(memory, piece, descriptor.flags));
            if descriptor.flags & split::NEXT == 0 {
                return Some(Chain { id, pieces });
            }
            at = usize::from(descriptor.next);
        }
    }

    fn give(state: &mut SplitSide, words: &[AtomicU64], _: &Chain, id: u32, len: u32) {
        let parts = Self::parts(SIZE, QueueFeatures::default());
        let at = parts.device + 4 + 8 * usize::from(state.used % SIZE);
        let (low, high) = (id as u16, (id >> 16) as u16);
        put16(words, at, low, Ordering::Relaxed);
        put16(words, at + 2, high, Ordering::Relaxed);
        put16(words, at + 4, len as u16, Ordering::Relaxed);
        put16(words, at + 6, (len >> 16) as u16, Ordering::Relaxed);
        state.used = state.used.wrapping_add(1);
        put16(words, parts.device + 2, state.used, Ordering::Release);
    }
}

struct PackedSide {
    next: (u16, bool),
    used: (u16, bool),
}

impl Default for PackedSide {
    fn default() -> Self {
        Self {
            next: (0, true),
            used: (0, true),
        }
    }
}

fn advance((at, wrap): &mut (u16, bool), by: u16) {
    *at += by;
    if *at >= SIZE {
        *at -= SIZE;
        *wrap = !*wrap;
    }
}

/// How many descriptors of the ring a chain takes.
fn descriptors(chain: &Chain) -> u16 {
    if chain.pieces.iter().any(|piece| piece.table) {
        1
    } else {
        chain.pieces.len() as u16
    }
}

impl Side for Packed {
    type State = PackedSide;

    fn next(state: &mut PackedSide, words: &[AtomicU64], memory: &Memory) -> Option<Chain> {
        let mut pieces = Vec::new();
        loop {
            let at = usize::from(state.next.0) * 2;
            let second = load(words, at + 1, Ordering::Acquire);
            let first = load(words, at, Ordering::Relaxed);
            let descriptor = packed::Descriptor::from_words([first, second]);
            if pieces.is_empty() && !descriptor.is_available(state.next.1) {
                return None;
            }
            assert!(descriptor.is_available(state.next.1));
            advance(&mut state.next, 1);
            let piece = Piece {
                address: descriptor.address,
                len: descriptor.length,
                writable: descriptor.flags & packed::WRITE != 0,
                table: false,
            };
            let mut more = table(memory, piece, descriptor.flags);
            if descriptor.flags & packed::INDIRECT != 0 {
                for piece in &mut more {
                    piece.table = true;
                }
            }
            pieces.extend(more);
            if descriptor.flags & packed::NEXT == 0 {
                let id = descriptor.id;
                return Some(Chain { id, pieces });
            }
        }
    }

    fn give(state: &mut PackedSide, words: &[AtomicU64], chain: &Chain, id: u32, len: u32) {
        let descriptor = packed::Descriptor {
            address: 0,
            length: len,
            id: id as u16,
            flags: packed::used_flags(state.used.1),
        };
        let at = usize::from(state.used.0) * 2 + 1;
        store(words, at, descriptor.into_words()[1], Ordering::Release);
        advance(&mut state.used, descriptors(chain));
    }
}

struct Rig<Q: Side> {
    memory: Arc<Memory>,
    pool: Pool,
    rx: VirtRx<Q>,
    tx: VirtTx<Q>,
    rx_side: Q::State,
    tx_side: Q::State,
    /// Chains of the receive queue that the device has.
    empty: VecDeque<Chain>,
    /// Bytes of a received frame's header.
    header: usize,
}

const HEADERS: RxHeaders = RxHeaders {
    bytes: 12,
    mergeable: true,
    apart: false,
    offloads: true,
};

fn tx_headers() -> TxHeaders {
    TxHeaders {
        bytes: 12,
        apart: false,
        checksum: true,
        segmentation: [true, false, false],
        lens: (14, 1514),
    }
}

impl<Q: Side> Rig<Q> {
    fn new(features: QueueFeatures, rx: RxHeaders, tx: TxHeaders, pool: PoolConfig) -> Self {
        let memory = Arc::new(Memory::default());
        let domain = Domain::new(Arc::clone(&memory) as Arc<dyn DmaMap>);
        let region = DmaRegion::allocate(64 << 10, Pages::Ordinary).unwrap();
        let mapping = domain.map(&region).unwrap();
        let pool = Pool::new(PoolConfig {
            pages: Pages::Ordinary,
            ..pool
        })
        .unwrap();
        let header = usize::from(rx.bytes);
        let plan = VirtRx::<Q>::plan(SIZE, features, rx).unwrap();
        let place = (Arc::clone(&mapping), 0);
        let rx = VirtRx::new(plan, place, &pool, &domain, rx).unwrap();
        let plan = VirtTx::<Q>::plan(SIZE, features).unwrap();
        let mut tx = VirtTx::new(plan, (mapping, 16 << 10), tx).unwrap();
        tx.attach(&pool, &domain).unwrap();
        Self {
            memory,
            pool,
            rx,
            tx,
            rx_side: Q::State::default(),
            tx_side: Q::State::default(),
            empty: VecDeque::new(),
            header,
        }
    }

    fn plain(features: QueueFeatures) -> Self {
        Self::new(features, HEADERS, tx_headers(), small_pool())
    }

    fn refill(&mut self) {
        self.rx.refill(&mut Batch::new(1));
        self.rx.publish();
        let words = self.rx.memory().words();
        while let Some(chain) = Q::next(&mut self.rx_side, words, &self.memory) {
            assert!(chain.pieces.iter().all(|piece| piece.writable));
            self.empty.push_back(chain);
        }
    }

    /// Writes a frame with its header into chains of the device, as many as it takes.
    fn deliver(&mut self, mut header: Header, frame: &[u8]) {
        let room = self.empty[0].pieces.iter().map(|piece| piece.len as usize);
        let room = room.sum::<usize>();
        let bytes = self.header;
        header.num_buffers = (bytes + frame.len()).div_ceil(room) as u16;
        let mut all = header.to_bytes()[..bytes].to_vec();
        all.extend(frame);
        for part in all.chunks(room) {
            let chain = self.empty.pop_front().unwrap();
            let mut left = part;
            for piece in &chain.pieces {
                let (now, then) = left.split_at(left.len().min(piece.len as usize));
                self.memory.write(piece.address, now);
                left = then;
            }
            let id = u32::from(chain.id);
            let words = self.rx.memory().words();
            Q::give(&mut self.rx_side, words, &chain, id, part.len() as u32);
        }
    }

    fn received(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut batch = Batch::new(32);
        self.rx.receive(&mut batch).unwrap();
        let frames = batch.iter();
        let frames = frames.map(|packet| {
            let mut bytes = Vec::new();
            packet.copy_to(&mut bytes);
            (bytes, packet.offload())
        });
        frames.collect()
    }

    fn send(&mut self, frame: &[u8], offload: Offload) -> Sent {
        let mut batch = Batch::new(1);
        let mut packet = self.pool.packet(frame).unwrap();
        packet.as_mut().set_offload(offload).unwrap();
        batch.push(packet).unwrap();
        let (sent, _) = self.tx.send(&mut batch);
        self.tx.publish();
        sent
    }

    fn on_the_wire(&mut self) -> Option<(Chain, Vec<u8>)> {
        let words = self.tx.memory().words();
        let chain = Q::next(&mut self.tx_side, words, &self.memory)?;
        let pieces = chain.pieces.iter();
        let bytes = pieces.flat_map(|piece| self.memory.read(piece.address, piece.len as usize));
        let bytes = bytes.collect();
        Some((chain, bytes))
    }

    fn sent(&mut self, chain: &Chain) {
        let words = self.tx.memory().words();
        Q::give(&mut self.tx_side, words, chain, u32::from(chain.id), 0);
    }
}

fn small_pool() -> PoolConfig {
    PoolConfig {
        buffers: 128,
        data_room: 256,
        ..PoolConfig::default()
    }
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(7) ^ seed).collect()
}

fn all_features() -> impl Iterator<Item = QueueFeatures> {
    (0..4).map(|n| QueueFeatures {
        event_idx: n & 1 != 0,
        indirect: n & 2 != 0,
        ..QueueFeatures::default()
    })
}

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
