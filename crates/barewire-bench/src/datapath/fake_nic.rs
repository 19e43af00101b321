//! An 82599 whose registers are plain memory. It does nothing of its own accord: between two timed
//! sections the harness lets it send what the driver handed over and receive new frames.
//!
//! Nothing is verified but what it is told to: the strict device is in `barewire-sim`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use barewire::{Bar, BusError, DmaMap, PciFunction};
use barewire_spec::ixgbe::descriptor::rx::{LegacyStatus, Status};
use barewire_spec::ixgbe::descriptor::tx::{Data, LegacyData};
use barewire_spec::ixgbe::{
    CTRL, Ctrl, EEC, EERD, Eec, Eerd, LINKS, Links, RAH, RAL, RDBAH, RDBAL, RDH, RDLEN, RDRXCTL,
    RDT, Rah, Rdrxctl, Register, SRRCTL, Srrctl, TDBAH, TDBAL, TDH, TDLEN, TDT, TDWBAH, TDWBAL,
    Tdwbal, desctype, eeprom, link_speed,
};

use super::device::{Device, Step};
use super::frames::{FRAME, Frames};
use super::regions::Regions;

/// Registers of a window of 128 KiB.
const REGISTERS: usize = 128 << 8;
const MAC: [u8; 6] = [0x02, 0x00, 0x42, 0x57, 0x00, 0x01];

/// The window as memory, and what the driver showed the device.
#[derive(Debug)]
pub(super) struct Shared {
    registers: Box<[AtomicU32; REGISTERS]>,
    regions: Arc<Regions>,
}

impl Shared {
    fn register(&self, offset: u32) -> &AtomicU32 {
        // the mask makes the bounds check go away
        &self.registers[offset as usize / 4 % REGISTERS]
    }

    fn read(&self, register: &Register) -> u32 {
        self.register(register.at(0)).load(Ordering::Acquire)
    }

    /// Writes 32 bits into memory of the driver's, at a multiple of 8 bytes.
    fn write_memory(&self, address: u64, value: u32) {
        if let Some((region, offset)) = self.regions.find(address) {
            region.words()[offset / 8].store(u64::from(value), Ordering::Release);
        }
    }

    fn write(&self, register: &Register, value: u32) {
        self.register(register.at(0))
            .store(value, Ordering::Relaxed);
    }
}

/// The device's side.
#[derive(Debug)]
pub(super) struct FakeNic {
    shared: Arc<Shared>,
    frames: Frames,
}

/// The driver's side.
pub(super) struct Function(Arc<Shared>);

/// The registers, for the driver.
pub(super) struct Window(Arc<Shared>);

impl FakeNic {
    /// A device after reset, and its function for the driver.
    #[allow(clippy::large_stack_arrays)] // the compiler builds it in place
    pub(super) fn new() -> (Self, Function) {
        let shared = Arc::new(Shared {
            registers: Box::new([const { AtomicU32::new(0) }; REGISTERS]),
            regions: Arc::default(),
        });
        let [low @ .., fifth, sixth] = MAC;
        shared.write(&RAL, u32::from_le_bytes(low));
        let high = Rah::new().with_rah(u16::from_le_bytes([fifth, sixth]));
        shared.write(&RAH, high.with_av(true).into_bits());
        let nic = Self {
            shared: Arc::clone(&shared),
            frames: Frames::default(),
        };
        (nic, Function(shared))
    }

    fn send(&mut self) -> u64 {
        let shared = Arc::clone(&self.shared);
        let (mut head, tail) = (shared.read(&TDH), shared.read(&TDT));
        let low = Tdwbal::from_bits(shared.read(&TDWBAL));
        let head_at = u64::from(shared.read(&TDWBAH)) << 32 | u64::from(low.headwb_low()) << 2;
        let mut reported = None;
        let mut sent = 0;
        with_ring(&shared, [&TDBAL, &TDBAH, &TDLEN], |ring| {
            while head != tail {
                let [first, second] = &ring[head as usize];
                let data = Data::from_bits(second.load(Ordering::Relaxed));
                let whole = data.eop() && data.ifcs() && length(data) == FRAME;
                let address = first.load(Ordering::Relaxed);
                self.frames.leave(&shared.regions, address, whole);
                sent += 1;
                head = next(head, ring);
                if data.rs() && low.head_wb_en() {
                    reported = Some(head);
                } else if data.rs() {
                    second.store(data.with_dd(true).into_bits(), Ordering::Release);
                }
            }
        });
        if let Some(head) = reported {
            shared.write_memory(head_at, head);
        }
        shared.write(&TDH, head);
        sent
    }

