//! Every interleaving of a driver and a device that hand a buffer to and fro through a ring.
//!
//! Buffers, and descriptors that the driver fills, are cells that complain when two threads touch
//! them without an order between them, so a relaxed load of the done bit, or a tail write that is no
//! release, makes these tests fail.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

use barewire_dma::{Packed, Piece, QueueFeatures, Ring, Split, Virtqueue, Word};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::thread;

const DONE: u64 = 1;

/// A word that the driver fills as plain memory while it is its own, and that both sides reach as
/// an atomic otherwise.
struct LoomWord {
    word: AtomicU64,
    /// Complains when a plain access has no order to every other access.
    plain: UnsafeCell<()>,
}

impl Word for LoomWord {
    fn load(&self, ordering: Ordering) -> u64 {
        // the order is taken from the word first: an acquire counts for the access itself
        let value = self.word.load(ordering);
        self.plain.with(|_| ());
        value
    }
    fn store(&self, value: u64, ordering: Ordering) {
        self.plain.with(|_| ());
        self.word.store(value, ordering);
    }
    fn full_fence() {
        fence(Ordering::SeqCst);
    }
}

impl LoomWord {
    fn fill(&self, value: u64) {
        self.plain.with_mut(|_| ());
        self.word.store(value, Ordering::Relaxed);
    }
}

/// What driver and device share: a ring of two descriptors, a tail register, and the two buffers.
struct Shared {
    words: Vec<LoomWord>,
    tail: AtomicU32,
    buffers: [UnsafeCell<u64>; 2],
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            words: std::iter::repeat_with(|| LoomWord {
                word: AtomicU64::new(0),
                plain: UnsafeCell::new(()),
            })
            .take(4)
            .collect(),
            tail: AtomicU32::new(0),
            buffers: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn ring(&self) -> Ring<'_, LoomWord> {
        Ring::new(&self.words).unwrap()
    }

    /// The driver fills a descriptor of its own.
    fn fill(&self, position: usize, words: [u64; 2]) {
        for (n, word) in words.into_iter().enumerate() {
            self.words[position % 2 * 2 + n].fill(word);
        }
    }

    fn wait_for_tail(&self, tail: u32) {
        while self.tail.load(Ordering::Acquire) < tail {
            thread::yield_now();
        }
    }

    fn wait_for_done(&self, position: usize) {
        while self.ring().status(position) & DONE == 0 {
            thread::yield_now();
        }
    }

    fn touch(&self, buffer: usize, change: impl FnOnce(&mut u64)) {
        self.buffers[buffer].with_mut(|value| {
            // SAFETY: loom runs one thread at a time and itself reports an access without order.
            #[allow(unsafe_code)]
            change(unsafe { &mut *value });
        });
    }
}

#[test]
fn a_received_frame_is_complete_when_its_done_bit_is_seen() {
    loom::model(|| {
        let shared = Shared::new();
        let device = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for position in 0..2 {
                    shared.wait_for_tail(position as u32 + 1);
                    let [address, _] = shared.ring().fetch(position);
                    shared.touch(address as usize, |frame| *frame = 7 + position as u64);
                    shared.ring().write_back(position, [0, DONE]);
                }
            })
        };
        for position in 0..2 {
            shared.fill(position, [position as u64, 0]);
            shared.tail.store(position as u32 + 1, Ordering::Release);
        }
        for position in 0..2 {
            shared.wait_for_done(position);
            shared.touch(position, |frame| assert_eq!(*frame, 7 + position as u64));
        }
        device.join().unwrap();
    });
}

#[test]
fn the_last_done_bit_stands_for_all_before_it() {
    loom::model(|| {
        let shared = Shared::new();
        let device = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.wait_for_tail(2);
                for position in 0..2 {
                    shared.touch(position, |frame| *frame = 9);
                    shared.ring().write_back(position, [position as u64, DONE]);
                }
            })
        };
        shared.fill(0, [0, 0]);
        shared.fill(1, [1, 0]);
        shared.tail.store(2, Ordering::Release);
        shared.wait_for_done(1);
        assert_eq!(shared.ring().second(0), DONE);
        for position in 0..2 {
            assert_eq!(shared.ring().first(position), position as u64);
            shared.touch(position, |frame| assert_eq!(*frame, 9));
        }
        device.join().unwrap();
    });
}

