//! How fast the software 82599 is by itself: one thread that steps the device and plays a driver
//! which hands every received buffer to the transmit ring.
//!
//! `cargo run --release -p barewire-sim --example nic_speed`
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // small numbers, for people

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use barewire_sim::nic::{Nic, NicBar, NicConfig};
use barewire_sim::time::Nanos;
use barewire_sim::wire::Wire;
use barewire_spec::ixgbe::descriptor::rx::Status;
use barewire_spec::ixgbe::descriptor::tx::Data;
use barewire_spec::ixgbe::{
    CTRL, DMATXCTL, Dmatxctl, FCTRL, Fctrl, HLREG0, Hlreg0, MRQC, Mrqc, RDBAH, RDBAL, RDLEN,
    RDRXCTL, RDT, RXCTRL, RXDCTL, Rdrxctl, Register, Rxdctl, SRRCTL, Srrctl, TDBAH, TDBAL, TDLEN,
    TDT, TXDCTL, Txdctl, desctype, mrqe,
};
use barewire_spec::pci::config;

const RING: usize = 512;
/// Not a power of two: buffers would fall into a few sets of the caches.
const STRIDE: usize = 2048 + 64;
const FRAMES: u64 = 20_000_000;
/// As many under a profiler.
const FEW: u64 = 200_000;

/// Always has the same frame, and counts.
struct Endless {
    frame: Vec<u8>,
    left: u64,
}

impl Wire for Endless {
    fn pull(&mut self, _: Nanos, room: bool, frame: &mut Vec<u8>) -> bool {
        if !room {
            return false;
        }
        frame.clear();
        frame.extend_from_slice(&self.frame);
        true
    }

    fn push(&mut self, _: Nanos, frame: &[u8]) {
        self.left += u64::from(frame[5] & 1) | 1;
    }
}

fn place(bar: &NicBar, registers: [&Register; 3], base: u64) {
    let [low, high, length] = registers;
    let halves = base.to_le_bytes();
    let (first, second) = halves.split_at(4);
    let half = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0u32, |all, byte| all << 8 | u32::from(*byte))
    };
    bar.write32(low.at(0), half(first));
    bar.write32(high.at(0), half(second));
    bar.write32(length.at(0), RING as u32 * 16);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut frame = vec![0u8; 60];
    frame[..6].copy_from_slice(&NicConfig::default().mac);
    frame[12] = 8;
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame[38..40].copy_from_slice(&[0, 26]);
    let nic = Nic::new(NicConfig::default(), Endless { frame, left: 0 });
    let function = nic.function();
    let bar = function.bar(0)?;
    function.config_write32(config::COMMAND, 6)?;
    bar.write32(CTRL.at(0), 1 << 26);
    bar.delay(Duration::from_millis(50));
    let rdrxctl = Rdrxctl::from_bits(bar.read32(RDRXCTL.at(0))).as_prescribed();
    bar.write32(RDRXCTL.at(0), rdrxctl.with_crcstrip(true).into_bits());
    let hlreg0 = Hlreg0::from_bits(bar.read32(HLREG0.at(0))).with_rxcrcstrp(true);
    bar.write32(HLREG0.at(0), hlreg0.into_bits());
    bar.write32(FCTRL.at(0), Fctrl::new().with_upe(true).into_bits());
    if std::env::args().any(|argument| argument == "rss") {
        let mrqc = Mrqc::new()
            .with_mrqe(mrqe::RSS)
            .with_ipv4(true)
            .with_udp_ipv4(true);
        bar.write32(MRQC.at(0), mrqc.into_bits());
    }

    let region = DmaRegion::allocate(RING * (32 + STRIDE), Pages::PreferHuge)?;
    let Layout::Linear(base) = function.dma().map(&region)? else {
        return Err("not linear".into());
    };
    let base = base.get();
    let buffer = |index: usize| base + (RING * 32 + index * STRIDE) as u64;
    place(&bar, [&RDBAL, &RDBAH, &RDLEN], base);
    place(&bar, [&TDBAL, &TDBAH, &TDLEN], base + RING as u64 * 16);
    let srrctl = Srrctl::from_bits(SRRCTL.reset)
        .with_bsizepacket(2)
        .with_desctype(desctype::ADVANCED_ONE_BUFFER);
    bar.write32(SRRCTL.at(0), srrctl.into_bits());
    let dmatxctl = Dmatxctl::from_bits(bar.read32(DMATXCTL.at(0))).with_te(true);
    bar.write32(DMATXCTL.at(0), dmatxctl.into_bits());
    bar.write32(RXDCTL.at(0), Rxdctl::new().with_enable(true).into_bits());
    bar.write32(TXDCTL.at(0), Txdctl::new().with_enable(true).into_bits());
    bar.delay(Duration::from_millis(1));
    let words = region.words();
    for index in 0..RING {
        words[index * 2].store(buffer(index), Ordering::Relaxed);
        words[index * 2 + 1].store(0, Ordering::Relaxed);
    }
    bar.write32(RDT.at(0), RING as u32 - 1);
    bar.write32(RXCTRL.at(0), 1);

    let few = std::env::args().any(|argument| argument == "few");
    let frames = if few { FEW } else { FRAMES };
    let mut next = 0;
    let mut moved = 0u64;
    let mut inside = Duration::ZERO;
    let start = Instant::now();
    while moved < frames {
        let before = Instant::now();
        nic.step();
        inside += before.elapsed();
        let mut batch = 0;
        loop {
            let status = words[next * 2 + 1].load(Ordering::Acquire);
            if status & Status::DD == 0 {
                break;
            }
            let length = Status::from_bits(status).pkt_len();
            words[next * 2].store(buffer(next), Ordering::Relaxed);
            words[next * 2 + 1].store(0, Ordering::Relaxed);
            let data = Data::whole_packet(length).with_rs(next % 32 == 31);
            words[(RING + next) * 2].store(buffer(next), Ordering::Relaxed);
            words[(RING + next) * 2 + 1].store(data.into_bits(), Ordering::Relaxed);
            next = (next + 1) % RING;
            batch += 1;
        }
        if batch > 0 {
            moved += batch;
            bar.write32(TDT.at(0), next as u32);
            bar.write32(RDT.at(0), ((next + RING - 1) % RING) as u32);
        }
    }
    let all = start.elapsed();
    let each = |time: Duration| time.as_secs_f64() * 1e9 / moved as f64;
    println!(
        "{moved} frames in and out: {:.1} ns each, of which {:.1} ns in the device ({:.1} Mpps)",
        each(all),
        each(inside),
        1e3 / each(all)
    );
    for violation in nic.violations() {
        println!("{violation}");
    }
    Ok(())
}
