//! A receive queue under tokio: frames are echoed while the rest of the program does other things,
//! all on one thread, which sleeps when nothing is to be done.
//!
//! `cargo run --example tokio_echo` sends 1,000 frames, one every 100 µs, to a software card whose
//! port is echoed. On a card of silicon only the first line of `main` would differ.
#![allow(missing_docs)]

use std::time::Duration;

use barewire::{Batch, Error, Port, PortConfig, RxQueue, TxQueue};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::Runner;
use barewire_sim::wire::{Duplex, Generator, Pattern, Rate, Touch, Verifier};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const FRAMES: u64 = 1_000;
/// Ticks of 10 ms after which nothing more is expected.
const PATIENCE: u32 = 1_000;

/// Sends back what comes in, for ever.
async fn echo(rx: RxQueue, mut tx: TxQueue) -> Result<(), Error> {
    let mut batch = Batch::new(32);
    #[expect(
        deprecated,
        reason = "what it asks for holds: the queue keeps its descriptor open"
    )]
    let mut rx = AsyncFd::with_interest(rx, Interest::READABLE).map_err(Error::Wait)?;
    loop {
        while rx.get_mut().receive(&mut batch)? > 0 {
            while !batch.is_empty() {
                tx.send(&mut batch)?;
            }
            tokio::task::yield_now().await; // under load others want a turn too
        }
        // arm, and sleep only if nothing has come since the last look
        if rx.get_mut().arm()? {
            rx.readable().await.map_err(Error::Wait)?.clear_ready();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pattern = Pattern::new(1);
    let generator = Generator::new(&pattern)
        .rate("10kpps".parse::<Rate>()?)
        .from_first_room()
        .limit(FRAMES);
    let verifier = Verifier::new(&pattern, Touch::Unchanged);
    let seen = verifier.counters();
    let nic = Nic::new(NicConfig::default(), Duplex::new(generator, verifier));

    let config = PortConfig {
        promiscuous: true,
        interrupts: true,
        ..PortConfig::default()
    };
    let mut port = Port::open(nic.function(), &config)?;
    let (Some(rx), Some(tx)) = (port.take_rx(0), port.take_tx(0)) else {
        return Err("no queues".into());
    };
    port.wait_for_link(Duration::from_secs(5))?;
    let _runner = Runner::start(vec![nic.clone()])?;

    let mut ticks = 0;
    let mut ticker = tokio::time::interval(Duration::from_millis(10));
    let echo = echo(rx, tx);
    tokio::pin!(echo);
    // frames that a busy machine was too slow for are dropped
    while seen.delivered.get() < FRAMES && ticks < PATIENCE {
        tokio::select! {
            result = &mut echo => result?,
            _ = ticker.tick() => ticks += 1,
        }
    }
    println!(
        "{} frames echoed, {} lost, {} violations, while {ticks} ticks of 10 ms went by",
        seen.delivered.get(),
        seen.lost.get(),
        nic.violation_count()
    );
    Ok(())
}
