//! Packed rings: one ring of descriptors that both sides write (VIRTIO §2.8).

use std::sync::atomic::Ordering;

use barewire_spec::virtio::packed::{self, Descriptor};

use super::chains::{Chains, Ring};
use super::lanes::{load, part16, part32, put, store};
use super::{Piece, QueueFault, QueueFeatures, QueueParts, Run, Used, Virtqueue};
use crate::Word;

/// Distance of what the driver, and what the device, write besides descriptors: cache lines.
const ALIGNMENT: usize = 64;

/// The driver's side of a packed ring.
#[derive(Debug)]
pub struct Packed {
    size: u16,
    event_idx: bool,
    /// Numbers that no chain has.
    free: Ring,
    chains: Chains,
    /// Descriptors that the driver has.
    room: u16,
    /// Where the next chain goes.
    next: Place,
    /// Whether a chain was made available since the device was asked last if it wants to be told.
    unasked: bool,
    /// Where the next used chain is told.
    used: Place,
}

/// A position in the ring, and the round.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u16,
    /// The wrap counter (VIRTIO §2.8.1).
    wrap: bool,
}

impl Place {
    const START: Self = Self { at: 0, wrap: true };

    #[inline]
    fn advance(&mut self, by: u16, size: u16) {
        self.at += by; // at most 2 × 32,768 - 1
        if self.at >= size {
            self.at -= size;
            self.wrap = !self.wrap;
        }
    }

    /// As it stands in a suppression structure.
    fn event(self) -> u16 {
        self.at | if self.wrap { packed::EVENT_WRAP } else { 0 }
    }
}

/// The word of the driver's suppression structure.
fn driver_word(size: u16) -> usize {
    usize::from(size) * 2
}

/// The word of the device's.
fn device_word(size: u16) -> usize {
    driver_word(size) + ALIGNMENT / 8
}

impl Packed {
    /// The second word of the descriptor that tells of the next used chain.
    #[inline]
    fn look<W: Word>(&self, words: &[W]) -> Option<Descriptor> {
        let at = usize::from(self.used.at) * 2 + 1;
        let second = load(words, at, Ordering::Acquire);
        let descriptor = Descriptor::from_words([0, second]);
        // all chains taken, what lies there may be the driver's own or anything
        (self.lent() > 0 && descriptor.is_used(self.used.wrap)).then_some(descriptor)
    }

    fn suppress<W: Word>(&self, words: &[W], event: u16, flags: u16) {
        let word = u64::from(event) | u64::from(flags) << 16;
        store(words, driver_word(self.size), word, Ordering::Relaxed);
    }
}

impl Virtqueue for Packed {
    fn parts(size: u16, _: QueueFeatures) -> QueueParts {
        QueueParts {
            driver: driver_word(size) * 8,
            device: device_word(size) * 8,
            bytes: device_word(size) * 8 + ALIGNMENT,
        }
    }

    fn new<W: Word>(words: &[W], size: u16, features: QueueFeatures) -> Self {
        let mut queue = Self {
            size,
            event_idx: features.event_idx,
            free: Ring::full(size),
            chains: Chains::new(size, features.in_order),
            room: size,
            next: Place::START,
            unasked: false,
            used: Place::START,
        };
        queue.disarm(words);
        queue
    }

    fn table_entry(piece: Piece, _: usize, _: bool) -> [u64; 2] {
        Descriptor {
            address: piece.address,
            length: piece.len,
            id: 0,
            flags: if piece.writable { packed::WRITE } else { 0 },
        }
        .into_words()
    }

    #[inline]
    fn room(&self) -> usize {
        usize::from(self.room)
    }

    #[inline]
    fn lent(&self) -> usize {
        usize::from(self.size) - self.free.len()
    }

    #[inline]
    fn next_id(&self) -> Option<u16> {
        self.free.peek()
    }

    #[inline]
    fn offer<W: Word>(&mut self, words: &[W], chain: &[Piece]) -> Option<u16> {
        let count = u16::try_from(chain.len()).ok()?;
        if count > self.room || count == 0 {
            return None;
        }
        let id = self.free.pop()?;
        self.chains.lend(id, chain, count);
        let head = self.next;
        let mut first = [0; 2];
        for (left, piece) in (0..count).rev().zip(chain) {
            let mut flags = packed::available_flags(self.next.wrap);
            flags |= if piece.writable { packed::WRITE } else { 0 };
            flags |= if piece.table { packed::INDIRECT } else { 0 };
            flags |= if left > 0 { packed::NEXT } else { 0 };
            let descriptor = Descriptor {
                address: piece.address,
                length: piece.len,
                id,
                flags,
            };
            let both = descriptor.into_words();
            let place = usize::from(self.next.at) * 2;
            if left + 1 == count {
                first = both;
            } else {
                store(words, place, both[0], Ordering::Relaxed);
                store(words, place + 1, both[1], Ordering::Relaxed);
            }
            self.next.advance(1, self.size);
        }
        // the head's flags last: they make the whole chain the device's
        let place = usize::from(head.at) * 2;
        store(words, place, first[0], Ordering::Relaxed);
        store(words, place + 1, first[1], Ordering::Release);
        self.room -= count;
        self.unasked = true;
        Some(id)
    }

