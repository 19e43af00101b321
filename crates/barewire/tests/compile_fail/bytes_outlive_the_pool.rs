//! A packet keeps its pool's memory; what is borrowed from the packet ends with it.
use barewire::{Pool, PoolConfig};

fn main() {
    let bytes: &[u8];
    {
        let pool = Pool::new(PoolConfig::default()).unwrap();
        let packet = pool.packet(b"short-lived").unwrap();
        bytes = packet.bytes();
    }
    println!("{bytes:?}");
}
