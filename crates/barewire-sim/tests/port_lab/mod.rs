//! One software device, one open port, and both ends of its wire in the test's hands.

#[path = "../wire_script/mod.rs"]
mod wire_script;

use barewire::{Batch, Offload, Pages, Port, PortConfig, RxQueue, TxQueue};
use barewire_sim::device::Device;

pub(crate) use self::wire_script::Script;

/// What a test works with. When it goes, the device must have noticed no violation.
pub(crate) struct Lab<D: Device> {
    pub(crate) nic: D,
    pub(crate) wire: Script,
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

impl<D: Device> Lab<D> {
    /// Takes all queues of a port that was opened on the device.
    pub(crate) fn over(nic: D, wire: Script, mut port: Port, config: &PortConfig) -> Self {
        let rx = (0..config.rx_queues).map(|n| port.take_rx(n).unwrap());
        let rx = rx.collect();
        let tx = (0..config.tx_queues).map(|n| port.take_tx(n).unwrap());
        let tx = tx.collect();
        Self {
            nic,
            wire,
            port,
            rx,
            tx,
        }
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
    pub(crate) fn received_with(&mut self, queue: usize) -> Vec<(Vec<u8>, Offload)> {
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

    /// Everything that arrives on a queue, as bytes.
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

impl<D: Device> Drop for Lab<D> {
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
