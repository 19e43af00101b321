//! A packet can't be sent twice: it has one owner and no copy.
use barewire::{Batch, Packet};

fn send(batch: &mut Batch, packet: Packet) {
    batch.push(packet).unwrap();
    batch.push(packet).unwrap();
}

fn main() {}