    fn receive(&mut self, frames: u64) -> u64 {
        let shared = Arc::clone(&self.shared);
        let (mut head, tail) = (shared.read(&RDH), shared.read(&RDT));
        let legacy = Srrctl::from_bits(shared.read(&SRRCTL)).desctype() == desctype::LEGACY;
        let mut received = 0;
        with_ring(&shared, [&RDBAL, &RDBAH, &RDLEN], |ring| {
            while head != tail && received < frames {
                let [first, second] = &ring[head as usize];
                let address = first.load(Ordering::Relaxed);
                self.frames.arrive(&shared.regions, address);
                if legacy {
                    let status = LegacyStatus::new().with_dd(true).with_eop(true);
                    second.store(status.with_length(FRAME).into_bits(), Ordering::Release);
                } else {
                    let status = Status::new().with_dd(true).with_eop(true);
                    first.store(0, Ordering::Relaxed);
                    second.store(status.with_pkt_len(FRAME).into_bits(), Ordering::Release);
                }
                received += 1;
                head = next(head, ring);
            }
        });
        shared.write(&RDH, head);
        received
    }
}

impl Device for FakeNic {
    fn check(&mut self, on: bool) -> u64 {
        self.frames.check(on)
    }

    fn step(&mut self, frames: u64) -> Step {
        let sent = self.send();
        let received = self.receive(frames);
        Step { sent, received }
    }
}

/// Bytes that a descriptor sends, of either format.
fn length(data: Data) -> u16 {
    let legacy = LegacyData::from_bits(data.into_bits());
    if data.dext() {
        data.dtalen()
    } else {
        legacy.length()
    }
}

fn next(head: u32, ring: &[[AtomicU64; 2]]) -> u32 {
    if head as usize + 1 == ring.len() {
        0
    } else {
        head + 1
    }
}

/// Runs `work` with the descriptors that three registers tell of, if there are any.
fn with_ring(shared: &Shared, registers: [&Register; 3], work: impl FnOnce(&[[AtomicU64; 2]])) {
    let [low, high, bytes] = registers.map(|register| shared.read(register));
    let address = u64::from(high) << 32 | u64::from(low);
    let Some((region, offset)) = shared.regions.find(address) else {
        return;
    };
    let first = offset / 8;
    let words = region.words().get(first..first + bytes as usize / 8);
    let (ring, _) = words.unwrap_or_default().as_chunks::<2>();
    if !ring.is_empty() {
        work(ring);
    }
}

impl PciFunction for Function {
    type Bar = Window;

    fn name(&self) -> &'static str {
        "memory"
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        Ok(if offset == 0 { 0x10FB_8086 } else { 0 })
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
        128 << 10
    }

    /// Answers whatever the driver waits for while it starts: resets end, the EEPROM is read, the
    /// link is up.
    fn read32(&self, offset: u32) -> u32 {
        let value = self.0.register(offset).load(Ordering::Relaxed);
        let is = |register: &Register| offset == register.at(0);
        if is(&CTRL) {
            let ctrl = Ctrl::from_bits(value);
            ctrl.with_rst(false).with_lrst(false).into_bits()
        } else if is(&EEC) {
            let eec = Eec::from_bits(value).with_auto_rd(true);
            eec.with_ee_pres(true).into_bits()
        } else if is(&EERD) {
            let eerd = Eerd::from_bits(value);
            // an EEPROM of zeros, with the checksum that makes it whole
            let word = if eerd.addr() == eeprom::CHECKSUM {
                eeprom::CHECKSUM_SUM
            } else {
                0
            };
            eerd.with_done(true).with_data(word).into_bits()
        } else if is(&RDRXCTL) {
            Rdrxctl::from_bits(value).with_dmaidone(true).into_bits()
        } else if is(&LINKS) {
            let links = Links::new().with_link_up(true);
            links.with_link_speed(link_speed::GBIT_10).into_bits()
        } else {
            value
        }
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        self.0.register(offset).store(value, Ordering::Release);
    }

    fn delay(&self, _: Duration) {}
}
