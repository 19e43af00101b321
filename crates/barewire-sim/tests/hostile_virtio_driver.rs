//! A driver of a virtio device that does anything at all: the device neither panics, hangs nor grows.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation)] // bytes of a script

use std::sync::Arc;

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use barewire_sim::virtio::{Interface, VirtioBar, VirtioConfig, VirtioFunction, VirtioNic};
use barewire_sim::wire::Loopback;
use barewire_spec::virtio::pci::common;
use barewire_spec::virtio::{packed, split};
use bolero::TypeGenerator;

/// What a driver does, in an order that makes no sense, or some.
#[derive(Clone, Debug, TypeGenerator)]
enum Action {
    Read(u8, u16, Width),
    Write(u8, u16, Width, u32),
    Common(Field, u32),
    Config(u16, u32),
    /// Everything that makes the device run.
    BringUp {
        features: u64,
        packed: bool,
    },
    Enable {
        queue: u8,
        size: u8,
        part: [u8; 3],
    },
    Notify(u8),
    Memory(u16, Vec<u8>),
    Split {
        queue: u8,
        head: u8,
        pieces: Vec<Piece>,
    },
    Packed {
        queue: u8,
        at: u8,
        wrap: bool,
        pieces: Vec<Piece>,
    },
    Command(u8, u8, Vec<u8>),
    Header([u8; 12], u8),
    Step(u8),
    Cable(bool),
    Reset,
    Unmap,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Width {
    One,
    Two,
    Four,
}

/// A field of the common configuration, with its own width.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Field {
    Status,
    Select,
    Size,
    Vector,
    Enable,
    Reset,
    Address(u8),
    Features(bool),
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Piece {
    at: u16,
    length: u16,
    huge: bool,
    away: bool,
    flags: u16,
    next: u8,
}

/// Bytes of memory: a page for each queue's parts, then buffers.
const BYTES: usize = 0x1_0000;
const PAGE: usize = 0x1000;
const QUEUES: u8 = 5;

struct Hostile {
    nic: VirtioNic,
    function: VirtioFunction,
    bars: [VirtioBar; 3],
    memory: Arc<DmaRegion>,
    base: u64,
}

impl Hostile {
    fn new(transitional: bool, shuffled: bool) -> Self {
        let config = VirtioConfig {
            interface: if transitional {
                Interface::Transitional
            } else {
                Interface::Modern
            },
            features: VirtioConfig::ALL_FEATURES,
            queue_pairs: 2,
            queue_size: 16,
            shuffled,
            ..VirtioConfig::default()
        };
        let nic = VirtioNic::new(config, Loopback::new());
        let function = nic.function();
        let modern = function.bar(4).unwrap();
        let legacy = function.bar(0).unwrap_or_else(|_| modern.clone());
        let bars = [legacy, function.bar(1).unwrap(), modern];
        let memory = DmaRegion::allocate(BYTES, Pages::Ordinary).unwrap();
        let Layout::Linear(base) = function.dma().map(&memory).unwrap() else {
            panic!("a software device maps regions in one piece");
        };
        function.config_write32(4, 7).unwrap();
        Self {
            nic,
            function,
            bars,
            memory,
            base: base.get(),
        }
    }

    fn modern(&self) -> &VirtioBar {
        &self.bars[2]
    }

    /// Where a queue's parts lie in memory.
    fn part(queue: u8, part: usize) -> usize {
        usize::from(queue % QUEUES) * PAGE + part * 0x400
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let at = at % BYTES;
        let count = bytes.len().min(BYTES - at);
        self.memory.device_write(at, &bytes[..count]).unwrap();
    }

    fn piece(&self, piece: &Piece) -> (u64, u32) {
        let inside = self.base + u64::from(piece.at) % BYTES as u64;
        let address = if piece.away { inside << 8 } else { inside };
        let length = u32::from(piece.length);
        (address, if piece.huge { length << 16 } else { length })
    }

