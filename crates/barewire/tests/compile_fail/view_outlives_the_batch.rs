//! A view of a packet ends with the batch that owns it.
use barewire::{Batch, PacketMut};

fn keep() -> PacketMut<'static> {
    let mut batch = Batch::new(1);
    batch.iter_mut().next().unwrap()
}

fn main() {}
