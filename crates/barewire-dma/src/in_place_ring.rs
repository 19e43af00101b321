//! One ring that is a receive ring and a transmit ring at once.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::depot::CHUNK;
use crate::packet::Template;
use crate::translation::{Attached, Translate};
use crate::{DescriptorRing, DmaError, DmaRegion, Domain, Iova, Mapping, Pages, Pool, Ring};

/// What a family of devices reads and writes in descriptors that are received through and then
/// sent from, where they are. The first word is the address of the buffer, and stays so.
pub trait InPlaceFormat {
    /// The bit of the second word by which the device says that it received into the buffer.
    const DONE: u64;

    /// The bits that are as in [`WHOLE`](Self::WHOLE) where a buffer holds a frame that is whole and
    /// undamaged; [`DONE`](Self::DONE) is one of them.
    const MASK: u64;

    /// See [`MASK`](Self::MASK).
    const WHOLE: u64;

    /// The bit of the second word by which a descriptor asks the transmitter for a report.
    const REPORT: u64;

    /// The second word of a descriptor that sends nothing.
    const NOTHING: u64;

    /// How many bytes the device says it wrote into the buffer. The ring bounds it.
    fn len(&self, status: u64) -> u16;

    /// Whether the frame that a descriptor says is in its buffer ends there.
    fn ends(&self, status: u64) -> bool;

    /// The second word of a descriptor that sends a frame of so many bytes.
    fn send(&self, len: u16) -> u64;
}

/// What is to happen to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// Drop it.
    Drop,
}

/// What a [turn](InPlaceRing::turn) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Descriptors that went from the receiver to the transmitter.
    pub descriptors: usize,
    /// Frames that were to be dropped.
    pub dropped: usize,
    /// Descriptors with something else than a frame that can be sent; dropped as well.
    pub unfit: usize,
    /// Whether one of the descriptors asks the transmitter for a report.
    pub reports: bool,
}

/// A ring of descriptors and buffers that stay where they are: each buffer is filled by a
/// receiver, looked at by the program, emptied by a transmitter, and filled again.
///
/// Seen from the program, the ring has two parts. From [`oldest`](Self::oldest) on, descriptors are
/// the receiver's: what the program has not looked at yet, and what is not filled yet. The others
/// are the transmitter's, but for one: a ring whose tail is its head is empty, not full. The
/// transmitter writes its head, which says how far it has come, into a word of memory.
///
/// While the program looks at a frame, neither device has it: its done bit was seen, and no tail has
/// moved past it. What the devices write is bounded: a length by the buffer, a head by what was
/// sent.
#[derive(Debug)]
pub struct InPlaceRing<F: InPlaceFormat> {
    ring: DescriptorRing,
    format: F,
    template: Template,
    /// Lengths of frames that can be handed out and sent: the shortest, and how many more.
    shortest: u16,
    span: u16,
    /// A frame that is not whole was dropped up to here, and its end has not come yet.
    dropping: bool,
    /// Whether the devices find a buffer at different addresses.
    apart: bool,
    receiver: Attached,
    transmitter: Attached,
    /// The ring's memory as the transmitter sees it.
    memory: Arc<Mapping>,
    /// Which word of it the transmitter writes its head to.
    head: usize,
    /// How many descriptors have a buffer: all, once the ring is made.
    filled: usize,
}

