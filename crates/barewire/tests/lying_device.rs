//! A device that lies: it answers the driver with arbitrary register values and writes arbitrary
//! descriptors, lengths, bits and bytes into whatever memory was mapped for it.
//!
//! The driver may fail with an error and count what is wrong. It must not panic, hang, hand out a
//! byte that is outside a buffer, or lose a buffer.
//!
//! `cargo test` runs this for a moment with random scripts. For longer:
//! `BOLERO_RANDOM_ITERATIONS=1000000 cargo test --release -p barewire --test lying_device`, or a
//! coverage-guided engine through `cargo bolero test`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation)]

mod script;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barewire::{
    Bar, Batch, BusError, DmaError, DmaMap, DmaRegion, Error, Iova, Layout, PciFunction, Pool,
    PoolConfig, Port, PortConfig, RxQueue, TxQueue,
};
use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::eeprom;
use script::Script;

struct Liar {
    script: Mutex<Script>,
    registers: Vec<AtomicU32>,
    regions: Mutex<Vec<Arc<DmaRegion>>>,
    /// Of 256 reads, how many are lies.
    lies: u8,
    copper: bool,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Liar")
    }
}

impl Liar {
    fn register(&self, offset: u32) -> &AtomicU32 {
        &self.registers[offset as usize / 4]
    }

    fn stored(&self, register: &spec::Register, index: u32) -> u32 {
        self.register(register.at(index)).load(Ordering::Relaxed)
    }

    /// What a device would say that does what it is asked for at once.
    fn honest(&self, offset: u32) -> u32 {
        let stored = self.register(offset).load(Ordering::Relaxed);
        let is = |register: &spec::Register| register.contains(offset);
        if is(&spec::CTRL) {
            stored & 0x4
        } else if is(&spec::STATUS) {
            if self.stored(&spec::CTRL, 0) & 0x4 == 0 {
                0x0008_0000
            } else {
                0
            }
        } else if is(&spec::EEC) {
            0x300
        } else if is(&spec::EERD) {
            let eerd = spec::Eerd::from_bits(stored);
            let word = if eerd.addr() == eeprom::CHECKSUM {
                checksum()
            } else {
                eeprom::EMPTY
            };
            eerd.with_start(false)
                .with_done(true)
                .with_data(word)
                .into_bits()
        } else if is(&spec::RDRXCTL) {
            stored | 0x8
        } else if is(&spec::SWSM) {
            stored & 0x2
        } else if is(&spec::SECRXSTAT) {
            1
        } else if is(&spec::LINKS) {
            0x7000_0080
        } else if is(&spec::MSCA) {
            stored & !0x4000_0000
        } else if is(&spec::MSRWD) {
            0x0154_0000
        } else {
            stored
        }
    }
}

fn checksum() -> u16 {
    eeprom::checksum(|_| Ok::<_, ()>(eeprom::EMPTY)).unwrap()
}

#[derive(Clone)]
struct LyingBar(Arc<Liar>);

impl Bar for LyingBar {
    fn size(&self) -> u32 {
        0x2_0000
    }

    fn read32(&self, offset: u32) -> u32 {
        let mut script = self.0.script.lock().unwrap();
        if script.byte() < self.0.lies {
            return if script.byte() < 32 {
                u32::MAX
            } else {
                u32::from_le_bytes(script.bytes())
            };
        }
        self.0.honest(offset)
    }

    fn write32(&self, offset: u32, value: u32) {
        self.0.register(offset).store(value, Ordering::Relaxed);
    }

    fn delay(&self, _: Duration) {}
}

impl DmaMap for Liar {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        self.regions.lock().unwrap().push(Arc::clone(region));
        Ok(Layout::Linear(Iova::new(region.address().get() as u64)))
    }

    fn unmap(&self, region: &Arc<DmaRegion>, _: &Layout) {
        self.regions
            .lock()
            .unwrap()
            .retain(|mapped| !Arc::ptr_eq(mapped, region));
    }
}

struct LyingFunction(Arc<Liar>);

impl PciFunction for LyingFunction {
    type Bar = LyingBar;

