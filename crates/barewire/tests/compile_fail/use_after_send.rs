//! A packet that was given away can't be read any more.
use barewire::{Batch, Packet, TxQueue};

fn send(tx: &mut TxQueue, batch: &mut Batch, packet: Packet) {
    batch.push(packet).unwrap();
    tx.send(batch).unwrap();
    println!("{:?}", packet.bytes());
}

fn main() {}
