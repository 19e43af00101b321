//! How a driver sets a queue up, starts it and resets it (VIRTIO §4.1.4.3.2, §2.6.1).

use barewire_spec::virtio::pci::common as spec;
use barewire_spec::virtio::{feature, net, status};

use super::model::Model;
use super::modern::{LAYOUT, RULES, address_at, narrow, with_half};
use super::queue::{Role, Shuffle};
use super::ring::Shape;
use crate::violation::Rule;

impl Model {
    /// A write to a field of the selected queue.
    pub(super) fn write_queue(&mut self, offset: u32, what: &str, value: u32) {
        let number = self.queue_select;
        let packed = self.agreed.has(feature::RING_PACKED);
        let Some(queue) = self.queues.get(usize::from(number)) else {
            self.violate(
                Rule::UndefinedRegister,
                || what.to_owned(),
                value.into(),
                || "there is no such queue".into(),
                LAYOUT,
            );
            return;
        };
        let (enabled, most) = (queue.enabled, queue.most);
        if offset == spec::QUEUE_ENABLE {
            self.enable(number, what, value);
            return;
        }
        if offset == spec::QUEUE_RESET {
            self.reset_queue(number, what, value);
            return;
        }
        if enabled {
            self.violate(
                Rule::ForbiddenState,
                || what.to_owned(),
                value.into(),
                || "the queue is enabled".into(),
                RULES,
            );
            // A vector can be changed nevertheless, and some do.
            if offset != spec::QUEUE_VECTOR {
                return;
            }
        }
        if offset == spec::QUEUE_VECTOR {
            let vector = self.checked_vector(what, narrow(value));
            if let Some(queue) = self.queues.get_mut(usize::from(number)) {
                queue.vector = vector;
            }
            return;
        }
        if offset == spec::QUEUE_SIZE {
            let size = narrow(value);
            let allowed = size > 0 && size <= most && (packed || size.is_power_of_two());
            if !allowed {
                self.violate(
                    Rule::ForbiddenValue,
                    || what.to_owned(),
                    value.into(),
                    || {
                        if packed {
                            format!("it must be 1 to {most}")
                        } else {
                            format!("it must be a power of 2 up to {most}")
                        }
                    },
                    RULES,
                );
                return;
            }
            if let Some(queue) = self.queues.get_mut(usize::from(number)) {
                queue.size = size;
            }
            return;
        }
        if let Some((index, high)) = address_at(offset)
            && let Some(queue) = self.queues.get_mut(usize::from(number))
        {
            queue.addresses[index] = with_half(queue.addresses[index], high, value);
        }
    }

    fn enable(&mut self, number: u16, what: &str, value: u32) {
        let refuse = |model: &mut Self, rule, why: String, section| {
            model.violate(rule, || what.to_owned(), value.into(), || why, section);
        };
        if value != 1 {
            refuse(self, Rule::ForbiddenValue, "it must be 1".into(), RULES);
            return;
        }
        if self.status & status::FEATURES_OK == 0 {
            let why = "FEATURES_OK is not set".into();
            refuse(self, Rule::ForbiddenState, why, "virtio 1.2 §3.1.1");
            return;
        }
        let Some(queue) = self.queues.get(usize::from(number)) else {
            return;
        };
        if queue.enabled {
            let why = "the queue is enabled already".into();
            refuse(self, Rule::ForbiddenState, why, RULES);
            return;
        }
        let size = queue.size;
        let packed = self.agreed.has(feature::RING_PACKED);
        let count = u64::from(size);
        let events = if self.agreed.has(feature::EVENT_IDX) {
            2
        } else {
            0
        };
        let parts = if packed {
            [
                ("queue_desc", 16, 16 * count),
                ("queue_driver", 4, 4),
                ("queue_device", 4, 4),
            ]
        } else {
            [
                ("queue_desc", 16, 16 * count),
                ("queue_driver", 2, 4 + 2 * count + events),
                ("queue_device", 4, 4 + 8 * count + events),
            ]
        };
        let section = if packed {
            "virtio 1.2 §2.8.11"
        } else {
            "virtio 1.2 §2.7.1"
        };
        let addresses = queue.addresses;
        for ((part, alignment, bytes), address) in parts.into_iter().zip(addresses) {
            if !address.is_multiple_of(alignment) {
                self.violate(
                    Rule::RingGeometry,
                    || format!("{part}[{number}]"),
                    address,
                    || format!("it must be a multiple of {alignment}"),
                    section,
                );
                return;
            }
            if let Err(fault) = self.iommu.covers(address, bytes)
                && let (Some(rule), at) = fault.rule()
            {
                self.violate(
                    rule,
                    || format!("{part}[{number}]"),
                    at,
                    || format!("{bytes} bytes from {address:#x} on must be mapped"),
                    section,
                );
            }
        }
        self.start_queue(number, addresses);
    }

    /// Lets a queue run whose registers are right.
    pub(super) fn start_queue(&mut self, number: u16, [descriptors, driver, device]: [u64; 3]) {
        let agreed = self.agreed;
        let shuffle = match self.role(number) {
            Role::Receive(_) if self.config.shuffled => Shuffle::Takes,
            Role::Transmit(_) if self.config.shuffled => Shuffle::Returns,
            _ => Shuffle::No,
        };
        if let Some(queue) = self.queues.get_mut(usize::from(number)) {
            let shape = Shape {
                descriptors,
                driver,
                device,
                size: queue.size,
                indirect: agreed.has(feature::INDIRECT_DESC),
                event_index: agreed.has(feature::EVENT_IDX),
                in_order: agreed.has(feature::IN_ORDER),
            };
            queue.start(shape, agreed.has(feature::RING_PACKED), shuffle);
        }
    }

    /// Resets a queue alone (VIRTIO §2.6.1).
    fn reset_queue(&mut self, number: u16, what: &str, value: u32) {
        let negotiated = self.agreed.has(feature::RING_RESET);
        if !negotiated || value != 1 {
            let why = if negotiated {
                "it must be 1"
            } else {
                "the feature RING_RESET was not agreed on"
            };
            let rule = if negotiated {
                Rule::ForbiddenValue
            } else {
                Rule::ForbiddenState
            };
            self.violate(rule, || what.to_owned(), value.into(), || why.into(), RULES);
            return;
        }
        if self.waiting.map(net::receive_queue) == Some(number) {
            self.waiting = None;
            self.counters.missed += 1;
        }
        if let Some(queue) = self.queues.get_mut(usize::from(number)) {
            queue.reset();
        }
    }
}