    fn name(&self) -> &'static str {
        "liar"
    }

    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let id = if self.0.copper {
            0x1528_8086
        } else {
            0x10fb_8086
        };
        Ok(if offset == 0 { id } else { 0 })
    }

    fn config_write32(&self, _: u16, _: u32) -> Result<(), BusError> {
        Ok(())
    }

    fn bar(&self, _: u8) -> Result<LyingBar, BusError> {
        Ok(LyingBar(Arc::clone(&self.0)))
    }

    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::clone(&self.0) as Arc<dyn DmaMap>
    }
}

const RING: u16 = 64;

impl Liar {
    /// Writes something into a descriptor: sometimes what an honest device would, mostly not.
    fn write_back(&self) {
        let mut script = self.script.lock().unwrap();
        let choice = script.byte();
        let (low, high) = if choice & 1 == 0 {
            (&spec::RDBAL, &spec::RDBAH)
        } else {
            (&spec::TDBAL, &spec::TDBAH)
        };
        let queue = u32::from(choice >> 1 & 1);
        let base = u64::from(self.stored(high, queue)) << 32 | u64::from(self.stored(low, queue));
        let position = u64::from(script.byte()) % u64::from(RING);
        let len = [60, 0, 1, 2048, 2049, 9728, u16::MAX, 1514][usize::from(script.byte() % 8)];
        let second = match choice >> 2 & 7 {
            0..=3 => u64::from(len) << 32 | 0x3,
            4 => u64::from(len) << 32 | 0x1,
            5 => u64::from(len) << 32 | 0x2000_0003,
            6 => 1 << 32,
            _ => {
                u64::from(u32::from_le_bytes(script.bytes())) << 32
                    | u64::from(u32::from_le_bytes(script.bytes()))
            }
        };
        for region in self.regions.lock().unwrap().iter() {
            let address = base + position * 16 + 8;
            let inside = address.checked_sub(region.address().get() as u64);
            if let Some(offset) = inside.filter(|offset| *offset + 8 <= region.len() as u64) {
                region.words()[offset as usize / 8].store(second, Ordering::Release);
            }
        }
    }

    /// Completes the oldest descriptors of a ring in order, so that traffic flows.
    fn complete(&self, first: usize, count: u8) {
        for n in 0..usize::from(count % 33) {
            let position = (first + n) % usize::from(RING);
            let base = u64::from(self.stored(&spec::RDBAH, 0)) << 32
                | u64::from(self.stored(&spec::RDBAL, 0));
            for region in self.regions.lock().unwrap().iter() {
                let address = base + position as u64 * 16 + 8;
                let inside = address.checked_sub(region.address().get() as u64);
                if let Some(offset) = inside.filter(|offset| *offset + 8 <= region.len() as u64) {
                    region.words()[offset as usize / 8].store(60 << 32 | 3, Ordering::Release);
                }
            }
        }
    }
}

/// Reads every byte that the driver hands out, and checks that they are a buffer's.
fn look_at(batch: &mut Batch, pool: &Pool) -> usize {
    let start = pool.region().address().get();
    let end = start + pool.region().len();
    let mut sum = 0usize;
    for packet in batch.iter() {
        assert!(packet.len() <= 16_384);
        for segment in packet.segments() {
            assert!(segment.len() <= usize::from(pool.data_room()));
            let at = segment.as_ptr().addr();
            assert!(at >= start && at + segment.len() <= end);
            sum += segment.iter().map(|byte| usize::from(*byte)).sum::<usize>();
        }
    }
    for mut packet in batch.iter_mut() {
        packet.bytes_mut().fill(0xa5);
    }
    sum
}

struct Open {
    port: Port,
    rx: Vec<RxQueue>,
    tx: Vec<TxQueue>,
}

fn open(liar: &Arc<Liar>, pool: &Pool) -> Result<Open, Error> {
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        rx_ring: RING,
        tx_ring: RING,
        mtu: 9000,
        pool: Some(pool.clone()),
        ..PortConfig::default()
    };
    let mut port = Port::open(LyingFunction(Arc::clone(liar)), &config)?;
    let rx = (0..2).filter_map(|index| port.take_rx(index)).collect();
    let tx = (0..2).filter_map(|index| port.take_tx(index)).collect();
    Ok(Open { port, rx, tx })
}

