//! When the copies of descriptor rings are fetched and written back ([`Mirror`]).

use super::doorbell::{Direction, QUEUES};
use super::model::Model;
use super::queue::{DESCRIPTOR, Ring};
use crate::memory::{Fault, Hint, Iommu, Mirror};
use crate::wire::widen;

/// The most copies that are kept: one a queue.
const MOST: usize = 2 * QUEUES;

/// How far a ring and its copy agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    /// Descriptors before this one are fetched.
    fetched: u32,
    /// Descriptors before this one are asked for.
    asked: Option<u32>,
    /// Descriptors before this one are written back.
    flushed: u32,
}

/// The descriptors from one up to another, as pieces that do not wrap.
fn pieces(from: u32, to: u32, count: u32) -> [(usize, usize); 2] {
    let [from, to, count] = [from, to, count].map(|number| number as usize);
    if from <= to {
        [(from, to), (0, 0)]
    } else {
        [(from, count), (0, to)]
    }
}

fn address(base: u64, index: usize) -> u64 {
    base.wrapping_add(widen(index).wrapping_mul(DESCRIPTOR))
}

impl Iommu {
    fn mirror_of(&mut self, ring: &Ring) -> Option<&mut Mirror> {
        self.mirrors
            .iter_mut()
            .find(|mirror| mirror.base == ring.base && mirror.words.len() == ring.count as usize)
    }

    /// Fetches what the driver has handed over since the last time.
    fn fetch(&mut self, ring: &mut Ring) -> Result<(), Fault> {
        let bytes = u64::from(ring.count) * DESCRIPTOR;
        if self.is_direct(&mut ring.hint, ring.base, bytes) {
            ring.waiting = false;
            return Ok(());
        }
        if self.mirror_of(ring).is_none() {
            ring.copied = None;
            self.mirrors.push(Mirror::new(ring.base, ring.count));
        }
        let copied = ring.copied.unwrap_or(Copied {
            fetched: ring.head,
            asked: None,
            flushed: ring.head,
        });
        // What was asked for once is asked for the same way again, until it comes.
        let tail = copied.asked.unwrap_or(ring.tail);
        ring.copied = Some(Copied {
            asked: Some(tail),
            ..copied
        });
        ring.waiting = true;
        for (from, to) in pieces(copied.fetched, tail, ring.count) {
            if from == to {
                continue;
            }
            let mut bytes = vec![0; (to - from) * 16];
            let at = address(ring.base, from);
            self.read_pieces(&mut Hint::default(), at, &mut bytes)?;
            if let Some(mirror) = self.mirror_of(ring) {
                mirror.take_in(from, &bytes);
            }
        }
        ring.waiting = tail != ring.tail;
        ring.copied = Some(Copied {
            fetched: tail,
            asked: None,
            ..copied
        });
        Ok(())
    }

    /// Writes back what the device changed since the last time.
    fn flush(&mut self, ring: &mut Ring) -> Result<(), Fault> {
        let Some(copied) = &mut ring.copied else {
            return Ok(());
        };
        let from = std::mem::replace(&mut copied.flushed, ring.head);
        for (from, to) in pieces(from, ring.head, ring.count) {
            while let Some((first, bytes)) = self
                .mirror_of(ring)
                .and_then(|mirror| mirror.changed(from, to))
            {
                let at = address(ring.base, first);
                self.write_pieces(&mut Hint::default(), at, &bytes)?;
            }
        }
        Ok(())
    }
}

impl Model {
    /// Fetches what drivers have handed over in rings that can't be reached directly.
    #[cold]
    pub(super) fn fetch_rings(&mut self) {
        if self.iommu.mirrors.len() > MOST {
            // Most of them are of rings that are gone. Those that are not come again.
            self.iommu.mirrors.clear();
        }
        self.each_ring("descriptor fetch", |iommu, ring| {
            if ring.head == ring.tail {
                return Ok(());
            }
            iommu.fetch(ring)
        });
    }

    /// Writes back what the device changed in such rings.
    #[cold]
    pub(super) fn flush_rings(&mut self) {
        self.each_ring("descriptor write-back", Iommu::flush);
    }

    /// Memory has gone: nothing that was asked for there comes any more.
    pub(super) fn stop_waiting(&mut self) {
        self.each_ring("", |_, ring| {
            ring.waiting = false;
            Ok(())
        });
    }

