//! A virtio network device whose queues are played between two timed sections, as those of
//! [`FakeNic`](super::fake_nic::FakeNic) are. It has what QEMU's device has by default: an event
//! index, indirect descriptors, mergeable receive buffers.
//!
//! It wants to be notified of the first chain that it has not seen, as a device that went to sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use barewire::{Bar, BusError, DmaMap, PciFunction};
use barewire_spec::virtio::pci::{DEVICE_NET, VENDOR, capability, common};
use barewire_spec::virtio::{feature, header, packed, split};
use parking_lot::Mutex;

use super::device::{Device, Step};
use super::frames::{FRAME, Frames};
use super::regions::Regions;

/// Where the structures lie in the window.
const NOTIFY: u32 = 0x100;
const CONFIG: u32 = 0x200;
const WINDOW: u32 = 0x1000;
/// The most descriptors of a queue.
const MOST: u16 = 4096;
const MAC: [u8; 6] = [0x02, 0x00, 0x1a, 0xf4, 0x00, 0x01];
/// Bytes of a header.
const HEADER: u16 = 12;
const FEATURES: u64 = feature::VERSION_1
    | feature::EVENT_IDX
    | feature::INDIRECT_DESC
    | feature::NET_MRG_RXBUF
    | feature::NET_MAC;

/// The format of the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Split,
    Packed,
}

/// What both sides have of the device.
#[derive(Debug)]
pub(super) struct Shared {
    format: Format,
    registers: Mutex<Registers>,
    /// What the driver wrote last where it notifies.
    notified: AtomicU16,
    regions: Arc<Regions>,
}

#[derive(Debug, Default)]
struct Registers {
    half: u32,
    status: u8,
    selected: usize,
    queues: [Parts; 2],
}

/// Where the parts of a queue are.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    size: u16,
    /// Descriptors, what the driver writes, what the device writes.
    addresses: [u64; 3],
}

/// The device's side.
#[derive(Debug)]
pub(super) struct FakeVirtio {
    shared: Arc<Shared>,
    frames: Frames,
    rx: Cursor,
    tx: Cursor,
}

/// Where the device is in a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// Chains that it has used: modulo 2¹⁶ in a split ring, in a packed one below its size.
    used: u16,
    /// How many times it went round a packed ring, as bit.
    again: bool,
}

/// A chain of one descriptor.
#[derive(Clone, Copy, Debug)]
struct Chain {
    id: u16,
    address: u64,
    len: u32,
    flags: u16,
}

/// The driver's side.
pub(super) struct Function(Arc<Shared>);

/// The registers, for the driver.
pub(super) struct Window(Arc<Shared>);

impl FakeVirtio {
    pub(super) fn new(format: Format) -> (Self, Function) {
        let shared = Arc::new(Shared {
            format,
            registers: Mutex::default(),
            notified: AtomicU16::new(0),
            regions: Arc::default(),
        });
        let nic = Self {
            shared: Arc::clone(&shared),
            frames: Frames::default(),
            rx: Cursor::default(),
            tx: Cursor::default(),
        };
        (nic, Function(shared))
    }

    fn send(&mut self) -> Option<u64> {
        let shared = Arc::clone(&self.shared);
        let queue = shared.queue(1);
        let mut sent = 0;
        while let Some(chain) = shared.available(&queue, self.tx) {
            let header = u64::from(HEADER);
            let whole = chain.len == u32::from(HEADER + FRAME)
                && chain.flags == 0
                && shared.regions.read(chain.address) == Some([0; header::BYTES]);
            self.frames
                .leave(&shared.regions, chain.address + header, whole);
            shared.give_back(&queue, &mut self.tx, chain.id, 0)?;
            sent += 1;
        }
        shared.wake_at_next(&queue, self.tx)?;
        Some(sent)
    }

