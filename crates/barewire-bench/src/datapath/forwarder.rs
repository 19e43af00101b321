//! The subject: what a program that forwards does, with the library's public interface.

use anyhow::{Context, Result};
use barewire::{Batch, Error, PciFunction, Port, PortConfig, RxQueue, TxQueue};

use super::fake_nic::TOUCHED;

/// A receive queue, the transmit queue that its frames leave by, and a batch on the way.
pub(super) struct Forwarder {
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch,
    // after the queues: the device is stopped last
    _port: Port,
}

impl Forwarder {
    /// Brings the driver up, one queue each way.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn open<P: PciFunction>(function: P, ring: u16) -> Result<Self> {
        let config = PortConfig {
            rx_ring: ring,
            tx_ring: ring,
            promiscuous: true,
            all_multicast: true,
            ..PortConfig::default()
        };
        let mut port = Port::open(function, &config)?;
        let rx = port.take_rx(0).context("there is no receive queue")?;
        let mut tx = port.take_tx(0).context("there is no transmit queue")?;
        tx.attach(rx.pool())?;
        Ok(Self {
            rx,
            tx,
            batch: Batch::default(),
            _port: port,
        })
    }

    /// Takes so many frames at a time from now on.
    pub(super) fn set_batch(&mut self, frames: u16) {
        self.batch = Batch::new(usize::from(frames));
    }

    pub(super) fn on_hugepages(&self) -> bool {
        self.rx.pool().region().is_huge()
    }

    /// Forwards one batch and returns how many frames were sent.
    #[inline]
    fn turn(&mut self) -> Result<usize, Error> {
        if self.batch.is_empty() {
            self.rx.receive(&mut self.batch)?;
            for mut packet in self.batch.iter_mut() {
                if let Some(byte) = packet.bytes_mut().get_mut(TOUCHED) {
                    *byte = byte.wrapping_add(1);
                }
            }
        }
        self.tx.send(&mut self.batch)
    }
}

/// The code under measurement. Counting tools are told to look at this function only.
#[inline(never)]
pub(super) fn forward_section(forwarder: &mut Forwarder, calls: u32) -> Result<usize, Error> {
    let mut frames = 0;
    for _ in 0..calls {
        frames += forwarder.turn()?;
    }
    Ok(frames)
}
