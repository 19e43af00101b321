//! A receive queue: from write-back to batch (82599 datasheet §7.1).
//!
//! The device fills buffers and writes their descriptors back in order. This side looks at done
//! bits, moves the buffers into the program's batch and gives the device empty ones, 32 at a time.
//! Nothing that the device writes is believed: lengths are compared with the buffer, a frame's end
//! is looked for within bounds, and what is not as it must be is counted and dropped.

use std::sync::Arc;

use barewire_bus::{Event, InterruptKind, PciFunction};
use barewire_dma::{Batch, DescriptorRing, DmaError, Lent, Pool, Ring};
use barewire_spec::ixgbe::descriptor::rx::{AdvancedRead, Status};
use barewire_spec::ixgbe::limits::RX_BUFFER_UNIT;
use barewire_spec::ixgbe::{
    DCA_RXCTRL, RDBAH, RDBAL, RDLEN, RDT, RXDCTL, Rxdctl, SRRCTL, Srrctl, desctype,
};

use super::device::Device;
use super::registers::patience;
use crate::{Error, PortConfig, Receive, RxCounters};

/// The most bytes of a frame that are collected before it counts as endless: above the 9,728 that
/// the device can receive.
const ENDLESS: usize = 16_384;

/// Empty polls before the queue looks whether the device is still there: rare enough to cost
/// nothing, often enough to notice within a second.
const SILENCE: u32 = 1 << 20;

pub(super) struct IxgbeRx<P: PciFunction> {
    device: Arc<Device<P>>,
    ring: DescriptorRing,
    lent: Option<Lent>,
    pool: Pool,
    index: u32,
    tail: u32,
    /// Bytes that the device may write into a buffer: what `SRRCTL` says.
    buffer: u16,
    /// A frame was dropped before its end arrived: what comes until then is the rest of it.
    dropping: bool,
    silence: u32,
    counters: RxCounters,
    event: Arc<Event>,
    /// How the event is signalled, if it is.
    interrupts: Option<InterruptKind>,
}

impl<P: PciFunction> IxgbeRx<P> {
    /// Sets the queue up, fills its ring and enables it. The receive path as a whole is still off.
    pub(super) fn start(
        device: &Arc<Device<P>>,
        index: u16,
        ring: DescriptorRing,
        pool: Pool,
        (event, interrupts): (Arc<Event>, Option<InterruptKind>),
        config: &PortConfig,
    ) -> Result<Self, Error> {
        let registers = device.registers();
        let mut lent = Lent::new(ring.count()).map_err(|error| device.dma_error(error))?;
        lent.attach(&pool, device.domain())
            .map_err(|error| device.dma_error(error))?;
        let index = u32::from(index);
        let (bsizepacket, buffer) = buffer_size(&pool).ok_or_else(|| {
            registers.config_error(
                "receive buffers",
                format!("{} bytes", pool.data_room()),
                "pools with buffers of 1,024 to 16,384 bytes",
            )
        })?;
        let bytes = u32::try_from(ring.count() * DescriptorRing::DESCRIPTOR).unwrap_or(0);
        registers.write_at(&RDBAL, index, ring.iova().low());
        registers.write_at(&RDBAH, index, ring.iova().high());
        registers.write_at(&RDLEN, index, bytes);
        let srrctl = Srrctl::from_bits(registers.read_at(&SRRCTL, index))
            .with_bsizepacket(bsizepacket)
            .with_desctype(desctype::ADVANCED_ONE_BUFFER)
            .with_drop_en(config.drop_enable);
        registers.write_at(&SRRCTL, index, srrctl.into_bits());
        // no TLP hints, as §4.6.7 asks
        let dca = registers.read_at(&DCA_RXCTRL, index);
        registers.write_at(&DCA_RXCTRL, index, dca & !(1 << 12));
        let rxdctl = Rxdctl::from_bits(registers.read_at(&RXDCTL, index));
        registers.write_at(&RXDCTL, index, rxdctl.with_enable(true).into_bits());
        let enabled = |rxdctl| Rxdctl::from_bits(rxdctl).enable();
        let mut queue = Self {
            device: Arc::clone(device),
            ring,
            lent: Some(lent),
            pool,
            index,
            tail: RDT.at(index),
            buffer,
            dropping: false,
            silence: 0,
            counters: RxCounters::default(),
            event,
            interrupts,
        };
        registers.wait(
            "enabling a receive queue",
            &RXDCTL,
            index,
            patience(100, 50),
            enabled,
        )?;
        // the tail is written after the queue is enabled (§4.6.7.1)
        queue.refill(&mut Batch::new(1));
        queue.counters = RxCounters::default();
        Ok(queue)
    }

    /// Gives the device empty buffers. The last one lent stays behind the tail: a ring whose tail
    /// is its head is empty, not full.
    #[inline]
    fn refill(&mut self, batch: &mut Batch) {
        let Some(lent) = &mut self.lent else { return };
        if lent.room() < Lent::CHUNK {
            return;
        }
        let ring = self.ring.view();
        let before = lent.next();
        while lent.lend_chunk(batch, |position, iova| {
            let read = AdvancedRead {
                packet_address: iova.get(),
                header_address: 0,
            };
            ring.write(position, read.into_words());
        }) {}
        if lent.next() == before {
            self.counters.starved += 1;
        } else {
            let tail = lent.next().wrapping_sub(1) & (self.ring.count() - 1);
            self.device
                .registers()
                .write_offset(self.tail, u32::try_from(tail).unwrap_or(0));
        }
    }

