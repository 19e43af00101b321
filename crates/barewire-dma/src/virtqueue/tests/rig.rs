//! A receive and a transmit queue with a pool, and the device's side of both.

use std::collections::VecDeque;
use std::sync::Arc;

use barewire_spec::virtio::header::Header;

use super::device::{Chain, Memory, SIZE, Side};
use crate::*;

pub(super) struct Rig<Q: Side> {
    pub(super) memory: Arc<Memory>,
    pub(super) pool: Pool,
    pub(super) rx: VirtRx<Q>,
    pub(super) tx: VirtTx<Q>,
    pub(super) rx_side: Q::State,
    pub(super) tx_side: Q::State,
    /// Chains of the receive queue that the device has.
    pub(super) empty: VecDeque<Chain>,
    /// Bytes of a received frame's header.
    header: usize,
}

pub(super) const HEADERS: RxHeaders = RxHeaders {
    bytes: 12,
    mergeable: true,
    apart: false,
    offloads: true,
};

pub(super) fn tx_headers() -> TxHeaders {
    TxHeaders {
        bytes: 12,
        apart: false,
        checksum: true,
        segmentation: [true, false, false],
        lens: (14, 1514),
    }
}

impl<Q: Side> Rig<Q> {
    pub(super) fn new(
        features: QueueFeatures,
        rx: RxHeaders,
        tx: TxHeaders,
        pool: PoolConfig,
    ) -> Self {
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

    pub(super) fn plain(features: QueueFeatures) -> Self {
        Self::new(features, HEADERS, tx_headers(), small_pool())
    }

    pub(super) fn refill(&mut self) {
        self.rx.refill(&mut Batch::new(1));
        self.rx.publish();
        let words = self.rx.memory().words();
        while let Some(chain) = Q::next(&mut self.rx_side, words, &self.memory) {
            assert!(chain.pieces.iter().all(|piece| piece.writable));
            self.empty.push_back(chain);
        }
    }

    /// Writes a frame with its header into chains of the device, as many as it takes.
    pub(super) fn deliver(&mut self, mut header: Header, frame: &[u8]) {
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

    pub(super) fn received(&mut self) -> Vec<(Vec<u8>, Offload)> {
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

    pub(super) fn send(&mut self, frame: &[u8], offload: Offload) -> Sent {
        let mut batch = Batch::new(1);
        let mut packet = self.pool.packet(frame).unwrap();
        packet.as_mut().set_offload(offload).unwrap();
        batch.push(packet).unwrap();
        let (sent, _) = self.tx.send(&mut batch);
        self.tx.publish();
        sent
    }

    pub(super) fn on_the_wire(&mut self) -> Option<(Chain, Vec<u8>)> {
        let words = self.tx.memory().words();
        let chain = Q::next(&mut self.tx_side, words, &self.memory)?;
        let pieces = chain.pieces.iter();
        let bytes = pieces.flat_map(|piece| self.memory.read(piece.address, piece.len as usize));
        let bytes = bytes.collect();
        Some((chain, bytes))
    }

    pub(super) fn sent(&mut self, chain: &Chain) {
        let words = self.tx.memory().words();
        Q::give(&mut self.tx_side, words, chain, u32::from(chain.id), 0);
    }
}

pub(super) fn small_pool() -> PoolConfig {
    PoolConfig {
        buffers: 128,
        data_room: 256,
        ..PoolConfig::default()
    }
}

pub(super) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(7) ^ seed).collect()
}

pub(super) fn all_features() -> impl Iterator<Item = QueueFeatures> {
    (0..4).map(|n| QueueFeatures {
        event_idx: n & 1 != 0,
        indirect: n & 2 != 0,
        ..QueueFeatures::default()
    })
}
