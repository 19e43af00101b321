//! A transmit queue: from batch to wire (82599 datasheet §7.2).
//!
//! Frames are lent to the device by descriptor. Every 32 descriptors or so one asks for a report
//! (`RS`); its done bit says that all before it are sent, and their buffers are free again.

use std::collections::VecDeque;
use std::sync::Arc;

use barewire_bus::PciFunction;
use barewire_dma::{Batch, DescriptorRing, Lent, PacketRef, Pool};
use barewire_spec::ixgbe::descriptor::tx::{AdvancedData, Data};
use barewire_spec::ixgbe::limits::{TX_BUFFER_MAX, TX_DESCRIPTORS_PER_PACKET, TX_FRAME_MIN};
use barewire_spec::ixgbe::{TDBAH, TDBAL, TDLEN, TDT, TDWBAH, TDWBAL, TXDCTL, Tdwbal, Txdctl};

use super::VLAN_TAG;
use super::device::Device;
use super::registers::patience;
use crate::{Error, Transmit, TxCounters};

/// Descriptors between two reports.
const REPORT: usize = 32;

/// Sends that found the ring full before the queue looks whether the device is still there.
const SILENCE: u32 = 1 << 20;

pub(super) struct IxgbeTx<P: PciFunction> {
    device: Arc<Device<P>>,
    ring: DescriptorRing,
    lent: Option<Lent>,
    /// Positions of the descriptors that ask for a report, oldest first. As large as the ring, so
    /// that it never grows.
    reports: VecDeque<usize>,
    /// Position from which the next report is counted.
    reported: usize,
    index: u32,
    tail: u32,
    /// Longest frame without VLAN tag and FCS.
    frame_max: usize,
    silence: u32,
    counters: TxCounters,
}

impl<P: PciFunction> IxgbeTx<P> {
    /// Sets the queue up and enables it. The transmit path as a whole is on.
    pub(super) fn start(
        device: &Arc<Device<P>>,
        index: u16,
        ring: DescriptorRing,
        frame_max: usize,
    ) -> Result<Self, Error> {
        let registers = device.registers();
        let lent = Lent::new(ring.count()).map_err(|error| device.dma_error(error))?;
        let index = u32::from(index);
        let bytes = u32::try_from(ring.count() * DescriptorRing::DESCRIPTOR).unwrap_or(0);
        registers.write_at(&TDBAL, index, ring.iova().low());
        registers.write_at(&TDBAH, index, ring.iova().high());
        registers.write_at(&TDLEN, index, bytes);
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
            device: Arc::clone(device),
            reports: VecDeque::with_capacity(ring.count()),
            reported: 0,
            ring,
            lent: Some(lent),
            index,
            tail: TDT.at(index),
            frame_max,
            silence: 0,
            counters: TxCounters::default(),
        };
        registers.wait(
            "enabling a transmit queue",
            &TXDCTL,
            index,
            patience(100, 50),
            enabled,
        )?;
        Ok(queue)
    }

    /// Takes back what the device reported as sent.
    #[inline]
    fn take_back(&mut self, mut batch: Option<&mut Batch>) -> usize {
        let Some(lent) = &mut self.lent else { return 0 };
        let ring = self.ring.view();
        let mut taken = 0;
        while let Some(report) = self.reports.front() {
            if ring.status(*report) & Data::DD == 0 {
                break;
            }
            let sent = report.wrapping_add(1).wrapping_sub(lent.oldest());
            taken += lent.reclaim(sent, batch.as_deref_mut());
            self.reports.pop_front();
        }
        taken
    }
}

/// Whether a device can send a frame: `longest` is the limit without VLAN tag and FCS.
#[inline]
fn acceptable(longest: usize, packet: PacketRef<'_>) -> bool {
    let shortest = TX_FRAME_MIN as usize;
    let head = packet.bytes();
    if (shortest..=longest).contains(&head.len()) && packet.segments().len() == 1 {
        return true;
    }
    let segments = packet.segments();
    let count = segments.len();
    let mut sizes = segments.map(<[u8]>::len);
    let tag = if head.get(12..14) == Some(&[0x81, 0x00]) {
        usize::from(VLAN_TAG)
    } else {
        0
    };
    count <= TX_DESCRIPTORS_PER_PACKET as usize
        && sizes.all(|size| (1..=TX_BUFFER_MAX as usize).contains(&size))
        && (shortest..=longest + tag).contains(&packet.len())
}

