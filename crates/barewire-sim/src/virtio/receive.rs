//! From the wire to the driver (VIRTIO §5.1.6.3, §5.1.6.4).

use barewire_spec::virtio::feature;
use barewire_spec::virtio::header::{self, DATA_VALID, Header};
use barewire_spec::virtio::net::receive_queue;

use super::model::Model;
use super::queue::Queue;
use super::ring::{Chain, Element, Trouble, while_at};
use crate::memory::{Hint, Iommu};
use crate::packet::{Headers, Tags, checksum, parse};
use crate::violation::{Refusal, Rule, refusal};
use crate::wire::widen;

/// Bytes of an Ethernet header, and of a VLAN tag.
const ETHERNET: usize = 14 + 4;

const READABLE: Refusal = refusal(
    Rule::Descriptor,
    "a receive buffer with a device-readable part",
    "virtio 1.2 §5.1.6.3",
);
const NO_ROOM_FOR_HEADER: Refusal = refusal(
    Rule::Descriptor,
    "a receive buffer without room for the header",
    "virtio 1.2 §5.1.6.3.1",
);
const TOO_SMALL: Refusal = refusal(
    Rule::Descriptor,
    "a receive buffer that is too small for a frame, without the feature MRG_RXBUF",
    "virtio 1.2 §5.1.6.3.1",
);
const HEADER_ALONE: Refusal = refusal(
    Rule::Descriptor,
    "the header shares its descriptor with the packet though ANY_LAYOUT was not agreed on",
    "virtio 1.2 §5.1.6.6",
);

/// What became of a frame.
enum Delivery {
    Done,
    /// There are no buffers, or memory has not answered.
    Waits,
}

/// Writes bytes across the device-writable pieces of buffers.
struct Writer<'a> {
    memory: &'a Iommu,
    hint: &'a mut Hint,
    /// A header and the frame behind it; kept for its memory.
    whole: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// Writes a whole frame with its header into a piece that has room for it.
    fn write_whole(&mut self, into: Element) -> Result<(), Trouble> {
        let room = usize::try_from(into.length).unwrap_or(usize::MAX);
        self.memory
            .write(self.hint, into.address, self.whole, room)
            .map_err(while_at("receive buffer"))
    }

    /// Writes `bytes` behind the first `skip` of a buffer; how many had room.
    fn write(&mut self, chain: &Chain, skip: usize, bytes: &[u8]) -> Result<usize, Trouble> {
        let mut skip = widen(skip);
        let mut left = bytes;
        for element in chain.elements.iter().filter(|element| element.writable) {
            let length = u64::from(element.length);
            if skip >= length {
                skip -= length;
                continue;
            }
            let room = usize::try_from(length - skip).unwrap_or(usize::MAX);
            let (now, later) = left.split_at(left.len().min(room));
            let address = element.address.wrapping_add(skip);
            self.memory
                .write(self.hint, address, now, room)
                .map_err(while_at("receive buffer"))?;
            skip = 0;
            left = later;
            if left.is_empty() {
                break;
            }
        }
        Ok(bytes.len() - left.len())
    }
}

impl Model {
    /// Receives up to `budget` frames; true if anything was done.
    pub(super) fn receive(&mut self, budget: usize) -> bool {
        let mut busy = false;
        let mut touched = 0u64;
        let mut frame = std::mem::take(&mut self.frame);
        for _ in 0..budget {
            let pair = if let Some(pair) = self.waiting {
                pair
            } else {
                let room = self.has_room();
                if !self.wire.pull(self.now, room, &mut frame) {
                    break;
                }
                busy = true;
                if !room {
                    self.counters.missed += 1;
                    continue;
                }
                let Some(pair) = self.accept(&frame) else {
                    continue;
                };
                pair
            };
            self.waiting = Some(pair);
            touched |= 1 << pair;
            match self.deliver(pair, &frame) {
                Ok(Delivery::Done) => {
                    busy = true;
                    self.waiting = None;
                }
                Ok(Delivery::Waits) => break,
                Err(trouble) => {
                    if self.trouble(receive_queue(pair), trouble) {
                        self.waiting = None;
                        self.counters.missed += 1;
                    }
                    break;
                }
            }
        }
        self.frame = frame;
        while touched != 0 {
            let pair = u16::try_from(touched.trailing_zeros()).unwrap_or(0);
            touched &= touched - 1;
            self.publish(receive_queue(pair));
        }
        busy
    }

