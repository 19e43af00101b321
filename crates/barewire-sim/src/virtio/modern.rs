//! The registers of the modern interface: common configuration, interrupt status, notifications
//! (VIRTIO §4.1.4).

use barewire_spec::virtio::pci::common as spec;
use barewire_spec::virtio::{feature, status};

use super::config_space::{COMMON, DEVICE, ISR, MULTIPLIER, NOTIFY, NOTIFY_BYTES};
use super::model::Model;
use crate::violation::Rule;

pub(super) const LAYOUT: &str = "virtio 1.2 §4.1.4.3";
pub(super) const RULES: &str = "virtio 1.2 §4.1.4.3.2";

/// A field of the common configuration.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    offset: u32,
    width: u32,
    /// The driver writes to it.
    writable: bool,
    /// It is about the selected queue.
    of_queue: bool,
}

const fn field(
    name: &'static str,
    offset: u32,
    width: u32,
    writable: bool,
    of_queue: bool,
) -> Field {
    Field {
        name,
        offset,
        width,
        writable,
        of_queue,
    }
}

/// The upper half of a 64-bit field.
const HIGH: u32 = 4;

const FIELDS: &[Field] = &[
    field(
        "device_feature_select",
        spec::DEVICE_FEATURE_SELECT,
        4,
        true,
        false,
    ),
    field("device_feature", spec::DEVICE_FEATURE, 4, false, false),
    field(
        "driver_feature_select",
        spec::DRIVER_FEATURE_SELECT,
        4,
        true,
        false,
    ),
    field("driver_feature", spec::DRIVER_FEATURE, 4, true, false),
    field("config_msix_vector", spec::CONFIG_VECTOR, 2, true, false),
    field("num_queues", spec::NUM_QUEUES, 2, false, false),
    field("device_status", spec::STATUS, 1, true, false),
    field(
        "config_generation",
        spec::CONFIG_GENERATION,
        1,
        false,
        false,
    ),
    field("queue_select", spec::QUEUE_SELECT, 2, true, false),
    field("queue_size", spec::QUEUE_SIZE, 2, true, true),
    field("queue_msix_vector", spec::QUEUE_VECTOR, 2, true, true),
    field("queue_enable", spec::QUEUE_ENABLE, 2, true, true),
    field("queue_notify_off", spec::QUEUE_NOTIFY_OFF, 2, false, true),
    field("queue_desc", spec::QUEUE_DESC, 4, true, true),
    field("queue_desc (high)", spec::QUEUE_DESC + HIGH, 4, true, true),
    field("queue_driver", spec::QUEUE_DRIVER, 4, true, true),
    field(
        "queue_driver (high)",
        spec::QUEUE_DRIVER + HIGH,
        4,
        true,
        true,
    ),
    field("queue_device", spec::QUEUE_DEVICE, 4, true, true),
    field(
        "queue_device (high)",
        spec::QUEUE_DEVICE + HIGH,
        4,
        true,
        true,
    ),
    field("queue_notify_data", spec::QUEUE_NOTIFY_DATA, 2, false, true),
    field("queue_reset", spec::QUEUE_RESET, 2, true, true),
];

/// All ones of an access.
pub(super) const fn ones(width: u32) -> u32 {
    match width {
        1 => 0xFF,
        2 => 0xFFFF,
        _ => u32::MAX,
    }
}

/// The 16 bits of a narrow field; accesses were checked to have its width.
pub(super) fn narrow(value: u32) -> u16 {
    u16::try_from(value & 0xFFFF).unwrap_or(0)
}

/// With another half.
pub(super) fn with_half(address: u64, high: bool, half: u32) -> u64 {
    let half = u64::from(half);
    if high {
        address & 0xFFFF_FFFF | half << 32
    } else {
        address & !0xFFFF_FFFF | half
    }
}

/// A half of an address.
fn half(address: u64, high: bool) -> u32 {
    let half = if high { address >> 32 } else { address };
    u32::try_from(half & 0xFFFF_FFFF).unwrap_or(0)
}

