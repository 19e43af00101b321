//! The legacy interface in I/O ports (VIRTIO §4.1.4.10).

use barewire_spec::virtio::split::Layout;
use barewire_spec::virtio::{feature, legacy as spec, net};

use super::model::Model;
use super::modern::ones;
use crate::violation::Rule;

const SECTION: &str = "virtio 1.2 §4.1.4.10";

impl Model {
    /// Where the device's own configuration begins.
    fn legacy_configuration(&self) -> u32 {
        if self.has_msix() {
            spec::DEVICE_CONFIG_MSIX
        } else {
            spec::DEVICE_CONFIG
        }
    }

    /// Whether an access is about a field as a whole; says so if not.
    fn check_legacy(&mut self, access: &'static str, offset: u32, width: u32, own: u32) -> bool {
        if width == own {
            return true;
        }
        self.violate(
            Rule::Width,
            || format!("{access} of legacy register {offset:#x}"),
            width.into(),
            || format!("the register has {} bits", own * 8),
            SECTION,
        );
        false
    }

    /// The bytes of the register at an offset; 0 if none begins there.
    fn legacy_width(&self, offset: u32) -> u32 {
        match offset {
            spec::DEVICE_FEATURES | spec::DRIVER_FEATURES | spec::QUEUE_ADDRESS => 4,
            spec::QUEUE_SIZE | spec::QUEUE_SELECT | spec::QUEUE_NOTIFY => 2,
            spec::STATUS | spec::ISR => 1,
            spec::CONFIG_VECTOR | spec::QUEUE_VECTOR if self.has_msix() => 2,
            _ => 0,
        }
    }

    /// Reads `width` bytes of the ports: 1, 2 or 4.
    pub(super) fn read_legacy(&mut self, offset: u32, width: u32) -> u32 {
        let configuration = self.legacy_configuration();
        if let Some(within) = offset.checked_sub(configuration) {
            if within + width > net::CONFIG_BYTES {
                return ones(width);
            }
            let before = std::mem::replace(&mut self.legacy, true);
            let value = self.read_configuration(within, width);
            self.legacy = before;
            return value;
        }
        let own = self.legacy_width(offset);
        if !self.check_legacy("read", offset, width, own) {
            return ones(width);
        }
        let selected = self.queues.get(usize::from(self.queue_select));
        match offset {
            spec::DEVICE_FEATURES => u32::try_from(self.offered & u64::from(u32::MAX)).unwrap_or(0),
            spec::DRIVER_FEATURES => {
                u32::try_from(self.accepted & u64::from(u32::MAX)).unwrap_or(0)
            }
            spec::QUEUE_ADDRESS => selected.map_or(0, |queue| {
                u32::try_from(queue.addresses[0] / u64::from(spec::PAGE)).unwrap_or(0)
            }),
            spec::QUEUE_SIZE => selected.map_or(0, |queue| queue.most.into()),
            spec::QUEUE_SELECT => self.queue_select.into(),
            spec::QUEUE_NOTIFY => 0,
            spec::STATUS => self.read_status().into(),
            spec::ISR => self.read_isr().into(),
            spec::CONFIG_VECTOR => self.interrupts.config_vector.into(),
            spec::QUEUE_VECTOR => selected.map_or(0xFFFF, |queue| u32::from(queue.vector)),
            _ => ones(width),
        }
    }

    /// Writes `width` bytes of the ports: 1, 2 or 4.
    pub(super) fn write_legacy(&mut self, offset: u32, width: u32, value: u32) {
        let configuration = self.legacy_configuration();
        if let Some(within) = offset.checked_sub(configuration) {
            let before = std::mem::replace(&mut self.legacy, true);
            self.write_configuration(within, width, value);
            self.legacy = before;
            return;
        }
        let own = self.legacy_width(offset);
        if !self.check_legacy("write", offset, width, own) {
            return;
        }
        let narrow = u16::try_from(value & 0xFFFF).unwrap_or(0);
        match offset {
            spec::DRIVER_FEATURES => self.accepted = value.into(),
            spec::QUEUE_ADDRESS => self.write_queue_address(value),
            spec::QUEUE_SELECT => self.queue_select = narrow,
            spec::QUEUE_NOTIFY => self.notified(narrow),
            spec::STATUS => {
                let value = u8::try_from(value & 0xFF).unwrap_or(0);
                // Whoever sets a status here drives the device as a legacy one.
                if value != 0 {
                    self.legacy = true;
                }
                self.write_status(value);
                if value == 0 {
                    self.reset_unseen = false;
                    self.finish_reset();
                }
            }
            spec::CONFIG_VECTOR => {
                self.interrupts.config_vector = self.checked_vector("config_msix_vector", narrow);
            }
            spec::QUEUE_VECTOR => {
                let vector = self.checked_vector("queue_msix_vector", narrow);
                let selected = usize::from(self.queue_select);
                if let Some(queue) = self.queues.get_mut(selected) {
                    queue.vector = vector;
                }
            }
            _ => self.violate(
                Rule::ReadOnly,
                || format!("legacy register {offset:#x}"),
                value.into(),
                String::new,
                SECTION,
            ),
        }
    }

    /// A queue's address, in pages: the queue runs from then on. 0 stops it (VIRTIO §4.1.5.1.3.1).
    fn write_queue_address(&mut self, page: u32) {
        self.legacy = true;
        let number = self.queue_select;
        let Some(queue) = self.queues.get_mut(usize::from(number)) else {
            self.violate(
                Rule::UndefinedRegister,
                || format!("queue_address[{number}]"),
                page.into(),
                || "there is no such queue".into(),
                SECTION,
            );
            return;
        };
        if page == 0 {
            queue.reset();
            return;
        }
        let base = u64::from(page) * u64::from(spec::PAGE);
        let layout = Layout::new(queue.most, spec::PAGE as usize);
        let at = |offset: usize| base + crate::wire::widen(offset);
        let addresses = [base, at(layout.available), at(layout.used)];
        queue.addresses = addresses;
        queue.size = queue.most;
        let running = queue.enabled;
        let bytes = crate::wire::widen(layout.bytes);
        if running {
            self.violate(
                Rule::ForbiddenState,
                || format!("queue_address[{number}]"),
                page.into(),
                || "the queue runs".into(),
                "virtio 1.2 §4.1.5.1.3.1",
            );
            return;
        }
        if let Err(fault) = self.iommu.covers(base, bytes)
            && let (Some(rule), at) = fault.rule()
        {
            self.violate(
                rule,
                || format!("queue_address[{number}]"),
                at,
                || format!("{bytes} bytes from {base:#x} on must be mapped"),
                "virtio 1.2 §2.7.2",
            );
        }
        self.settle_legacy_features();
        self.start_queue(number, addresses);
    }

    /// A legacy driver that has not agreed on [`ANY_LAYOUT`](feature::ANY_LAYOUT) puts the header
    /// into a descriptor of its own (VIRTIO §5.1.6.6).
    pub(super) fn wants_header_alone(&self) -> bool {
        self.legacy && !self.agreed.has(feature::ANY_LAYOUT)
    }
}
