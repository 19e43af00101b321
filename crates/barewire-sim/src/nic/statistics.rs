//! The statistics registers (82599 §8.2.3.23).

use std::mem;

use barewire_spec::ixgbe::{OCTETS_HIGH_MASK, QueueStatisticsMap, limits};

use super::doorbell::QUEUES;
use super::roles;

/// Statistics indices that queues are mapped to.
pub(crate) const INDICES: usize = 16;
/// Bytes of the frame check sequence, which counters include.
pub(crate) const FCS: usize = 4;

/// A counter; those of queues have one for each statistics index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Prc64,
    Prc127,
    Prc255,
    Prc511,
    Prc1023,
    Prc1522,
    Ptc64,
    Ptc127,
    Ptc255,
    Ptc511,
    Ptc1023,
    Ptc1522,
    Gprc,
    Gorc,
    Bprc,
    Mprc,
    Tpr,
    Tor,
    Ruc,
    Roc,
    Xec,
    Rxnfgpc,
    Rxnfgbc,
    Rxdgpc,
    Rxdgbc,
    Gptc,
    Gotc,
    Bptc,
    Mptc,
    Tpt,
    Txdgpc,
    Txdgbc,
    /// One a packet buffer.
    Mpc,
    Lxontxc,
    Lxofftxc,
    Lxonrxcnt,
    Lxoffrxcnt,
    Qprc,
    Qprdc,
    Qbrc,
    Qptc,
    Qbtc,
}

/// Counters of both kinds.
const COUNTERS: usize = Counter::Qbtc as usize + 1;

/// Position of a frame of `bytes` bytes, with FCS, among the six size classes.
#[inline]
fn size_class(bytes: usize) -> usize {
    // Classes are powers of two but for frames of 64 bytes, which have one of their own.
    match bytes {
        0..=64 => 0,
        _ => (bytes.ilog2() as usize - 5).min(5),
    }
}

/// Frames and their bytes, FCS included.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    frames: u64,
    bytes: u64,
}

impl Tally {
    #[inline]
    fn add(&mut self, bytes: usize) {
        self.add_many(1, bytes);
    }

    #[inline]
    fn add_many(&mut self, frames: usize, bytes: usize) {
        self.frames += widen(frames);
        self.bytes += widen(bytes + frames * FCS);
    }
}

/// Frames of each size class.
type Classes = [u64; 6];

/// All counters of a device.
///
/// Many registers count nearly the same frames. What happens to a frame is counted here once and
/// never cleared; a register is a sum of such counts less what it was when it was last read.
#[derive(Debug)]
pub(crate) struct Statistics {
    /// Good frames that arrived, before the filters.
    received: Classes,
    received_bytes: u64,
    /// Those of them that the filters turned away.
    filtered: Tally,
    undersize: Tally,
    oversize: Tally,
    /// Multicast, broadcast.
    received_groups: [u64; 2],
    missed: u64,
    wrong_checksums: u64,
    delivered: [Tally; INDICES],
    dropped: [u64; INDICES],
    sent: [Tally; INDICES],
    sent_classes: Classes,
    sent_groups: [u64; 2],
    /// Ends of pauses, pauses.
    sent_pauses: [u64; 2],
    received_pauses: [u64; 2],
    /// What each counter was when it was last cleared.
    cleared: [[u64; INDICES]; COUNTERS],
    /// What the low half of a byte counter was read of: its high half belongs to that.
    latched: [[Option<u64>; INDICES]; COUNTERS],
    receive_index: [u8; QUEUES],
    transmit_index: [u8; QUEUES],
}

#[inline]
fn widen(bytes: usize) -> u64 {
    bytes as u64
}

#[inline]
fn count_group(groups: &mut [u64; 2], frame: &[u8]) {
    if frame.first().is_some_and(|byte| byte & 1 == 1) {
        groups[usize::from(frame.first_chunk() == Some(&[0xFF; 6]))] += 1;
    }
}

