//! Device status: initialization, negotiation of features, resets (VIRTIO §2.1, §2.2, §2.4, §3.1).

use barewire_spec::virtio::status::{
    ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET,
};
use barewire_spec::virtio::{feature, net};

use super::features::{Agreed, names};
use super::filter::Filter;
use super::model::Model;
use super::queue::Role;
use super::steering::Steering;
use crate::time::Nanos;
use crate::violation::Rule;

/// How long a reset takes.
const RESET: Nanos = Nanos(3_000);

const SEQUENCE: &str = "virtio 1.2 §3.1.1";
const KNOWN: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | NEEDS_RESET | FAILED;

impl Model {
    /// The device status as the driver reads it.
    pub(super) fn read_status(&mut self) -> u8 {
        if self.status & FEATURES_OK != 0 {
            self.features_read = true;
        }
        if self.status == 0 {
            self.reset_unseen = false;
        }
        self.status
    }

    /// The driver writes the device status.
    pub(super) fn write_status(&mut self, value: u8) {
        if value == 0 {
            self.begin_reset();
            return;
        }
        let old = self.status;
        let state = |why: &'static str| move || why.to_owned();
        let what = || "device_status".to_owned();
        let wrong = u64::from(value);
        if self.during_reset("device_status", wrong) {
            return;
        }
        let driver = value & !NEEDS_RESET;
        if old & !NEEDS_RESET & !value != 0 {
            let why = state("a bit that was set is cleared");
            self.violate(Rule::ForbiddenValue, what, wrong, why, "virtio 1.2 §2.1.1");
        }
        if value & !KNOWN != 0 {
            let why = state("bits 4 and 5 do not exist");
            self.violate(Rule::ReservedBit, what, wrong, why, "virtio 1.2 §2.1");
        }
        if value & NEEDS_RESET & !old != 0 {
            let why = state("DEVICE_NEEDS_RESET is the device's");
            self.violate(Rule::ForbiddenValue, what, wrong, why, "virtio 1.2 §2.1");
        }
        let new = (old | driver) & KNOWN;
        let skips = [
            (DRIVER, ACKNOWLEDGE, "DRIVER before ACKNOWLEDGE"),
            (FEATURES_OK, DRIVER, "FEATURES_OK before DRIVER"),
            (DRIVER_OK, DRIVER, "DRIVER_OK before DRIVER"),
        ];
        for (bit, before, why) in skips {
            if new & bit != 0 && old & bit == 0 && new & before == 0 {
                self.violate(Rule::ForbiddenState, what, wrong, state(why), SEQUENCE);
            }
        }
        self.status = new & !FEATURES_OK | old & FEATURES_OK;
        if new & FEATURES_OK & !old != 0 {
            self.settle_features();
        }
        if new & DRIVER_OK & !old != 0 {
            self.driver_ok(wrong);
        }
    }

    /// `DRIVER_OK`: the device works from now on.
    fn driver_ok(&mut self, value: u64) {
        let what = || "device_status".to_owned();
        if self.legacy {
            // There is no FEATURES_OK: what was written is what counts (VIRTIO §3.1.2).
            self.settle_legacy_features();
            return;
        }
        if self.status & FEATURES_OK == 0 {
            self.violate(
                Rule::ForbiddenState,
                what,
                value,
                || "DRIVER_OK without FEATURES_OK".into(),
                SEQUENCE,
            );
        } else if !self.features_read {
            self.violate(
                Rule::ForbiddenState,
                what,
                value,
                || "DRIVER_OK, and FEATURES_OK was not read back".into(),
                SEQUENCE,
            );
        }
    }

    /// `FEATURES_OK`: the device takes the driver's features or leaves the bit clear.
    fn settle_features(&mut self) {
        let accepted = self.accepted;
        let refused = accepted & !self.offered | accepted & feature::ANY_LAYOUT;
        let what = || "driver_feature".to_owned();
        if refused != 0 {
            self.violate(
                Rule::ForbiddenValue,
                what,
                refused,
                || format!("not offered: {}", names(refused)),
                "virtio 1.2 §2.2.1",
            );
            return;
        }
        if accepted & feature::VERSION_1 == 0 {
            self.violate(
                Rule::ForbiddenValue,
                what,
                accepted,
                || "VERSION_1 is not accepted".into(),
                "virtio 1.2 §6.1",
            );
            return;
        }
        if let Some(lonely) = feature::lacking(accepted) {
            self.violate(
                Rule::ForbiddenValue,
                what,
                lonely,
                || format!("{} without what it needs", names(lonely)),
                "virtio 1.2 §2.2.1",
            );
            return;
        }
        self.status |= FEATURES_OK;
        self.features_read = false;
        self.agree(accepted);
    }