    fn receive(&mut self, frames: u64) -> Option<u64> {
        let shared = Arc::clone(&self.shared);
        let queue = shared.queue(0);
        let header = header::Header {
            num_buffers: 1,
            ..header::Header::default()
        };
        let mut received = 0;
        while received < frames
            && let Some(chain) = shared.available(&queue, self.rx)
        {
            shared.regions.write(chain.address, &header.to_bytes());
            let at = chain.address + u64::from(HEADER);
            self.frames.arrive(&shared.regions, at);
            let len = u32::from(HEADER + FRAME);
            shared.give_back(&queue, &mut self.rx, chain.id, len)?;
            received += 1;
        }
        shared.wake_at_next(&queue, self.rx)?;
        Some(received)
    }
}

impl Device for FakeVirtio {
    fn check(&mut self, on: bool) -> u64 {
        self.frames.check(on)
    }

    fn step(&mut self, frames: u64) -> Step {
        let sent = self.send().unwrap_or(0);
        let received = self.receive(frames).unwrap_or(0);
        Step { sent, received }
    }
}

impl Shared {
    fn queue(&self, index: usize) -> Parts {
        self.registers.lock().queues[index]
    }

    fn read16(&self, address: u64) -> Option<u16> {
        self.regions.read(address).map(u16::from_le_bytes)
    }

    /// The next chain that the driver has made available.
    fn available(&self, queue: &Parts, at: Cursor) -> Option<Chain> {
        let [descriptors, driver, _] = queue.addresses;
        let descriptor = |n: u16| {
            let bytes = self.regions.read::<16>(descriptors + u64::from(n) * 16)?;
            let (halves, _) = bytes.as_chunks::<8>();
            Some([0, 1].map(|n| u64::from_le_bytes(halves[n])))
        };
        match self.format {
            Format::Split => {
                if self.read16(driver + 2)? == at.used {
                    return None;
                }
                let slot = u64::from(at.used % queue.size);
                let id = self.read16(driver + 4 + slot * 2)?;
                let found = split::Descriptor::from_words(descriptor(id)?);
                Some(Chain {
                    id,
                    address: found.address,
                    len: found.length,
                    flags: found.flags,
                })
            }
            Format::Packed => {
                let found = packed::Descriptor::from_words(descriptor(at.used)?);
                let chain = Chain {
                    id: found.id,
                    address: found.address,
                    len: found.length,
                    flags: found.flags & !(packed::AVAIL | packed::USED),
                };
                found.is_available(!at.again).then_some(chain)
            }
        }
    }

    /// Gives a chain back, into which so many bytes were written.
    fn give_back(&self, queue: &Parts, at: &mut Cursor, id: u16, len: u32) -> Option<()> {
        let [descriptors, _, device] = queue.addresses;
        let written = match self.format {
            Format::Split => {
                let slot = u64::from(at.used % queue.size);
                at.used = at.used.wrapping_add(1);
                let entry = u64::from(id) | u64::from(len) << 32;
                let place = device + 4 + slot * 8;
                self.regions.write(place, &entry.to_le_bytes())
                    && self.regions.write(device + 2, &at.used.to_le_bytes())
            }
            Format::Packed => {
                let used = packed::Descriptor {
                    address: 0,
                    length: len,
                    id,
                    flags: packed::used_flags(!at.again),
                };
                let place = descriptors + u64::from(at.used) * 16 + 8;
                at.used += 1;
                if at.used == queue.size {
                    *at = Cursor {
                        used: 0,
                        again: !at.again,
                    };
                }
                let [_, second] = used.into_words();
                self.regions.write(place, &second.to_le_bytes())
            }
        };
        written.then_some(())
    }

    /// Asks to be notified of the next chain.
    fn wake_at_next(&self, queue: &Parts, at: Cursor) -> Option<()> {
        let [_, _, device] = queue.addresses;
        let written = match self.format {
            Format::Split => {
                let place = device + 4 + u64::from(queue.size) * 8;
                self.regions.write(place, &at.used.to_le_bytes())
            }
            Format::Packed => {
                let wrap = if at.again { 0 } else { packed::EVENT_WRAP };
                let wish = [at.used | wrap, packed::EVENTS_DESCRIPTOR].map(u16::to_le_bytes);
                self.regions.write(device, wish.as_flattened())
            }
        };
        written.then_some(())
    }