impl Statistics {
    pub(crate) fn new() -> Self {
        Self {
            received: [0; 6],
            received_bytes: 0,
            filtered: Tally::default(),
            undersize: Tally::default(),
            oversize: Tally::default(),
            received_groups: [0; 2],
            missed: 0,
            wrong_checksums: 0,
            delivered: [Tally::default(); INDICES],
            dropped: [0; INDICES],
            sent: [Tally::default(); INDICES],
            sent_classes: [0; 6],
            sent_groups: [0; 2],
            sent_pauses: [0; 2],
            received_pauses: [0; 2],
            cleared: [[0; INDICES]; COUNTERS],
            latched: [[None; INDICES]; COUNTERS],
            receive_index: [0; QUEUES],
            transmit_index: [0; QUEUES],
        }
    }

    /// Applies register `index` of RQSMR.
    pub(crate) fn map_receive(&mut self, index: usize, value: u32) {
        remap(&mut self.receive_index, index, value);
    }

    /// Applies register `index` of TQSM.
    pub(crate) fn map_transmit(&mut self, index: usize, value: u32) {
        remap(&mut self.transmit_index, index, value);
    }

    /// Counts good frames of one length before the filters. Lengths here and below are without FCS.
    #[inline]
    pub(crate) fn good(&mut self, frames: usize, length: usize) {
        self.received[size_class(length + FCS)] += widen(frames);
        self.received_bytes += widen(frames * (length + FCS));
    }

    /// Counts a frame below 64 bytes.
    pub(crate) fn undersize(&mut self, bytes: usize) {
        self.undersize.add(bytes);
    }

    /// Counts a frame above the limit.
    pub(crate) fn oversize(&mut self, bytes: usize) {
        self.oversize.add(bytes);
    }

    /// Counts a good frame that the filters turned away.
    #[inline]
    pub(crate) fn filtered(&mut self, bytes: usize) {
        self.filtered.add(bytes);
    }

    /// Counts a good frame that passed the filters.
    #[inline]
    pub(crate) fn accepted(&mut self, frame: &[u8]) {
        count_group(&mut self.received_groups, frame);
    }

    /// Counts a frame with a wrong checksum in it.
    pub(crate) fn wrong_checksum(&mut self) {
        self.wrong_checksums += 1;
    }

    /// Counts a frame for which the packet buffer had no room.
    pub(crate) fn missed(&mut self) {
        self.missed += 1;
    }

    /// Counts frames that were written to host memory by `queue`, and their bytes.
    #[inline]
    pub(crate) fn delivered(&mut self, queue: usize, frames: usize, bytes: usize) {
        let index = usize::from(self.receive_index[queue % QUEUES]);
        self.delivered[index % INDICES].add_many(frames, bytes);
    }

    /// Counts a frame that was dropped because `queue` had no descriptors.
    pub(crate) fn dropped(&mut self, queue: usize) {
        let index = usize::from(self.receive_index[queue % QUEUES]);
        self.dropped[index % INDICES] += 1;
    }

    /// Counts frames that left from `queue` and their bytes. Each is given to
    /// [`sent`](Self::sent) as well.
    #[inline]
    pub(crate) fn sent_from(&mut self, queue: usize, frames: usize, bytes: usize) {
        let index = usize::from(self.transmit_index[queue % QUEUES]);
        self.sent[index % INDICES].add_many(frames, bytes);
    }

    /// Counts a frame that left.
    pub(crate) fn sent(&mut self, frame: &[u8]) {
        self.sent_lengths(1, frame.len());
        self.sent_to(frame);
    }

    /// Counts frames of one length that left. Each is given to [`sent_to`](Self::sent_to) as well.
    #[inline]
    pub(crate) fn sent_lengths(&mut self, frames: usize, length: usize) {
        self.sent_classes[size_class(length + FCS)] += widen(frames);
    }

    /// Counts a frame that left if it went to a group.
    #[inline]
    pub(crate) fn sent_to(&mut self, frame: &[u8]) {
        count_group(&mut self.sent_groups, frame);
    }

    /// Counts a pause frame that left, or one that ends a pause.
    pub(crate) fn sent_pause(&mut self, pause: bool, frame: &[u8]) {
        self.sent_pauses[usize::from(pause)] += 1;
        self.sent(frame);
    }

    /// Counts a pause frame that was obeyed, or one that ends a pause.
    pub(crate) fn received_pause(&mut self, pause: bool) {
        self.received_pauses[usize::from(pause)] += 1;
    }