#[test]
fn a_sent_frame_is_complete_for_the_device_and_its_buffer_is_free_afterwards() {
    loom::model(|| {
        let shared = Shared::new();
        let device = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.wait_for_tail(1);
                let [address, _] = shared.ring().fetch(0);
                shared.touch(address as usize, |frame| assert_eq!(*frame, 5));
                shared.ring().write_back(0, [0, DONE]);
            })
        };
        shared.touch(1, |frame| *frame = 5);
        shared.fill(0, [1, 0]);
        shared.tail.store(1, Ordering::Release);
        shared.wait_for_done(0);
        shared.touch(1, |frame| *frame = 6);
        device.join().unwrap();
    });
}

/// The descriptor that was received through is filled again for the next frame: the device must
/// have finished writing it.
#[test]
fn a_descriptor_is_filled_again_only_after_the_device_is_done_with_it() {
    loom::model(|| {
        let shared = Shared::new();
        let device = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for round in 0..2 {
                    shared.wait_for_tail(round + 1);
                    let [address, _] = shared.ring().fetch(0);
                    assert_eq!(address, u64::from(round));
                    shared.ring().write_back(0, [9, DONE]);
                }
            })
        };
        for round in 0..2 {
            shared.fill(0, [round, 0]);
            shared.tail.store(round as u32 + 1, Ordering::Release);
            shared.wait_for_done(0);
        }
        device.join().unwrap();
    });
}

/// What the driver and the device of a virtqueue share: its memory, the buffer behind its one
/// chain, and whether the device was told, or has interrupted.
struct Queue {
    words: Vec<LoomWord>,
    buffer: UnsafeCell<u64>,
    kicked: AtomicU32,
    interrupted: AtomicU32,
}

const SIZE: u16 = 2;

impl Queue {
    fn new<Q: Virtqueue>(features: QueueFeatures) -> (Arc<Self>, Q) {
        let words = Q::parts(SIZE, features).bytes.div_ceil(8);
        let shared = Arc::new(Self {
            words: std::iter::repeat_with(|| LoomWord {
                word: AtomicU64::new(0),
                plain: UnsafeCell::new(()),
            })
            .take(words)
            .collect(),
            buffer: UnsafeCell::new(0),
            kicked: AtomicU32::new(0),
            interrupted: AtomicU32::new(0),
        });
        let queue = Q::new(&shared.words, SIZE, features);
        (shared, queue)
    }

    fn touch(&self, change: impl FnOnce(&mut u64)) {
        self.buffer.with_mut(|value| {
            // SAFETY: loom runs one thread at a time and itself reports an access without order.
            #[allow(unsafe_code)]
            change(unsafe { &mut *value });
        });
    }

    fn half(&self, byte: usize, ordering: Ordering) -> u16 {
        (self.words[byte / 8].load(ordering) >> (byte % 8 * 8)) as u16
    }
}