    /// How many of the oldest `most` descriptors are done. Write-back is in order (§7.1.4), so the
    /// last one's done bit stands for all; if it is not set, they are counted.
    #[inline]
    fn done(ring: Ring<'_>, oldest: usize, most: usize) -> usize {
        let is_done = |n: usize| ring.status(oldest.wrapping_add(n)) & Status::DD != 0;
        if most > 0 && is_done(most - 1) {
            return most;
        }
        (0..most).take_while(|n| is_done(*n)).count()
    }

    /// Frames that are not all whole, undamaged and in one buffer: one at a time. A frame may have
    /// more buffers than the batch has room for frames, so this looks at all that are done.
    #[cold]
    fn receive_singly(&mut self, batch: &mut Batch) -> Result<usize, DmaError> {
        let Some(lent) = &mut self.lent else {
            return Ok(0);
        };
        let ring = self.ring.view();
        let mut remaining = Self::done(ring, lent.oldest(), lent.len().saturating_sub(1));
        let mut received = 0;
        while remaining > 0 && batch.room() > 0 {
            let oldest = lent.oldest();
            let status = |n: usize| Status::from_bits(ring.second(oldest.wrapping_add(n)));
            let (mut bytes, mut damaged, mut malformed, mut whole) = (0, false, false, false);
            let mut used = 0;
            while used < remaining && !whole {
                let status = status(used);
                let len = usize::from(status.pkt_len());
                // a device that did not write it back at all, but a later one
                let skipped = !status.dd();
                malformed |= len == 0 || len > usize::from(self.buffer) || skipped;
                damaged |= status.rxe();
                bytes += len;
                used += 1;
                whole = status.eop();
                if bytes > ENDLESS || used > 64 {
                    malformed = true;
                    break;
                }
            }
            if !whole && !malformed && !self.dropping {
                break; // its end has not arrived yet
            }
            if malformed || self.dropping {
                // counted once, with its first part
                self.counters.malformed += u64::from(!self.dropping);
                self.dropping = !whole;
                lent.reclaim(used, Some(batch));
            } else if damaged {
                self.counters.damaged += 1;
                lent.reclaim(used, Some(batch));
            } else if lent.receive_frame(batch, used, |n| status(n).pkt_len())? {
                received += 1;
            }
            remaining -= used;
        }
        Ok(received)
    }
}

impl<P: PciFunction> Receive for IxgbeRx<P> {
    fn receive(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        self.device.check_running()?;
        self.refill(batch);
        let Some(lent) = &mut self.lent else {
            return Ok(0);
        };
        let ring = self.ring.view();
        let oldest = lent.oldest();
        // the buffer behind the tail is not the device's
        let most = batch.room().min(lent.len().saturating_sub(1));
        let done = Self::done(ring, oldest, most);
        if done == 0 {
            self.silence += 1;
            if self.silence >= SILENCE {
                self.silence = 0;
                self.device.registers().check()?;
            }
            return Ok(0);
        }
        self.silence = 0;
        let status = |n: usize| ring.second(oldest.wrapping_add(n));
        let expected = Status::DD | Status::EOP;
        let wrong = (0..done).map(status).fold(0, |wrong, status| {
            let length = Status::from_bits(status).pkt_len();
            let impossible = u64::from(length.wrapping_sub(1) >= self.buffer);
            wrong | (status & expected ^ expected) | status & Status::RXE | impossible
        });
        let received = if wrong == 0 && !self.dropping {
            lent.receive(batch, done, |n| Status::from_bits(status(n)).pkt_len())
        } else {
            self.receive_singly(batch)
        };
        let received = received.map_err(|error| self.device.dma_error(error))?;
        self.counters.packets += received as u64;
        Ok(received)
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn counters(&self) -> RxCounters {
        self.counters
    }

    fn arm(&mut self) -> Result<bool, Error> {
        self.device.arm(self.interrupts, self.index, &self.event)?;
        let oldest = self.lent.as_ref().map(Lent::oldest);
        let ring = self.ring.view();
        Ok(oldest.is_none_or(|oldest| ring.status(oldest) & Status::DD == 0))
    }

    fn event(&self) -> &Event {
        &self.event
    }
}

impl<P: PciFunction> Drop for IxgbeRx<P> {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        let registers = self.device.registers();
        let rxdctl = Rxdctl::from_bits(registers.read_at(&RXDCTL, self.index));
        registers.write_at(&RXDCTL, self.index, rxdctl.with_enable(false).into_bits());
        self.device
            .queue_stopped(&RXDCTL, self.index, lent, |rxdctl| {
                !Rxdctl::from_bits(rxdctl).enable()
            });
    }
}

/// Buffer size in the unit of `SRRCTL`, and in bytes.
fn buffer_size(pool: &Pool) -> Option<(u8, u16)> {
    let units = u32::from(pool.data_room()) / RX_BUFFER_UNIT;
    let units = u8::try_from(units)
        .ok()
        .filter(|units| (1..=16).contains(units))?;
    let bytes = u16::try_from(u32::from(units) * RX_BUFFER_UNIT).ok()?;
    Some((units, bytes))
}
