//! A transmit queue: from batch to wire (82599 datasheet §7.2).
//!
//! Frames are lent to the device by descriptor. One descriptor in 32 asks for a report (`RS`); its
//! done bit says that all before it are sent, and their buffers are free again.

use std::ops::RangeInclusive;
use std::sync::Arc;

use barewire_bus::PciFunction;
use barewire_dma::{Batch, DescriptorRing, Lanes, PacketRef, Part, Pool, TxFormat, TxRing};
use barewire_spec::ixgbe::descriptor::tx::{AdvancedData, Data};
use barewire_spec::ixgbe::limits::{TX_BUFFER_MAX, TX_DESCRIPTORS_PER_PACKET, TX_FRAME_MIN};
use barewire_spec::ixgbe::{TDBAH, TDBAL, TDLEN, TDT, TDWBAH, TDWBAL, TXDCTL, Tdwbal, Txdctl};

use super::VLAN_TAG;
use super::device::{self, Device, Handle};
use crate::patience::{Patience, Silence};
use crate::{Error, TxCounters};

/// The advanced transmit data descriptor (§7.2.3.2.4).
struct Advanced {
    /// Longest frame without VLAN tag and FCS.
    longest: u16,
}

impl TxFormat for Advanced {
    const REPORT: u64 = Data::RS;
    const DONE: u64 = Data::DD;

    #[inline]
    fn plain(&self) -> RangeInclusive<u16> {
        SHORTEST..=self.longest
    }

    #[cold]
    fn sendable(&self, frame: PacketRef<'_>) -> bool {
        let segments = frame.segments();
        let count = segments.len();
        let mut sizes = segments.map(<[u8]>::len);
        let tag = if frame.bytes().get(12..14) == Some(&[0x81, 0x00]) {
            VLAN_TAG
        } else {
            0
        };
        let longest = usize::from(self.longest + tag);
        count <= TX_DESCRIPTORS_PER_PACKET as usize
            && sizes.all(|size| (1..=TX_BUFFER_MAX as usize).contains(&size))
            && (usize::from(SHORTEST)..=longest).contains(&frame.len())
    }

    #[inline]
    fn whole<W: Lanes>(&self, buffer: W, len: W) -> [W; 2] {
        const EMPTY: u64 = Data::whole_packet(0).into_bits();
        [buffer, len | len << Data::PAYLEN | EMPTY]
    }

    fn part(&self, part: Part) -> [u64; 2] {
        let data = AdvancedData {
            address: part.buffer.get(),
            data: Data::new()
                .with_dtalen(part.len)
                .with_paylen(part.frame_len)
                .with_ifcs(true)
                .with_eop(part.last),
        };
        data.into_words()
    }
}

/// The shortest frame that the device pads.
pub(super) const SHORTEST: u16 = {
    let [low, high, ..] = TX_FRAME_MIN.to_le_bytes();
    u16::from_le_bytes([low, high])
};

/// Starts at a cache line of its own, two for processors that fetch them in pairs: what one thread
/// writes here is next to nothing that another reads.
#[repr(C, align(128))]
pub(crate) struct IxgbeTx {
    ring: TxRing<Advanced>,
    device: Handle,
    index: u32,
    tail: u32,
    /// Longest frame without VLAN tag and FCS.
    longest: u16,
    silence: Silence,
    counters: TxCounters,
}

impl IxgbeTx {
    /// Sets the queue up and enables it. The transmit path as a whole is on. `longest` is the
    /// longest frame without VLAN tag and FCS.
    pub(super) fn start<P: PciFunction>(
        device: &Arc<Device<P>>,
        index: u16,
        ring: DescriptorRing,
        longest: u16,
    ) -> Result<Self, Error> {
        let registers = device.chip();
        let ring = TxRing::new(ring, Advanced { longest });
        let index = u32::from(index);
        registers.write_at(&TDBAL, index, ring.ring().iova().low());
        registers.write_at(&TDBAH, index, ring.ring().iova().high());
        registers.write_at(&TDLEN, index, ring.ring().bytes());
        // reports go into the descriptors
        registers.write_at(&TDWBAL, index, Tdwbal::new().into_bits());
        registers.write_at(&TDWBAH, index, 0);
        // Prefetch early and in cache lines. WTHRESH stays 0: reports are rare already (§7.2.3.5.1).
        let txdctl = Txdctl::from_bits(registers.read_at(&TXDCTL, index))
            .with_pthresh(36)
            .with_hthresh(8)
            .with_wthresh(0);
        registers.write_at(&TXDCTL, index, txdctl.into_bits());
        registers.write_at(&TXDCTL, index, txdctl.with_enable(true).into_bits());
        let enabled = |txdctl| Txdctl::from_bits(txdctl).enable();
        let queue = Self {
            ring,
            device: device::handle(device),
            index,
            tail: TDT.at(index),
            longest,
            silence: Silence::default(),
            counters: TxCounters::default(),
        };
        registers.wait(
            "enabling a transmit queue",
            &TXDCTL,
            index,
            Patience::new(100, 50),
            enabled,
        )?;
        Ok(queue)
    }

