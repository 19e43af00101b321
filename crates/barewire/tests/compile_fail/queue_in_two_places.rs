//! Nor does a queue that went to a thread stay behind.
use barewire::{Batch, RxQueue};

fn poll(mut rx: RxQueue) {
    std::thread::spawn(move || rx.receive(&mut Batch::new(32)));
    rx.receive(&mut Batch::new(32)).unwrap();
}

fn main() {}