    /// A legacy driver's features, which it does not say the end of.
    pub(super) fn settle_legacy_features(&mut self) {
        let accepted = self.accepted & u64::from(u32::MAX);
        let refused = accepted & !self.offered;
        if refused != 0 {
            self.violate(
                Rule::ForbiddenValue,
                || "driver_feature".into(),
                refused,
                || format!("not offered: {}", names(refused)),
                "virtio 1.2 §2.2.1",
            );
        }
        self.agree(accepted & self.offered);
    }

    fn agree(&mut self, features: u64) {
        if self.agreed.0 == features {
            return;
        }
        self.agreed = Agreed(features);
        self.offloads = features & super::control::OFFLOADS;
        self.filter.begin(features & feature::NET_CTRL_VLAN != 0);
        tracing::debug!(features = names(features), "features are agreed on");
    }

    /// Notes a write before a reset has ended, as the driver could have seen; true if so.
    pub(super) fn during_reset(&mut self, field: &str, value: u64) -> bool {
        if !self.reset_unseen || self.legacy {
            return false;
        }
        self.violate(
            Rule::DuringReset,
            || field.to_owned(),
            value,
            || "device_status has not been read as 0".into(),
            "virtio 1.2 §4.1.4.3.2",
        );
        self.reset_ends.is_some()
    }

    fn begin_reset(&mut self) {
        self.reset_unseen = true;
        if self.status == 0 && self.reset_ends.is_none() {
            self.finish_reset();
            return;
        }
        self.reset_ends = Some(self.now + RESET);
    }

    /// The state after a reset (VIRTIO §2.4.1). Counters, and what is known of the wire, stay.
    pub(super) fn finish_reset(&mut self) {
        self.reset_ends = None;
        self.status = 0;
        self.features_read = false;
        self.legacy = false;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.accepted = 0;
        self.agreed = Agreed::default();
        self.queue_select = 0;
        for queue in &mut self.queues {
            queue.reset();
        }
        self.interrupts.reset();
        self.filter = Filter::new(self.config.mac);
        self.steering = Steering::default();
        self.offloads = 0;
        self.announce = false;
        self.waiting = None;
        self.next_sender = 0;
    }

    /// Switches the device off and on.
    pub(super) fn power_on(&mut self) {
        self.finish_reset();
        self.reset_unseen = false;
        self.generation = 0;
        self.changed = false;
        self.pci = super::config_space::config_space(&self.config);
        self.interrupts.table = crate::pci::VectorTable::new(self.interrupts.vectors.into());
        self.master_reported = false;
    }

    /// The driver has notified the device about a queue (VIRTIO §2.3, §4.1.5.2).
    pub(super) fn notified(&mut self, number: u16) {
        self.counters.notifications += 1;
        let what = move || format!("queue_notify[{number}]");
        let value = u64::from(number);
        if self.removed || self.during_reset("queue_notify", value) {
            return;
        }
        if self.legacy && self.agreed.0 == 0 {
            self.settle_legacy_features();
        }
        let known = usize::from(number) < self.queues.len();
        let enabled = self
            .queues
            .get(usize::from(number))
            .is_some_and(|queue| queue.enabled);
        if !known || !enabled {
            let why = if known {
                "the queue is not enabled"
            } else {
                "there is no such queue"
            };
            self.violate(
                Rule::ForbiddenState,
                what,
                value,
                || why.into(),
                "virtio 1.2 §4.1.5.2",
            );
            return;
        }
        if self.status & DRIVER_OK == 0 && !self.legacy {
            self.violate(
                Rule::ForbiddenState,
                what,
                value,
                || "DRIVER_OK is not set".into(),
                SEQUENCE,
            );
            return;
        }
        match self.role(number) {
            Role::Transmit(pair) if pair >= self.steering.pairs() => {
                self.violate(
                    Rule::ForbiddenState,
                    what,
                    value,
                    || "more transmit queues than were asked for".into(),
                    "virtio 1.2 §5.1.6.5.6.1",
                );
            }
            Role::None => {
                self.violate(
                    Rule::ForbiddenState,
                    what,
                    value,
                    || "the features give the queue no use".into(),
                    "virtio 1.2 §5.1.2",
                );
            }
            Role::Transmit(_) | Role::Receive(_) | Role::Control => {}
        }
        if let Some(queue) = self.queues.get_mut(usize::from(number)) {
            queue.notify();
        }
    }

    /// How many queues are the driver's to set up.
    pub(super) fn queue_count(&self) -> u16 {
        let pairs = self.config.queue_pairs;
        net::control_queue(pairs) + u16::from(self.offered & feature::NET_CTRL_VQ != 0)
    }
}
