//! What one port of a software 82599 carries when it only receives, or only sends.
//!
//! `cargo xtask bench throughput` runs it. The program that receives compares every byte of what its
//! port gives it; the program that sends writes every byte of what it hands over, and the far end
//! of its port's wire compares it. One thread does everything, the device's work too.
#![forbid(unsafe_code)]

mod receiver;
mod sender;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use barewire::{Port, PortConfig};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::Runner;
use barewire_sim::wire::{Pattern, Size, Wire, WireTotals};
use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Not measured: caches and branch predictors get warm.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long a link may take to come up.
const LINK_PATIENCE: Duration = Duration::from_secs(5);
/// Turns between two looks at the clock.
const LOOK: u32 = 64;

/// Measure what one port of a software 82599 carries alone.
#[derive(Parser)]
struct Arguments {
    /// What the port does
    work: Work,
    /// Measured time
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Frames of a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,
    /// Bytes of a frame without FCS
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(60..=1514))]
    size: u16,
    /// Descriptors of each ring
    #[arg(long, default_value_t = 512)]
    ring: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    Receive,
    Send,
}

/// What is printed, as far as it is the frames'; the same as `barewire forward --json` says.
#[derive(Debug, Serialize)]
struct Measured {
    /// Millions of frames a second.
    mpps: f64,
    seconds: f64,
    wire: Checked,
}

/// What became of all frames, those of the warm-up included.
#[derive(Debug, Serialize)]
struct Checked {
    offered: u64,
    delivered: u64,
    lost: u64,
    reordered: u64,
    corrupted: u64,
}

impl From<WireTotals> for Checked {
    fn from(totals: WireTotals) -> Self {
        Self {
            offered: totals.offered,
            delivered: totals.delivered,
            lost: totals.lost,
            reordered: totals.reordered,
            corrupted: totals.corrupted + totals.duplicated + totals.foreign,
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let measured = match arguments.work {
        Work::Receive => receiver::run(&arguments)?,
        Work::Send => sender::run(&arguments)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

impl Arguments {
    fn pattern(&self) -> Result<Pattern> {
        Ok(Pattern::new(0).size(Size::fixed(self.size.into())?))
    }
}

/// A card that runs, and its open port.
struct Card {
    nic: Nic,
    runner: Runner,
    port: Port,
}

impl Card {
    fn new(arguments: &Arguments, wire: impl Wire + 'static) -> Result<Self> {
        let nic = Nic::new(NicConfig::default(), wire);
        let runner = Runner::start([nic.clone()]).context("can't start the software card")?;
        let config = PortConfig {
            rx_ring: arguments.ring,
            tx_ring: arguments.ring,
            promiscuous: true,
            ..PortConfig::default()
        };
        let mut port = Port::open(nic.function(), &config)?;
        if !port.wait_for_link(LINK_PATIENCE)?.up {
            bail!("the link did not come up within {LINK_PATIENCE:?}");
        }
        // this thread steps the card from here on
        runner.relieve(true);
        Ok(Self { nic, runner, port })
    }

    /// Stops the port, then the card.
    ///
    /// # Errors
    /// When the driver has broken a rule.
    fn stop(mut self) -> Result<()> {
        self.runner.relieve(false);
        self.port.stop()?;
        self.runner.stop();
        match self.nic.violations().first() {
            Some(violation) => bail!("{}: {violation}", self.nic.name()),
            None => Ok(()),
        }
    }
}

/// Lets `turn` move frames for the time that is to be measured, after a while of warming up. Returns
/// the seconds that it took, and how many frames `turn` says there were.
fn measure(arguments: &Arguments, mut turn: impl FnMut() -> Result<usize>) -> Result<(f64, u64)> {
    let mut run = |time: Duration| -> Result<(f64, u64)> {
        let began = Instant::now();
        let mut frames = 0;
        loop {
            for _ in 0..LOOK {
                frames += turn()? as u64;
            }
            let passed = began.elapsed();
            if passed >= time {
                return Ok((passed.as_secs_f64(), frames));
            }
        }
    };
    run(WARM_UP)?;
    run(Duration::from_secs(arguments.seconds.max(1)))
}

#[allow(clippy::cast_precision_loss)] // far below 2⁵³
fn measured((seconds, frames): (f64, u64), totals: WireTotals) -> Measured {
    Measured {
        mpps: frames as f64 / 1e6 / seconds,
        seconds,
        wire: totals.drained().into(),
    }
}