    fn bring_up(&self, features: u64, packed: bool) {
        let bar = self.modern();
        bar.write8(common::STATUS, 0);
        for _ in 0..4 {
            bar.read8(common::STATUS);
        }
        bar.write8(common::STATUS, 1);
        bar.write8(common::STATUS, 3);
        let needed = barewire_spec::virtio::feature::VERSION_1;
        let rings = barewire_spec::virtio::feature::RING_PACKED;
        let mut features = features & VirtioConfig::ALL_FEATURES | needed;
        features = if packed {
            features | rings
        } else {
            features & !rings
        };
        while let Some(lonely) = barewire_spec::virtio::feature::lacking(features) {
            features &= !lonely;
        }
        for (half, value) in [(0, features), (1, features >> 32)] {
            bar.write32(common::DRIVER_FEATURE_SELECT, half);
            bar.write32(common::DRIVER_FEATURE, value as u32);
        }
        bar.write8(common::STATUS, 11);
        bar.read8(common::STATUS);
        for queue in 0..QUEUES {
            self.memory
                .device_write(Self::part(queue, 0), &[0; PAGE])
                .unwrap();
            self.enable(queue, 16, [0; 3]);
        }
        bar.write8(common::STATUS, 15);
    }

    fn enable(&self, queue: u8, size: u8, part: [u8; 3]) {
        let bar = self.modern();
        bar.write16(common::QUEUE_SELECT, queue.into());
        bar.write16(common::QUEUE_SIZE, size.into());
        let places = [
            common::QUEUE_DESC,
            common::QUEUE_DRIVER,
            common::QUEUE_DEVICE,
        ];
        for (index, (register, off)) in places.into_iter().zip(part).enumerate() {
            let address = self.base + Self::part(queue, index) as u64 + u64::from(off);
            bar.write32(register, address as u32);
            bar.write32(register + 4, (address >> 32) as u32);
        }
        bar.write16(common::QUEUE_VECTOR, queue.into());
        bar.write16(common::QUEUE_ENABLE, 1);
    }

    fn notify(&self, queue: u8) {
        self.modern()
            .write16(0x3000 + 4 * u32::from(queue), queue.into());
    }

    /// Makes a head available in a split ring.
    fn expose(&self, queue: u8, head: u8) {
        let driver = Self::part(queue, 1);
        let mut index = [0; 2];
        self.memory.device_read(driver + 2, &mut index).unwrap();
        let index = u16::from_le_bytes(index);
        let slot = usize::from(index % 16);
        self.put(driver + 4 + 2 * slot, &u16::from(head).to_le_bytes());
        self.put(driver + 2, &index.wrapping_add(1).to_le_bytes());
        self.notify(queue);
    }

    fn perform(&self, action: &Action) {
        match action {
            Action::Read(bar, offset, width) => {
                let bar = &self.bars[usize::from(bar % 3)];
                let offset = u32::from(*offset);
                match width {
                    Width::One => _ = bar.read8(offset),
                    Width::Two => _ = bar.read16(offset),
                    Width::Four => _ = bar.read32(offset),
                }
            }
            Action::Write(bar, offset, width, value) => {
                let bar = &self.bars[usize::from(bar % 3)];
                let offset = u32::from(*offset);
                match width {
                    Width::One => bar.write8(offset, *value as u8),
                    Width::Two => bar.write16(offset, *value as u16),
                    Width::Four => bar.write32(offset, *value),
                }
            }
            Action::Common(field, value) => self.common(*field, *value),
            Action::Config(offset, value) => {
                self.function
                    .config_write32(offset & 0xFFC, *value)
                    .unwrap();
                self.function.config_read32(offset & 0xFFC).unwrap();
                self.function.config_write32(4, 7).unwrap();
            }
            Action::BringUp { features, packed } => self.bring_up(*features, *packed),
            Action::Enable { queue, size, part } => self.enable(*queue, *size, *part),
            Action::Notify(queue) => self.notify(*queue),
            Action::Memory(at, bytes) => self.put((*at).into(), bytes),
            Action::Split {
                queue,
                head,
                pieces,
            } => {
                for (index, piece) in pieces.iter().take(16).enumerate() {
                    let (address, length) = self.piece(piece);
                    let words = split::Descriptor {
                        address,
                        length,
                        flags: piece.flags & 0x8007,
                        next: piece.next.into(),
                    }
                    .into_words();
                    let at = (usize::from(*head) + index) % 16;
                    let bytes = words.map(u64::to_le_bytes).concat();
                    self.put(Self::part(*queue, 0) + 16 * at, &bytes);
                }
                self.expose(*queue, *head);
            }
            Action::Packed {
                queue,
                at,
                wrap,
                pieces,
            } => {
                for (index, piece) in pieces.iter().take(16).enumerate() {
                    let (address, length) = self.piece(piece);
                    let words = packed::Descriptor {
                        address,
                        length,
                        id: piece.next.into(),
                        flags: piece.flags & 0x2007 | packed::available_flags(*wrap),
                    }
                    .into_words();
                    let at = (usize::from(*at) + index) % 16;
                    let bytes = words.map(u64::to_le_bytes).concat();
                    self.put(Self::part(*queue, 0) + 16 * at, &bytes);
                }
                self.notify(*queue);
            }
            Action::Command(class, command, data) => {
                let bytes = [&[*class, *command][..], data].concat();
                self.put(0x8000, &bytes);
                let pieces = [
                    (self.base + 0x8000, bytes.len() as u32, split::NEXT, 1),
                    (self.base + 0x9000, 1, split::WRITE, 0),
                ];
                self.chain(4, &pieces);
            }
            Action::Header(header, length) => {
                self.put(0xA000, header);
                let bytes = 12 + 4 * u32::from(*length);
                self.chain(1, &[(self.base + 0xA000, bytes, 0, 0)]);
            }
            Action::Step(count) => {
                for _ in 0..*count {
                    self.nic.step();
                }
            }
            Action::Cable(plugged) => self.nic.set_cable(*plugged),
            Action::Reset => self.modern().write8(common::STATUS, 0),
            Action::Unmap => {
                let layout = Layout::Linear(barewire_dma::Iova::new(self.base));
                self.function.dma().unmap(&self.memory, &layout);
            }
        }
    }

