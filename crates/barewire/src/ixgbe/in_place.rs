//! Forwarding in the ring itself: one ring of legacy descriptors that is a receive ring and a
//! transmit ring at once (82599 datasheet §7.1.5, §7.2.3.2.1).
//!
//! The device receives into a descriptor's buffer and writes its status where the transmit command
//! goes; the program looks at the frame; one word turns the descriptor into a command. No buffer
//! moves and no list is kept. The transmitter's head comes by memory (§7.2.3.5.2), since a
//! descriptor that it marked as done would look received. What it has sent, the receiver may fill
//! again.

use barewire_bus::Bar;
use barewire_dma::{DescriptorRing, InPlaceFormat, InPlaceRing, Pages, Pool, PoolConfig, Verdict};
use barewire_spec::ixgbe::descriptor::rx::LegacyStatus;
use barewire_spec::ixgbe::descriptor::tx::LegacyData;
use barewire_spec::ixgbe::{
    RDBAH, RDBAL, RDLEN, RDT, RXDCTL, Rxdctl, SRRCTL, Srrctl, TDBAH, TDBAL, TDH, TDLEN, TDT,
    TDWBAH, TDWBAL, TXDCTL, Tdwbal, Txdctl, desctype,
};

use super::device::Handle;
use super::registers::Registers;
use super::tx::SHORTEST;
use super::{IxgbeRx, IxgbeTx};
use crate::patience::{Patience, Silence};
use crate::{Error, InPlaceCounters};

/// The legacy descriptor, which keeps its address when the device writes it back.
#[derive(Debug)]
pub(super) struct Legacy;

impl InPlaceFormat for Legacy {
    const DONE: u64 = LegacyStatus::DD;
    const MASK: u64 = LegacyStatus::DD | LegacyStatus::EOP | LegacyStatus::RXE;
    const WHOLE: u64 = LegacyStatus::DD | LegacyStatus::EOP;
    const REPORT: u64 = LegacyData::RS;
    const NOTHING: u64 = LegacyData::whole_packet(0).into_bits();

    #[inline]
    fn len(&self, status: u64) -> u16 {
        let [low, high, ..] = status.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    #[inline]
    fn ends(&self, status: u64) -> bool {
        status & LegacyStatus::EOP != 0
    }

    #[inline]
    fn send(&self, len: u16) -> u64 {
        Self::NOTHING | u64::from(len)
    }
}

/// Starts a receive queue that was stopped, up to its tail, with legacy descriptors.
pub(super) fn start_rx<B: Bar>(
    registers: &Registers<B>,
    index: u32,
    ring: &DescriptorRing,
) -> Result<(), Error> {
    registers.write_at(&RDBAL, index, ring.iova().low());
    registers.write_at(&RDBAH, index, ring.iova().high());
    registers.write_at(&RDLEN, index, ring.bytes());
    let srrctl = Srrctl::from_bits(registers.read_at(&SRRCTL, index));
    let srrctl = srrctl.with_desctype(desctype::LEGACY);
    registers.write_at(&SRRCTL, index, srrctl.into_bits());
    let rxdctl = Rxdctl::from_bits(registers.read_at(&RXDCTL, index));
    registers.write_at(&RXDCTL, index, rxdctl.with_enable(true).into_bits());
    let enabled = |rxdctl| Rxdctl::from_bits(rxdctl).enable();
    let what = "enabling a receive queue";
    registers.wait(what, &RXDCTL, index, Patience::new(100, 50), enabled)?;
    Ok(())
}

/// Starts a transmit queue that was stopped, with its head in memory.
pub(super) fn start_tx<B: Bar>(
    registers: &Registers<B>,
    index: u32,
    ring: &InPlaceRing<Legacy>,
) -> Result<(), Error> {
    let dma_error = |source| Error::Dma {
        device: registers.device().to_owned(),
        source,
    };
    let descriptors = ring.for_transmitter().map_err(dma_error)?;
    let head = ring.head().map_err(dma_error)?;
    registers.write_at(&TDBAL, index, descriptors.low());
    registers.write_at(&TDBAH, index, descriptors.high());
    registers.write_at(&TDLEN, index, ring.ring().bytes());
    let low = Tdwbal::new()
        .with_head_wb_en(true)
        .with_headwb_low(head.low() >> 2);
    registers.write_at(&TDWBAL, index, low.into_bits());
    registers.write_at(&TDWBAH, index, head.high());
    registers.write_at(&TDH, index, 0);
    // the tail of a queue that has sent before, which would have the device send what is there
    if registers.read_at(&TDT, index) != 0 {
        registers.write_at(&TDT, index, 0);
    }
    let txdctl = Txdctl::from_bits(registers.read_at(&TXDCTL, index));
    registers.write_at(&TXDCTL, index, txdctl.with_enable(true).into_bits());
    let enabled = |txdctl| Txdctl::from_bits(txdctl).enable();
    let what = "enabling a transmit queue";
    registers.wait(what, &TXDCTL, index, Patience::new(100, 50), enabled)?;
    Ok(())
}

/// Starts at a cache line of its own, as queues do.
#[repr(align(128))]
pub(crate) struct IxgbeInPlace {
    ring: InPlaceRing<Legacy>,
    receiver: Handle,
    transmitter: Handle,
    rx_index: u32,
    tx_index: u32,
    rx_tail: u32,
    tx_tail: u32,
    silence: Silence,
    counters: InPlaceCounters,
}

impl IxgbeInPlace {
    /// Stops two queues and takes their place.
    pub(crate) fn start(rx: IxgbeRx, tx: IxgbeTx) -> Result<Self, Error> {
        let (receiver, rx_index, count, buffer) = rx.parts();
        let (transmitter, tx_index, longest) = tx.parts();
        let pages = if rx.pool().region().is_huge() {
            Pages::PreferHuge
        } else {
            Pages::Ordinary
        };
        drop((rx, tx));
        let pool = Pool::new(PoolConfig {
            buffers: count,
            data_room: usize::from(buffer),
            pages,
            ..PoolConfig::default()
        });
        let pool = pool.map_err(|error| receiver.dma_error(error))?;
        let domains = [receiver.card().domain(), transmitter.card().domain()];
        let lens = SHORTEST..=longest.min(buffer);
        let ring = InPlaceRing::new(domains, count, &pool, &lens, Legacy);
        let ring = ring.map_err(|error| receiver.dma_error(error))?;
        let queue = Self {
            ring,
            receiver,
            transmitter,
            rx_index,
            tx_index,
            rx_tail: RDT.at(rx_index),
            tx_tail: TDT.at(tx_index),
            silence: Silence::default(),
            counters: InPlaceCounters::default(),
        };
        let card = queue.transmitter.card();
        card.start_tx_in_place(tx_index, &queue.ring)?;
        let card = queue.receiver.card();
        card.start_rx_in_place(rx_index, queue.ring.ring())?;
        queue.give_back();
        Ok(queue)
    }