    fn offered(&self) -> u64 {
        match self.format {
            Format::Split => FEATURES,
            Format::Packed => FEATURES | feature::RING_PACKED,
        }
    }
}

impl PciFunction for Function {
    type Bar = Window;

    fn name(&self) -> &'static str {
        "memory"
    }

    /// The IDs, and three capabilities behind each other.
    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        const FIRST: u16 = 0x40;
        const APART: u16 = 0x20;
        let structures = [
            (capability::COMMON, 0, common::BYTES),
            (capability::NOTIFY, NOTIFY, 4),
            (capability::DEVICE, CONFIG, 8),
        ];
        let behind = offset.checked_sub(FIRST);
        let found = behind.and_then(|at| Some((structures.get(usize::from(at / APART))?, at)));
        Ok(match (offset, found) {
            (0, _) => u32::from(DEVICE_NET) << 16 | u32::from(VENDOR),
            (0x04, _) => 1 << 20, // there are capabilities
            (0x34, _) => u32::from(FIRST),
            (_, Some(((kind, at, bytes), within))) => match within % APART {
                0 => {
                    let last = within / APART == 2;
                    let next = if last { 0 } else { FIRST + within + APART };
                    let [next, _] = next.to_le_bytes();
                    u32::from_le_bytes([9, next, capability::BYTES + 4, *kind])
                }
                capability::OFFSET => *at,
                capability::SIZE => *bytes,
                _ => 0, // BAR 0, all queues notified at one place
            },
            _ => 0,
        })
    }

    fn config_write32(&self, _: u16, _: u32) -> Result<(), BusError> {
        Ok(())
    }

    fn bar(&self, _: u8) -> Result<Window, BusError> {
        Ok(Window(Arc::clone(&self.0)))
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::clone(&self.0.regions) as Arc<dyn DmaMap>
    }
}

impl Bar for Window {
    fn size(&self) -> u32 {
        WINDOW
    }

    fn read32(&self, offset: u32) -> u32 {
        let registers = self.0.registers.lock();
        match offset {
            common::DEVICE_FEATURE => {
                let half = self.0.offered() >> (registers.half % 2 * 32);
                u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn write32(&self, offset: u32, value: u32) {
        let mut registers = self.0.registers.lock();
        let selected = registers.selected;
        match offset {
            common::DEVICE_FEATURE_SELECT => registers.half = value,
            common::QUEUE_DESC..=0x37 => {
                let field = offset - common::QUEUE_DESC;
                let shift = field % 8 * 8;
                let address = &mut registers.queues[selected].addresses[field as usize / 8];
                *address |= u64::from(value) << shift;
            }
            _ => {}
        }
    }

    fn read16(&self, offset: u32) -> u16 {
        match offset {
            common::NUM_QUEUES => 2,
            common::QUEUE_SIZE => MOST,
            common::QUEUE_VECTOR => u16::MAX,
            _ => 0,
        }
    }

    #[inline]
    fn write16(&self, offset: u32, value: u16) {
        if offset == NOTIFY {
            self.0.notified.store(value, Ordering::Release);
            return;
        }
        let mut registers = self.0.registers.lock();
        let selected = registers.selected;
        match offset {
            common::QUEUE_SELECT => registers.selected = usize::from(value % 2),
            common::QUEUE_SIZE => registers.queues[selected].size = value,
            _ => {}
        }
    }

    fn read8(&self, offset: u32) -> u8 {
        match offset {
            common::STATUS => self.0.registers.lock().status,
            CONFIG.. => MAC
                .get((offset - CONFIG) as usize)
                .copied()
                .unwrap_or_default(),
            _ => 0,
        }
    }

    fn write8(&self, offset: u32, value: u8) {
        if offset == common::STATUS {
            self.0.registers.lock().status = value;
        }
    }

    fn delay(&self, _: Duration) {}
}