    /// Makes a chain of these pieces available that is as it should be.
    fn chain(&self, queue: u8, pieces: &[(u64, u32, u16, u16)]) {
        for (index, (address, length, flags, next)) in pieces.iter().enumerate() {
            let words = split::Descriptor {
                address: *address,
                length: *length,
                flags: *flags,
                next: *next,
            }
            .into_words();
            let bytes = words.map(u64::to_le_bytes).concat();
            self.put(Self::part(queue, 0) + 16 * index, &bytes);
        }
        self.expose(queue, 0);
    }

    fn common(&self, field: Field, value: u32) {
        let bar = self.modern();
        match field {
            Field::Status => bar.write8(common::STATUS, value as u8),
            Field::Select => bar.write16(common::QUEUE_SELECT, value as u16 % 8),
            Field::Size => bar.write16(common::QUEUE_SIZE, value as u16),
            Field::Vector => bar.write16(common::QUEUE_VECTOR, value as u16),
            Field::Enable => bar.write16(common::QUEUE_ENABLE, value as u16 % 4),
            Field::Reset => bar.write16(common::QUEUE_RESET, value as u16 % 4),
            Field::Address(at) => {
                bar.write32(common::QUEUE_DESC + 4 * (u32::from(at) % 6), value);
            }
            Field::Features(high) => {
                bar.write32(common::DRIVER_FEATURE_SELECT, high.into());
                bar.write32(common::DRIVER_FEATURE, value);
            }
        }
    }
}

#[test]
fn a_hostile_driver_does_no_harm() {
    bolero::check!()
        .with_type::<(bool, bool, u64, bool, Vec<Action>)>()
        .for_each(|(transitional, shuffled, features, packed, actions)| {
            let hostile = Hostile::new(*transitional, *shuffled);
            hostile.bring_up(*features, *packed);
            for action in actions {
                hostile.perform(action);
            }
            for _ in 0..32 {
                hostile.nic.step();
            }
            assert!(hostile.nic.violations().len() <= 256);
            // whatever happened, a reset gives a sound device
            let bar = hostile.modern();
            hostile.function.config_write32(4, 7).unwrap();
            bar.write8(common::STATUS, 0);
            for _ in 0..8 {
                bar.read8(common::STATUS);
            }
            let asleep = bar.read8(common::STATUS) == 0xFF;
            assert!(asleep || bar.read8(common::STATUS) == 0);
            hostile.nic.step();
        });
}
