//! A program that drives the device by the letter of the specification, slowly.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaMap, DmaRegion, Layout, Pages};
use barewire_sim::violation::Rule;
use barewire_sim::virtio::{VirtioBar, VirtioConfig, VirtioFunction, VirtioNic};
use barewire_spec::pci::config;
use barewire_spec::virtio::header::Header;
use barewire_spec::virtio::pci::common;
use barewire_spec::virtio::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};
use barewire_spec::virtio::{feature, packed, split};

use super::wire_script::Script;

pub(crate) const COMMON: u32 = 0;
pub(crate) const ISR: u32 = 0x1000;
pub(crate) const DEVICE: u32 = 0x2000;
pub(crate) const NOTIFY: u32 = 0x3000;

/// Bytes of the header ahead of each frame.
pub(crate) const HEADER: usize = 12;

/// One descriptor as a test says it: address, length, whether the device writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece(pub(crate) u64, pub(crate) u32, pub(crate) bool);

/// A buffer that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) id: u16,
    pub(crate) written: u32,
}

/// A queue in memory, with a place for buffers behind it.
pub(crate) struct Queue {
    pub(crate) number: u16,
    pub(crate) size: u16,
    pub(crate) region: Arc<DmaRegion>,
    pub(crate) base: u64,
    packed: bool,
    next: u16,
    wrap: bool,
    seen: u16,
    seen_wrap: bool,
    /// Descriptors of each buffer of a packed ring, by its ID.
    counts: Vec<u16>,
}

/// Where the parts of a queue lie in its region.
const DRIVER_AREA: usize = 0x2000;
const DEVICE_AREA: usize = 0x4000;
/// Where buffers begin, and bytes from one to the next.
pub(crate) const BUFFERS: usize = 0x8000;
pub(crate) const STRIDE: usize = 2048;

impl Queue {
    pub(crate) fn buffer(&self, index: usize) -> u64 {
        self.base + (BUFFERS + index * STRIDE) as u64
    }

    pub(crate) fn fill(&self, index: usize, bytes: &[u8]) {
        self.region
            .device_write(BUFFERS + index * STRIDE, bytes)
            .unwrap();
    }

    pub(crate) fn bytes(&self, index: usize, count: usize) -> Vec<u8> {
        self.at(BUFFERS + index * STRIDE, count)
    }

    pub(crate) fn at(&self, offset: usize, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.region.device_read(offset, &mut bytes).unwrap();
        bytes
    }

    fn put(&self, offset: usize, bytes: &[u8]) {
        self.region.device_write(offset, bytes).unwrap();
    }

    fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.at(offset, 2).try_into().unwrap())
    }

    /// Writes a descriptor of a split ring.
    pub(crate) fn descriptor(&self, index: u16, descriptor: split::Descriptor) {
        let words = descriptor.into_words();
        for (half, word) in words.into_iter().enumerate() {
            self.region.words()[usize::from(index) * 2 + half].store(word, Ordering::Relaxed);
        }
    }

    /// Writes a descriptor of a packed ring at its place, flags last.
    pub(crate) fn packed_descriptor(&self, index: u16, descriptor: packed::Descriptor) {
        let [low, high] = descriptor.into_words();
        let words = &self.region.words()[usize::from(index) * 2..];
        words[0].store(low, Ordering::Relaxed);
        words[1].store(high, Ordering::Release);
    }

    /// Makes a head available in a split ring.
    pub(crate) fn expose(&mut self, head: u16) {
        let slot = usize::from(self.next % self.size);
        self.put(DRIVER_AREA + 4 + 2 * slot, &head.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        self.put(DRIVER_AREA + 2, &self.next.to_le_bytes());
    }

    /// Makes a buffer available; its first descriptor is `first` in a split ring, its ID in both.
    pub(crate) fn add(&mut self, first: u16, pieces: &[Piece]) {
        let count = pieces.len() as u16;
        if !self.packed {
            for (at, Piece(address, length, writable)) in (0..).zip(pieces) {
                let last = at + 1 == count;
                let flags = if last { 0 } else { split::NEXT };
                let flags = flags | if *writable { split::WRITE } else { 0 };
                let next = if last {
                    0
                } else {
                    (first + at + 1) % self.size
                };
                self.descriptor(
                    (first + at) % self.size,
                    split::Descriptor {
                        address: *address,
                        length: *length,
                        flags,
                        next,
                    },
                );
            }
            self.expose(first);
            return;
        }
        let mut ready = Vec::new();
        for (at, Piece(address, length, writable)) in (0..).zip(pieces) {
            let last = at + 1 == count;
            let flags = packed::available_flags(self.wrap)
                | if last { 0 } else { packed::NEXT }
                | if *writable { packed::WRITE } else { 0 };
            ready.push((
                self.next,
                packed::Descriptor {
                    address: *address,
                    length: *length,
                    id: first,
                    flags,
                },
            ));
            self.step(1);
        }
        self.counts[usize::from(first)] = count;
        for (index, descriptor) in ready.into_iter().rev() {
            self.packed_descriptor(index, descriptor);
        }
    }

    /// Passes descriptors of a packed ring.
    pub(crate) fn step(&mut self, count: u16) {
        self.next += count;
        if self.next >= self.size {
            self.next -= self.size;
            self.wrap = !self.wrap;
        }
    }

    /// The flags that make a descriptor of a packed ring available now.
    pub(crate) fn available_flags(&self) -> u16 {
        packed::available_flags(self.wrap)
    }

    pub(crate) fn position(&self) -> u16 {
        self.next
    }

    /// The next buffer that came back.
    pub(crate) fn take(&mut self) -> Option<Used> {
        if self.packed {
            let words = &self.region.words()[usize::from(self.seen) * 2..];
            let high = words[1].load(Ordering::Acquire);
            let descriptor = packed::Descriptor::from_words([0, high]);
            if !descriptor.is_used(self.seen_wrap) {
                return None;
            }
            self.seen += self.counts[usize::from(descriptor.id)];
            if self.seen >= self.size {
                self.seen -= self.size;
                self.seen_wrap = !self.seen_wrap;
            }
            return Some(Used {
                id: descriptor.id,
                written: descriptor.length,
            });
        }
        if self.word(DEVICE_AREA + 2) == self.seen {
            return None;
        }
        let slot = usize::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let entry = self.at(DEVICE_AREA + 4 + 8 * slot, 8);
        let half = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
        Some(Used {
            id: half(0) as u16,
            written: half(4),
        })
    }

    /// The first four bytes that the driver writes besides descriptors: flags, or an event.
    pub(crate) fn driver_area(&self, value: u32) {
        self.put(DRIVER_AREA, &value.to_le_bytes());
    }

    pub(crate) fn set_flags(&self, flags: u16) {
        self.put(DRIVER_AREA, &flags.to_le_bytes());
    }

    pub(crate) fn set_index(&self, index: u16) {
        self.put(DRIVER_AREA + 2, &index.to_le_bytes());
    }

    /// Where the used event of a split ring is.
    pub(crate) fn set_used_event(&self, event: u16) {
        let at = DRIVER_AREA + 4 + 2 * usize::from(self.size);
        self.put(at, &event.to_le_bytes());
    }

    /// The first four bytes of what the device writes besides descriptors.
    pub(crate) fn device_area(&self) -> u32 {
        u32::from_le_bytes(self.at(DEVICE_AREA, 4).try_into().unwrap())
    }

    pub(crate) fn avail_event(&self) -> u16 {
        self.word(DEVICE_AREA + 4 + 8 * usize::from(self.size))
    }
}

pub(crate) struct Program {
    pub(crate) nic: VirtioNic,
    pub(crate) function: VirtioFunction,
    pub(crate) bar: VirtioBar,
    pub(crate) dma: Arc<dyn DmaMap>,
    pub(crate) wire: Script,
    pub(crate) features: u64,
}

/// A device with these features.
pub(crate) fn config(features: u64) -> VirtioConfig {
    VirtioConfig {
        features,
        ..VirtioConfig::default()
    }
}

impl Program {
    /// The device, untouched.
    pub(crate) fn new(config: VirtioConfig) -> Self {
        let wire = Script::default();
        wire.insist(); // a frame without room is lost, and the test that needs it fails
        let nic = VirtioNic::new(config, wire.clone());
        let function = nic.function();
        let bar = function.bar(4).unwrap();
        let dma = function.dma();
        let command = function.config_read32(config::COMMAND).unwrap();
        let master = u32::from(config::command::BUS_MASTER);
        function
            .config_write32(config::COMMAND, command | master)
            .unwrap();
        Self {
            nic,
            function,
            bar,
            dma,
            wire,
            features: 0,
        }
    }

    /// A device whose driver has all the features that it offers, but has not set `DRIVER_OK`.
    pub(crate) fn negotiated(config: VirtioConfig) -> Self {
        let mut program = Self::new(config);
        program.reset();
        program.status(ACKNOWLEDGE);
        program.status(ACKNOWLEDGE | DRIVER);
        let offered = program.offered();
        program.accept(offered);
        program
    }

    pub(crate) fn reset(&self) {
        self.status(0);
        for _ in 0..10 {
            if self.bar.read8(COMMON + common::STATUS) == 0 {
                return;
            }
        }
        panic!("the reset does not end");
    }

    pub(crate) fn status(&self, status: u8) {
        self.bar.write8(COMMON + common::STATUS, status);
    }