    /// Whether a frame could be taken, whichever queue it goes to.
    fn has_room(&mut self) -> bool {
        if !self.is_live() || !self.plugged {
            return false;
        }
        let pairs = self.steering.pairs();
        for pair in 0..pairs {
            let number = receive_queue(pair);
            let Some(queue) = self.queues.get_mut(usize::from(number)) else {
                return false;
            };
            if !queue.runs() || !queue.has_work() {
                return false;
            }
            match queue.find_room(&self.iommu, 0) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(trouble) => {
                    self.trouble(number, trouble);
                    return false;
                }
            }
        }
        self.may_master()
    }

    /// Filters a frame; the pair it goes to.
    fn accept(&mut self, frame: &[u8]) -> Option<u16> {
        let most = usize::from(self.config.mtu) + ETHERNET;
        if self.agreed.has(feature::NET_MTU) && frame.len() > most {
            self.counters.oversize += 1;
            return None;
        }
        if !self.filter.passes(frame) {
            self.counters.filtered += 1;
            return None;
        }
        if !self.steering.wants_headers() {
            return Some(0);
        }
        let headers = parse(frame, Tags::usual());
        let pair = self.steering.pair(frame, &headers);
        Some(pair.min(self.queue_pairs() - 1))
    }

    /// Writes a frame into buffers of a pair's receive queue.
    fn deliver(&mut self, pair: u16, frame: &[u8]) -> Result<Delivery, Trouble> {
        let before = self.agreed.header_bytes();
        let merges = self.agreed.has(feature::NET_MRG_RXBUF);
        let total = before + frame.len();
        let alone = self.wants_header_alone();
        let wanted = if merges { widen(total) } else { 0 };
        let memory = &self.iommu;
        let number = usize::from(receive_queue(pair));
        let Some(queue) = self.queues.get_mut(number).filter(|queue| queue.runs()) else {
            self.counters.missed += 1;
            return Ok(Delivery::Done);
        };
        let mut refused = None;
        let mut spoiled = |refusal, value| refused = Some((refusal, value));
        let mut result = Delivery::Done;
        if !queue.find_room(memory, wanted)? {
            result = Delivery::Waits;
            if queue.found() >= usize::from(queue.size) {
                // All the driver can give is not enough.
                self.counters.oversize += 1;
                result = Delivery::Done;
            }
        } else if let Some(chain) = queue.take(memory)? {
            if chain.readable > 0 {
                spoiled(READABLE, chain.readable);
                queue.give_back(memory, chain, 0)?;
                self.counters.missed += 1;
            } else if chain.writable < widen(before) {
                spoiled(NO_ROOM_FOR_HEADER, chain.writable);
                queue.give_back(memory, chain, 0)?;
                self.counters.missed += 1;
            } else if !merges && chain.writable < widen(total) {
                spoiled(TOO_SMALL, chain.writable);
                queue.put_back(chain);
                self.counters.oversize += 1;
            } else {
                let first = chain.elements.first().map_or(0, |element| element.length);
                if alone && widen(before) != u64::from(first) {
                    spoiled(HEADER_ALONE, first.into());
                }
                let checked = self.offloads & feature::NET_GUEST_CSUM != 0;
                let flags = if checked { checked_flags(frame) } else { 0 };
                let writer = Writer {
                    memory,
                    hint: &mut self.received_to,
                    whole: &mut self.whole,
                };
                fill(queue, writer, chain, before, frame, flags, &mut self.taken)?;
                self.counters.received += 1;
                self.counters.received_bytes += widen(frame.len());
            }
        }
        if matches!(result, Delivery::Done) {
            self.note(
                "receives",
                &format_args!("{} bytes on queue {number}", frame.len()),
            );
        }
        if let Some((refusal, value)) = refused {
            self.refuse(refusal, value, || format!("buffer of queue {number}"));
        }
        Ok(result)
    }
}

/// Writes a frame behind a header of `before` bytes into a buffer, and into as many others as it
/// takes, and gives them back. `taken` holds them meanwhile.
fn fill(
    queue: &mut Queue,
    mut writer: Writer<'_>,
    chain: Chain,
    before: usize,
    frame: &[u8],
    flags: u8,
    taken: &mut Vec<(Chain, usize)>,
) -> Result<(), Trouble> {
    let memory = writer.memory;
    let header = |buffers: usize| {
        let counts = before == header::BYTES;
        let buffers = u16::try_from(buffers).unwrap_or(u16::MAX);
        let header = Header {
            flags,
            num_buffers: if counts { buffers } else { 0 },
            ..Header::default()
        };
        header.to_bytes()
    };
    let total = before + frame.len();
    let first = chain.elements.first().copied().unwrap_or_default();
    if first.writable && widen(total) <= u64::from(first.length) {
        // most are in one piece: at once
        let header = header(1);
        writer.whole.clear();
        let header = header.get(..before).unwrap_or_default();
        writer.whole.extend_from_slice(header);
        writer.whole.extend_from_slice(frame);
        writer.write_whole(first)?;
        let written = u32::try_from(total).unwrap_or(u32::MAX);
        return queue.give_back(memory, chain, written);
    }
    taken.clear();
    let mut done = writer.write(&chain, before, frame)?;
    taken.push((chain, before + done));
    while done < frame.len() {
        let Some(chain) = queue.take(memory)? else {
            break;
        };
        let count = writer.write(&chain, 0, frame.get(done..).unwrap_or_default())?;
        done += count;
        taken.push((chain, count));
    }
    let bytes = header(taken.len());
    if let Some((first, _)) = taken.first() {
        writer.write(first, 0, bytes.get(..before).unwrap_or_default())?;
    }
    for (chain, written) in taken.drain(..) {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        queue.give_back(memory, chain, written)?;
    }
    Ok(())
}

/// What the device says about a frame's checksums (VIRTIO §5.1.6.4.1).
fn checked_flags(frame: &[u8]) -> u8 {
    let headers: Headers = parse(frame, Tags::usual());
    if checksum::verify(frame, &headers).is_right() {
        DATA_VALID
    } else {
        0
    }
}
