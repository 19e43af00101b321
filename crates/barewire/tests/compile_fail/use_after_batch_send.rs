//! Nor can bytes that were borrowed from a batch before it was sent.
use barewire::{Batch, TxQueue};

fn send(tx: &mut TxQueue, batch: &mut Batch) {
    let first = batch.iter().next().unwrap().bytes();
    tx.send(batch).unwrap();
    println!("{first:?}");
}

fn main() {}
