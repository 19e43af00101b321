//! The device's side of both formats, and the memory it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barewire_spec::virtio::{packed, split};

use crate::virtqueue::Piece;
use crate::virtqueue::lanes::{get16, load, put16, store};
use crate::*;

pub(super) const SIZE: u16 = 16;

/// The device finds memory at the offset in its region, a gibibyte further for each.
#[derive(Debug, Default)]
pub(super) struct Memory {
    regions: std::sync::Mutex<Vec<Arc<DmaRegion>>>,
}

impl DmaMap for Memory {
    fn map(&self, region: &Arc<DmaRegion>) -> Result<Layout, DmaError> {
        let mut regions = self.regions.lock().unwrap();
        regions.push(Arc::clone(region));
        Ok(Layout::Linear(Iova::new((regions.len() as u64) << 30)))
    }
    fn unmap(&self, _: &Arc<DmaRegion>, _: &Layout) {}
}

impl Memory {
    fn at(&self, address: u64) -> (Arc<DmaRegion>, usize) {
        let regions = self.regions.lock().unwrap();
        let region = (address >> 30) as usize - 1;
        (
            Arc::clone(&regions[region]),
            (address & 0x3fff_ffff) as usize,
        )
    }
    pub(super) fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let (region, offset) = self.at(address);
        let mut bytes = vec![0; len];
        region.device_read(offset, &mut bytes).unwrap();
        bytes
    }
    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        let (region, offset) = self.at(address);
        region.device_write(offset, bytes).unwrap();
    }
}

/// A chain as the device finds it.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) id: u16,
    pub(super) pieces: Vec<Piece>,
}

/// The device's side of a format.
pub(super) trait Side: Virtqueue {
    type State: Default;
    fn next(state: &mut Self::State, words: &[AtomicU64], memory: &Memory) -> Option<Chain>;
    fn give(state: &mut Self::State, words: &[AtomicU64], chain: &Chain, id: u32, len: u32);
}

fn table(memory: &Memory, piece: Piece, flags: u16) -> Vec<Piece> {
    if flags & split::INDIRECT == 0 {
        return vec![piece];
    }
    let bytes = memory.read(piece.address, piece.len as usize);
    let entries = bytes.as_chunks::<16>().0.iter();
    entries
        .map(|entry| {
            let half = |n: usize| u64::from_le_bytes(entry[n..n + 8].try_into().unwrap());
            Piece {
                address: half(0),
                len: half(8) as u32,
                ..Piece::default()
            }
        })
        .collect()
}

#[derive(Default)]
pub(super) struct SplitSide {
    available: u16,
    pub(super) used: u16,
}

impl Side for Split {
    type State = SplitSide;

    fn next(state: &mut SplitSide, words: &[AtomicU64], memory: &Memory) -> Option<Chain> {
        let parts = Self::parts(SIZE, QueueFeatures::default());
        if get16(words, parts.driver + 2, Ordering::Acquire) == state.available {
            return None;
        }
        let slot = usize::from(state.available % SIZE);
        let id = get16(words, parts.driver + 4 + 2 * slot, Ordering::Relaxed);
        state.available = state.available.wrapping_add(1);
        let (mut at, mut pieces) = (usize::from(id), Vec::new());
        loop {
            let both = [0, 1].map(|n| load(words, at * 2 + n, Ordering::Relaxed));
            let descriptor = split::Descriptor::from_words(both);
            let piece = Piece {
                address: descriptor.address,
                len: descriptor.length,
                writable: descriptor.flags & split::WRITE != 0,
                table: false,
            };
            pieces.extend(table(memory, piece, descriptor.flags));
            if descriptor.flags & split::NEXT == 0 {
                return Some(Chain { id, pieces });
            }
            at = usize::from(descriptor.next);
        }
    }

    fn give(state: &mut SplitSide, words: &[AtomicU64], _: &Chain, id: u32, len: u32) {
        let parts = Self::parts(SIZE, QueueFeatures::default());
        let at = parts.device + 4 + 8 * usize::from(state.used % SIZE);
        let (low, high) = (id as u16, (id >> 16) as u16);
        put16(words, at, low, Ordering::Relaxed);
        put16(words, at + 2, high, Ordering::Relaxed);
        put16(words, at + 4, len as u16, Ordering::Relaxed);
        put16(words, at + 6, (len >> 16) as u16, Ordering::Relaxed);
        state.used = state.used.wrapping_add(1);
        put16(words, parts.device + 2, state.used, Ordering::Release);
    }
}

pub(super) struct PackedSide {
    next: (u16, bool),
    used: (u16, bool),
}

impl Default for PackedSide {
    fn default() -> Self {
        Self {
            next: (0, true),
            used: (0, true),
        }
    }
}

fn advance((at, wrap): &mut (u16, bool), by: u16) {
    *at += by;
    if *at >= SIZE {
        *at -= SIZE;
        *wrap = !*wrap;
    }
}

/// How many descriptors of the ring a chain takes.
fn descriptors(chain: &Chain) -> u16 {
    if chain.pieces.iter().any(|piece| piece.table) {
        1
    } else {
        chain.pieces.len() as u16
    }
}

impl Side for Packed {
    type State = PackedSide;

    fn next(state: &mut PackedSide, words: &[AtomicU64], memory: &Memory) -> Option<Chain> {
        let mut pieces = Vec::new();
        loop {
            let at = usize::from(state.next.0) * 2;
            let second = load(words, at + 1, Ordering::Acquire);
            let first = load(words, at, Ordering::Relaxed);
            let descriptor = packed::Descriptor::from_words([first, second]);
            if pieces.is_empty() && !descriptor.is_available(state.next.1) {
                return None;
            }
            assert!(descriptor.is_available(state.next.1));
            advance(&mut state.next, 1);
            let piece = Piece {
                address: descriptor.address,
                len: descriptor.length,
                writable: descriptor.flags & packed::WRITE != 0,
                table: false,
            };
            let mut more = table(memory, piece, descriptor.flags);
            if descriptor.flags & packed::INDIRECT != 0 {
                for piece in &mut more {
                    piece.table = true;
                }
            }
            pieces.extend(more);
            if descriptor.flags & packed::NEXT == 0 {
                let id = descriptor.id;
                return Some(Chain { id, pieces });
            }
        }
    }

    fn give(state: &mut PackedSide, words: &[AtomicU64], chain: &Chain, id: u32, len: u32) {
        let descriptor = packed::Descriptor {
            address: 0,
            length: len,
            id: id as u16,
            flags: packed::used_flags(state.used.1),
        };
        let at = usize::from(state.used.0) * 2 + 1;
        store(words, at, descriptor.into_words()[1], Ordering::Release);
        advance(&mut state.used, descriptors(chain));
    }
}