impl<F: InPlaceFormat> InPlaceRing<F> {
    /// A ring of `count` descriptors for a receiver and a transmitter, with buffers of `pool`, which
    /// has at least as many. Frames outside `lens` are not handed out.
    ///
    /// # Errors
    /// As [`DmaRegion::allocate`], [`DescriptorRing::new`] and [`Domain::map`] say, and
    /// [`DmaError::Range`] when the pool has too few buffers, or `lens` are none or the shortest of
    /// them is more than a buffer takes.
    pub fn new(
        [receiver, transmitter]: [&Domain; 2],
        count: usize,
        pool: &Pool,
        lens: &RangeInclusive<u16>,
        format: F,
    ) -> Result<Self, DmaError> {
        let pages = if pool.region().is_huge() {
            Pages::PreferHuge
        } else {
            Pages::Ordinary
        };
        let (shortest, longest) = (*lens.start(), (*lens.end()).min(pool.data_room()));
        let Some(span) = longest.checked_sub(shortest) else {
            return Err(DmaError::Range {
                what: "shortest frame",
                value: usize::from(shortest),
                allowed: "at most the longest, and what a buffer takes",
            });
        };
        let bytes = head_at(count) + 8;
        let region = DmaRegion::allocate(bytes, pages)?;
        let memory = transmitter.map(&region)?;
        memory.iova(0, bytes)?; // in one piece for the transmitter, too
        let mut ring = Self {
            ring: DescriptorRing::new(receiver.map(&region)?, 0, count)?,
            format,
            template: Template::new(pool.headroom()),
            shortest,
            span,
            dropping: false,
            apart: false,
            receiver: Attached::new(pool, receiver)?,
            transmitter: Attached::new(pool, transmitter)?,
            memory,
            head: head_at(count) / 8,
            filled: 0,
        };
        for n in 0..count {
            let Some(start) = pool.inner().depot().take() else {
                return Err(DmaError::Range {
                    what: "number of free buffers",
                    value: n,
                    allowed: "as many as descriptors",
                });
            };
            let at = ring.template.place(u64::from(start));
            let address = ring.receiver.places.one(at);
            ring.apart |= address != ring.transmitter.places.one(at);
            ring.ring.put(n, [address, 0], start);
            ring.filled += 1;
        }
        ring.ring.lend(count - 1);
        Ok(ring)
    }

    /// The descriptors, as the receiver is to be told of them.
    pub fn ring(&self) -> &DescriptorRing {
        &self.ring
    }

    /// Where the transmitter finds the descriptors.
    ///
    /// # Errors
    /// None for a ring that could be made.
    pub fn for_transmitter(&self) -> Result<Iova, DmaError> {
        let bytes = self.ring.count() * DescriptorRing::DESCRIPTOR;
        self.memory.iova(0, bytes)
    }

    /// Where the transmitter is to write its head, 32 bits.
    ///
    /// # Errors
    /// None for a ring that could be made.
    pub fn head(&self) -> Result<Iova, DmaError> {
        self.memory.iova(head_at(self.ring.count()), 4)
    }

    /// Position of the descriptor that is looked at next: the transmitter's tail.
    #[inline]
    pub fn oldest(&self) -> usize {
        self.ring.oldest()
    }

    /// Position of the first descriptor that the receiver has not: its tail.
    #[inline]
    pub fn next(&self) -> usize {
        self.ring.next()
    }

    /// Hands the next frames out, at most `most`, and gives them to the transmitter or drops them.
    /// `unfit` is called with the second word of each descriptor with something else in it; that is
    /// dropped, with the rest of its frame.
    #[inline]
    pub fn turn(
        &mut self,
        most: usize,
        mut each: impl FnMut(&mut [u8]) -> Verdict,
        mut unfit: impl FnMut(u64),
    ) -> Turned {
        let first = self.oldest();
        let mut turned = Turned::default();
        let mut left = most.min(self.ring.lent());
        while left > 0 {
            // chunk by chunk, at the end of which is a report
            let run = left.min(CHUNK - self.oldest() % CHUNK);
            let ran = self.turn_run(run, &mut turned.dropped, &mut each);
            left -= ran;
            if ran < run {
                let inside = self.dropping;
                let Some(status) = self.skip_unfit() else {
                    break;
                };
                // a frame is counted once, with its first part
                if !inside {
                    unfit(status);
                }
                turned.unfit += 1;
                left -= 1;
            }
        }
        turned.descriptors = self.oldest().wrapping_sub(first);
        turned.reports = first % CHUNK + turned.descriptors >= CHUNK;
        turned
    }

    /// Hands out frames up to the first descriptor without one, within a chunk.
    #[inline]
    fn turn_run(
        &mut self,
        most: usize,
        dropped: &mut usize,
        each: &mut impl FnMut(&mut [u8]) -> Verdict,
    ) -> usize {
        if self.dropping {
            return 0;
        }
        let (template, memory) = (self.template, self.receiver.pool.inner().memory());
        let (shortest, span, apart) = (self.shortest, self.span, self.apart);
        let mut turn = Turn::<F> {
            ring: &mut self.ring,
            descriptors: 0,
            format: PhantomData,
        };
        let (descriptors, buffers) = turn.ring.oldest_run(most);
        for (descriptor, start) in descriptors.iter().zip(buffers) {
            let status = Ring::status_of(descriptor);
            let len = self.format.len(status);
            if status & F::MASK != F::WHOLE || len.wrapping_sub(shortest) > span {
                break;
            }
            let at = template.place(u64::from(*start));
            // SAFETY: the buffer is one of the pool's, the length at most its data room. The ring
            // alone has it; the device has filled it, and no tail has moved past it.
            let frame = unsafe { memory.slice_mut(at, len) };
            let word = match each(frame) {
                Verdict::Send => self.format.send(len),
                Verdict::Drop => {
                    *dropped += 1;
                    F::NOTHING
                }
            };
            if apart {
                Ring::answer_first(descriptor, self.transmitter.places.one(at));
            }
            Ring::answer(descriptor, word);
            turn.descriptors += 1;
        }
        turn.descriptors
    }

