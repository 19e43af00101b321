//! The latency of every forwarded packet, through two software 82599s and the driver.
//!
//! `cargo xtask bench latency` runs it once for each load. A frame carries the moment at which it
//! was due on the wire; when it leaves at the far end, what has passed since is its latency. So a
//! source that comes too late makes frames older, as a queue in front of the device would.
#![forbid(unsafe_code)]

mod forwarder;
mod result;
mod ticks;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use barewire::{Port, PortConfig, WaitMode};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::Runner;
use clap::{Parser, ValueEnum};

use result::Measured;
use ticks::Ticks;
use traffic::{Shared, Traffic};

/// Not measured: caches and branch predictors get warm.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long frames may be on their way after the source has stopped.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a link may take to come up.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// Measure the latency of forwarded frames through two software 82599s.
#[derive(Parser)]
struct Arguments {
    /// How the receive queues are waited for
    #[arg(long, default_value = "poll")]
    mode: Mode,
    /// Frames per second on each wire; 0 gives frames whenever there is room for them
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Measured time
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Frames taken at a time, at most
    #[arg(long, default_value_t = 32)]
    batch: u16,
    /// Descriptors of each ring
    #[arg(long, default_value_t = 512)]
    ring: u16,
}

/// How receive queues are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Asked all the time.
    Poll,
    /// Asked when an interrupt says that there is something.
    Interrupt,
    /// Asked all the time under load, and by interrupt when idle.
    Adaptive,
}

impl Mode {
    const fn wait_mode(self) -> WaitMode {
        match self {
            Self::Poll => WaitMode::Poll,
            Self::Interrupt => WaitMode::Interrupt,
            Self::Adaptive => WaitMode::Adaptive,
        }
    }
}

fn main() -> Result<()> {
    let measured = run(&Arguments::parse())?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn run(arguments: &Arguments) -> Result<Measured> {
    let ticks = Ticks::calibrated();
    let shared = Arc::new(Shared::default());
    let nics: [Nic; 2] = [0, 1].map(|number: u8| {
        let config = NicConfig {
            name: format!("sim{number}"),
            mac: [0x02, 0x42, 0x57, 0x00, 0x00, number + 1],
            ..NicConfig::default()
        };
        let traffic = Traffic::new(ticks, arguments.rate, number, &shared);
        Nic::new(config, traffic)
    });
    let runner = Runner::start(nics.to_vec()).context("can't start the software cards")?;
    let mut ports = Vec::new();
    for nic in &nics {
        ports.push(open(nic, arguments)?);
    }
    let forwarder =
        forwarder::Forwarder::start(&mut ports, arguments.batch, arguments.mode.wait_mode())?;

    shared.run(ticks.now());
    std::thread::sleep(WARM_UP);
    shared.record_from.store(ticks.now(), Ordering::Release);
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    shared.stop(ticks.now());
    let seconds = began.elapsed();
    let drain = Instant::now();
    while shared.on_the_way() > 0 && drain.elapsed() < DRAIN {
        std::thread::sleep(Duration::from_millis(1));
    }
    let sleeps = forwarder.stop()?;
    for mut port in ports {
        port.stop()?;
    }
    runner.stop();
    for nic in &nics {
        if let Some(violation) = nic.violations().first() {
            bail!("{}: {violation}", nic.name());
        }
    }
    drop(nics); // and with them the wires, which leave their histograms behind
    Measured::new(&shared, ticks, seconds, sleeps, arguments)
}

fn open(nic: &Nic, arguments: &Arguments) -> Result<Port> {
    let config = PortConfig {
        rx_ring: arguments.ring,
        tx_ring: arguments.ring,
        promiscuous: true,
        all_multicast: true,
        // as in the paper: a full ring drops, and no frame waits in the device; but where the port's
        // room sets the pace, none is dropped
        drop_enable: arguments.rate > 0,
        interrupts: arguments.mode != Mode::Poll,
        ..PortConfig::default()
    };
    let mut port = Port::open(nic.function(), &config)?;
    if !port.wait_for_link(LINK_PATIENCE)?.up {
        bail!("{}: the link did not come up", nic.name());
    }
    Ok(port)
}
