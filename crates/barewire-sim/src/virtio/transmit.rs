//! From the driver to the wire (VIRTIO §5.1.6.2).

use barewire_spec::virtio::feature;
use barewire_spec::virtio::header::{self, GSO_ECN, GSO_NONE, Header, NEEDS_CSUM};
use barewire_spec::virtio::net::transmit_queue;

use super::model::Model;
use super::offload::{self, Cut, Spoiled};
use super::ring::{Chain, Trouble, while_at};
use crate::memory::{Hint, Iommu};
use crate::packet::{Tags, parse};
use crate::violation::{Refusal, Rule, refusal};
use crate::wire::{MIN_FRAME, widen};

/// The longest packet: 64 KiB behind an Ethernet header with two tags.
const LONGEST: usize = 65_535 + 14 + 8;
/// The longest frame that is not cut, where no MTU was agreed on.
const LONGEST_FRAME: usize = 16_384;
/// Bytes that a copy may write behind what is asked for.
const SLACK: usize = 64;

const WRITABLE: Refusal = refusal(
    Rule::Descriptor,
    "a transmit buffer with a device-writable part",
    "virtio 1.2 §5.1.6.2",
);
const TOO_LONG: Refusal = refusal(
    Rule::Frame,
    "a packet that is longer than the MTU, or than any is",
    "virtio 1.2 §5.1.4.2",
);
const TOO_SHORT: Refusal = refusal(
    Rule::Frame,
    "a buffer without a whole header and an Ethernet header behind it",
    "virtio 1.2 §5.1.6.2",
);
const HEADER_ALONE: Refusal = refusal(
    Rule::Descriptor,
    "the header shares its descriptor with the packet though ANY_LAYOUT was not agreed on",
    "virtio 1.2 §5.1.6.6",
);

/// Reads the device-readable bytes of a buffer.
pub(super) fn collect(
    memory: &Iommu,
    hint: &mut Hint,
    chain: &Chain,
    into: &mut Vec<u8>,
) -> Result<(), Trouble> {
    let what = while_at("buffer");
    let readable = chain.elements.iter().filter(|element| !element.writable);
    if memory.has_indirect() {
        // All at once, so that they come together.
        let mut result = Ok(());
        for element in readable.clone() {
            let length = usize::try_from(element.length).unwrap_or(usize::MAX);
            result = result.and(memory.prepare(hint, element.address, length));
        }
        result.map_err(&what)?;
    }
    let mut start = 0;
    for element in readable {
        let length = usize::try_from(element.length).unwrap_or(usize::MAX);
        if into.len() < start + length + SLACK {
            into.resize(start + length + SLACK, 0);
        }
        let place = into.get_mut(start..).unwrap_or_default();
        memory
            .read(hint, element.address, place, length)
            .map_err(&what)?;
        start += length;
    }
    into.truncate(start);
    Ok(())
}

impl Model {
    /// Sends up to `budget` packets; true if anything was done.
    pub(super) fn transmit(&mut self, budget: usize) -> bool {
        if !self.is_live() {
            return false;
        }
        let pairs = self.queue_pairs();
        let mut done = 0;
        for turn in 0..pairs {
            let pair = (self.next_sender + turn) % pairs;
            let number = transmit_queue(pair);
            let has_work = self
                .queues
                .get(usize::from(number))
                .is_some_and(super::queue::Queue::has_work);
            if has_work && self.may_master() {
                done += self.transmit_from(pair, number, budget);
            }
        }
        self.next_sender = (self.next_sender + 1) % pairs;
        done > 0
    }

    /// Pairs that have queues with the features agreed on.
    pub(super) fn queue_pairs(&self) -> u16 {
        if self.agreed.has(feature::NET_MQ | feature::NET_RSS) {
            self.config.queue_pairs
        } else {
            1
        }
    }

