//! Receive-side coalescing: segments of a TCP connection become one packet (82599 §7.11).
//!
//! A packet is coalesced only from frames that arrive in one burst: when the device turns to other
//! work all open ones are finished. Hardware waits for more until the interrupt timer ends, and may
//! finish earlier at any time.

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::descriptor::rx::{Info, Status};
use barewire_spec::ixgbe::{Rfctl, Rscctl, limits};

use super::delivery::{self, Delivery, MOST_BEFORE_TAG, Target, Trouble, write_back};
use super::interrupt::Causes;
use super::model::Model;
use super::packet_buffer::Arrival;
use super::receive::Burst;
use super::statistics::FCS;
use crate::packet::checksum;
use crate::packet::{Headers, Network, Transport, parse_again};

/// The longest header: two tags, IPv6 and TCP with all its options.
const HEADER_ROOM: usize = 14 + 8 + 40 + 60;
/// The most packets a descriptor can tell of.
const PACKETS: u8 = 15;
/// The most bytes an IP packet can have.
const LONGEST: usize = 65_535;

const FIN_SYN_RST: u8 = 0x07;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG_ECE_CWR: u8 = 0xE0;
/// The only options: two paddings and a time stamp (RFC 7323 appendix A).
const TIME_STAMP: [u8; 4] = [1, 1, 8, 10];

/// A descriptor of a coalesced packet.
#[derive(Clone, Copy, Debug)]
struct Piece {
    index: u32,
    buffer: u64,
    bytes: usize,
    packets: u8,
}

/// A packet that may still grow.
#[derive(Debug)]
struct Packet {
    queue: usize,
    /// Of the first frame, as it will be in memory; its length is `header_bytes`.
    header: [u8; HEADER_ROOM],
    header_bytes: usize,
    /// Where the IP and the TCP header start.
    l3: usize,
    l4: usize,
    network: Network,
    /// The sequence number of the frame that would fit.
    next: u32,
    /// Bytes behind the header.
    payload: usize,
    packets: usize,
    pieces: Vec<Piece>,
    arrival: Arrival,
}

/// The packets that may still grow.
#[derive(Debug, Default)]
pub(super) struct Coalescing {
    open: Vec<Packet>,
    spare: Vec<Vec<Piece>>,
    /// A frame without its tag.
    without_tag: Vec<u8>,
}

/// A frame that may be coalesced.
struct Segment {
    l3: usize,
    l4: usize,
    /// Where the payload starts and ends.
    start: usize,
    end: usize,
    network: Network,
    sequence: u32,
}

impl Segment {
    /// Looks at a frame without the tag that is stripped.
    fn of(frame: &[u8], headers: &Headers, stripped: usize) -> Option<Self> {
        let plain_ip = match headers.network {
            Network::V4 => headers.l3_length == 20,
            Network::V6 => !headers.extended,
            Network::None => false,
        };
        if !plain_ip || headers.transport != Transport::Tcp || headers.fragment {
            return None;
        }
        let l3 = usize::from(headers.l3) - stripped;
        let l4 = usize::from(headers.l4) - stripped;
        let end = usize::from(headers.end) - stripped;
        let tcp = frame.get(l4..)?.first_chunk::<20>()?;
        let start = l4 + usize::from(tcp[12] >> 4) * 4;
        let options = frame.get(l4 + 20..start)?;
        let usual = options.is_empty() || options.len() == 12 && options.starts_with(&TIME_STAMP);
        let flags = tcp[13];
        let unusual = flags & (FIN_SYN_RST | URG_ECE_CWR) != 0 || flags & ACK == 0;
        if !usual || unusual || start >= end {
            return None;
        }
        Some(Self {
            l3,
            l4,
            start,
            end,
            network: headers.network,
            sequence: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
        })
    }

    fn payload(&self) -> usize {
        self.end - self.start
    }
}

