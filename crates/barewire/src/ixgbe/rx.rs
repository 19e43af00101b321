//! A receive queue: from write-back to batch (82599 datasheet §7.1).
//!
//! The device fills buffers and writes their descriptors back in order. This side looks at done
//! bits, moves the buffers into the program's batch and gives the device empty ones, 32 at a time.
//! Nothing that the device writes is believed: lengths are compared with the buffer, a frame's end
//! is looked for within bounds, and what is not as it must be is counted and dropped.

use std::sync::Arc;

use barewire_bus::{Event, InterruptKind, PciFunction};
use barewire_dma::{Batch, DescriptorRing, DmaError, Lanes, Pool, RxFormat, RxRing};
use barewire_spec::ixgbe::descriptor::rx::Status;
use barewire_spec::ixgbe::limits::RX_BUFFER_UNIT;
use barewire_spec::ixgbe::{
    DCA_RXCTRL, RDBAH, RDBAL, RDLEN, RDT, RXDCTL, Rxdctl, SRRCTL, Srrctl, desctype,
};

use super::device::{self, Device, Handle};
use crate::patience::{Patience, Silence};
use crate::{Error, PortConfig, RxCounters};

/// The most bytes of a frame that are collected before it counts as endless: above the 9,728 that
/// the device can receive.
const ENDLESS: usize = 16_384;

/// The most buffers of a frame before it counts as endless.
const LONGEST: usize = 64;

/// The advanced receive descriptor with one buffer (§7.1.6).
struct Advanced;

impl RxFormat for Advanced {
    #[inline]
    fn empty<W: Lanes>(&self, buffer: W) -> [W; 2] {
        [buffer, W::of(0)] // no header buffer
    }

    #[inline]
    fn frame<W: Lanes>(&self, status: W) -> W {
        const LENGTH: u64 = 0xffff << Status::PKT_LEN;
        const { assert!(Status::PKT_LEN == 32) }
        let good = Status::DD | Status::EOP;
        status & (LENGTH | good | Status::RXE) ^ good
    }
}

/// Starts at a cache line of its own, two for processors that fetch them in pairs: what one thread
/// writes here is next to nothing that another reads.
#[repr(C, align(128))]
pub(crate) struct IxgbeRx {
    ring: RxRing<Advanced>,
    device: Handle,
    index: u32,
    tail: u32,
    /// Bytes that the device may write into a buffer: what `SRRCTL` says.
    buffer: u16,
    /// A frame was dropped before its end arrived: what comes until then is the rest of it.
    dropping: bool,
    silence: Silence,
    counters: RxCounters,
    event: Arc<Event>,
    /// How the event is signalled, if it is.
    interrupts: Option<InterruptKind>,
}

