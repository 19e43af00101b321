//! A port that receives, and a program that compares what it gets.

use std::sync::Arc;

use anyhow::{Context, Result};
use barewire::Batch;
use barewire_sim::device::Device;
use barewire_sim::runner::Hand;
use barewire_sim::time::Nanos;
use barewire_sim::wire::{Discard, Duplex, Generator, Sink, Touch, Verifier, WireTotals};

use super::{Arguments, Card, Measured, measure, measured};

/// Turns without a frame after which no more come.
const QUIET: u32 = 1_000;

pub(super) fn run(arguments: &Arguments) -> Result<Measured> {
    let pattern = arguments.pattern()?;
    let generator = Generator::new(&pattern);
    let source = generator.control();
    let mut verifier = Verifier::new(&pattern, Touch::Unchanged);
    let mut card = Card::new(arguments, Duplex::new(generator, Discard::new()))?;
    let mut rx = card.port.take_rx(0).context("there is no receive queue")?;
    let device: Arc<dyn Device> = Arc::new(card.nic.clone());
    let hand = Hand::new(Some(&device), None);
    let mut batch = Batch::new(arguments.batch.into());
    let mut caught_up = true;
    let mut turn = || -> Result<usize> {
        // Frames that wait in the ring are taken first, while the caches have them.
        if caught_up {
            hand.receive();
        }
        let received = rx.receive(&mut batch)?;
        caught_up = received < batch.capacity();
        for packet in batch.iter() {
            verifier.push(Nanos::ZERO, packet.bytes());
        }
        batch.clear();
        Ok(received)
    };
    let result = measure(arguments, &mut turn)?;
    source.stop();
    let mut quiet = 0;
    while quiet < QUIET {
        quiet = if turn()? > 0 { 0 } else { quiet + 1 };
    }
    drop(rx);
    card.stop()?;
    let totals = WireTotals::read(source.counters(), &verifier.counters());
    Ok(measured(result, totals))
}