impl Packet {
    /// Whether two frames are of one connection.
    fn is_of(&self, queue: usize, frame: &[u8], headers: &Headers, stripped: usize) -> bool {
        let l3 = usize::from(headers.l3).wrapping_sub(stripped);
        let l4 = usize::from(headers.l4).wrapping_sub(stripped);
        let addresses = match self.network {
            Network::V4 => self.l3 + 12..self.l3 + 20,
            _ => self.l3 + 8..self.l3 + 40,
        };
        self.queue == queue
            && self.network == headers.network
            && (self.l3, self.l4) == (l3, l4)
            && self.header.get(addresses.clone()) == frame.get(addresses)
            && self.header.get(l4..l4 + 4) == frame.get(l4..l4 + 4)
    }

    /// Whether a frame continues the packet.
    fn takes(&self, frame: &[u8], segment: &Segment) -> bool {
        let ip_bytes = self.header_bytes - self.l3 + self.payload + segment.payload();
        let kind = match self.network {
            // Type of service and time to live.
            Network::V4 => [1, 8],
            // Traffic class and hop limit.
            _ => [1, 7],
        };
        segment.sequence == self.next
            && segment.start == self.header_bytes
            && ip_bytes <= LONGEST
            && kind
                .iter()
                .all(|at| self.header.get(self.l3 + at) == frame.get(self.l3 + at))
    }

    /// Takes over from the latest frame what the packet's header tells: acknowledgement, window,
    /// flags, time stamp.
    fn follow(&mut self, frame: &[u8]) {
        let l4 = self.l4;
        for part in [
            l4 + 8..l4 + 12,
            l4 + 14..l4 + 16,
            l4 + 20..self.header_bytes,
        ] {
            if let (Some(to), Some(from)) = (self.header.get_mut(part.clone()), frame.get(part)) {
                to.copy_from_slice(from);
            }
        }
        if let (Some(to), Some(from)) = (self.header.get_mut(l4 + 13), frame.get(l4 + 13)) {
            *to |= from & PSH;
        }
    }

    /// Gives the header the lengths of the whole packet.
    fn finish_header(&mut self) {
        let (l3, bytes) = (self.l3, self.header_bytes + self.payload);
        let length = |from: usize| u16::try_from(bytes - from).unwrap_or(u16::MAX);
        let mut put = |at: usize, value: u16| {
            if let Some(field) = self.header.get_mut(at..at + 2) {
                field.copy_from_slice(&value.to_be_bytes());
            }
        };
        if self.network == Network::V4 {
            put(l3 + 2, length(l3));
            put(l3 + 10, 0);
            let sum = self.header.get(l3..l3 + 20).unwrap_or_default();
            let sum = checksum::internet(sum, 0);
            if let Some(field) = self.header.get_mut(l3 + 10..l3 + 12) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
        } else {
            put(l3 + 4, length(l3 + 40));
        }
    }
}

impl Model {
    /// How many descriptors a coalesced packet of a queue may take; `None` if it has none.
    pub(super) fn coalesces(&self, queue: u32) -> Option<usize> {
        let rscctl = Rscctl::from_bits(self.registers.get(&spec::RSCCTL, queue));
        let rfctl = Rfctl::from_bits(self.registers.of(&spec::RFCTL));
        if !rscctl.rscen() || rfctl.rsc_dis() {
            return None;
        }
        Some(match rscctl.maxdesc() {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 16,
        })
    }
}

impl<'a> Burst<'a> {
    /// The queue that a frame goes to, with what is looked up for it.
    fn target(&mut self, queue: usize) -> Option<Target<'a, '_>> {
        Some(Target {
            queue: self.queues.get_mut(queue)?,
            filter: self.filter,
            iommu: self.iommu,
            descriptors: self.descriptors,
            window: &mut self.window,
        })
    }

    /// Adds a frame to a packet of its connection, or begins one; false if the frame goes its own
    /// way.
    #[inline(never)]
    pub(super) fn coalesce(&mut self, frame: &[u8], arrival: &Arrival) -> bool {
        let Some(queue) = self.queues.get(arrival.queue) else {
            return false;
        };
        let Some(most) = queue.coalesce.filter(|_| self.port.strip_fcs) else {
            return false;
        };
        let headers = parse_again(frame, self.filter.tags);
        if !queue.strip_tag || arrival.vlan.is_none() {
            return self.coalesce_shown(frame, &headers, 0, arrival, most);
        }
        let mut before = [0; MOST_BEFORE_TAG];
        let (first, rest) = delivery::strip(frame, Some(arrival.tag_at()), &mut before);
        let stripped = frame.len() - first.len() - rest.len();
        let mut shown = std::mem::take(&mut self.coalescing.without_tag);
        shown.clear();
        shown.extend_from_slice(first);
        shown.extend_from_slice(rest);
        let taken = self.coalesce_shown(&shown, &headers, stripped, arrival, most);
        self.coalescing.without_tag = shown;
        taken
    }