impl IxgbeRx {
    /// Sets the queue up, fills its ring and enables it. The receive path as a whole is still off.
    pub(super) fn start<P: PciFunction>(
        device: &Arc<Device<P>>,
        index: u16,
        ring: DescriptorRing,
        pool: &Pool,
        (event, interrupts): (Arc<Event>, Option<InterruptKind>),
        config: &PortConfig,
    ) -> Result<Self, Error> {
        let registers = device.chip();
        let index = u32::from(index);
        let (bsizepacket, buffer) = buffer_size(pool).ok_or_else(|| {
            registers.config_error(
                "receive buffers",
                format!("{} bytes", pool.data_room()),
                "pools with buffers of 1,024 to 16,384 bytes",
            )
        })?;
        let ring = RxRing::new(ring, pool, device.domain(), buffer, Advanced);
        let ring = ring.map_err(Error::dma(registers.device()))?;
        registers.write_at(&RDBAL, index, ring.ring().iova().low());
        registers.write_at(&RDBAH, index, ring.ring().iova().high());
        registers.write_at(&RDLEN, index, ring.ring().bytes());
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
            ring,
            device: device::handle(device),
            index,
            tail: RDT.at(index),
            buffer,
            dropping: false,
            silence: Silence::default(),
            counters: RxCounters::default(),
            event,
            interrupts,
        };
        registers.wait(
            "enabling a receive queue",
            &RXDCTL,
            index,
            Patience::new(100, 50),
            enabled,
        )?;
        // the tail is written after the queue is enabled (§4.6.7.1)
        queue.refill(&mut Batch::new(1));
        queue.counters = RxCounters::default();
        Ok(queue)
    }

    /// As [`RxQueue::receive`](crate::RxQueue::receive).
    #[inline]
    pub(crate) fn receive(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        if self.ring.receive_one(batch) {
            self.counters.packets += 1;
            return Ok(1);
        }
        let received = self.receive_easy(batch);
        if received > 0 && batch.room() == 0 {
            return Ok(received);
        }
        self.receive_rest(batch, received)
    }

    /// Gives the device empty buffers, and takes frames that need no second look.
    #[inline(never)]
    fn receive_easy(&mut self, batch: &mut Batch) -> usize {
        if self.ring.wants_buffers() {
            self.refill(batch);
        }
        let received = self.ring.receive_easy(batch);
        self.counters.packets += received as u64;
        received
    }

    /// Gives the device empty buffers. The last one lent stays behind the tail: a ring whose tail
    /// is its head is empty, not full.
    #[inline(never)]
    fn refill(&mut self, batch: &mut Batch) {
        if self.device.stopped() {
            return;
        }
        if self.ring.refill(batch) {
            let tail = self.ring.ring().index(self.ring.next().wrapping_sub(1));
            self.device.write_tail(self.tail, tail);
        } else {
            self.counters.starved += 1;
        }
    }

    /// After `received` frames came the first descriptor that is no whole, undamaged frame in one
    /// buffer: none yet, as a rule. Or the batch was last used with another pool.
    #[inline(never)]
    fn receive_rest(&mut self, batch: &mut Batch, mut received: usize) -> Result<usize, Error> {
        if !self.dropping && !self.ring.is_at_ease_with(batch) {
            let more = self.ring.receive(batch);
            let more = more.map_err(|error| self.device.dma_error(error))?;
            self.counters.packets += more as u64;
            received += more;
        }
        if batch.room() == 0 {
            return Ok(received);
        }
        let done = self.done();
        if done > 0 {
            let more = self.receive_singly(batch, done);
            let more = more.map_err(|error| self.device.dma_error(error))?;
            self.counters.packets += more as u64;
            return Ok(received + more);
        }
        if received == 0 {
            if self.device.stopped() {
                return Err(self.device.stopped_error());
            }
            if self.silence.goes_on() {
                self.device.card().check()?;
            }
        }
        Ok(received)
    }

    /// How many descriptors are done. Write-back is in order (§7.1.4), so the last one's done bit
    /// stands for all, whatever those before it say; if it is not set, they are counted.
    fn done(&self) -> usize {
        // the buffer behind the tail is not the device's
        let most = self.ring.lent().saturating_sub(1);
        let is_done = |n: usize| self.status(n).dd();
        if most > 0 && is_done(most - 1) {
            return most;
        }
        (0..most).take_while(|n| is_done(*n)).count()
    }

    /// What the device says of the n-th of the oldest descriptors.
    fn status(&self, n: usize) -> Status {
        let position = self.ring.oldest().wrapping_add(n);
        Status::from_bits(self.ring.ring().shared().status(position))
    }

    /// Frames that are not all whole, undamaged and in one buffer, out of `remaining` descriptors
    /// that are done: one at a time. A frame may have more buffers than the batch has room for
    /// frames, so this looks at all of them.
    #[cold]
    fn receive_singly(
        &mut self,
        batch: &mut Batch,
        mut remaining: usize,
    ) -> Result<usize, DmaError> {
        let mut received = 0;
        while remaining > 0 && batch.room() > 0 {
            let (mut bytes, mut damaged, mut malformed, mut whole) = (0, false, false, false);
            let mut used = 0;
            let mut lens = [0; LONGEST];
            while used < remaining && !whole {
                let status = self.status(used);
                let len = status.pkt_len();
                // a device that did not write it back at all, but a later one
                let skipped = !status.dd();
                malformed |= len == 0 || len > self.buffer || skipped;
                damaged |= status.rxe();
                bytes += usize::from(len);
                whole = status.eop();
                used += 1;
                match lens.get_mut(used - 1) {
                    Some(place) if bytes <= ENDLESS => *place = len,
                    _ => {
                        malformed = true;
                        break;
                    }
                }
            }
            if !whole && !malformed && !self.dropping {
                break; // its end has not arrived yet
            }
            if malformed || self.dropping {
                // counted once, with its first part
                self.counters.malformed += u64::from(!self.dropping);
                self.dropping = !whole;
                self.ring.discard(used, batch);
            } else if damaged {
                self.counters.damaged += 1;
                self.ring.discard(used, batch);
            } else if self
                .ring
                .receive_frame(batch, lens.get(..used).unwrap_or_default())?
            {
                received += 1;
            }
            remaining -= used;
        }
        self.ring.look_twice(self.dropping);
        Ok(received)
    }

    /// As [`RxQueue::pool`](crate::RxQueue::pool).
    pub(crate) fn pool(&self) -> &Pool {
        self.ring.pool()
    }

    /// As [`RxQueue::counters`](crate::RxQueue::counters).
    pub(crate) fn counters(&self) -> RxCounters {
        self.counters
    }

    /// As [`RxQueue::arm`](crate::RxQueue::arm).
    pub(crate) fn arm(&mut self) -> Result<bool, Error> {
        let card = self.device.card();
        card.arm(self.interrupts, self.index, &self.event)?;
        // without a buffer the device has nothing to write a frame to, and would never signal; what
        // lies behind the tail is not the device's
        let has_buffers = self.ring.lent() > 1;
        Ok(has_buffers && !self.status(0).dd())
    }

    /// What is signalled once the queue was armed and a frame has arrived.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }
}

impl IxgbeRx {
    /// What a forwarder in place needs to know of the queue whose place it takes.
    pub(super) fn parts(&self) -> (Handle, u32, usize, u16) {
        let descriptors = self.ring.ring().count();
        (self.device.again(), self.index, descriptors, self.buffer)
    }
}

impl Drop for IxgbeRx {
    fn drop(&mut self) {
        if !self.device.card().stop_rx(self.index) {
            self.ring.abandon();
        }
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