    #[inline]
    fn offer_one<W: Word>(
        &mut self,
        words: &[W],
        (address, length): (u64, u32),
        room: u32,
    ) -> Option<u16> {
        if self.room == 0 {
            return None;
        }
        let id = self.free.pop()?;
        let mut flags = packed::available_flags(self.next.wrap);
        flags |= if room > 0 { packed::WRITE } else { 0 };
        let descriptor = Descriptor {
            address,
            length,
            id,
            flags,
        };
        let at = usize::from(self.next.at) * 2;
        let [first, second] = descriptor.into_words();
        store(words, at, first, Ordering::Relaxed);
        store(words, at + 1, second, Ordering::Release);
        self.chains.keep(id, 1, room);
        self.room -= 1;
        self.next.advance(1, self.size);
        self.unasked = true;
        Some(id)
    }

    #[inline]
    fn next_run(&self, most: usize) -> Run {
        let before_end = self.size - self.next.at;
        let room = self.room.min(before_end);
        self.free.run(most.min(usize::from(room)))
    }

    #[inline]
    fn offer_run<W: Word>(
        &mut self,
        words: &[W],
        mut run: Run,
        pieces: impl ExactSizeIterator<Item = (u64, u32)>,
        room: u32,
    ) -> Run {
        let (at, count) = (usize::from(self.next.at), usize::from(run.count));
        let ring = words.get(at * 2..(at + count) * 2);
        let (ring, _) = ring.unwrap_or_default().as_chunks::<2>();
        let mut flags = packed::available_flags(self.next.wrap);
        flags |= if room > 0 { packed::WRITE } else { 0 };
        run.count = run
            .count
            .min(u16::try_from(pieces.len()).unwrap_or(run.count));
        let ids = run.first..;
        for (([first, second], (address, length)), id) in ring.iter().zip(pieces).zip(ids) {
            let descriptor = Descriptor {
                address,
                length,
                id,
                flags,
            };
            let words = descriptor.into_words();
            put(first, words[0]);
            second.store(words[1].to_le(), Ordering::Release);
        }
        self.free.drop_first(run.count);
        self.chains.lend_run(run, room);
        self.room -= run.count;
        self.next.advance(run.count, self.size);
        self.unasked |= run.count > 0;
        run
    }

    #[inline]
    fn publish<W: Word>(&mut self, words: &[W]) -> bool {
        if !self.unasked {
            return false;
        }
        // the device writes its wish and then looks for chains: one side sees the other's
        W::full_fence();
        let wish = load(words, device_word(self.size), Ordering::Relaxed);
        self.unasked = false;
        // A device that names the descriptor at which it wants to be told is told at any: QEMU does
        // not name the next one when it has taken chains while it was awake, and would sleep on.
        part16(wish >> 16) & 3 != packed::EVENTS_DISABLE
    }

    #[inline]
    fn take_used<W: Word>(&mut self, words: &[W]) -> Result<Option<Used>, QueueFault> {
        if !self.chains.in_run() {
            let Some(told) = self.look(words) else {
                return Ok(None);
            };
            self.chains.named(u32::from(told.id), told.length)?;
        }
        let Some((used, descriptors)) = self.chains.take() else {
            return Ok(None);
        };
        self.used.advance(descriptors, self.size);
        self.room += descriptors;
        self.free.push(used.id);
        Ok(Some(used))
    }

    #[inline]
    fn take_run<W: Word>(&mut self, words: &[W], lens: &mut [u32]) -> Result<Run, QueueFault> {
        let at = usize::from(self.used.at);
        let most = lens.len().min(self.lent()).min(usize::from(self.size) - at);
        let ring = words.get(at * 2..(at + most) * 2);
        let (ring, _) = ring.unwrap_or_default().as_chunks::<2>();
        let Some([_, second]) = ring.first().filter(|_| !self.chains.in_run()) else {
            return Ok(Run::default());
        };
        let first = u64::from_le(second.load(Ordering::Acquire)) >> 32 & 0xffff;
        let flags = u64::from(packed::AVAIL | packed::USED);
        let looked_at = flags << 48 | 0xffff << 32;
        let used = u64::from(packed::used_flags(self.used.wrap));
        let mut expected = used << 48 | first << 32;
        let mut count = 0;
        for ([_, second], len) in ring.iter().zip(lens) {
            let word = u64::from_le(second.load(Ordering::Acquire));
            if (word ^ expected) & looked_at != 0 {
                break;
            }
            *len = part32(word);
            expected = expected.wrapping_add(1 << 32);
            count += 1;
        }
        let run = self.chains.take_run(first, count).unwrap_or_default();
        self.free.push_run(run);
        self.used.advance(run.count, self.size);
        self.room += run.count;
        Ok(run)
    }

    fn forget(&mut self, each: impl FnMut(u16)) {
        self.chains.forget(each);
    }

    fn arm<W: Word>(&mut self, words: &[W]) -> bool {
        if self.event_idx {
            self.suppress(words, self.used.event(), packed::EVENTS_DESCRIPTOR);
        } else {
            self.suppress(words, 0, packed::EVENTS_ENABLE);
        }
        W::full_fence();
        !self.chains.in_run() && self.look(words).is_none()
    }

    fn disarm<W: Word>(&mut self, words: &[W]) {
        self.suppress(words, 0, packed::EVENTS_DISABLE);
    }
}