    /// Does so with a frame as it is written: `stripped` bytes of a tag are not there any more.
    fn coalesce_shown(
        &mut self,
        shown: &[u8],
        headers: &Headers,
        stripped: usize,
        arrival: &Arrival,
        most: usize,
    ) -> bool {
        const RIGHT: u64 = Status::new().with_l4i(true).into_bits();
        const WRONG: u64 = Status::new()
            .with_l4e(true)
            .with_ipe(true)
            .with_rxe(true)
            .into_bits();
        let right = arrival.status & (RIGHT | WRONG) == RIGHT;
        let segment = Segment::of(shown, headers, stripped).filter(|_| right);
        let known = self
            .coalescing
            .open
            .iter()
            .position(|packet| packet.is_of(arrival.queue, shown, headers, stripped));
        if let Some(position) = known {
            if let Some(segment) = &segment
                && self.coalescing.open[position].takes(shown, segment)
                && self.grow(position, shown, segment, most)
            {
                return true;
            }
            // It is out of order, of another kind, or there is no room: the packet ends here.
            self.close(position);
        }
        let Some(segment) = segment else {
            return false;
        };
        if self.coalescing.open.len() >= limits::COALESCED_PACKETS {
            self.close(0);
        }
        self.begin(shown, &segment, arrival, most)
    }

    /// Begins a packet with a frame; false if that is not possible.
    fn begin(&mut self, frame: &[u8], segment: &Segment, arrival: &Arrival, most: usize) -> bool {
        let mut header = [0; HEADER_ROOM];
        let (Some(to), Some(from), Some(bytes)) = (
            header.get_mut(..segment.start),
            frame.get(..segment.start),
            frame.get(..segment.end),
        ) else {
            return false;
        };
        to.copy_from_slice(from);
        let mut packet = Packet {
            queue: arrival.queue,
            header,
            header_bytes: segment.start,
            l3: segment.l3,
            l4: segment.l4,
            network: segment.network,
            next: segment.sequence,
            payload: 0,
            packets: 0,
            pieces: self.coalescing.spare.pop().unwrap_or_default(),
            arrival: *arrival,
        };
        if !self.append(&mut packet, bytes, most) {
            packet.pieces.clear();
            self.coalescing.spare.push(packet.pieces);
            // Where a fault stopped the queue the frame is gone.
            return self.trouble.is_some();
        }
        packet.payload = segment.payload();
        packet.packets = 1;
        packet.next = segment.sequence.wrapping_add(narrow(segment.payload()));
        self.coalescing.open.push(packet);
        true
    }

    /// Adds a frame's payload to an open packet; false if it does not fit.
    fn grow(&mut self, position: usize, frame: &[u8], segment: &Segment, most: usize) -> bool {
        let Some(payload) = frame.get(segment.start..segment.end) else {
            return false;
        };
        let mut packet = self.coalescing.open.swap_remove(position);
        let grown = self.append(&mut packet, payload, most);
        if grown {
            packet.payload += payload.len();
            packet.packets += 1;
            packet.next = packet.next.wrapping_add(narrow(payload.len()));
            packet.follow(frame);
        }
        self.coalescing.open.push(packet);
        let last = self.coalescing.open.len() - 1;
        self.coalescing.open.swap(position, last);
        grown
    }