/// Which address of a queue an offset is about, and which half.
pub(super) fn address_at(offset: u32) -> Option<(usize, bool)> {
    let within = offset.checked_sub(spec::QUEUE_DESC)?;
    let index = within / 8;
    (index < 3).then_some((index as usize, within % 8 == HIGH))
}

impl Model {
    /// Reads `width` bytes of the modern window: 1, 2 or 4.
    pub(super) fn read_modern(&mut self, offset: u32, width: u32) -> u32 {
        match offset {
            _ if offset < COMMON + spec::BYTES_WITH_RESET => {
                match self.find("read", offset - COMMON, width) {
                    Some(field) => self.read_field(field),
                    None => ones(width),
                }
            }
            ISR if width == 1 => self.read_isr().into(),
            DEVICE..NOTIFY => self.read_configuration(offset - DEVICE, width),
            _ => {
                self.undefined("read", offset, width, 0);
                ones(width)
            }
        }
    }

    /// Writes `width` bytes of the modern window: 1, 2 or 4.
    pub(super) fn write_modern(&mut self, offset: u32, width: u32, value: u32) {
        match offset {
            _ if offset < COMMON + spec::BYTES_WITH_RESET => {
                if let Some(field) = self.find("write", offset - COMMON, width) {
                    self.write_field(field, value);
                }
            }
            DEVICE..NOTIFY => {
                self.write_configuration(offset - DEVICE, width, value);
            }
            _ if (NOTIFY..NOTIFY + NOTIFY_BYTES).contains(&offset) => {
                self.write_notify(offset - NOTIFY, width, value);
            }
            _ => self.undefined("write", offset, width, value),
        }
    }

    /// What lies at an offset of the modern window, for people.
    pub(super) fn place(&self, offset: u32) -> String {
        match offset {
            ISR => "isr".into(),
            DEVICE..NOTIFY => format!("device configuration {:#x}", offset - DEVICE),
            _ if offset >= NOTIFY => {
                format!("queue_notify[{}]", (offset - NOTIFY) / MULTIPLIER)
            }
            _ => {
                let covers =
                    |field: &&Field| offset >= field.offset && offset < field.offset + field.width;
                match FIELDS.iter().find(covers) {
                    Some(field) if field.of_queue => {
                        format!("{}[{}]", field.name, self.queue_select)
                    }
                    Some(field) => field.name.into(),
                    None => format!("BAR4+{offset:#x}"),
                }
            }
        }
    }

    fn undefined(&mut self, access: &'static str, offset: u32, width: u32, value: u32) {
        self.violate(
            Rule::UndefinedRegister,
            || format!("{access} of {width} bytes at BAR4+{offset:#x}"),
            value.into(),
            String::new,
            "virtio 1.2 §4.1.4",
        );
    }

    /// The field that an access is about, if it has its width.
    fn find(&mut self, access: &'static str, offset: u32, width: u32) -> Option<Field> {
        let touched =
            |field: &&Field| offset < field.offset + field.width && offset + width > field.offset;
        let field = FIELDS.iter().find(touched).copied();
        let Some(field) = field else {
            self.undefined(access, offset, width, 0);
            return None;
        };
        if field.offset != offset || field.width != width {
            self.violate(
                Rule::Width,
                || format!("{access} of {}", field.name),
                width.into(),
                || format!("the field has {} bits", field.width * 8),
                "virtio 1.2 §4.1.3.1",
            );
            return None;
        }
        Some(field)
    }

