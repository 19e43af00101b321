//! One software device, one open port, and both ends of its wire in the test's hands.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use barewire::{Batch, Error, Pages, Port, PortConfig, RxQueue, TxQueue};
use barewire_sim::time::Nanos;
use barewire_sim::virtio::{Interface, VirtioConfig, VirtioNic};
use barewire_sim::wire::Wire;
use barewire_spec::virtio::feature as f;

/// Frames to and from the device, as the test puts and finds them.
#[derive(Clone, Default)]
pub(crate) struct Hand {
    towards: Arc<Mutex<VecDeque<Vec<u8>>>>,
    from: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Hand {
    pub(crate) fn offer(&self, frame: impl Into<Vec<u8>>) {
        self.towards.lock().unwrap().push_back(frame.into());
    }

    pub(crate) fn left(&self) -> usize {
        self.towards.lock().unwrap().len()
    }

    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.from.lock().unwrap())
    }
}

impl Wire for Hand {
    fn pull(&mut self, _: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        frame.clear();
        if !room {
            return false;
        }
        let next = self.towards.lock().unwrap().pop_front();
        frame.extend(next.iter().flatten());
        next.is_some()
    }

    fn push(&mut self, _: Nanos, frame: &[u8]) {
        self.from.lock().unwrap().push(frame.to_vec());
    }

    fn idle(&self) -> bool {
        self.left() == 0
    }
}

pub(crate) struct Lab {
    pub(crate) nic: VirtioNic,
    pub(crate) hand: Hand,
    pub(crate) port: Port,
    pub(crate) rx: Vec<RxQueue>,
    pub(crate) tx: Vec<TxQueue>,
}

/// A configuration whose memory is ordinary pages and which receives everything.
pub(crate) fn config() -> PortConfig {
    PortConfig {
        promiscuous: true,
        all_multicast: true,
        pages: Pages::Ordinary,
        ..PortConfig::default()
    }
}

impl Lab {
    pub(crate) fn new(config: &PortConfig) -> Self {
        Self::on(VirtioConfig::default(), config).unwrap()
    }

    pub(crate) fn on(device: VirtioConfig, config: &PortConfig) -> Result<Self, Error> {
        let hand = Hand::default();
        let nic = VirtioNic::new(device, hand.clone());
        let mut port = Port::open(nic.function(), config)?;
        let rx = (0..config.rx_queues).map(|n| port.take_rx(n).unwrap());
        let rx = rx.collect();
        let tx = (0..config.tx_queues).map(|n| port.take_tx(n).unwrap());
        let tx = tx.collect();
        Ok(Self {
            nic,
            hand,
            port,
            rx,
            tx,
        })
    }

    /// Lets the device work until it has nothing to do.
    pub(crate) fn settle(&self) {
        let mut quiet = 0;
        while quiet < 3 {
            quiet = if self.nic.step() { 0 } else { quiet + 1 };
        }
    }

    /// Everything that arrives on a queue, with its note. An empty poll may have given the device
    /// buffers, so two in a row are the end.
    pub(crate) fn received_with(&mut self, queue: usize) -> Vec<(Vec<u8>, barewire::Offload)> {
        let mut batch = Batch::new(32);
        let mut frames = Vec::new();
        let mut empty = 0;
        while empty < 2 {
            self.settle();
            self.rx[queue].receive(&mut batch).unwrap();
            empty = if batch.is_empty() { empty + 1 } else { 0 };
            for packet in batch.iter() {
                let mut bytes = Vec::new();
                packet.copy_to(&mut bytes);
                frames.push((bytes, packet.offload()));
            }
            batch.clear();
        }
        frames
    }

    pub(crate) fn received(&mut self, queue: usize) -> Vec<Vec<u8>> {
        let all = self.received_with(queue).into_iter();
        all.map(|(bytes, _)| bytes).collect()
    }

    pub(crate) fn send(&mut self, queue: usize, frames: &[Vec<u8>]) {
        let pool = self.rx[0].pool().clone();
        let mut batch = Batch::new(32);
        for frames in frames.chunks(32) {
            for frame in frames {
                let packet = pool.packet(frame).expect("a free buffer");
                batch.push(packet).unwrap();
            }
            while !batch.is_empty() {
                self.tx[queue].send(&mut batch).unwrap();
                self.settle();
            }
        }
    }

    pub(crate) fn assert_clean(&self) {
        let violations = self.nic.violations();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "violations:\n{}", lines.join("\n"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_clean();
        }
    }
}

/// A frame of `len` bytes whose content follows from `seed`, to and from private addresses.
pub(crate) fn frame(len: usize, seed: u8) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len)
        .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed))
        .collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, seed, 2, 0, 0, 0, 1, seed]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]); // an EtherType for experiments
    frame
}

/// Devices of every kind: interface, ring and how buffers come back.
pub(crate) fn all_kinds() -> impl Iterator<Item = VirtioConfig> {
    let usual = VirtioConfig::default().features;
    let formats = [0, f::RING_PACKED];
    let rings = [0, f::IN_ORDER];
    let without = [0, f::EVENT_IDX, f::NET_MRG_RXBUF, f::INDIRECT_DESC];
    let modern = formats.into_iter().flat_map(move |format| {
        rings.into_iter().flat_map(move |order| {
            without.into_iter().map(move |less| VirtioConfig {
                features: (usual | format | order) & !less,
                shuffled: order == 0,
                ..VirtioConfig::default()
            })
        })
    });
    let legacy = [
        0,
        f::NET_MRG_RXBUF,
        f::ANY_LAYOUT,
        f::NET_MRG_RXBUF | f::ANY_LAYOUT,
    ];
    let legacy = legacy.into_iter().map(move |less| VirtioConfig {
        interface: Interface::Transitional,
        features: (usual & u64::from(u32::MAX) | f::ANY_LAYOUT) & !less,
        ..VirtioConfig::default()
    });
    modern.chain(legacy)
}
