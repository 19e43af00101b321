//! The two directions of a device that runs, each with a lock of its own.
//!
//! A thread that takes frames from the wire has nothing to do with one that sends others: a card of
//! silicon does both at once. While a device follows the real clock and nothing unusual is set up,
//! its two directions are lent out: each to a model of which only that direction is there. An access
//! that needs the whole device calls both back first, and what they have counted and noted with
//! them.

use std::mem;

use barewire_spec::ixgbe as spec;
use parking_lot::{Mutex, MutexGuard};

use super::doorbell::{Direction, Doorbells};
use super::interrupt::Causes;
use super::model::{BURST, Model};
use super::plug::Plug;
use crate::device::Part;
use crate::time::Nanos;

/// Both directions, each in cache lines of its own.
#[derive(Default)]
pub(crate) struct Halves {
    receive: Slot,
    transmit: Slot,
}

#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Half>);

impl Slot {
    fn lock(&self, wait: bool) -> Option<MutexGuard<'_, Half>> {
        if wait {
            Some(self.0.lock())
        } else {
            self.0.try_lock()
        }
    }
}

/// One direction, if it is lent out.
#[derive(Default)]
struct Half {
    lent: bool,
    /// A device of which only this direction is there; made when it is lent for the first time.
    model: Option<Box<Model>>,
    /// When the device has to be looked at as a whole.
    until: Nanos,
    /// Causes that ask for an interrupt, which is the whole device's to send.
    watched: Causes,
}

impl Half {
    /// Moves some frames. `None` if that takes the whole device.
    fn step(&mut self, doorbells: &Doorbells, direction: Direction) -> Option<bool> {
        if !self.lent {
            return None;
        }
        let model = self.model.as_mut()?;
        if model.passed() >= self.until {
            return None;
        }
        doorbells.take_of(direction, |queue, tail| {
            model.write_tail(direction, queue, tail);
        });
        let busy = match direction {
            Direction::Receive => model.receive(BURST),
            Direction::Transmit => model.transmit(BURST),
        };
        (model.causes & self.watched == 0).then_some(busy)
    }
}

impl Halves {
    /// Moves frames in one direction if that is lent out. `None` if that takes the whole device.
    #[inline]
    pub(super) fn step(&self, doorbells: &Doorbells, part: Part) -> Option<bool> {
        let (slot, direction) = match part {
            Part::Receive => (&self.receive, Direction::Receive),
            Part::Transmit => (&self.transmit, Direction::Transmit),
            Part::Both => return None,
        };
        // Whoever is there now does what there is to do.
        let Some(mut half) = slot.0.try_lock() else {
            return Some(false);
        };
        half.step(doorbells, direction)
    }

    /// Both, or none if `wait` is false and somebody is at one of them.
    fn lock(&self, wait: bool) -> Option<[MutexGuard<'_, Half>; 2]> {
        Some([self.receive.lock(wait)?, self.transmit.lock(wait)?])
    }
}

impl Model {
    /// Lends both directions out, unless something is set up that takes the whole device.
    pub(super) fn lend_out(&mut self, halves: &Halves) {
        if self.lent || !self.is_plain() {
            return;
        }
        let Some([mut receive, mut transmit]) = halves.lock(true) else {
            return;
        };
        self.refresh_filter();
        let [from, to] = match &mut self.wire {
            Plug::Halves(halves) => halves
                .each_mut()
                .map(|half| mem::replace(half, Plug::nothing())),
            Plug::Whole(_) => return,
        };
        for (half, wire) in [(&mut receive, from), (&mut transmit, to)] {
            let mut model = match half.model.take() {
                Some(model) => model,
                None => Box::new(Self::new(self.config.clone(), Plug::Whole(Plug::nothing()))),
            };
            model.wire = Plug::Whole(wire);
            model.follow(self);
            half.model = Some(model);
            half.until = self.next_event;
            half.watched = self.unseen();
            half.lent = true;
        }
        if let Some(half) = &mut receive.model {
            self.swap_receive(half);
        }
        if let Some(half) = &mut transmit.model {
            self.swap_transmit(half);
        }
        self.lent = true;
    }