    fn transmit_from(&mut self, pair: u16, number: u16, budget: usize) -> usize {
        let mut done = 0;
        while done < budget {
            let Some(chain) = self.next_buffer(number) else {
                break;
            };
            let mut packet = std::mem::take(&mut self.packet);
            let sent = self.send(pair, &chain, &mut packet);
            self.packet = packet;
            match sent {
                Ok(Ok(())) => {}
                Ok(Err((refusal, value))) => {
                    self.counters.unsent += 1;
                    self.refuse(refusal, value, || format!("packet of queue {number}"));
                }
                Err(trouble) => {
                    if !self.trouble(number, trouble)
                        && let Some(queue) = self.queues.get_mut(usize::from(number))
                    {
                        queue.put_back(chain);
                    }
                    break;
                }
            }
            if let Some(queue) = self.queues.get_mut(usize::from(number))
                && let Err(trouble) = queue.give_back(&self.iommu, chain, 0)
            {
                self.trouble(number, trouble);
                break;
            }
            done += 1;
        }
        self.publish(number);
        done
    }

    /// Sends what lies in a buffer. The inner error is what was wrong with the packet.
    fn send(
        &mut self,
        pair: u16,
        chain: &Chain,
        packet: &mut Vec<u8>,
    ) -> Result<Result<(), Spoiled>, Trouble> {
        let before = self.agreed.header_bytes();
        if chain.readable > widen(before + LONGEST) {
            return Ok(Err((TOO_LONG, chain.readable)));
        }
        if chain.readable < widen(before + 14) {
            return Ok(Err((TOO_SHORT, chain.readable)));
        }
        collect(&self.iommu, &mut self.sent_from, chain, packet)?;
        if chain.writable > 0 {
            self.refuse(WRITABLE, chain.writable, || "transmit buffer".into());
        }
        let first = chain.elements.first().map_or(0, |element| element.length);
        if self.wants_header_alone() && widen(before) != u64::from(first) {
            self.refuse(HEADER_ALONE, first.into(), || "transmit buffer".into());
        }
        Ok(self.send_packet(pair, packet, before))
    }

    fn send_packet(
        &mut self,
        pair: u16,
        packet: &mut Vec<u8>,
        before: usize,
    ) -> Result<(), Spoiled> {
        let mut bytes = [0; header::BYTES];
        for (to, from) in bytes.iter_mut().zip(packet.iter().take(before)) {
            *to = *from;
        }
        let header = Header::from_bytes(bytes);
        offload::check(&header, self.agreed)?;
        let length = packet.len();
        let frame = packet.get_mut(before..).unwrap_or_default();
        let whole = header.gso_type & !GSO_ECN == GSO_NONE;
        let longest = if self.agreed.has(feature::NET_MTU) {
            usize::from(self.config.mtu) + 14 + 4
        } else {
            LONGEST_FRAME
        };
        if whole && frame.len() > longest {
            return Err((TOO_LONG, widen(frame.len())));
        }
        let headers = if self.steering.wants_headers() || !whole {
            parse(frame, Tags::usual())
        } else {
            crate::packet::Headers::default()
        };
        if self.steering.wants_headers() {
            self.steering.sent(pair, frame, &headers);
        }
        if whole {
            if header.flags & NEEDS_CSUM != 0 {
                offload::finish_checksum(&header, frame)?;
            }
            if length - before < MIN_FRAME {
                packet.resize(before + MIN_FRAME, 0);
            }
            let frame = packet.get(before..).unwrap_or_default();
            self.push(frame);
            return Ok(());
        }
        let cut = Cut::new(&header, frame, &headers, self.agreed)?;
        let mut segment = std::mem::take(&mut self.segment);
        segment.resize(LONGEST, 0);
        let sent = self.send_segments(&cut, longest, &mut segment);
        self.segment = segment;
        sent
    }

    fn send_segments(
        &mut self,
        cut: &Cut,
        longest: usize,
        segment: &mut [u8],
    ) -> Result<(), Spoiled> {
        for number in 0..cut.count() {
            let length = cut.build(number, segment)?;
            if length > longest {
                return Err((TOO_LONG, widen(length)));
            }
            // Padding is zeros, which the last segment's bytes may have overwritten.
            if let Some(padding) = segment.get_mut(length..MIN_FRAME.max(length)) {
                padding.fill(0);
            }
            let frame = segment.get(..length.max(MIN_FRAME)).unwrap_or_default();
            self.push(frame);
        }
        Ok(())
    }

    /// Puts a frame into the wire.
    fn push(&mut self, frame: &[u8]) {
        if self.plugged {
            self.counters.sent += 1;
            self.counters.sent_bytes += widen(frame.len());
            self.note("sends", &format_args!("{} bytes", frame.len()));
            self.wire.push(self.now, frame);
        } else {
            self.counters.unsent += 1;
        }
    }
}