impl<P: PciFunction> Transmit for IxgbeTx<P> {
    fn send(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        self.device.check_running()?;
        self.take_back(Some(batch));
        if batch.is_empty() {
            return Ok(0);
        }
        let frame_max = self.frame_max;
        let fits = |packet: PacketRef<'_>| acceptable(frame_max, packet);
        if !batch.iter().all(fits) {
            let before = batch.len();
            batch.retain(|packet| fits(packet.as_ref()));
            self.counters.refused += (before - batch.len()) as u64;
        }
        let Some(lent) = &mut self.lent else {
            return Ok(0);
        };
        let Some(pool) = batch.pool() else {
            return Ok(0);
        };
        let tag = match lent.tag(pool) {
            Some(tag) => tag,
            None => lent
                .attach(pool, self.device.domain())
                .map_err(|error| self.device.dma_error(error))?,
        };
        let ring = self.ring.view();
        // one descriptor stays free: a ring whose tail is its head is empty, not full
        let room = (ring_room(&self.ring)).saturating_sub(lent.len());
        let (reports, reported) = (&mut self.reports, &mut self.reported);
        let wanted = batch.len();
        let sent = lent.lend_frames(batch, tag, room, |slot| {
            // A report only with the end of a packet (§7.2.3.2.4), and with each that has several
            // buffers: else a ring could be too full for the next one with no report to come.
            let due = slot.position.wrapping_sub(*reported) >= REPORT - 1;
            let report = slot.last && (due || slot.frame_len != u32::from(slot.len));
            if report {
                reports.push_back(slot.position);
                *reported = slot.position.wrapping_add(1);
            }
            let data = Data::new()
                .with_dtalen(slot.len)
                .with_paylen(slot.frame_len)
                .with_ifcs(true)
                .with_eop(slot.last)
                .with_rs(report);
            ring.write(
                slot.position,
                AdvancedData {
                    address: slot.iova.get(),
                    data,
                }
                .into_words(),
            );
        });
        if sent > 0 {
            self.silence = 0;
            let tail = lent.next() & (self.ring.count() - 1);
            self.device
                .registers()
                .write_offset(self.tail, u32::try_from(tail).unwrap_or(0));
            self.counters.packets += sent as u64;
        } else if wanted > 0 {
            self.silence += 1;
            if self.silence >= SILENCE {
                self.silence = 0;
                self.device.registers().check()?;
            }
        }
        if sent < wanted {
            self.counters.full += 1;
        }
        Ok(sent)
    }

    fn attach(&mut self, pool: &Pool) -> Result<(), Error> {
        let Some(lent) = &mut self.lent else {
            return Ok(());
        };
        let attached = lent.attach(pool, self.device.domain());
        attached
            .map(drop)
            .map_err(|error| self.device.dma_error(error))
    }

    fn reclaim(&mut self) -> usize {
        self.take_back(None)
    }

    fn counters(&self) -> TxCounters {
        self.counters
    }
}

/// Descriptors that may be in use at once.
fn ring_room(ring: &DescriptorRing) -> usize {
    ring.count() - 1
}

impl<P: PciFunction> Drop for IxgbeTx<P> {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        let registers = self.device.registers();
        let txdctl = Txdctl::from_bits(registers.read_at(&TXDCTL, self.index));
        registers.write_at(&TXDCTL, self.index, txdctl.with_enable(false).into_bits());
        self.device
            .queue_stopped(&TXDCTL, self.index, lent, |txdctl| {
                !Txdctl::from_bits(txdctl).enable()
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_dma::{Pages, PoolConfig};

    #[test]
    fn frames_the_device_cannot_send_are_found() {
        let config = PoolConfig {
            buffers: 4,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        };
        let pool = Pool::new(config).unwrap();
        let ok = |bytes: &[u8]| acceptable(1514, pool.packet(bytes).unwrap().as_ref());
        assert!(ok(&[0; 17]) && ok(&[0; 1514]));
        assert!(!ok(&[]) && !ok(&[0; 16]) && !ok(&[0; 1515]));
        let mut tagged = [0; 1519];
        tagged[12] = 0x81;
        assert!(ok(&tagged[..1518]) && !ok(&tagged));
    }
}