    fn each_ring(
        &mut self,
        what: &'static str,
        mut act: impl FnMut(&mut Iommu, &mut Ring) -> Result<(), Fault>,
    ) {
        for queue in 0..QUEUES {
            for direction in [Direction::Receive, Direction::Transmit] {
                let ring = match direction {
                    Direction::Receive => &mut self.rx[queue].ring,
                    Direction::Transmit => &mut self.tx[queue].ring,
                };
                if !ring.enabled || ring.broken {
                    continue;
                }
                match act(&mut self.iommu, ring) {
                    Ok(()) | Err(Fault::NotYet(_)) => {}
                    Err(fault) => {
                        ring.broken = true;
                        self.fault(what, queue, fault);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use barewire_dma::{DmaRegion, Pages};

    use super::*;
    use crate::memory::{Access, Distant, Memory, Unanswered};

    /// Memory that is asked for, and where it begins.
    #[derive(Debug)]
    struct Asked(Arc<DmaRegion>, u64);

    impl Distant for Asked {
        fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unanswered> {
            let at = usize::try_from(address - self.1).map_err(|_| Unanswered::Lost)?;
            self.0.device_read(at, into).map_err(|_| Unanswered::Lost)
        }

        fn write(&self, address: u64, from: &[u8]) -> Result<(), Unanswered> {
            let at = usize::try_from(address - self.1).map_err(|_| Unanswered::Lost)?;
            self.0.device_write(at, from).map_err(|_| Unanswered::Lost)
        }
    }

    const BASE: u64 = 0x1000;

    fn table() -> (Iommu, Arc<DmaRegion>) {
        let mut iommu = Iommu::new();
        let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
        let asked = Arc::new(Asked(Arc::clone(&region), BASE));
        iommu
            .map_at(BASE, 4096, Access::BOTH, Memory::Distant(asked))
            .unwrap();
        (iommu, region)
    }

    fn ring(head: u32, tail: u32) -> Ring {
        let mut ring = Ring::default();
        ring.start(BASE, 8);
        ring.head = head;
        ring.tail = tail;
        ring
    }

    #[test]
    fn only_what_was_handed_over_and_changed_goes_over() {
        let (mut iommu, region) = table();
        let put = |index: usize, value| region.words()[index].store(value, Ordering::Relaxed);
        let get = |index: usize| region.words()[index].load(Ordering::Relaxed);
        (0..16).for_each(|index| put(index, index as u64));
        let mut ring = ring(6, 2);
        iommu.fetch(&mut ring).unwrap();
        // Descriptor 2 is the driver's still: what it writes there later is what counts.
        put(4, 400);
        let seen: Vec<_> = iommu
            .descriptors(&mut Hint::default(), BASE)
            .iter()
            .map(|words| words[0].load(Ordering::Relaxed))
            .collect();
        assert_eq!(seen, [0, 2, 0, 0, 0, 0, 12, 14]);
        ring.tail = 3;
        iommu.fetch(&mut ring).unwrap();
        let words = iommu.descriptor(&mut Hint::default(), BASE + 32).unwrap();
        assert_eq!(words[0].load(Ordering::Relaxed), 400);

        // The device reports 6, 7 and 1; 0 it leaves alone.
        for index in [6, 7, 1] {
            let words = iommu.descriptors(&mut Hint::default(), BASE);
            words[index][1].store(1000 + index as u64, Ordering::Relaxed);
        }
        ring.head = 2;
        put(1, 77);
        iommu.flush(&mut ring).unwrap();
        assert_eq!((get(13), get(15), get(3)), (1006, 1007, 1001));
        assert_eq!(get(1), 77);
        put(3, 78);
        iommu.flush(&mut ring).unwrap();
        assert_eq!(get(3), 78);
    }

    #[test]
    fn a_ring_that_is_unmapped_is_forgotten() {
        let (mut iommu, _) = table();
        let mut ring = ring(0, 4);
        iommu.fetch(&mut ring).unwrap();
        iommu.unmap_range(BASE, 4096);
        assert!(iommu.mirrors.is_empty());
        let fault = iommu.descriptor(&mut Hint::default(), BASE).unwrap_err();
        assert_eq!(fault, Fault::Unmapped(BASE));
        assert!(iommu.fetch(&mut ring).is_err());
    }
}