    /// Writes bytes behind those of a packet; false if there are not enough descriptors, for which
    /// nothing is done, or if a fault stopped the queue.
    fn append(&mut self, packet: &mut Packet, bytes: &[u8], most: usize) -> bool {
        let number = packet.queue;
        let Some(mut target) = self.target(number) else {
            return false;
        };
        let size = target.queue.buffer;
        let room = match packet.pieces.last() {
            // A descriptor that can tell of no more packets is full.
            Some(piece) if piece.packets >= PACKETS => return false,
            Some(piece) => size - piece.bytes,
            None => 0,
        };
        let needed = bytes.len().saturating_sub(room).div_ceil(size);
        if packet.pieces.len() + needed > most || target.queue.ring.available() < needed {
            return false;
        }
        let mut at = 0;
        let mut room = room;
        let mut trouble = None;
        while at < bytes.len() && trouble.is_none() {
            if room == 0 {
                let index = target.queue.ring.head;
                match target.take() {
                    Ok(taken) => {
                        target.queue.ring.advance();
                        packet.pieces.push(Piece {
                            index,
                            buffer: taken.buffer,
                            bytes: 0,
                            packets: 0,
                        });
                        room = size;
                    }
                    Err(Delivery::Stopped(found)) => trouble = Some(found),
                    Err(_) => break,
                }
                continue;
            }
            let Some(piece) = packet.pieces.last_mut() else {
                break;
            };
            let count = room.min(bytes.len() - at);
            let part = bytes.get(at..at + count).unwrap_or_default();
            let place = piece.buffer.wrapping_add(crate::wire::widen(piece.bytes));
            let iommu = target.iommu;
            if let Err(fault) = iommu.write(&mut target.queue.hint, place, part, part.len()) {
                trouble = Some(Trouble::Fault(fault));
            }
            *target.window = iommu.window(target.queue.hint);
            piece.bytes += count;
            piece.packets += 1;
            at += count;
            room -= count;
        }
        if let Some(trouble) = trouble {
            self.trouble = Some((number, trouble));
            return false;
        }
        let counted = bytes.len()
            + if packet.packets == 0 {
                0
            } else {
                packet.header_bytes
            };
        self.statistics.delivered(number, 1, counted.max(64 - FCS));
        true
    }

    /// Finishes all packets.
    #[inline]
    pub(super) fn close_all(&mut self) {
        while !self.coalescing.open.is_empty() {
            self.close(0);
        }
    }

    /// Finishes a packet: its header and its descriptors are written.
    fn close(&mut self, position: usize) {
        let mut packet = self.coalescing.open.remove(position);
        if packet.packets > 1 {
            packet.finish_header();
            self.rewrite_header(&packet);
        }
        self.write_back_all(&packet);
        let mut pieces = packet.pieces;
        pieces.clear();
        self.coalescing.spare.push(pieces);
    }

    fn rewrite_header(&mut self, packet: &Packet) {
        let iommu = self.iommu;
        let Some(queue) = self.queues.get_mut(packet.queue) else {
            return;
        };
        let mut rest = packet.header.get(..packet.header_bytes).unwrap_or_default();
        for piece in &packet.pieces {
            let (now, later) = rest.split_at(rest.len().min(piece.bytes));
            if now.is_empty() {
                break;
            }
            if let Err(fault) = iommu.write(&mut queue.hint, piece.buffer, now, now.len()) {
                self.trouble = Some((packet.queue, Trouble::Fault(fault)));
                return;
            }
            rest = later;
        }
    }

    fn write_back_all(&mut self, packet: &Packet) {
        let iommu = self.iommu;
        let Some(queue) = self.queues.get_mut(packet.queue) else {
            return;
        };
        let tag = packet.arrival.vlan.filter(|_| queue.strip_tag);
        let descriptors = queue.ring.descriptors(iommu);
        let coalesced = packet.packets > 1;
        for (at, piece) in packet.pieces.iter().enumerate() {
            let next = packet.pieces.get(at + 1);
            let [mut low, mut high] =
                delivery::advanced(&packet.arrival, piece.bytes, next.is_none(), tag);
            if coalesced {
                low |= Info::new().with_rsccnt(piece.packets.max(1)).into_bits();
                if let Some(next) = next {
                    high |= u64::from(next.index) << 4;
                }
            }
            if let Some(words) = descriptors.get(piece.index as usize) {
                write_back(words, [low, high]);
            }
        }
        self.causes |= Causes::from(queue.cause);
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(0)
}
