//! A virtio device that lies: between an honest one and the driver stands somebody who changes what
//! registers say, and writes anything into the memory that the device may write.
//!
//! The driver may fail with an error and count what is wrong. It must not panic, hang, hand out a
//! byte that is outside a buffer, or lose a buffer.
//!
//! `cargo test` runs this for a moment; `cargo xtask fuzz lying_virtio` for longer.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation, clippy::too_many_lines)]

#[path = "../../barewire/tests/script/mod.rs"]
mod script;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barewire::{
    Bar, Batch, BusError, DmaError, DmaMap, DmaRegion, Layout, Pages, PciFunction, Pool,
    PoolConfig, Port, PortConfig,
};
use barewire_sim::virtio::{Interface, VirtioBar, VirtioConfig, VirtioFunction, VirtioNic};
use barewire_sim::wire::Loopback;
use barewire_spec::virtio::feature as f;
use script::Script;

/// Who stands between.
#[derive(Default)]
struct Liar {
    script: Mutex<Script>,
    regions: Mutex<Vec<Arc<DmaRegion>>>,
    /// Of 256 reads, how many are lies.
    lies: u8,
}

impl Liar {
    fn twist(&self, value: u32) -> u32 {
        let mut script = self.script.lock().unwrap();
        if self.lies == 0 || script.over() || script.byte() >= self.lies {
            return value;
        }
        match script.byte() % 4 {
            0 => u32::MAX,
            1 => 0,
            2 => value ^ 1 << (script.byte() % 32),
            _ => u64::from_le_bytes(script.bytes()) as u32,
        }
    }

    /// Writes something somewhere: into rings as a rule, where it matters.
    fn write(&self) {
        let mut script = self.script.lock().unwrap();
        let regions = self.regions.lock().unwrap();
        let Some(region) = regions.get(usize::from(script.byte()) % regions.len().max(1)) else {
            return;
        };
        let words = region.words();
        let at = u64::from_le_bytes(script.bytes()) as usize;
        let word = &words[at % words.len()];
        let value = match script.byte() % 4 {
            0 => u64::from_le_bytes(script.bytes()),
            1 => word.load(Ordering::Relaxed) ^ 1 << (script.byte() % 64),
            2 => word.load(Ordering::Relaxed).wrapping_add(1 << 16),
            _ => words[u64::from_le_bytes(script.bytes()) as usize % words.len()]
                .load(Ordering::Relaxed),
        };
        word.store(value, Ordering::Release);
    }
}

struct LyingBar(VirtioBar, Arc<Liar>);

impl Bar for LyingBar {
    fn size(&self) -> u32 {
        self.0.size()
    }
    fn read32(&self, offset: u32) -> u32 {
        self.1.twist(self.0.read32(offset))
    }
    fn write32(&self, offset: u32, value: u32) {
        self.0.write32(offset, value);
    }
    fn read16(&self, offset: u32) -> u16 {
        self.1.twist(self.0.read16(offset).into()) as u16
    }
    fn write16(&self, offset: u32, value: u16) {
        self.0.write16(offset, value);
    }
    fn read8(&self, offset: u32) -> u8 {
        self.1.twist(self.0.read8(offset).into()) as u8
    }
    fn write8(&self, offset: u32, value: u8) {
        self.0.write8(offset, value);
    }
    fn delay(&self, duration: Duration) {
        self.0.delay(duration);
    }
}

/// The device's memory, of which the liar knows everything.
struct Memory(Arc<dyn DmaMap>, Arc<Liar>);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl DmaMap for Memory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let layout = self.0.map(region)?;
        self.1.regions.lock().unwrap().push(Arc::clone(region));
        Ok(layout)
    }

    fn unmap(&self, region: &Arc<DmaRegion>, layout: &Layout) {
        let mut regions = self.1.regions.lock().unwrap();
        regions.retain(|mapped| !Arc::ptr_eq(mapped, region));
        self.0.unmap(region, layout);
    }
}

struct LyingFunction(VirtioFunction, Arc<Liar>);

impl PciFunction for LyingFunction {
    type Bar = LyingBar;
    fn name(&self) -> &'static str {
        "liar"
    }
    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        let value = self.0.config_read32(offset)?;
        // the IDs choose the driver
        Ok(if offset == 0 {
            value
        } else {
            self.1.twist(value)
        })
    }
    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        self.0.config_write32(offset, value)
    }
    fn bar(&self, index: u8) -> Result<LyingBar, BusError> {
        Ok(LyingBar(self.0.bar(index)?, Arc::clone(&self.1)))
    }
    fn dma(&self) -> Arc<dyn DmaMap> {
        Arc::new(Memory(self.0.dma(), Arc::clone(&self.1)))
    }
}

