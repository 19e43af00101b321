//! While a frame is being changed nobody else reads it.
use barewire::Packet;

fn alias(packet: &mut Packet) {
    let writer = packet.bytes_mut();
    let reader = packet.bytes();
    writer[0] = reader[0];
}

fn main() {}
