//! A port that sends what a program writes, and a far end that compares it.

use std::sync::Arc;

use anyhow::{Context, Result};
use barewire::{Batch, Pool, PoolConfig};
use barewire_sim::device::Device;
use barewire_sim::runner::Hand;
use barewire_sim::time::Nanos;
use barewire_sim::wire::{Duplex, Generator, Silence, Source, Touch, Train, Verifier, WireTotals};

use super::{Arguments, Card, Measured, measure, measured};

/// Turns without progress after which no more frames leave.
const QUIET: u32 = 1_000;

pub(super) fn run(arguments: &Arguments) -> Result<Measured> {
    let pattern = arguments.pattern()?;
    let mut generator = Generator::new(&pattern);
    let source = generator.control();
    let verifier = Verifier::new(&pattern, Touch::Unchanged);
    let arrived = verifier.counters();
    let mut card = Card::new(arguments, Duplex::new(Silence, verifier))?;
    let mut tx = (card.port.take_tx(0)).context("there is no transmit queue")?;
    let pool = Pool::new(PoolConfig::default())?;
    tx.attach(&pool)?;
    let device: Arc<dyn Device> = Arc::new(card.nic.clone());
    let hand = Hand::new(None, Some(&device));
    let mut batch = Batch::new(arguments.batch.into());
    let mut train = Train::new();
    let result = measure(arguments, || {
        if batch.is_empty() {
            batch.allocate(&pool, arguments.batch.into(), arguments.size);
            write(&mut generator, &mut train, &mut batch);
        }
        let sent = tx.send(&mut batch)?;
        hand.send();
        Ok(sent)
    })?;
    let mut quiet = 0;
    while quiet < QUIET && arrived.delivered.get() < source.counters().offered.get() {
        let sent = tx.send(&mut batch)?;
        quiet = if hand.send() || sent > 0 {
            0
        } else {
            quiet + 1
        };
    }
    drop(tx);
    card.stop()?;
    Ok(measured(
        result,
        WireTotals::read(source.counters(), &arrived),
    ))
}

/// Writes the generator's next frames into the packets of a batch.
fn write(generator: &mut Generator, train: &mut Train, batch: &mut Batch) {
    let mut left = batch.len();
    let mut packets = batch.iter_mut();
    while left > 0 {
        train.begin(left);
        generator.pull_train(Nanos::ZERO, left, train);
        for (frame, mut packet) in train.iter().zip(packets.by_ref()) {
            if let Some(room) = packet.bytes_mut().get_mut(..frame.len()) {
                room.copy_from_slice(frame);
            }
        }
        left = left.saturating_sub(train.len().max(1));
    }
}