    pub(crate) fn offered(&self) -> u64 {
        let half = |index| {
            self.bar
                .write32(COMMON + common::DEVICE_FEATURE_SELECT, index);
            u64::from(self.bar.read32(COMMON + common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    pub(crate) fn write_features(&self, features: u64) {
        for (index, half) in [(0, features), (1, features >> 32)] {
            self.bar
                .write32(COMMON + common::DRIVER_FEATURE_SELECT, index);
            self.bar
                .write32(COMMON + common::DRIVER_FEATURE, half as u32);
        }
    }

    /// Accepts features; they must be taken.
    pub(crate) fn accept(&mut self, features: u64) {
        self.write_features(features);
        self.status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        let status = self.bar.read8(COMMON + common::STATUS);
        assert_eq!(status, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        self.features = features;
    }

    pub(crate) fn driver_ok(&self) {
        self.status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    pub(crate) fn memory(&self, bytes: usize) -> (Arc<DmaRegion>, u64) {
        let region = DmaRegion::allocate(bytes, Pages::Ordinary).unwrap();
        let Layout::Linear(base) = self.dma.map(&region).unwrap() else {
            panic!("a software device maps regions in one piece");
        };
        (region, base.get())
    }

    pub(crate) fn select(&self, number: u16) {
        self.bar.write16(COMMON + common::QUEUE_SELECT, number);
    }

    /// Memory for a queue, which the device is not told of.
    pub(crate) fn make_queue(&self, number: u16, size: u16) -> Queue {
        let (region, base) = self.memory(BUFFERS + 64 * STRIDE);
        Queue {
            number,
            size,
            region,
            base,
            packed: self.features & feature::RING_PACKED != 0,
            next: 0,
            wrap: true,
            seen: 0,
            seen_wrap: true,
            counts: vec![0; 1 << 16],
        }
    }

    /// Tells the device where a queue's parts are.
    pub(crate) fn place(&self, queue: &Queue) {
        self.select(queue.number);
        self.bar.write16(COMMON + common::QUEUE_SIZE, queue.size);
        for (register, offset) in [
            (common::QUEUE_DESC, 0),
            (common::QUEUE_DRIVER, DRIVER_AREA),
            (common::QUEUE_DEVICE, DEVICE_AREA),
        ] {
            let address = queue.base + offset as u64;
            self.bar.write32(COMMON + register, address as u32);
            self.bar
                .write32(COMMON + register + 4, (address >> 32) as u32);
        }
    }

    /// A queue that runs.
    pub(crate) fn queue(&self, number: u16, size: u16) -> Queue {
        let queue = self.make_queue(number, size);
        self.place(&queue);
        self.bar.write16(COMMON + common::QUEUE_ENABLE, 1);
        assert_eq!(self.bar.read16(COMMON + common::QUEUE_ENABLE), 1);
        queue
    }

    pub(crate) fn notify(&self, queue: &Queue) {
        let at = NOTIFY + u32::from(queue.number) * 4;
        self.bar.write16(at, queue.number);
    }

    /// Lets the device work for a while.
    pub(crate) fn run(&self) {
        self.nic.run_for(Duration::from_micros(50));
    }

    /// Sends a frame in one buffer, with its header in front.
    pub(crate) fn send(&self, queue: &mut Queue, index: u16, header: Header, frame: &[u8]) {
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(frame);
        queue.fill(index.into(), &bytes);
        let address = queue.buffer(index.into());
        queue.add(index, &[Piece(address, bytes.len() as u32, false)]);
        self.notify(queue);
        self.run();
    }

    /// Gives the device a receive buffer of `bytes`.
    pub(crate) fn give(&self, queue: &mut Queue, index: u16, bytes: u32) {
        let address = queue.buffer(index.into());
        queue.add(index, &[Piece(address, bytes, true)]);
        self.notify(queue);
    }

    /// Carries out a command of the control queue; the answer.
    pub(crate) fn command(&self, queue: &mut Queue, class: u8, command: u8, data: &[u8]) -> u8 {
        let mut bytes = vec![class, command];
        bytes.extend_from_slice(data);
        queue.fill(0, &bytes);
        queue.fill(1, &[0xEE]);
        let (out, ack) = (queue.buffer(0), queue.buffer(1));
        // one after the other, so the same descriptors will do
        let head = if self.features & feature::IN_ORDER != 0 {
            queue.next * 2 % queue.size
        } else {
            0
        };
        queue.add(
            head,
            &[Piece(out, bytes.len() as u32, false), Piece(ack, 1, true)],
        );
        self.notify(queue);
        self.run();
        assert_eq!(queue.take().map(|used| used.written), Some(1));
        queue.bytes(1, 1)[0]
    }

    pub(crate) fn assert_clean(&self) {
        let violations = self.nic.violations();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }

    /// Asserts that exactly one rule was broken: which one, with what, and by which clause.
    pub(crate) fn assert_violation(&self, rule: Rule, what: &str, section: &str) {
        let violations = self.nic.violations();
        assert_eq!(violations.len(), 1, "{violations:#?}");
        let found = &violations[0];
        assert_eq!(found.rule, rule, "{found}");
        assert!(found.what.contains(what), "{found}");
        assert_eq!(found.section, format!("virtio 1.2 §{section}"), "{found}");
        assert!(!found.to_string().contains('\n'));
    }

    /// The device wants to be reset.
    pub(crate) fn is_ill(&self) -> bool {
        self.bar.read8(COMMON + common::STATUS) & barewire_spec::virtio::status::NEEDS_RESET != 0
    }
}
