//! Frames that go over a wire together.

/// Bytes of a block. A frame begins with a block and has as many as it needs.
pub(crate) const BLOCK: usize = 64;
/// A block of a frame. What is behind the frame's last byte means nothing.
pub(crate) type Block = [u8; BLOCK];

/// The most frames of a train.
const MOST: usize = 64;
/// Blocks after which a train takes no more frames, so that it stays in the caches.
const PLENTY: usize = 256;

/// Frames that follow each other at one moment, with their bytes.
///
/// A wire that moves frames by the train is asked for 64 frames at a time, where one that moves
/// them singly is asked 64 times: see [`Wire::pull_train`](super::Wire::pull_train).
#[derive(Clone, Debug)]
pub struct Train {
    /// As many as were ever needed, and always one more than the frames use.
    blocks: Vec<Block>,
    cars: Vec<Car>,
    /// Blocks that frames use.
    used: usize,
    limit: usize,
    /// Where frames are put together that come singly.
    pub(super) single: Vec<u8>,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug)]
struct Car {
    first: usize,
    length: usize,
}

/// A frame of a train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    train: &'a [Block],
    /// The block that it begins with.
    at: usize,
    /// Bytes of the frame.
    pub(crate) length: usize,
}

impl Default for Train {
    fn default() -> Self {
        Self::new()
    }
}

impl Train {
    /// An empty train.
    pub fn new() -> Self {
        Self {
            blocks: vec![[0; BLOCK]; PLENTY + 1],
            cars: Vec::with_capacity(MOST),
            used: 0,
            limit: MOST,
            single: Vec::new(),
        }
    }

    /// Number of frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.cars.len()
    }

    /// Whether there is no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.cars.is_empty()
    }

    /// Whether it takes no more frames.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.cars.len() >= self.limit || self.used >= PLENTY
    }

    /// Puts a frame at the end. Whether the train [is full](Self::is_full) is the caller's to ask.
    pub fn push(&mut self, frame: &[u8]) {
        if let Some(room) = self.room(frame.len()).get_mut(..frame.len()) {
            room.copy_from_slice(frame);
            self.add(frame.len());
        }
    }

    /// The frames, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.frames(0).map(Frame::bytes)
    }

    /// Empties it. It is full with `limit` frames from now on, or with 64 if that is fewer.
    #[inline]
    pub fn begin(&mut self, limit: usize) {
        self.cars.clear();
        self.used = 0;
        self.limit = limit.min(MOST);
    }

    /// Room for the next frame, in whole blocks: those it takes, or more.
    #[inline]
    pub(crate) fn room(&mut self, length: usize) -> &mut [u8] {
        if self.used + length.div_ceil(BLOCK) >= self.blocks.len() {
            self.grow(length);
        }
        self.blocks
            .get_mut(self.used..)
            .unwrap_or_default()
            .as_flattened_mut()
    }

    /// Room for the next frame if it is not longer than a block.
    #[inline]
    pub(crate) fn room_for_short(&mut self) -> Option<&mut Block> {
        self.blocks.get_mut(self.used)
    }

    /// Adds the frame of `length` bytes that was written where there was room for it.
    #[inline]
    pub(crate) fn add(&mut self, length: usize) {
        self.cars.push(Car {
            first: self.used,
            length,
        });
        // an empty frame has a block as well, so that each begins with one
        self.used += length.div_ceil(BLOCK).max(1);
    }

    /// Adds up to `most` frames of `length` bytes, at most a block, as many as there is room for, and
    /// returns their blocks for the caller to write.
    #[inline]
    pub(crate) fn add_short(&mut self, most: usize, length: usize) -> &mut [Block] {
        let first = self.used;
        let room = self.limit.saturating_sub(self.cars.len());
        let room = room.min(PLENTY.saturating_sub(first)).min(most);
        let cars = (first..).take(room).map(|first| Car { first, length });
        self.cars.extend(cars);
        self.used += room;
        self.blocks.get_mut(first..self.used).unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self, length: usize) {
        let blocks = self.used + length.div_ceil(BLOCK) + 1;
        self.blocks.resize(blocks, [0; BLOCK]);
    }

    /// The frames from position `from` on.
    #[inline]
    pub(crate) fn frames(&self, from: usize) -> impl Iterator<Item = Frame<'_>> {
        let cars = self.cars.get(from..).unwrap_or_default();
        cars.iter().map(|car| Frame {
            train: &self.blocks,
            at: car.first,
            length: car.length,
        })
    }

    /// The frame at position `at`.
    #[inline]
    pub(crate) fn frame(&self, at: usize) -> Option<Frame<'_>> {
        self.frames(at).next()
    }
}

impl<'a> Frame<'a> {
    /// The frame.
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        let blocks = self.train.get(self.at..).unwrap_or_default();
        let bytes = blocks.as_flattened().get(..self.length);
        bytes.unwrap_or_default()
    }

    /// Its first block.
    #[inline]
    pub(crate) fn first(self) -> Option<&'a Block> {
        self.train.get(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_come_out_as_they_went_in() {
        let lengths = [60, 64, 65, 0, 1, 1514, 128, 20_000, 60];
        let mut train = Train::new();
        for round in 0..2u8 {
            train.begin(64);
            let frames =
                lengths.map(|length| vec![round ^ u8::try_from(length % 251).unwrap(); length]);
            for frame in &frames {
                train.push(frame);
            }
            assert_eq!(train.len(), lengths.len());
            assert!(train.iter().eq(frames.iter().map(Vec::as_slice)));
            assert_eq!(train.frame(6).unwrap().bytes(), frames[6]);
        }
    }

    #[test]
    fn it_is_full_at_its_limit_or_when_it_has_many_bytes() {
        let mut train = Train::new();
        train.begin(1_000);
        let mut frames = 0;
        while !train.is_full() {
            train.push(&[0; 60]);
            frames += 1;
        }
        assert_eq!(frames, MOST);
        train.begin(3);
        (0..3).for_each(|_| train.push(&[0; 60]));
        assert!(train.is_full());
        train.begin(MOST);
        train.push(&[0; PLENTY * BLOCK]);
        assert!(train.is_full());
    }

    #[test]
    fn there_is_always_room_for_a_short_frame() {
        let mut train = Train::new();
        for length in [PLENTY * BLOCK - 1, PLENTY * BLOCK + 1, 60_000] {
            train.begin(MOST);
            train.push(&vec![1; length]);
            assert!(train.room_for_short().is_some(), "{length}");
        }
    }
}
