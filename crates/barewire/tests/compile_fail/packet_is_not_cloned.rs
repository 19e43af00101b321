//! Nor can a second owner be made.
use barewire::Packet;

fn duplicate(packet: &Packet) -> Packet {
    packet.clone()
}

fn main() {}
