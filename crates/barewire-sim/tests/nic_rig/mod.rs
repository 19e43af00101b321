//! A program that follows the datasheet step by step.
#![allow(dead_code)] // each test file uses its own part
#![allow(unreachable_pub)]

#[path = "../wire_script/mod.rs"]
mod wire_script;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaMap, DmaRegion, Layout, Pages};
use barewire_sim::nic::{Nic, NicBar, NicConfig, NicFunction};
use barewire_sim::violation::Rule;
use barewire_spec::ixgbe::descriptor::rx::{Info, Status};
use barewire_spec::ixgbe::descriptor::tx::Data;
use barewire_spec::ixgbe::*;
use barewire_spec::pci::config;

pub use self::wire_script::*;

/// Bytes between the buffers of a ring.
pub const STRIDE: usize = 2048;

/// A ring and its buffers in memory the device can see.
pub struct Ring {
    pub region: Arc<DmaRegion>,
    pub base: u64,
    pub count: usize,
    pub next: usize,
}

impl Ring {
    pub fn buffer(&self, index: usize) -> u64 {
        self.base + (self.count * 16 + index * STRIDE) as u64
    }

    pub fn put(&self, index: usize, words: [u64; 2]) {
        let cells = &self.region.words()[index * 2..][..2];
        cells[0].store(words[0], Ordering::Relaxed);
        cells[1].store(words[1], Ordering::Relaxed);
    }

    pub fn get(&self, index: usize) -> [u64; 2] {
        let cells = &self.region.words()[index * 2..][..2];
        let second = cells[1].load(Ordering::Acquire);
        [cells[0].load(Ordering::Relaxed), second]
    }

    pub fn bytes(&self, index: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let offset = self.count * 16 + index * STRIDE;
        self.region.device_read(offset, &mut bytes).unwrap();
        bytes
    }

    pub fn fill(&self, index: usize, bytes: &[u8]) {
        let offset = self.count * 16 + index * STRIDE;
        self.region.device_write(offset, bytes).unwrap();
    }
}

/// A frame as a driver found it.
#[derive(Clone, Debug)]
pub struct Received {
    pub bytes: Vec<u8>,
    pub info: Info,
    pub status: Status,
    pub descriptors: usize,
}

pub struct Rig {
    pub nic: Nic,
    pub function: NicFunction,
    pub bar: NicBar,
    pub dma: Arc<dyn DmaMap>,
    pub wire: Script,
}

pub fn rig() -> Rig {
    Rig::new(NicConfig::default())
}

impl Rig {
    pub fn new(config: NicConfig) -> Self {
        let wire = Script::default();
        Self::over(Nic::new(config, wire.clone()), wire)
    }

    pub fn over(nic: Nic, wire: Script) -> Self {
        let function = nic.function();
        let bar = function.bar(0).unwrap();
        let dma = function.dma();
        Self {
            nic,
            function,
            bar,
            dma,
            wire,
        }
    }

    pub fn read(&self, register: &Register, index: u32) -> u32 {
        self.bar.read32(register.at(index))
    }

    pub fn write(&self, register: &Register, index: u32, value: u32) {
        self.bar.write32(register.at(index), value);
    }

    pub fn wait(&self, millis: u64) {
        self.bar.delay(Duration::from_millis(millis));
    }

    pub fn run(&self) {
        self.nic.run_for(Duration::from_micros(50));
    }

    pub fn enable_bus_master(&self) {
        let command = self.function.config_read32(config::COMMAND).unwrap();
        let master = u32::from(config::command::BUS_MASTER);
        self.function
            .config_write32(config::COMMAND, command | master)
            .unwrap();
    }

    /// Reset, waits, filters cleared, link up, receive path ready but off (82599 §4.6.3).
    pub fn init(&self) {
        self.enable_bus_master();
        self.write(&EIMC, 0, EIMC_ALL);
        self.write(&CTRL, 0, 4);
        assert!(!general::Status::from_bits(self.read(&STATUS, 0)).pcie_master_enable_status());
        self.write(&CTRL, 0, Ctrl::new().with_rst(true).into_bits());
        self.wait(10);
        assert_eq!(self.read(&CTRL, 0), 0);
        self.write(&EIMC, 0, EIMC_ALL);
        assert!(Eec::from_bits(self.read(&EEC, 0)).auto_rd());
        assert!(Rdrxctl::from_bits(self.read(&RDRXCTL, 0)).dmaidone());
        for table in [&MTA, &VFTA] {
            for index in 0..table.count() {
                self.write(table, index, 0);
            }
        }
        for _ in 0..10 {
            if Links::from_bits(self.read(&LINKS, 0)).link_up() {
                break;
            }
            self.wait(10);
        }
        assert!(self.nic.link().up);
        let rdrxctl = Rdrxctl::from_bits(self.read(&RDRXCTL, 0))
            .as_prescribed()
            .with_crcstrip(true);
        self.write(&RDRXCTL, 0, rdrxctl.into_bits());
        let hlreg0 = Hlreg0::from_bits(self.read(&HLREG0, 0))
            .with_rxcrcstrp(true)
            .with_txpaden(true);
        self.write(&HLREG0, 0, hlreg0.into_bits());
        self.write(&DTXMXSZRQ, 0, 0xFFF);
        self.write(&FCTRL, 0, Fctrl::new().with_bam(true).into_bits());
        let dmatxctl = Dmatxctl::from_bits(self.read(&DMATXCTL, 0)).with_te(true);
        self.write(&DMATXCTL, 0, dmatxctl.into_bits());
        self.clear_counters();
    }

