//! Starting, stopping and moving queues (82599 §4.6.7, §4.6.8).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{
    Dmatxctl, Psrtype, Register, Rxdctl, Srrctl, Tdwbal, Txdctl, desctype, limits,
};

use super::doorbell::Direction;
use super::header_split::Split;
use super::interrupt::assigned;
use super::model::{Model, Switch};
use super::queue::{Packet, Ring, RxQueue};
use super::registers::{self, Slot};
use crate::exceptions::Subject;
use crate::time::Nanos;
use crate::violation::Rule;

/// How long a queue takes to start or to stop.
const SWITCH: Nanos = Nanos::from_micros(5);
/// Room for the largest packet a transmit queue collects, with FCS and a tag.
pub(super) const FRAME_ROOM: usize = 16 * 1024;

/// A ring as its registers describe it.
struct Geometry {
    base: u64,
    bytes: u32,
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl Model {
    /// RXDCTL was written: starts or stops the queue if ENABLE changed.
    pub(super) fn write_rxdctl(&mut self, slot: &Slot, new: u32) {
        let queue = slot.position();
        let wanted = Rxdctl::from_bits(new);
        let enabled = self.rx[queue].ring.enabled;
        self.rx[queue].strip_tag = wanted.vme();
        self.rx[queue].longest = wanted.rlpml_en().then(|| usize::from(wanted.rlpml()));
        self.rx[queue].decide_plain();
        // ENABLE reads what the queue does, not what it was told.
        let shown = wanted.with_enable(enabled).with_swflsh(false);
        self.registers.put_at(slot, shown.into_bits());
        if wanted.enable() != enabled && (!wanted.enable() || self.prepare_rx(slot, new)) {
            self.switch(Direction::Receive, queue, wanted.enable());
        } else if wanted.enable() == enabled {
            self.cancel(Direction::Receive, queue);
        }
    }

    /// TXDCTL was written: starts or stops the queue if ENABLE changed.
    pub(super) fn write_txdctl(&mut self, slot: &Slot, new: u32) {
        let queue = slot.position();
        let wanted = Txdctl::from_bits(new);
        let enabled = self.tx[queue].ring.enabled;
        let shown = wanted.with_enable(enabled).with_swflsh(false);
        self.registers.put_at(slot, shown.into_bits());
        self.tx[queue].report_all = wanted.wthresh() > 0;
        if wanted.pthresh() > 0 && wanted.hthresh() == 0 && wanted.enable() {
            self.violate_at(slot, Rule::ForbiddenValue, new, || {
                "HTHRESH must be at least 1 where PTHRESH is not 0".into()
            });
        }
        if wanted.enable() != enabled && (!wanted.enable() || self.prepare_tx(slot, new)) {
            self.switch(Direction::Transmit, queue, wanted.enable());
        } else if wanted.enable() == enabled {
            self.cancel(Direction::Transmit, queue);
        }
    }

    /// Checks what a receive queue needs to start.
    fn prepare_rx(&mut self, slot: &Slot, value: u32) -> bool {
        let index = slot.index;
        let ring = Geometry {
            base: join(
                self.registers.get(&spec::RDBAL, index),
                self.registers.get(&spec::RDBAH, index),
            ),
            bytes: self.registers.get(&spec::RDLEN, index),
        };
        let srrctl = Srrctl::from_bits(self.registers.get(&spec::SRRCTL, index));
        let mut fit = self.check_ring(slot, &ring);
        let size = u32::from(srrctl.bsizepacket()) * limits::RX_BUFFER_UNIT;
        if size == 0 || size > limits::RX_BUFFER_MAX {
            self.violate_at(slot, Rule::ForbiddenValue, value, || {
                format!("SRRCTL.BSIZEPACKET is {} KiB: 1 to 16", size / 1024)
            });
            fit = false;
        }
        match srrctl.desctype() {
            desctype::LEGACY | desctype::ADVANCED_ONE_BUFFER => {}
            desctype::ADVANCED_HEADER_SPLIT | desctype::ADVANCED_ALWAYS_HEADER => {
                if !(1..=16).contains(&srrctl.bsizeheader()) {
                    self.violate_at(slot, Rule::ForbiddenValue, value, || {
                        format!("SRRCTL.BSIZEHEADER is {}: 1 to 16", srrctl.bsizeheader())
                    });
                    fit = false;
                }
            }
            other => {
                self.violate_at(slot, Rule::ForbiddenValue, value, || {
                    format!("SRRCTL.DESCTYPE is {other}, which is reserved")
                });
                fit = false;
            }
        }
        fit
    }

    /// Checks what a transmit queue needs to start.
    fn prepare_tx(&mut self, slot: &Slot, value: u32) -> bool {
        let index = slot.index;
        let ring = Geometry {
            base: join(
                self.registers.get(&spec::TDBAL, index),
                self.registers.get(&spec::TDBAH, index),
            ),
            bytes: self.registers.get(&spec::TDLEN, index),
        };
        let mut fit = self.check_ring(slot, &ring);
        if !Dmatxctl::from_bits(self.registers.of(&spec::DMATXCTL)).te() {
            self.violate_at(slot, Rule::ForbiddenState, value, || {
                "DMATXCTL.TE is 0".into()
            });
            fit = false;
        }
        if index >= limits::TX_QUEUES_PLAIN && self.registers.of(&spec::MTQC) == 0 {
            self.violate_at(slot, Rule::ForbiddenState, value, || {
                "MTQC leaves queues 0 to 63 only".into()
            });
            fit = false;
        }
        let low = Tdwbal::from_bits(self.registers.get(&spec::TDWBAL, index));
        if low.head_wb_en() && Txdctl::from_bits(value).wthresh() > 0 {
            self.violate_at(slot, Rule::ForbiddenValue, value, || {
                "WTHRESH must be 0 with head write-back".into()
            });
        }
        fit
    }

    /// Checks the address and the length of a ring.
    fn check_ring(&mut self, slot: &Slot, ring: &Geometry) -> bool {
        let Geometry { base, bytes } = *ring;
        if bytes == 0 {
            self.violate_at(slot, Rule::RingGeometry, bytes, || {
                "enabled with a ring of 0 bytes".into()
            });
            return false;
        }
        if let Err(fault) = self.iommu.covers(base, u64::from(bytes)) {
            let (rule, at) = fault.rule();
            let rule = rule.unwrap_or(Rule::Unmapped);
            let section = slot.register.section;
            self.violate(
                rule,
                || format!("ring of {}", slot.name()),
                at,
                || format!("enabled with {bytes} bytes at {base:#x}"),
                section,
            );
            return false;
        }
        true
    }

    fn switch(&mut self, direction: Direction, queue: usize, enable: bool) {
        self.cancel(direction, queue);
        self.switches.push(Switch {
            at: self.now + SWITCH,
            direction,
            queue,
            enable,
        });
        self.reschedule();
    }

    /// Forgets a change that was asked for and has not happened.
    fn cancel(&mut self, direction: Direction, queue: usize) {
        self.switches
            .retain(|switch| (switch.direction, switch.queue) != (direction, queue));
    }

    /// Starts and stops the queues whose time has come.
    pub(super) fn finish_switches(&mut self) {
        let now = self.now;
        let mut index = 0;
        while let Some(switch) = self.switches.get(index).copied() {
            if switch.at > now {
                index += 1;
                continue;
            }
            self.switches.swap_remove(index);
            match switch.direction {
                Direction::Receive => self.switch_rx(switch.queue, switch.enable),
                Direction::Transmit => self.switch_tx(switch.queue, switch.enable),
            }
        }
    }

    fn switch_rx(&mut self, queue: usize, enable: bool) {
        let Ok(index) = u32::try_from(queue) else {
            return;
        };
        let base = join(
            self.registers.get(&spec::RDBAL, index),
            self.registers.get(&spec::RDBAH, index),
        );
        let count = self.registers.get(&spec::RDLEN, index) / limits::DESCRIPTOR_BYTES;
        let srrctl = Srrctl::from_bits(self.registers.get(&spec::SRRCTL, index));
        let shown = Rxdctl::from_bits(self.registers.get(&spec::RXDCTL, index)).with_enable(enable);
        self.registers.put(&spec::RXDCTL, index, shown.into_bits());
        // Without pools all queues follow the first.
        let psrtype = Psrtype::from_bits(self.registers.get(&spec::PSRTYPE, 0));
        let coalesce = self.coalesces(index);
        let advanced = srrctl.desctype() != desctype::LEGACY;
        let one_buffer = srrctl.desctype() == desctype::ADVANCED_ONE_BUFFER;
        let reused = Subject::Object("receive descriptor");
        let wants_clean =
            advanced && !(enable && one_buffer && self.tolerates(Rule::Descriptor, reused, 0));
        self.receiving_queues.retain(|other| *other != queue);
        if enable {
            self.receiving_queues.push(queue);
        }
        let state = &mut self.rx[queue];
        if enable {
            let mut ring = Ring::default();
            ring.start(base, count);
            *state = RxQueue {
                ring,
                buffer: usize::from(srrctl.bsizepacket()) * 1024,
                advanced,
                wants_clean,
                drop: srrctl.drop_en(),
                split: Split::of(srrctl, psrtype),
                coalesce,
                ..*state
            };
            state.decide_plain();
        } else {
            state.ring.stop();
        }
    }

    fn switch_tx(&mut self, queue: usize, enable: bool) {
        let Ok(index) = u32::try_from(queue) else {
            return;
        };
        let base = join(
            self.registers.get(&spec::TDBAL, index),
            self.registers.get(&spec::TDBAH, index),
        );
        let count = self.registers.get(&spec::TDLEN, index) / limits::DESCRIPTOR_BYTES;
        let low = Tdwbal::from_bits(self.registers.get(&spec::TDWBAL, index));
        let high = self.registers.get(&spec::TDWBAH, index);
        let shown = Txdctl::from_bits(self.registers.get(&spec::TXDCTL, index)).with_enable(enable);
        self.registers.put(&spec::TXDCTL, index, shown.into_bits());
        let state = &mut self.tx[queue];
        if enable {
            let head = state.ring.head;
            state.ring.start(base, count);
            state.ring.head = if head < count { head } else { 0 };
            state.ring.tail = state.ring.head;
            state.packet = Packet::default();
            state.frame.resize(FRAME_ROOM, 0);
            state.contexts = [None; 2];
            state.head_write_back = low.head_wb_en().then(|| join(low.headwb_low() << 2, high));
            if !self.sending_queues.contains(&queue) {
                self.sending_queues.push(queue);
            }
        } else {
            state.ring.stop();
            self.sending_queues.retain(|other| *other != queue);
        }
    }

    /// A driver moved a tail.
    #[inline]
    pub(super) fn write_tail(&mut self, direction: Direction, queue: usize, tail: u32) {
        let ring = match direction {
            Direction::Receive => self.rx.get_mut(queue).map(|queue| &mut queue.ring),
            Direction::Transmit => self.tx.get_mut(queue).map(|queue| &mut queue.ring),
        };
        let Some(ring) = ring else { return };
        if ring.enabled && tail < ring.count {
            ring.tail = tail;
        } else if !self.removed {
            if !ring.enabled {
                // The register keeps it; a queue that starts begins with an empty ring.
                ring.tail = tail;
            }
            self.refuse_tail(direction, queue, tail);
        }
    }

    #[cold]
    fn refuse_tail(&mut self, direction: Direction, queue: usize, tail: u32) {
        let (register, ring): (&'static Register, _) = match direction {
            Direction::Receive => (&spec::RDT, self.rx[queue].ring),
            Direction::Transmit => (&spec::TDT, self.tx[queue].ring),
        };
        let index = u32::try_from(queue).ok();
        let offset = index.and_then(|index| register.get(index));
        let Some(slot) = offset.and_then(|offset| registers::slot(offset, self.config.device))
        else {
            return;
        };
        self.violate_at(&slot, Rule::Tail, tail, || {
            if ring.enabled {
                format!("the ring has {} descriptors", ring.count)
            } else {
                "the queue is not enabled".into()
            }
        });
    }

    /// IVAR was written: which causes queues 2n and 2n + 1 raise (82599 §7.3.1.1).
    pub(super) fn write_ivar(&mut self, index: usize, value: u32) {
        let cause = |entry: u8| assigned(entry).map_or(0, |vector| 1 << vector);
        let [rx_even, tx_even, rx_odd, tx_odd] = value.to_le_bytes();
        for (queue, rx, tx) in [
            (2 * index, rx_even, tx_even),
            (2 * index + 1, rx_odd, tx_odd),
        ] {
            if let Some(queue) = self.rx.get_mut(queue) {
                queue.cause = cause(rx);
            }
            if let Some(queue) = self.tx.get_mut(queue) {
                queue.cause = cause(tx);
            }
        }
    }
}