    /// Takes back what is lent out; false if `wait` is false and somebody is at it.
    pub(super) fn call_back(&mut self, halves: &Halves, wait: bool) -> bool {
        if !self.lent {
            return true;
        }
        let Some([mut receive, mut transmit]) = halves.lock(wait) else {
            return false;
        };
        if let Some(half) = &mut receive.model {
            self.swap_receive(half);
        }
        if let Some(half) = &mut transmit.model {
            self.swap_transmit(half);
        }
        for (position, half) in [&mut receive, &mut transmit].into_iter().enumerate() {
            half.lent = false;
            let Some(half) = &mut half.model else {
                continue;
            };
            // the memory must not outlive its mapping
            half.iommu.clear();
            let wire = mem::replace(&mut half.wire, Plug::Whole(Plug::nothing()));
            if let (Plug::Whole(wire), Plug::Halves(halves)) = (wire, &mut self.wire)
                && let Some(place) = halves.get_mut(position)
            {
                *place = wire;
            }
            self.statistics.absorb(&mut half.statistics);
            self.log.absorb(&mut half.log);
            self.causes |= mem::take(&mut half.causes);
            self.now = self.now.max(half.now);
        }
        self.lent = false;
        true
    }

    /// Whether one direction can do without the other and without the rest of the device: nothing
    /// happens by itself, and no frame concerns more than its queue.
    fn is_plain(&self) -> bool {
        let stamps = spec::Tsynctxctl::from_bits(self.registers.of(&spec::TSYNCTXCTL)).en();
        self.port.master
            && self.looped.is_none()
            && self.trace.is_none()
            && !self.clock.is_stepped()
            && !self.removed
            && !self.config.tolerate
            && !self.iommu.has_indirect()
            && !self.port.stamps.enabled
            && !stamps
            && !self.port.pauses.obeyed
            && !self.port.pauses.sends()
            && !self.filter.is_steering()
            && !self.flow_director.is_active()
    }

    /// Has what the whole device knows and both directions ask for.
    fn follow(&mut self, whole: &Self) {
        self.set_clock_from(whole);
        self.port = whole.port;
        self.iommu = whole.iommu.direct_copy();
        self.statistics.map_like(&whole.statistics);
    }

    fn swap_receive(&mut self, half: &mut Self) {
        mem::swap(&mut self.filter, &mut half.filter);
        mem::swap(&mut self.recall, &mut half.recall);
        mem::swap(&mut self.packet_buffer, &mut half.packet_buffer);
        mem::swap(&mut self.rx, &mut half.rx);
        mem::swap(&mut self.receiving_queues, &mut half.receiving_queues);
        mem::swap(&mut self.arriving, &mut half.arriving);
    }

    fn swap_transmit(&mut self, half: &mut Self) {
        mem::swap(&mut self.tx, &mut half.tx);
        mem::swap(&mut self.sending_queues, &mut half.sending_queues);
        mem::swap(&mut self.next_sender, &mut half.next_sender);
        mem::swap(&mut self.leaving, &mut half.leaving);
    }
}

#[cfg(test)]
mod tests {
    use barewire_bus::PciFunction;

    use super::*;
    use crate::nic::{Nic, NicConfig};
    use crate::wire::{Discard, Duplex, Loopback, Silence, Wire};

    fn running(config: NicConfig, wire: impl Wire + 'static) -> Nic {
        let nic = Nic::new(config, wire);
        nic.function().config_write32(4, 0x6).unwrap();
        nic.follow_clock(true);
        nic
    }

    fn are_lent(nic: &Nic) -> [bool; 2] {
        let halves = nic.shared.halves();
        [&halves.receive, &halves.transmit].map(|slot| slot.0.lock().lent)
    }

    #[test]
    fn the_directions_of_a_plain_device_are_lent_and_called_back() {
        let nic = running(NicConfig::default(), Duplex::new(Silence, Discard::new()));
        assert_eq!(are_lent(&nic), [false; 2]);
        for part in [Part::Receive, Part::Transmit] {
            nic.try_step(part);
            assert_eq!(are_lent(&nic), [true; 2], "{part:?}");
        }
        assert!(nic.is_idle());
        assert_eq!(
            are_lent(&nic),
            [false; 2],
            "an access comes to the whole device"
        );
        nic.try_step(Part::Transmit);
        nic.try_step(Part::Both);
        assert_eq!(
            are_lent(&nic),
            [false; 2],
            "both parts are the whole device"
        );
    }

    #[test]
    fn what_takes_the_whole_device_keeps_it_whole() {
        let plain = || Duplex::new(Silence, Discard::new());
        let tolerant = NicConfig {
            tolerate: true,
            ..NicConfig::default()
        };
        let traced = running(NicConfig::default(), plain());
        traced.trace(Box::new(std::io::sink()));
        let stepped = running(NicConfig::default(), plain());
        stepped.follow_clock(false);
        let nics = [
            running(tolerant, plain()),
            running(NicConfig::default(), Loopback::new()),
            traced,
            stepped,
        ];
        for (number, nic) in nics.iter().enumerate() {
            nic.try_step(Part::Receive);
            assert_eq!(are_lent(nic), [false; 2], "{number}");
        }
    }
}
