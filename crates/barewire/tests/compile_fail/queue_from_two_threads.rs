//! A queue is one thread's at a time.
use barewire::{Batch, RxQueue};

fn poll(rx: &mut RxQueue) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| rx.receive(&mut Batch::new(32)));
        }
    });
}

fn main() {}