    /// Drops what is in the next descriptor, which is no frame that can be handed out; none if the
    /// device has not written it back. Returns its second word.
    #[cold]
    fn skip_unfit(&mut self) -> Option<u64> {
        let position = self.oldest();
        let (status, start) = self.ring.at(position);
        if status & F::DONE == 0 {
            return None;
        }
        self.dropping = !self.format.ends(status);
        let at = self.template.place(u64::from(start));
        let shared = self.ring.shared();
        shared.answer_first_at(position, self.transmitter.places.one(at));
        shared.answer_at(position, F::NOTHING);
        drop(Turn::<F> {
            ring: &mut self.ring,
            descriptors: 1,
            format: PhantomData,
        });
        Some(status)
    }

    /// Gives the receiver back what the transmitter says it has sent, and returns whether there was
    /// anything: after a turn with a [report](Turned::reports) as a rule. A head outside what the
    /// transmitter has is not believed.
    #[inline]
    pub fn take_back(&mut self) -> bool {
        let words = self.memory.region().words();
        let Some(word) = words.get(self.head) else {
            return false;
        };
        let [a, b, c, d, ..] = word.load(Ordering::Acquire).to_ne_bytes();
        let head = u32::from_le_bytes([a, b, c, d]) as usize;
        // the transmitter's part begins behind the one descriptor that nobody has
        let begin = self.ring.next().wrapping_add(1);
        let sent = head.wrapping_sub(begin) & (self.ring.count() - 1);
        if sent == 0 || sent >= self.ring.room() {
            return false;
        }
        if self.apart {
            self.readdress(sent);
        }
        self.ring.lend(sent);
        true
    }

    /// Writes the addresses by which the receiver knows the next `count` buffers that it gets.
    fn readdress(&mut self, count: usize) {
        for n in 0..count {
            let position = self.ring.next().wrapping_add(n);
            let (_, start) = self.ring.at(position);
            let at = self.template.place(u64::from(start));
            let address = self.receiver.places.one(at);
            self.ring.shared().answer_first_at(position, address);
        }
    }

    /// Gives up on buffers that a device may still use because it does not stop: they are never
    /// handed out again, and the memory stays allocated and mapped until the process ends.
    pub fn abandon(&mut self) {
        std::mem::forget([self.receiver.clone(), self.transmitter.clone()]);
        std::mem::forget(Arc::clone(&self.memory));
        self.ring.abandon();
        self.filled = 0;
    }
}

/// Offset in the region, in bytes, of the word that the transmitter writes its head to: behind the
/// descriptors, in a cache line of its own.
#[inline]
const fn head_at(count: usize) -> usize {
    (count * DescriptorRing::DESCRIPTOR).next_multiple_of(64)
}

/// Takes descriptors from the receiver when it goes out of scope, so that none is looked at twice
/// even if the program's function panics. The last one of a chunk asks for a report.
struct Turn<'r, F: InPlaceFormat> {
    ring: &'r mut DescriptorRing,
    descriptors: usize,
    format: PhantomData<F>,
}

impl<F: InPlaceFormat> Drop for Turn<'_, F> {
    #[inline]
    fn drop(&mut self) {
        self.ring.take(self.descriptors);
        let next = self.ring.oldest();
        if next.is_multiple_of(CHUNK) && self.descriptors > 0 {
            let last = next.wrapping_sub(1);
            let shared = self.ring.shared();
            shared.answer_at(last, shared.second(last) | F::REPORT);
        }
    }
}

impl<F: InPlaceFormat> Drop for InPlaceRing<F> {
    fn drop(&mut self) {
        for position in 0..self.filled {
            let (_, start) = self.ring.at(position);
            self.receiver.pool.inner().depot().put(&[start]);
        }
    }
}

#[cfg(test)]
mod tests;