    /// Takes over what another has counted, whose counters start again. Only what happens to frames
    /// is counted there: no register of it is read.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        let sums = |into: &mut [u64], from: &mut [u64]| {
            for (into, from) in into.iter_mut().zip(from) {
                *into += mem::take(from);
            }
        };
        sums(&mut self.received, &mut other.received);
        sums(&mut self.received_groups, &mut other.received_groups);
        sums(&mut self.dropped, &mut other.dropped);
        sums(&mut self.sent_classes, &mut other.sent_classes);
        sums(&mut self.sent_groups, &mut other.sent_groups);
        sums(&mut self.sent_pauses, &mut other.sent_pauses);
        sums(&mut self.received_pauses, &mut other.received_pauses);
        for (into, from) in [
            (&mut self.received_bytes, &mut other.received_bytes),
            (&mut self.missed, &mut other.missed),
            (&mut self.wrong_checksums, &mut other.wrong_checksums),
        ] {
            *into += mem::take(from);
        }
        let tallies = [
            (&mut self.filtered, &mut other.filtered),
            (&mut self.undersize, &mut other.undersize),
            (&mut self.oversize, &mut other.oversize),
        ];
        let delivered = self.delivered.iter_mut().zip(&mut other.delivered);
        let sent = self.sent.iter_mut().zip(&mut other.sent);
        for (into, from) in tallies.into_iter().chain(delivered).chain(sent) {
            let from = mem::take(from);
            into.frames += from.frames;
            into.bytes += from.bytes;
        }
    }

    /// Maps queues to counters as another does.
    pub(crate) fn map_like(&mut self, other: &Self) {
        self.receive_index = other.receive_index;
        self.transmit_index = other.transmit_index;
    }

    /// Clears all counters, as at power-on. What was counted in all is kept.
    pub(crate) fn restart(&mut self) {
        for (_, counter) in roles::counters() {
            for index in 0..INDICES {
                self.clear_at(counter, index, self.total(counter, index));
            }
        }
        self.latched = [[None; INDICES]; COUNTERS];
        self.receive_index = [0; QUEUES];
        self.transmit_index = [0; QUEUES];
    }

    /// What a counter would be had it never been cleared.
    pub(crate) fn total(&self, counter: Counter, index: usize) -> u64 {
        use Counter as C;
        let received = || self.received.iter().sum::<u64>();
        let sum = |tallies: &[Tally]| {
            tallies.iter().fold(Tally::default(), |all, one| Tally {
                frames: all.frames + one.frames,
                bytes: all.bytes + one.bytes,
            })
        };
        let index = index % INDICES;
        match counter {
            C::Prc64 => self.received[0],
            C::Prc127 => self.received[1],
            C::Prc255 => self.received[2],
            C::Prc511 => self.received[3],
            C::Prc1023 => self.received[4],
            C::Prc1522 => self.received[5],
            C::Ptc64 => self.sent_classes[0],
            C::Ptc127 => self.sent_classes[1],
            C::Ptc255 => self.sent_classes[2],
            C::Ptc511 => self.sent_classes[3],
            C::Ptc1023 => self.sent_classes[4],
            C::Ptc1522 => self.sent_classes[5],
            C::Gprc => received() - self.filtered.frames,
            C::Gorc => self.received_bytes - self.filtered.bytes,
            C::Mprc => self.received_groups[0],
            C::Bprc => self.received_groups[1],
            C::Tpr => received() + self.undersize.frames + self.oversize.frames,
            C::Tor => self.received_bytes + self.undersize.bytes + self.oversize.bytes,
            C::Ruc => self.undersize.frames,
            C::Roc => self.oversize.frames,
            C::Xec => self.wrong_checksums,
            C::Rxnfgpc => received(),
            C::Rxnfgbc => self.received_bytes,
            C::Rxdgpc => sum(&self.delivered).frames,
            C::Rxdgbc => sum(&self.delivered).bytes,
            C::Gptc | C::Tpt => sum(&self.sent).frames + self.sent_pauses.iter().sum::<u64>(),
            C::Gotc => {
                let pauses = self.sent_pauses.iter().sum::<u64>();
                sum(&self.sent).bytes + pauses * widen(limits::FRAME_MIN as usize)
            }
            C::Txdgpc => sum(&self.sent).frames,
            C::Txdgbc => sum(&self.sent).bytes,
            C::Lxontxc => self.sent_pauses[0],
            C::Lxofftxc => self.sent_pauses[1],
            C::Lxonrxcnt => self.received_pauses[0],
            C::Lxoffrxcnt => self.received_pauses[1],
            C::Mptc => self.sent_groups[0],
            C::Bptc => self.sent_groups[1],
            // The first packet buffer is the only one in use.
            C::Mpc if index > 0 => 0,
            C::Mpc => self.missed,
            C::Qprc => self.delivered[index].frames,
            C::Qprdc => self.dropped[index],
            C::Qbrc => self.delivered[index].bytes,
            C::Qptc => self.sent[index].frames,
            C::Qbtc => self.sent[index].bytes,
        }
    }

    /// A counter as it is.
    pub(crate) fn peek(&self, counter: Counter, index: usize) -> u64 {
        self.total(counter, index) - self.cleared[counter as usize][index % INDICES]
    }

    fn clear_at(&mut self, counter: Counter, index: usize, total: u64) {
        self.cleared[counter as usize][index % INDICES] = total;
    }

    /// Reads and clears a counter of 32 bits, which stays at its largest value.
    pub(crate) fn read(&mut self, counter: Counter, index: usize) -> u32 {
        let value = self.peek(counter, index);
        self.clear_at(counter, index, self.total(counter, index));
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// Reads the low half of a byte counter, and keeps the high half for the read that follows.
    pub(crate) fn read_low(&mut self, counter: Counter, index: usize) -> u32 {
        let total = self.total(counter, index);
        self.latched[counter as usize][index % INDICES] = Some(total);
        low(self.peek(counter, index))
    }

    /// Reads the high half of a byte counter and clears both. False if the low half was not read
    /// before, which loses its value.
    pub(crate) fn read_high(&mut self, counter: Counter, index: usize) -> (u32, bool) {
        let latch = self.latched[counter as usize][index % INDICES].take();
        let total = latch.unwrap_or_else(|| self.total(counter, index));
        let value = total - self.cleared[counter as usize][index % INDICES];
        self.clear_at(counter, index, total);
        (low(value >> 32) & OCTETS_HIGH_MASK, latch.is_some())
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

fn remap(map: &mut [u8; QUEUES], index: usize, value: u32) {
    let fields = QueueStatisticsMap::from_bits(value);
    let indices = [
        fields.q_map_0(),
        fields.q_map_1(),
        fields.q_map_2(),
        fields.q_map_3(),
    ];
    for (queue, index) in map.iter_mut().skip(index * 4).zip(indices) {
        *queue = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_clears_and_the_largest_value_stays() {
        let mut statistics = Statistics::new();
        statistics.received[3] = 1 << 40;
        assert_eq!(statistics.read(Counter::Gprc, 0), u32::MAX);
        assert_eq!(statistics.read(Counter::Gprc, 0), 0);
    }

    #[test]
    fn bytes_that_arrive_between_the_two_reads_are_not_lost() {
        let mut statistics = Statistics::new();
        statistics.received_bytes = 0x3_FFFF_FFFF;
        assert_eq!(statistics.read_low(Counter::Gorc, 0), 0xFFFF_FFFF);
        statistics.received_bytes += 5;
        assert_eq!(statistics.read_high(Counter::Gorc, 0), (3, true));
        assert_eq!(statistics.read_low(Counter::Gorc, 0), 5);
        assert_eq!(statistics.read_high(Counter::Gorc, 0), (0, true));
        assert_eq!(statistics.read_high(Counter::Gorc, 0), (0, false));
    }

    #[test]
    fn queues_share_counters_as_mapped() {
        let mut statistics = Statistics::new();
        statistics.map_receive(1, 0x0302_0100);
        statistics.delivered(6, 1, 60);
        statistics.delivered(0, 1, 60);
        statistics.dropped(7);
        assert_eq!(statistics.read(Counter::Qprc, 2), 1);
        assert_eq!(statistics.read(Counter::Qprc, 0), 1);
        assert_eq!(statistics.read(Counter::Qprdc, 3), 1);
    }

    #[test]
    fn size_classes_end_where_the_datasheet_says() {
        let ends = [
            (64, 0),
            (65, 1),
            (127, 1),
            (128, 2),
            (255, 2),
            (256, 3),
            (511, 3),
        ];
        for (bytes, class) in ends
            .into_iter()
            .chain([(512, 4), (1023, 4), (1024, 5), (9728, 5)])
        {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }
}