/// Reads every byte that the driver hands out, and checks that they are a buffer's.
fn look_at(batch: &mut Batch, pool: &Pool) {
    let start = pool.region().address().get();
    let end = start + pool.region().len();
    for packet in batch.iter() {
        assert!(packet.len() <= 64 * 4096);
        for segment in packet.segments() {
            let at = segment.as_ptr().addr();
            assert!(at >= start && at + segment.len() <= end);
        }
        let bytes = packet.len() as u64;
        assert!(packet.offload().fits(bytes), "{:?}", packet.offload());
    }
    for mut packet in batch.iter_mut() {
        packet.bytes_mut().fill(0xa5);
    }
}

/// Plays a script and returns how many frames came.
fn play(script: &[u8]) -> usize {
    let choice = script.first().copied().unwrap_or(0);
    let honest_first = choice & 1 == 0;
    let mut features = VirtioConfig::ALL_FEATURES;
    for (bit, feature) in [
        (1, f::RING_PACKED),
        (2, f::IN_ORDER),
        (3, f::EVENT_IDX),
        (4, f::NET_MRG_RXBUF),
        (5, f::NET_RSS),
    ] {
        features &= if choice >> bit & 1 == 0 { !feature } else { !0 };
    }
    let nic = VirtioConfig {
        interface: if choice >> 6 & 1 == 0 {
            Interface::Modern
        } else {
            Interface::Transitional
        },
        features,
        queue_pairs: 2,
        queue_size: 16,
        shuffled: choice >> 7 == 1,
        ..VirtioConfig::default()
    };
    let nic = VirtioNic::new(nic, Loopback::new());
    let pool = Pool::new(PoolConfig {
        buffers: 200,
        pages: Pages::Ordinary,
        ..PoolConfig::default()
    });
    let pool = pool.unwrap();
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        pool: Some(pool.clone()),
        pages: Pages::Ordinary,
        promiscuous: true,
        all_multicast: true,
        offloads: barewire::Offloads {
            receive_checksum: true,
            coalescing: true,
            transmit_checksum: true,
            segmentation: true,
        },
        ..PortConfig::default()
    };
    let liar = Arc::new(Liar {
        lies: script.get(1).copied().unwrap_or(0) >> 2,
        ..Liar::default()
    });
    let body = Script::new(script.get(2..).unwrap_or_default());
    if !honest_first {
        *liar.script.lock().unwrap() = body;
        drop(Port::open(
            LyingFunction(nic.function(), Arc::clone(&liar)),
            &config,
        ));
        assert_eq!(pool.free(), pool.buffers(), "buffers were lost or doubled");
        return 0;
    }
    let function = LyingFunction(nic.function(), Arc::clone(&liar));
    let mut port = Port::open(function, &config).expect("an honest device opens");
    let mut rx: Vec<_> = (0..2).filter_map(|n| port.take_rx(n)).collect();
    let mut tx: Vec<_> = (0..2).filter_map(|n| port.take_tx(n)).collect();
    *liar.script.lock().unwrap() = body;
    let mut batch = Batch::new(32);
    let mut received = 0;
    while !liar.script.lock().unwrap().over() {
        let action = liar.script.lock().unwrap().byte();
        let queue = usize::from(action >> 7);
        match action & 15 {
            0..=3 => liar.write(),
            4..=6 => {
                received += rx[queue].receive(&mut batch).unwrap_or(0);
                look_at(&mut batch, &pool);
            }
            7 | 8 => drop(tx[queue].send(&mut batch)),
            9 => {
                for _ in 0..4 {
                    let len = 60 + usize::from(action) * 4;
                    let packet = pool.packet(&vec![action; len]);
                    if let Some(packet) = packet {
                        drop(batch.push(packet));
                    }
                }
            }
            10 => batch.clear(),
            11 => {
                drop(port.link());
                drop(port.statistics());
            }
            12 => {
                drop(port.set_promiscuous(action & 16 == 0, action & 32 == 0));
                drop(port.set_multicast_filter(&[[1, 0, 0, 0, 0, action]]));
            }
            13 => drop(rx[queue].arm()),
            14 => drop(tx[queue].reclaim()),
            _ => drop((0..8).map(|_| nic.step()).collect::<Vec<_>>()),
        }
    }
    // the script is over: the device is honest, so it stops and everything comes back
    drop((rx, tx, port, batch));
    assert_eq!(pool.free(), pool.buffers(), "buffers were lost or doubled");
    assert!(
        liar.regions.lock().unwrap().is_empty(),
        "memory stays mapped"
    );
    received
}

#[test]
fn a_lying_virtio_device_does_no_harm() {
    let received = AtomicUsize::new(0);
    bolero::check!()
        .with_type::<Vec<u8>>()
        .with_max_len(2048)
        .for_each(|script| {
            received.fetch_add(play(script), Ordering::Relaxed);
        });
}

/// The fuzz target above is worth something only if frames get through at all.
#[test]
fn frames_get_through_an_honest_script() {
    for choice in (0..=u8::MAX).step_by(2) {
        // make frames, send them, let the device work, receive from both queues
        let script = [choice, 0, 9, 7, 15, 15, 4, 0x84];
        assert_eq!(play(&script), 4, "{choice:#x}");
    }
}
