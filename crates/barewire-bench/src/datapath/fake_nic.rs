//! An 82599 whose registers are plain memory. It does nothing of its own accord: between two timed
//! sections the harness lets it send what the driver handed over and receive new frames.
//!
//! Nothing is verified but what it is told to: the strict device is in `barewire-sim`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use barewire::{Bar, BusError, DmaError, DmaMap, DmaRegion, Iova, Layout, PciFunction};
use barewire_spec::ixgbe::descriptor::rx::{LegacyStatus, Status};
use barewire_spec::ixgbe::descriptor::tx::{Data, LegacyData};
use barewire_spec::ixgbe::{
    CTRL, Ctrl, EEC, EERD, Eec, Eerd, LINKS, Links, RAH, RAL, RDBAH, RDBAL, RDH, RDLEN, RDRXCTL,
    RDT, Rah, Rdrxctl, Register, SRRCTL, Srrctl, TDBAH, TDBAL, TDH, TDLEN, TDT, TDWBAH, TDWBAL,
    Tdwbal, desctype, eeprom, link_speed,
};
use parking_lot::Mutex;

/// The byte of a frame that the forwarder increments: the last one of the destination address.
pub(super) const TOUCHED: usize = 5;

/// Bytes of a frame without FCS.
const FRAME: usize = 60;
/// Where a frame's sequence number stands.
const SEQUENCE: usize = 16;
/// Registers of a window of 128 KiB.
const REGISTERS: usize = 128 << 8;
const MAC: [u8; 6] = [0x02, 0x00, 0x42, 0x57, 0x00, 0x01];

/// The window as memory, and what the driver showed the device.
#[derive(Debug)]
pub(super) struct Shared {
    registers: Box<[AtomicU32; REGISTERS]>,
    regions: Mutex<Vec<Arc<DmaRegion>>>,
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
        let regions = self.regions.lock();
        if let Some((region, offset)) = find(&regions, address) {
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
    checking: bool,
    /// Sequence numbers of the next frame that comes and that leaves.
    next_in: u64,
    next_out: u64,
    wrong: u64,
}

/// The driver's side.
pub(super) struct Function(Arc<Shared>);

/// The registers, for the driver.
pub(super) struct Window(Arc<Shared>);

/// Memory for the device: it shares the process's addresses.
#[derive(Debug)]
struct Memory(Arc<Shared>);

/// What a step moved.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl FakeNic {
    /// A device after reset, and its function for the driver.
    #[allow(clippy::large_stack_arrays)] // the compiler builds it in place
    pub(super) fn new() -> (Self, Function) {
        let shared = Arc::new(Shared {
            registers: Box::new([const { AtomicU32::new(0) }; REGISTERS]),
            regions: Mutex::default(),
        });
        let [low @ .., fifth, sixth] = MAC;
        shared.write(&RAL, u32::from_le_bytes(low));
        let high = Rah::new().with_rah(u16::from_le_bytes([fifth, sixth]));
        shared.write(&RAH, high.with_av(true).into_bits());
        let nic = Self {
            shared: Arc::clone(&shared),
            checking: false,
            next_in: 0,
            next_out: 0,
            wrong: 0,
        };
        (nic, Function(shared))
    }

    /// Whether frames are written and looked at from now on; returns how many were wrong so far.
    pub(super) fn check(&mut self, on: bool) -> u64 {
        self.checking = on;
        self.next_out = 0;
        self.next_in = 0;
        std::mem::take(&mut self.wrong)
    }

    /// Sends what the driver handed over, then receives up to `frames` frames, as many as there
    /// are descriptors for.
    pub(super) fn step(&mut self, frames: u64) -> Step {
        let sent = self.send();
        let received = self.receive(frames);
        Step { sent, received }
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
                if self.checking {
                    let address = first.load(Ordering::Relaxed);
                    self.look_at(&shared, address, data);
                }
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
                if self.checking {
                    let address = first.load(Ordering::Relaxed);
                    self.write_frame(&shared, address);
                }
                if legacy {
                    let status = LegacyStatus::new().with_dd(true).with_eop(true);
                    second.store(status.with_length(60).into_bits(), Ordering::Release);
                } else {
                    let status = Status::new().with_dd(true).with_eop(true);
                    first.store(0, Ordering::Relaxed);
                    second.store(status.with_pkt_len(60).into_bits(), Ordering::Release);
                }
                received += 1;
                head = next(head, ring);
            }
        });
        shared.write(&RDH, head);
        received
    }

    fn write_frame(&mut self, shared: &Shared, address: u64) {
        let mut frame = [0; FRAME];
        let number = self.next_in.to_le_bytes();
        frame[0] = 2;
        frame[TOUCHED] = number[0];
        frame[SEQUENCE..SEQUENCE + 8].copy_from_slice(&number);
        self.next_in += 1;
        let regions = shared.regions.lock();
        let written = find(&regions, address)
            .is_some_and(|(region, offset)| region.device_write(offset, &frame).is_ok());
        if !written {
            self.wrong += 1;
        }
    }

    fn look_at(&mut self, shared: &Shared, address: u64, data: Data) {
        let mut frame = [0; FRAME];
        let regions = shared.regions.lock();
        let read = find(&regions, address)
            .is_some_and(|(region, offset)| region.device_read(offset, &mut frame).is_ok());
        let number = self.next_out.to_le_bytes();
        let good = read
            && data.eop()
            && data.ifcs()
            && length(data) == FRAME
            && frame[SEQUENCE..SEQUENCE + 8] == number
            && frame[TOUCHED] == number[0].wrapping_add(1);
        self.next_out += 1;
        self.wrong += u64::from(!good);
    }
}

/// Bytes that a descriptor sends, of either format.
fn length(data: Data) -> usize {
    let legacy = LegacyData::from_bits(data.into_bits());
    usize::from(if data.dext() {
        data.dtalen()
    } else {
        legacy.length()
    })
}

fn next(head: u32, ring: &[[AtomicU64; 2]]) -> u32 {
    if head as usize + 1 == ring.len() {
        0
    } else {
        head + 1
    }
}

/// The region that has an address, and where in it.
fn find(regions: &[Arc<DmaRegion>], address: u64) -> Option<(&Arc<DmaRegion>, usize)> {
    let address = usize::try_from(address).ok()?;
    regions.iter().find_map(|region| {
        let offset = address.checked_sub(region.address().get())?;
        (offset < region.len()).then_some((region, offset))
    })
}

/// Runs `work` with the descriptors that three registers tell of, if there are any.
fn with_ring(shared: &Shared, registers: [&Register; 3], work: impl FnOnce(&[[AtomicU64; 2]])) {
    let [low, high, bytes] = registers.map(|register| shared.read(register));
    let address = u64::from(high) << 32 | u64::from(low);
    let regions: Vec<_> = shared.regions.lock().clone();
    let Some((region, offset)) = find(&regions, address) else {
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
        Arc::new(Memory(Arc::clone(&self.0)))
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

impl DmaMap for Memory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        self.0.regions.lock().push(Arc::clone(region));
        Ok(Layout::Linear(Iova::new(region.address().get() as u64)))
    }

    fn unmap(&self, region: &Arc<DmaRegion>, _: &Layout) {
        let mut regions = self.0.regions.lock();
        regions.retain(|mapped| !Arc::ptr_eq(mapped, region));
    }
}