fn play(script: &[u8]) -> Option<usize> {
    let honest_first = script.first().is_none_or(|byte| byte & 1 == 0);
    let liar = Arc::new(Liar {
        script: Mutex::new(Script::default()),
        registers: (0..0x8000).map(|_| AtomicU32::new(0)).collect(),
        regions: Mutex::default(),
        lies: script.get(1).copied().unwrap_or(0) >> 2,
        copper: script.get(2).is_some_and(|byte| byte & 1 == 1),
    });
    liar.register(spec::RAL.at(0))
        .store(0x0403_0202, Ordering::Relaxed);
    liar.register(spec::RAH.at(0))
        .store(0x8000_0605, Ordering::Relaxed);
    let body = Script::new(script.get(3..).unwrap_or_default());
    if !honest_first {
        *liar.script.lock().unwrap() = body;
        drop(open(&liar, &pool()));
        return None;
    }
    let pool = pool();
    let mut open = open(&liar, &pool).expect("an honest device opens");
    *liar.script.lock().unwrap() = body;
    let mut batch = Batch::new(32);
    let mut received = 0;
    while !liar.script.lock().unwrap().over() {
        let action = liar.script.lock().unwrap().byte();
        let queue = usize::from(action >> 7);
        match action & 15 {
            0..=5 => liar.write_back(),
            6 | 7 => {
                let (first, count) = {
                    let mut script = liar.script.lock().unwrap();
                    (usize::from(script.byte()), script.byte())
                };
                liar.complete(first, count);
            }
            8 | 9 => {
                received += open.rx[queue].receive(&mut batch).unwrap_or(0);
                look_at(&mut batch, &pool);
            }
            10 | 11 => drop(open.tx[queue].send(&mut batch)),
            12 => batch.clear(),
            13 => drop(batch.pop()),
            14 => {
                drop(open.port.statistics());
                drop(open.port.extended_statistics());
                drop(open.port.link());
            }
            _ => {
                drop(
                    open.port
                        .set_promiscuous(action & 16 == 0, action & 32 == 0),
                );
                drop(open.port.set_multicast_filter(&[[1, 0, 0, 0, 0, action]]));
                open.tx[queue].reclaim();
            }
        }
    }
    // the script is over: the device is honest, so the queues stop and give everything back
    drop((open, batch));
    assert_eq!(pool.free(), pool.buffers(), "buffers were lost or doubled");
    assert!(
        liar.regions.lock().unwrap().is_empty(),
        "memory stays mapped"
    );
    Some(received)
}

fn pool() -> Pool {
    let config = PoolConfig {
        buffers: 300,
        ..PoolConfig::default()
    };
    Pool::new(PoolConfig {
        pages: barewire::Pages::Ordinary,
        ..config
    })
    .unwrap()
}

#[test]
fn a_lying_device_does_no_harm() {
    let received = AtomicU32::new(0);
    bolero::check!()
        .with_type::<Vec<u8>>()
        .with_max_len(4096)
        .for_each(|script| {
            if let Some(frames) = play(script) {
                received.fetch_add(frames.min(1) as u32, Ordering::Relaxed);
            }
        });
}

/// The fuzz target above is worth something only if frames get through at all.
#[test]
fn frames_get_through_an_honest_script() {
    let script = [0, 0, 0, 6, 0, 20, 8, 10];
    assert_eq!(play(&script), Some(20));
}

#[test]
fn known_lies_are_counted_and_their_buffers_come_back() {
    // a length beyond the buffer, no length, no end, a damaged frame: one each, then an honest one
    for (choice, length, expected) in [
        (0, 4, 0),
        (0, 1, 0),
        (4 << 2, 3, 0),
        (5 << 2, 0, 0),
        (0, 0, 1),
    ] {
        let script = [0, 0, 0, 0, choice, 0, length, 8];
        assert_eq!(
            play(&script),
            Some(expected),
            "choice {choice}, length {length}"
        );
    }
}

/// The end of a frame whose beginning was dropped is not a frame of its own.
#[test]
fn the_rest_of_a_malformed_frame_is_dropped_with_it() {
    // descriptor 0: no length and no end; descriptor 1: 60 bytes and the end
    let first = [0, 4 << 2, 0, 1];
    let second = [0, 0, 1, 0];
    // seen together, and seen one after the other
    let together = [&[0, 0, 0][..], &first, &second, &[8]].concat();
    let apart = [&[0, 0, 0][..], &first, &[8], &second, &[8]].concat();
    for script in [together, apart] {
        assert_eq!(play(&script), Some(0));
    }
}
