//! Where the free buffers of a pool lie, for all threads.

use crossbeam_queue::ArrayQueue;

/// Buffers move between a pool and its users this many at a time: one synchronisation a chunk
/// instead of one a packet.
pub(crate) const CHUNK: usize = 32;

/// Free buffers, by index: whole chunks for the data path, single ones for packets that were
/// dropped one by one. Neither side locks.
#[derive(Debug)]
pub(crate) struct Depot {
    chunks: ArrayQueue<[u32; CHUNK]>,
    singles: ArrayQueue<u32>,
}

impl Depot {
    /// Room for `buffers`, which is all that can ever come back.
    pub(crate) fn new(buffers: usize) -> Self {
        Self {
            chunks: ArrayQueue::new(buffers.div_ceil(CHUNK).max(1)),
            singles: ArrayQueue::new(buffers.max(1)),
        }
    }

    /// Takes buffers back. Their number is not bounded by `CHUNK`.
    pub(crate) fn put(&self, buffers: &[u32]) {
        let (chunks, rest) = buffers.as_chunks::<CHUNK>();
        for chunk in chunks {
            // Each index exists once, so there is room; were there none, the buffers would be
            // lost, never doubled.
            if self.chunks.push(*chunk).is_err() {
                debug_assert!(false, "more chunks came back than the pool has");
            }
        }
        for index in rest {
            if self.singles.push(*index).is_err() {
                debug_assert!(false, "more buffers came back than the pool has");
            }
        }
    }

    /// A whole chunk, gathered from single buffers if need be; none if fewer are free.
    pub(crate) fn take_chunk(&self) -> Option<[u32; CHUNK]> {
        if let Some(chunk) = self.chunks.pop() {
            return Some(chunk);
        }
        if self.singles.len() < CHUNK {
            return None;
        }
        let mut chunk = [0; CHUNK];
        for got in 0..CHUNK {
            let Some(index) = self.singles.pop() else {
                // another thread was quicker
                self.put(&chunk[..got]);
                return None;
            };
            chunk[got] = index;
        }
        Some(chunk)
    }

    /// One buffer.
    pub(crate) fn take(&self) -> Option<u32> {
        if let Some(index) = self.singles.pop() {
            return Some(index);
        }
        let [first, rest @ ..] = self.chunks.pop()?;
        self.put(&rest);
        Some(first)
    }

    /// How many buffers are free at this moment, give or take what other threads do.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len() * CHUNK + self.singles.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_buffer_comes_out_once_in_chunks_and_singly() {
        let depot = Depot::new(100);
        depot.put(&(0..100).collect::<Vec<_>>());
        let mut seen: Vec<u32> = Vec::new();
        seen.extend(depot.take_chunk().unwrap());
        seen.push(depot.take().unwrap());
        assert_eq!(depot.len(), 67);
        while let Some(chunk) = depot.take_chunk() {
            seen.extend(chunk);
        }
        while let Some(index) = depot.take() {
            seen.push(index);
        }
        assert_eq!(seen.len(), 100);
        assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn singles_become_a_chunk() {
        let depot = Depot::new(64);
        for index in 0..40 {
            depot.put(&[index]);
        }
        assert!(depot.take_chunk().is_some());
        assert!(depot.take_chunk().is_none());
        assert_eq!(depot.len(), 8);
    }

    #[test]
    fn threads_share_it_and_nothing_is_lost() {
        let depot = Depot::new(256);
        depot.put(&(0..256).collect::<Vec<_>>());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        if round % 3 == 0 {
                            if let Some(index) = depot.take() {
                                depot.put(&[index]);
                            }
                        } else if let Some(chunk) = depot.take_chunk() {
                            depot.put(&chunk);
                        }
                    }
                });
            }
        });
        let mut seen = HashSet::new();
        while let Some(index) = depot.take() {
            assert!(seen.insert(index));
        }
        assert_eq!(seen.len(), 256);
    }
}