    fn read_field(&mut self, field: Field) -> u32 {
        let queue = self.queues.get(usize::from(self.queue_select));
        match field.offset {
            spec::DEVICE_FEATURE_SELECT => self.device_feature_select,
            spec::DEVICE_FEATURE => match self.device_feature_select {
                0 => half(self.offered & !feature::ANY_LAYOUT, false),
                1 => half(self.offered, true),
                _ => 0,
            },
            spec::DRIVER_FEATURE_SELECT => self.driver_feature_select,
            spec::DRIVER_FEATURE => match self.driver_feature_select {
                0 => half(self.accepted, false),
                1 => half(self.accepted, true),
                _ => 0,
            },
            spec::CONFIG_VECTOR => self.interrupts.config_vector.into(),
            spec::NUM_QUEUES => self.queue_count().into(),
            spec::STATUS => self.read_status().into(),
            spec::CONFIG_GENERATION => self.generation.into(),
            spec::QUEUE_SELECT => self.queue_select.into(),
            offset => {
                let Some(queue) = queue else { return 0 };
                match offset {
                    spec::QUEUE_SIZE => queue.size.into(),
                    spec::QUEUE_VECTOR => queue.vector.into(),
                    spec::QUEUE_ENABLE => queue.enabled.into(),
                    spec::QUEUE_NOTIFY_OFF | spec::QUEUE_NOTIFY_DATA => self.queue_select.into(),
                    // A queue is reset at once.
                    spec::QUEUE_RESET => 0,
                    _ => address_at(offset)
                        .map_or(0, |(index, high)| half(queue.addresses[index], high)),
                }
            }
        }
    }

    fn write_field(&mut self, field: Field, value: u32) {
        let what = || {
            if field.of_queue {
                format!("{}[{}]", field.name, self.queue_select)
            } else {
                field.name.to_owned()
            }
        };
        let what = what();
        if !field.writable {
            self.violate(Rule::ReadOnly, || what, value.into(), String::new, RULES);
            return;
        }
        if field.offset != spec::STATUS && self.during_reset(&what, value.into()) {
            return;
        }
        match field.offset {
            spec::DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            spec::DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            spec::DRIVER_FEATURE => self.write_features(value),
            spec::CONFIG_VECTOR => {
                let vector = self.checked_vector(&what, narrow(value));
                self.interrupts.config_vector = vector;
            }
            spec::STATUS => self.write_status(u8::try_from(value & 0xFF).unwrap_or(0)),
            spec::QUEUE_SELECT => self.queue_select = narrow(value),
            offset => self.write_queue(offset, &what, value),
        }
    }

    fn write_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            self.violate(
                Rule::ForbiddenState,
                || "driver_feature".into(),
                value.into(),
                || "FEATURES_OK is set".into(),
                "virtio 1.2 §3.1.1",
            );
            return;
        }
        match self.driver_feature_select {
            0 => self.accepted = with_half(self.accepted, false, value),
            1 => self.accepted = with_half(self.accepted, true, value),
            _ if value != 0 => self.violate(
                Rule::ForbiddenValue,
                || "driver_feature".into(),
                value.into(),
                || "there are no features above 63".into(),
                "virtio 1.2 §2.2.1",
            ),
            _ => {}
        }
    }

    /// A vector, or none where there is no such vector (VIRTIO §4.1.5.1.2).
    pub(super) fn checked_vector(&mut self, what: &str, vector: u16) -> u16 {
        let taken = self.vector(vector);
        let vectors = self.interrupts.vectors;
        if taken != vector {
            self.violate(
                Rule::ForbiddenValue,
                || what.to_owned(),
                vector.into(),
                || format!("there are {vectors} vectors"),
                "virtio 1.2 §4.1.5.1.2.2",
            );
        }
        taken
    }

    /// A notification: the queue's number at the queue's place (VIRTIO §4.1.5.2).
    fn write_notify(&mut self, offset: u32, width: u32, value: u32) {
        let place = offset / MULTIPLIER;
        if width != 2 || !offset.is_multiple_of(MULTIPLIER) {
            self.violate(
                Rule::Width,
                || format!("queue_notify at {offset:#x}"),
                value.into(),
                || format!("{width} bytes; it has 16 bits"),
                "virtio 1.2 §4.1.5.2",
            );
        }
        if value != place {
            self.violate(
                Rule::ForbiddenValue,
                || format!("queue_notify[{place}]"),
                value.into(),
                || "another queue's number".into(),
                "virtio 1.2 §4.1.5.2",
            );
        }
        self.notified(narrow(place));
    }
}