    /// As [`TxQueue::send`](crate::TxQueue::send).
    #[inline]
    pub(crate) fn send(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        if self.device.stopped() {
            return Err(self.device.stopped_error());
        }
        if self.ring.send_one(batch) {
            self.sent(1);
            return Ok(1);
        }
        let sent = self.send_easy(batch);
        if sent > 0 && batch.is_empty() {
            return Ok(sent);
        }
        self.send_rest(batch, sent)
    }

    /// Sends frames that need no second look.
    #[inline(never)]
    fn send_easy(&mut self, batch: &mut Batch) -> usize {
        let sent = self.ring.send_easy(batch);
        if sent > 0 {
            self.sent(sent);
        }
        sent
    }

    /// After `sent` frames there is nothing more to send, or what comes next needs a second look;
    /// the frames are the first of their pool, or the ring is full.
    #[inline(never)]
    fn send_rest(&mut self, batch: &mut Batch, mut sent: usize) -> Result<usize, Error> {
        let Some(pool) = batch.pool().filter(|_| !batch.is_empty()) else {
            self.ring.take_back(Some(batch));
            return Ok(sent);
        };
        if !self.ring.knows(batch) {
            self.attach(&pool.clone())?;
        }
        let more = self.ring.send_rest(batch);
        self.counters.refused += more.refused as u64;
        if more.sent > 0 {
            self.sent(more.sent);
            sent += more.sent;
        }
        if !batch.is_empty() {
            self.counters.full += 1;
            if sent == 0 && self.silence.goes_on() {
                self.device.card().check()?;
            }
        }
        Ok(sent)
    }

    /// Tells the device of frames in its ring.
    #[inline]
    fn sent(&mut self, frames: usize) {
        self.counters.packets += frames as u64;
        let tail = self.ring.ring().index(self.ring.next());
        self.device.write_tail(self.tail, tail);
    }

    /// As [`TxQueue::attach`](crate::TxQueue::attach).
    pub(crate) fn attach(&mut self, pool: &Pool) -> Result<(), Error> {
        let attached = self.ring.attach(pool, self.device.card().domain());
        attached.map_err(|error| self.device.dma_error(error))
    }

    /// As [`TxQueue::reclaim`](crate::TxQueue::reclaim).
    pub(crate) fn reclaim(&mut self) -> usize {
        self.ring.take_back(None)
    }

    /// As [`TxQueue::counters`](crate::TxQueue::counters).
    pub(crate) fn counters(&self) -> TxCounters {
        self.counters
    }
}

impl IxgbeTx {
    /// What a forwarder in place needs to know of the queue whose place it takes.
    pub(super) fn parts(&self) -> (Handle, u32, u16) {
        (self.device.again(), self.index, self.longest)
    }
}

impl Drop for IxgbeTx {
    fn drop(&mut self) {
        if !self.device.card().stop_tx(self.index) {
            self.ring.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_dma::{Pages, PoolConfig};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_whole_packet_is_what_the_datasheet_says(buffer: u64, len: u16) {
            let words = Advanced { longest: 1514 }.whole(buffer, u64::from(len));
            let expected = Data::new().with_dtalen(len).with_paylen(u32::from(len));
            let expected = expected.with_eop(true).with_ifcs(true);
            prop_assert_eq!(words, [buffer, expected.into_bits()]);
        }
    }

    #[test]
    fn frames_the_device_cannot_send_are_found() {
        let config = PoolConfig {
            buffers: 4,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        };
        let pool = Pool::new(config).unwrap();
        let format = Advanced { longest: 1514 };
        let ok = |bytes: &[u8]| format.sendable(pool.packet(bytes).unwrap().as_ref());
        assert!(ok(&[0; 17]) && ok(&[0; 1514]));
        assert!(!ok(&[]) && !ok(&[0; 16]) && !ok(&[0; 1515]));
        let mut tagged = [0; 1519];
        tagged[12] = 0x81;
        assert!(ok(&tagged[..1518]) && !ok(&tagged));
    }
}