    pub fn clear_counters(&self) {
        for register in table::all().filter(|register| register.mode == Mode::ReadClear) {
            for index in 0..register.count() {
                self.read(register, index);
            }
        }
    }

    pub fn start_receiving(&self) {
        self.write(&RXCTRL, 0, 1);
    }

    pub fn memory(&self, bytes: usize) -> (Arc<DmaRegion>, u64) {
        let region = DmaRegion::allocate(bytes, Pages::Ordinary).unwrap();
        let Layout::Linear(base) = self.dma.map(&region).unwrap() else {
            panic!("a software device maps regions in one piece");
        };
        (region, base.get())
    }

    pub fn ring(&self, count: usize) -> Ring {
        let (region, base) = self.memory(count * (16 + STRIDE));
        Ring {
            region,
            base,
            count,
            next: 0,
        }
    }

    fn place(&self, ring: &Ring, [low, high, length]: [&Register; 3], queue: u32) {
        self.write(low, queue, ring.base as u32);
        self.write(high, queue, (ring.base >> 32) as u32);
        self.write(length, queue, (ring.count * 16) as u32);
    }

    /// A receive queue with all but one descriptor given to the device (82599 §4.6.7.1).
    pub fn rx_queue(&self, queue: u32, count: usize, srrctl: Srrctl) -> Ring {
        let ring = self.ring(count);
        self.place(&ring, [&RDBAL, &RDBAH, &RDLEN], queue);
        self.write(&SRRCTL, queue, srrctl.into_bits());
        for index in 0..count {
            ring.put(index, [ring.buffer(index), 0]);
        }
        let rxdctl = Rxdctl::from_bits(self.read(&RXDCTL, queue)).with_enable(true);
        self.write(&RXDCTL, queue, rxdctl.into_bits());
        self.wait(1);
        assert!(Rxdctl::from_bits(self.read(&RXDCTL, queue)).enable());
        self.write(&RDT, queue, count as u32 - 1);
        ring
    }

    /// A transmit queue (82599 §4.6.8.1).
    pub fn tx_queue(&self, queue: u32, count: usize) -> Ring {
        let ring = self.ring(count);
        self.place(&ring, [&TDBAL, &TDBAH, &TDLEN], queue);
        let txdctl = Txdctl::new().with_enable(true);
        self.write(&TXDCTL, queue, txdctl.into_bits());
        self.wait(1);
        assert!(Txdctl::from_bits(self.read(&TXDCTL, queue)).enable());
        ring
    }

    /// Posts a frame in one buffer and moves the tail.
    pub fn post(&self, ring: &mut Ring, queue: u32, frame: &[u8]) -> usize {
        let index = ring.next;
        ring.fill(index, frame);
        let data = Data::whole_packet(frame.len() as u16).with_rs(true);
        self.post_words(ring, queue, [ring.buffer(index), data.into_bits()]);
        index
    }

    /// Posts a descriptor and moves the tail.
    pub fn post_words(&self, ring: &mut Ring, queue: u32, words: [u64; 2]) {
        ring.put(ring.next, words);
        ring.next = (ring.next + 1) % ring.count;
        self.write(&TDT, queue, ring.next as u32);
    }

    /// Takes the next whole frame out of a receive ring, and gives the descriptors back.
    pub fn take(&self, ring: &mut Ring, queue: u32) -> Option<Received> {
        let mut bytes = Vec::new();
        let mut index = ring.next;
        let mut descriptors = 0;
        loop {
            let [info, status] = ring.get(index);
            let (info, status) = (Info::from_bits(info), Status::from_bits(status));
            if !status.dd() {
                return None;
            }
            descriptors += 1;
            bytes.extend(ring.bytes(index, status.pkt_len().into()));
            let last = index;
            index = (index + 1) % ring.count;
            if status.eop() {
                while ring.next != index {
                    ring.put(ring.next, [ring.buffer(ring.next), 0]);
                    ring.next = (ring.next + 1) % ring.count;
                }
                self.write(&RDT, queue, last as u32);
                return Some(Received {
                    bytes,
                    info,
                    status,
                    descriptors,
                });
            }
        }
    }

    pub fn assert_clean(&self) {
        let violations = self.nic.violations();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }

    /// Asserts that exactly one rule was broken, and with what.
    pub fn assert_violation(&self, rule: Rule, what: &str) {
        let violations = self.nic.violations();
        assert_eq!(violations.len(), 1, "{violations:#?}");
        assert_eq!(violations[0].rule, rule, "{}", violations[0]);
        assert!(violations[0].what.contains(what), "{}", violations[0]);
        assert!(violations[0].section.starts_with("82599 §"));
        assert!(!violations[0].to_string().contains('\n'));
    }
}

pub fn one_buffer() -> Srrctl {
    Srrctl::from_bits(SRRCTL.reset)
        .with_bsizepacket(2)
        .with_desctype(desctype::ADVANCED_ONE_BUFFER)
}