    /// As [`InPlace::forward`](crate::InPlace::forward).
    #[inline]
    pub(crate) fn forward(
        &mut self,
        most: usize,
        each: impl FnMut(&mut [u8]) -> Verdict,
    ) -> Result<usize, Error> {
        if self.receiver.stopped() || self.transmitter.stopped() {
            return Err(self.stopped_error());
        }
        let counters = &mut self.counters;
        let turned = self
            .ring
            .turn(most, each, |status| count_unfit(counters, status));
        if turned.descriptors > 0 {
            let sent = turned.descriptors - turned.dropped - turned.unfit;
            self.counters.forwarded += sent as u64;
            self.counters.dropped += turned.dropped as u64;
            let tail = self.ring.ring().index(self.ring.oldest());
            self.transmitter.write_tail(self.tx_tail, tail);
        }
        // the transmitter says how far it is once a chunk
        let idle = turned.descriptors == 0;
        if (turned.reports || idle) && self.ring.take_back() {
            self.give_back();
        } else if idle {
            self.look_around()?;
        }
        Ok(turned.descriptors)
    }

    /// Tells the receiver how far it may go.
    #[inline]
    fn give_back(&self) {
        let tail = self.ring.ring().index(self.ring.next());
        self.receiver.write_tail(self.rx_tail, tail);
    }

    /// Nothing has come: now and then looks whether the devices are still there.
    #[cold]
    fn look_around(&mut self) -> Result<(), Error> {
        if self.silence.goes_on() {
            self.receiver.card().check()?;
            self.transmitter.card().check()?;
        }
        Ok(())
    }

    #[cold]
    fn stopped_error(&self) -> Error {
        if self.receiver.stopped() {
            self.receiver.stopped_error()
        } else {
            self.transmitter.stopped_error()
        }
    }

    /// As [`InPlace::counters`](crate::InPlace::counters).
    pub(crate) fn counters(&self) -> InPlaceCounters {
        self.counters
    }
}

impl Drop for IxgbeInPlace {
    fn drop(&mut self) {
        let receiver = self.receiver.card().stop_rx(self.rx_index);
        let transmitter = self.transmitter.card().stop_tx(self.tx_index);
        if !(receiver && transmitter) {
            self.ring.abandon();
        }
    }
}

#[cold]
fn count_unfit(counters: &mut InPlaceCounters, status: u64) {
    if LegacyStatus::from_bits(status).rxe() {
        counters.damaged += 1;
    } else {
        counters.malformed += 1;
    }
}
