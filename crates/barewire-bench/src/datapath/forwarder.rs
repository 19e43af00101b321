//! The subject: what a program that forwards does, with the library's public interface.

use anyhow::{Context, Result};
use barewire::{Batch, Error, InPlace, PciFunction, Port, PortConfig, RxQueue, TxQueue, Verdict};

use super::frames::TOUCHED;

/// A way to forward, and the port that it goes through.
pub(super) struct Forwarder {
    way: Way,
    on_hugepages: bool,
    // after the queues: the device is stopped last
    _port: Port,
}

#[allow(clippy::large_enum_variant)] // there is one
enum Way {
    /// A receive queue, the transmit queue that its frames leave by, and a batch on the way.
    Queues(RxQueue, TxQueue, Batch),
    /// One ring for both, and how many frames at a time.
    InPlace(InPlace, usize),
}

impl Forwarder {
    /// Brings the driver up, one queue each way.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn open<P: PciFunction>(function: P, ring: u16, in_place: bool) -> Result<Self> {
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
        let on_hugepages = rx.pool().region().is_huge();
        let way = if in_place {
            Way::InPlace(InPlace::new(rx, tx)?, 32)
        } else {
            Way::Queues(rx, tx, Batch::default())
        };
        Ok(Self {
            way,
            on_hugepages,
            _port: port,
        })
    }

    /// Takes so many frames at a time from now on.
    pub(super) fn set_batch(&mut self, frames: u16) {
        match &mut self.way {
            Way::Queues(_, _, batch) => *batch = Batch::new(usize::from(frames)),
            Way::InPlace(_, most) => *most = usize::from(frames),
        }
    }

    pub(super) fn on_hugepages(&self) -> bool {
        self.on_hugepages
    }
}

/// Forwards one batch and returns how many frames were sent.
#[inline]
fn turn(rx: &mut RxQueue, tx: &mut TxQueue, batch: &mut Batch) -> Result<usize, Error> {
    if batch.is_empty() {
        rx.receive(batch)?;
        for mut packet in batch.iter_mut() {
            if let Some(byte) = packet.bytes_mut().get_mut(TOUCHED) {
                *byte = byte.wrapping_add(1);
            }
        }
    }
    tx.send(batch)
}

/// As [`turn`], in place.
#[inline]
fn turn_in_place(queue: &mut InPlace, most: usize) -> Result<usize, Error> {
    queue.forward(most, |frame| {
        if let Some(byte) = frame.get_mut(TOUCHED) {
            *byte = byte.wrapping_add(1);
        }
        Verdict::Send
    })
}

/// The code under measurement. Counting tools are told to look at this function only.
#[inline(never)]
pub(super) fn forward_section(forwarder: &mut Forwarder, calls: u32) -> Result<usize, Error> {
    let mut frames = 0;
    match &mut forwarder.way {
        Way::Queues(rx, tx, batch) => {
            for _ in 0..calls {
                frames += turn(rx, tx, batch)?;
            }
        }
        Way::InPlace(queue, most) => {
            for _ in 0..calls {
                frames += turn_in_place(queue, *most)?;
            }
        }
    }
    Ok(frames)
}