/// A frame is complete when the driver finds its chain used, and a driver that arms either sees it
/// or is interrupted.
fn a_used_chain_is_complete_and_wakes<Q: Virtqueue>(
    available: impl Fn(&Queue) -> bool + Send + Sync + Copy + 'static,
    give_back: impl Fn(&Queue) + Send + Sync + Copy + 'static,
    wants_interrupt: impl Fn(&Queue) -> bool + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (shared, mut queue) = Queue::new::<Q>(QueueFeatures::default());
        let chain = [Piece {
            address: 7,
            len: 8,
            writable: true,
            table: false,
        }];
        queue.offer(&shared.words, &chain).unwrap();
        queue.publish(&shared.words);
        let device = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                assert!(available(&shared));
                shared.touch(|frame| *frame = 5);
                give_back(&shared);
                LoomWord::full_fence();
                if wants_interrupt(&shared) {
                    shared.interrupted.store(1, Ordering::Release);
                }
            })
        };
        let mut sleeps = false;
        if queue.take_used(&shared.words).unwrap().is_some() {
            shared.touch(|frame| assert_eq!(*frame, 5));
        } else {
            sleeps = queue.arm(&shared.words);
            if !sleeps {
                queue.take_used(&shared.words).unwrap().unwrap();
                shared.touch(|frame| assert_eq!(*frame, 5));
            }
        }
        device.join().unwrap();
        if sleeps {
            let woken = shared.interrupted.load(Ordering::Acquire);
            assert_eq!(woken, 1, "the sleeper is never woken");
        }
    });
}

#[test]
fn a_used_chain_is_complete_and_wakes_split() {
    let parts = Split::parts(SIZE, QueueFeatures::default());
    a_used_chain_is_complete_and_wakes::<Split>(
        move |queue| queue.half(parts.driver + 2, Ordering::Acquire) == 1,
        move |queue| {
            // chain 0, of 8 bytes, and the index that says so
            let at = parts.device / 8;
            queue.words[at + 1].store(8, Ordering::Relaxed);
            queue.words[at].store(1 << 16, Ordering::Release);
        },
        move |queue| queue.half(parts.driver, Ordering::Relaxed) & 1 == 0,
    );
}

#[test]
fn a_used_chain_is_complete_and_wakes_packed() {
    let parts = Packed::parts(SIZE, QueueFeatures::default());
    a_used_chain_is_complete_and_wakes::<Packed>(
        |queue| queue.words[1].load(Ordering::Acquire) >> 55 & 1 == 1,
        |queue| queue.words[1].store(0x8080 << 48 | 8, Ordering::Release),
        move |queue| queue.half(parts.driver + 2, Ordering::Relaxed) & 3 != 1,
    );
}

/// A driver that makes a chain available either tells the device or is seen by it.
fn a_chain_is_told_or_seen<Q: Virtqueue>(
    awake: u64,
    sleep: impl Fn(&Queue) + Send + Sync + Copy + 'static,
    available: impl Fn(&Queue) -> bool + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (shared, mut queue) = Queue::new::<Q>(QueueFeatures::default());
        let parts = Q::parts(SIZE, QueueFeatures::default());
        shared.words[parts.device / 8].store(awake, Ordering::Relaxed);
        let device = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                // it wants to be told from now on, and looks once more
                sleep(&shared);
                LoomWord::full_fence();
                let seen = available(&shared);
                if seen {
                    shared.touch(|frame| assert_eq!(*frame, 3));
                }
                seen
            })
        };
        shared.touch(|frame| *frame = 3);
        queue.offer(&shared.words, &[Piece::default()]).unwrap();
        if queue.publish(&shared.words) {
            shared.kicked.store(1, Ordering::Release);
        }
        let seen = device.join().unwrap();
        let told = shared.kicked.load(Ordering::Acquire) == 1;
        assert!(seen || told, "the device sleeps on");
    });
}

#[test]
fn a_chain_is_told_or_seen_split() {
    let parts = Split::parts(SIZE, QueueFeatures::default());
    a_chain_is_told_or_seen::<Split>(
        1,
        move |queue| queue.words[parts.device / 8].store(0, Ordering::Relaxed),
        move |queue| queue.half(parts.driver + 2, Ordering::Acquire) == 1,
    );
}

#[test]
fn a_chain_is_told_or_seen_packed() {
    let parts = Packed::parts(SIZE, QueueFeatures::default());
    a_chain_is_told_or_seen::<Packed>(
        1 << 16,
        move |queue| queue.words[parts.device / 8].store(0, Ordering::Relaxed),
        |queue| queue.words[1].load(Ordering::Acquire) >> 55 & 1 == 1,
    );
}
