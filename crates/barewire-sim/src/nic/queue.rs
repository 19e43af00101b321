//! Descriptor rings as the device keeps them (82599 §7.1.9, §7.2.3.3).

use super::header_split::Split;
use super::mirror::Copied;
use crate::memory::{Descriptor, Fault, Hint, Iommu};

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR: u64 = 16;

/// One ring. The device owns the descriptors from the head up to, not including, the tail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ring {
    /// Address of descriptor 0.
    pub(super) base: u64,
    /// Number of descriptors.
    pub(super) count: u32,
    pub(super) head: u32,
    pub(super) tail: u32,
    /// The queue runs: ENABLE reads 1.
    pub(super) enabled: bool,
    /// An access to memory failed. The queue does nothing until it is enabled anew.
    pub(super) broken: bool,
    /// Descriptors were asked for and have not come.
    pub(super) waiting: bool,
    /// How far its copy agrees, where the device works on one.
    pub(super) copied: Option<Copied>,
    pub(super) hint: Hint,
}

impl Ring {
    /// Whether there is a descriptor to use.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.enabled && self.head != self.tail && !self.broken && !self.waiting
    }

    /// How many descriptors there are to use.
    pub(super) fn available(&self) -> usize {
        if !self.has_work() {
            return 0;
        }
        let ahead = if self.tail >= self.head {
            self.tail - self.head
        } else {
            self.tail + self.count - self.head
        };
        ahead as usize
    }

    /// How many of them follow each other in memory.
    #[inline]
    pub(super) fn in_a_row(&self) -> usize {
        if !self.has_work() {
            return 0;
        }
        let end = if self.tail > self.head {
            self.tail
        } else {
            self.count
        };
        end.saturating_sub(self.head) as usize
    }

    /// The address of the descriptor at the head.
    fn address(&self) -> u64 {
        // The ring was checked to lie in mapped memory when the queue was enabled; wrapping keeps
        // an address at the end of the 64-bit space from being a panic.
        self.base
            .wrapping_add(u64::from(self.head).wrapping_mul(DESCRIPTOR))
    }

    /// All descriptors of the ring, for a burst; fewer or none if not all of it is mapped any more.
    #[inline]
    pub(super) fn descriptors<'a>(&mut self, iommu: &'a Iommu) -> &'a [Descriptor] {
        iommu.descriptors(&mut self.hint, self.base)
    }

    /// The descriptor at the head, with what [`descriptors`](Self::descriptors) found.
    #[inline(always)]
    #[allow(clippy::inline_always)] // once a frame
    pub(super) fn at_head<'a>(
        &mut self,
        descriptors: &'a [Descriptor],
        iommu: &'a Iommu,
    ) -> Result<&'a Descriptor, Fault> {
        if let Some(descriptor) = descriptors.get(self.head as usize) {
            return Ok(descriptor);
        }
        let address = self.address();
        iommu.descriptor(&mut self.hint, address)
    }

    /// Goes on to the next descriptor.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.head += 1;
        if self.head >= self.count {
            self.head = 0;
        }
    }

    /// Goes on by so many descriptors, which are [in a row](Self::in_a_row).
    #[inline]
    pub(super) fn advance_by(&mut self, count: usize) {
        self.head = self
            .head
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.head >= self.count {
            self.head = 0;
        }
    }

    /// Starts the ring at descriptor 0, with nothing handed to the device yet.
    pub(super) fn start(&mut self, base: u64, count: u32) {
        *self = Self {
            base,
            count,
            enabled: true,
            ..Self::default()
        };
    }

    pub(super) fn stop(&mut self) {
        self.enabled = false;
    }
}

/// A receive queue.
#[allow(clippy::struct_excessive_bools)] // independent bits of registers
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RxQueue {
    pub(super) ring: Ring,
    /// Bytes of a buffer.
    pub(super) buffer: usize,
    /// Advanced descriptors, not legacy ones.
    pub(super) advanced: bool,
    /// Descriptors must come without their done bit.
    pub(super) wants_clean: bool,
    /// Frames are dropped when there are no descriptors.
    pub(super) drop: bool,
    /// VLAN tags are taken out of frames.
    pub(super) strip_tag: bool,
    /// Headers go to buffers of their own.
    pub(super) split: Option<Split>,
    /// Segments are coalesced, into this many descriptors at most.
    pub(super) coalesce: Option<usize>,
    /// The longest frame it takes, in bytes without FCS, if it has a limit of its own.
    pub(super) longest: Option<usize>,
    /// Frames go to buffers as they are: none of the four above.
    pub(super) plain: bool,
    /// The interrupt causes of a delivered frame.
    pub(super) cause: u64,
    pub(super) hint: Hint,
}

impl RxQueue {
    /// Notes whether frames go to buffers as they are.
    pub(super) fn decide_plain(&mut self) {
        let divided = self.split.is_some() || self.coalesce.is_some();
        self.plain = !self.strip_tag && !divided && self.longest.is_none();
    }
}

/// What a context descriptor said (82599 §7.2.3.2.3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    pub(super) vlan: u16,
    pub(super) mac_length: usize,
    pub(super) ip_length: usize,
    pub(super) l4_length: usize,
    pub(super) l4_type: u8,
    pub(super) ipv4: bool,
    pub(super) snap: bool,
    /// The most payload of a segment.
    pub(super) mss: usize,
}

impl Context {
    /// Bytes of all headers.
    pub(super) fn headers(&self) -> usize {
        self.mac_length + self.ip_length + self.l4_length
    }
}

/// A VLAN tag to insert.
#[derive(Clone, Copy, Debug)]
pub(super) struct Insertion {
    /// Where: behind the addresses, or behind the outer tag.
    pub(super) at: usize,
    /// Its `EtherType`.
    pub(super) kind: u16,
    pub(super) tag: u16,
}

/// The packet whose descriptors are being read.
#[allow(clippy::struct_excessive_bools)] // independent requests of one descriptor
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packet {
    /// Descriptors so far; 0 between packets.
    pub(super) descriptors: u32,
    /// Bytes so far.
    pub(super) bytes: usize,
    /// What the first descriptor announced, if it was an advanced one.
    pub(super) announced: Option<u32>,
    /// The descriptors so far asked for the FCS.
    pub(super) fcs: bool,
    /// Its tag to insert.
    pub(super) tag: Option<Insertion>,
    /// Checksums to insert, and where the headers are.
    pub(super) ip_checksum: bool,
    pub(super) l4_checksum: bool,
    pub(super) context: Context,
    /// The checksum of a legacy descriptor: where it starts and where it goes.
    pub(super) plain_checksum: Option<(usize, usize)>,
    /// It is to be cut into segments.
    pub(super) segmented: bool,
    /// The moment at which it leaves is to be kept.
    pub(super) stamped: bool,
    /// A rule was broken: nothing leaves.
    pub(super) spoilt: bool,
}

/// A transmit queue.
#[derive(Debug, Default)]
pub(super) struct TxQueue {
    pub(super) ring: Ring,
    pub(super) packet: Packet,
    /// The bytes of the packet; empty until the queue is enabled for the first time.
    pub(super) frame: Vec<u8>,
    /// A segment; empty until there is one.
    pub(super) segment: Vec<u8>,
    pub(super) contexts: [Option<Context>; 2],
    /// Where the head is written, instead of done bits.
    pub(super) head_write_back: Option<u64>,
    /// Every packet must ask for a write-back.
    pub(super) report_all: bool,
    /// The interrupt causes of a write-back.
    pub(super) cause: u64,
    pub(super) hint: Hint,
    pub(super) head_hint: Hint,
}
