//! From host memory to the wire (82599 §7.2).

use std::sync::atomic::Ordering;

use barewire_spec::ixgbe::descriptor::tx::{
    AdvancedContext, DTYP_CONTEXT, DTYP_DATA, Data, LegacyData,
};
use barewire_spec::ixgbe::limits;

use super::departure::{Lengths, Out, SHORTEST};
use super::exceptions;
use super::interrupt::Causes;
use super::model::{Model, Port};
use super::offload;
use super::queue::{Context, Insertion, Packet, TxQueue};
use super::refusal;
use super::rings::FRAME_ROOM;
use super::segmentation::{self, Segmentation};
use super::statistics::FCS;
use crate::exceptions::Subject;
use crate::memory::{Descriptor, Fault, Iommu, Window};
use crate::violation::{Refusal, Rule};

/// The most descriptors of one queue that are read in one turn.
const TURN: usize = 128;

/// What stops a queue or spoils a packet.
#[derive(Clone, Copy)]
enum Trouble {
    Fault(Fault),
    Refused(Refusal, u64),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a queue needs while it has its turn.
struct Turn<'a> {
    queue: &'a mut TxQueue,
    iommu: &'a Iommu,
    descriptors: &'a [Descriptor],
    /// Where the last packet's bytes were.
    window: Window<'a>,
    out: Out<'a>,
    port: Port,
    /// The longest packet that can be sent without a further look.
    plain: usize,
    /// A packet that left asked for its moment to be kept.
    stamped: bool,
    /// Known exceptions pass.
    tolerant: bool,
    /// Buffers that were longer than the datasheet allows, and passed.
    long_buffers: usize,
}

impl Model {
    /// Sends up to `budget` frames of the queues that have some, in turns; true if anything
    /// happened.
    pub(super) fn transmit(&mut self, budget: usize) -> bool {
        if !self.port.sending || self.pause.holds(self.now) {
            return false;
        }
        let mut busy = false;
        let mut left = budget;
        for _ in 0..self.sending_queues.len() {
            if left == 0 {
                break;
            }
            self.next_sender = (self.next_sender + 1) % self.sending_queues.len();
            let number = self.sending_queues[self.next_sender];
            if !self.tx[number].ring.has_work() {
                continue;
            }
            if !self.port.master && !self.may_master() {
                return busy;
            }
            busy = true;
            left = left.saturating_sub(self.turn(number, left));
        }
        busy
    }

    /// Gives one queue its turn; returns the number of frames sent.
    fn turn(&mut self, number: usize, budget: usize) -> usize {
        let queue = &mut self.tx[number];
        // Where something is unusual about all packets, none is plain.
        let plain = if self.port.append_fcs && !queue.report_all {
            self.port
                .largest
                .saturating_sub(FCS)
                .min(limits::TX_BUFFER_MAX as usize)
        } else {
            0
        };
        let descriptors = queue.ring.descriptors(&self.iommu);
        let mut turn = Turn {
            window: self.iommu.window(queue.hint),
            queue,
            descriptors,
            iommu: &self.iommu,
            out: Out {
                wire: match &mut self.looped {
                    Some(looped) => &mut **looped,
                    None => &mut self.wire,
                },
                train: &mut self.leaving,
                statistics: &mut self.statistics,
                now: self.now,
                sent: 0,
                bytes: 0,
            },
            port: self.port,
            plain,
            stamped: false,
            tolerant: self.config.tolerate,
            long_buffers: 0,
        };
        let mut trouble = None;
        let mut read = 0;
        while read < TURN && turn.out.sent < budget && turn.queue.ring.has_work() {
            let most = (TURN - read).min(budget - turn.out.sent);
            let result = match turn.plain_ones(most) {
                Ok(0) => {
                    read += 1;
                    turn.descriptor()
                }
                Ok(count) => {
                    read += count;
                    Ok(())
                }
                Err(found) => Err(found),
            };
            if let Err(found) = result {
                trouble = Some(found);
                break;
            }
        }
        turn.out.depart();
        let Turn {
            out: Out { sent, bytes, .. },
            stamped,
            long_buffers,
            ..
        } = turn;
        self.statistics.sent_from(number, sent, bytes);
        self.causes |= Causes::from(if sent > 0 { self.tx[number].cause } else { 0 });
        if stamped {
            self.stamp_sent();
        }
        for _ in 0..long_buffers {
            self.tolerates(Rule::Frame, Subject::Object(exceptions::LONG_BUFFER), 0);
        }
        if let Some(trouble) = trouble {
            self.trouble(number, trouble);
        }
        sent
    }

    #[cold]
    fn trouble(&mut self, number: usize, trouble: Trouble) {
        match trouble {
            Trouble::Fault(Fault::NotYet(_)) => {}
            Trouble::Fault(fault) => {
                self.tx[number].ring.broken = true;
                self.fault("transmit DMA", number, fault);
            }
            Trouble::Refused(refusal, word) => {
                let Refusal { rule, why, section } = refusal;
                self.violate(
                    rule,
                    || format!("transmit descriptor of queue {number}"),
                    word,
                    || why.into(),
                    section,
                );
            }
        }
    }
}

impl Turn<'_> {
    /// Reads the descriptor at the head and does what it says. A refusal spoils the packet and
    /// leaves the queue running.
    fn descriptor(&mut self) -> Result<(), Trouble> {
        let words = self.queue.ring.at_head(self.descriptors, self.iommu)?;
        let low = u64::from_le(words[0].load(Ordering::Relaxed));
        let high = u64::from_le(words[1].load(Ordering::Relaxed));
        self.any(words, low, high)
    }

    /// Sends packets of one plain descriptor, which nearly all are, `most` at most; returns how
    /// many there were up to one that is not plain, or the ring's end.
    #[inline]
    fn plain_ones(&mut self, most: usize) -> Result<usize, Trouble> {
        const WHOLE: u64 = Data::whole_packet(0).into_bits();
        const FREE: u64 = Data::from_bits(0)
            .with_dtalen(u16::MAX)
            .with_rs(true)
            .with_paylen(0x3_FFFF)
            .into_bits();
        let before = &self.queue.packet;
        if before.descriptors > 0 || before.spoilt {
            return Ok(0);
        }
        let head = self.queue.ring.head as usize;
        let end = head + self.queue.ring.in_a_row().min(most);
        let ready = self.descriptors.get(head..end).unwrap_or_default();
        let (mut count, mut noted) = (0, 0);
        let mut run = Lengths::default();
        let mut result = Ok(());
        for words in ready {
            let address = u64::from_le(words[0].load(Ordering::Relaxed));
            let data = Data::from_bits(u64::from_le(words[1].load(Ordering::Relaxed)));
            let length = usize::from(data.dtalen());
            let plain = data.into_bits() & !FREE == WHOLE
                && u32::from(data.dtalen()) == data.paylen()
                && (SHORTEST..=self.plain).contains(&length);
            if !plain {
                break;
            }
            if !self.out.fetch(self.window, address, length) {
                result = self.fetch_elsewhere(address, length);
                if result.is_err() {
                    break;
                }
            }
            if length != run.length {
                self.out.note(&run);
                run = Lengths { length, frames: 0 };
            }
            run.frames += 1;
            count += 1;
            if data.rs() {
                self.queue.ring.advance_by(count - noted);
                noted = count;
                result = self.report(words, true, data.into_bits());
                if result.is_err() {
                    break;
                }
            }
            if self.out.train.is_full() {
                self.out.depart();
            }
        }
        self.queue.ring.advance_by(count - noted);
        self.out.note(&run);
        result.map(|()| count)
    }

    /// Fetches a packet that is not where the last one was. There is room in the train.
    #[cold]
    fn fetch_elsewhere(&mut self, address: u64, length: usize) -> Result<(), Trouble> {
        let TxQueue { frame, hint, .. } = &mut *self.queue;
        self.iommu.read(hint, address, frame, length)?;
        self.window = self.iommu.window(*hint);
        if let Some(frame) = frame.get(..length) {
            self.out.train.push(frame);
            self.out.statistics.sent_to(frame);
        }
        Ok(())
    }

    /// Does what any descriptor says.
    #[inline(never)]
    fn any(&mut self, words: &Descriptor, low: u64, high: u64) -> Result<(), Trouble> {
        let data = Data::from_bits(high);
        let before = self.queue.packet;
        let null = !data.dext()
            && LegacyData::from_bits(high).is_null()
            && before.descriptors == 0
            && !before.spoilt;
        let result = match (data.dext(), data.dtyp()) {
            _ if null => Ok(()),
            (true, DTYP_DATA) => self.advanced(low, data),
            (true, DTYP_CONTEXT) => self.context(low, high),
            (true, _) => self.refuse(refusal::RESERVED_TYPE, high),
            (false, _) => self.legacy(low, LegacyData::from_bits(high)),
        };
        if let Err(Trouble::Fault(fault)) = result {
            // The descriptor may come to be read once more.
            self.queue.packet = before;
            return Err(fault.into());
        }
        let is_context = data.dext() && data.dtyp() == DTYP_CONTEXT;
        let mut result = result;
        if data.eop() && !is_context && !null {
            let finished = self.finish(high);
            result = result.and(finished);
        }
        self.queue.ring.advance();
        if data.rs() && !is_context {
            self.report(words, data.dext(), high)?;
        }
        result
    }

    fn refuse(&mut self, refusal: Refusal, word: u64) -> Result<(), Trouble> {
        self.queue.packet.spoilt = true;
        Err(Trouble::Refused(refusal, word))
    }

    #[inline]
    fn advanced(&mut self, address: u64, data: Data) -> Result<(), Trouble> {
        let word = data.into_bits();
        if let Some(refusal) = refusal::forbidden(data) {
            return self.refuse(refusal, word);
        }
        let packet = &mut self.queue.packet;
        if packet.descriptors == 0 {
            packet.announced = Some(data.paylen());
            packet.fcs = data.ifcs();
            packet.stamped = data.time_stamp_1588();
            if data.vle() || data.ixsm() || data.txsm() || data.cc() || data.tse() {
                let slot = self.queue.contexts.get(usize::from(data.idx()));
                let Some(Some(context)) = slot else {
                    return self.refuse(refusal::NO_CONTEXT, word);
                };
                packet.context = *context;
                packet.tag = data.vle().then_some(Insertion {
                    at: self.port.tag_at,
                    kind: self.port.tag_kind,
                    tag: context.vlan,
                });
                packet.ip_checksum = data.ixsm();
                packet.l4_checksum = data.txsm();
            }
            if data.tse() {
                packet.segmented = true;
                if let Some(refusal) = segmentation::forbidden(packet) {
                    return self.refuse(refusal, word);
                }
                let all = packet.context.headers() + data.paylen() as usize;
                if self.queue.frame.len() < all {
                    self.queue.frame.resize(all, 0);
                }
            }
        } else if packet.fcs != data.ifcs() {
            return self.refuse(refusal::MIXED_FCS, word);
        }
        let length = data.dtalen();
        if u32::from(length) > limits::TX_BUFFER_MAX {
            let known = self.queue.packet.segmented && length <= exceptions::LONGEST_BUFFER;
            if !(self.tolerant && known) {
                return self.refuse(refusal::LONG_BUFFER, word);
            }
            self.long_buffers += 1;
        }
        self.collect(address, usize::from(length), word)
    }

    fn legacy(&mut self, address: u64, data: LegacyData) -> Result<(), Trouble> {
        let word = data.into_bits();
        if data.length() == 0 {
            return self.refuse(refusal::NO_BYTES, word);
        }
        if data.rs() && !data.eop() {
            return self.refuse(refusal::REPORT_INSIDE, word);
        }
        let packet = &mut self.queue.packet;
        if packet.descriptors == 0 {
            packet.fcs = data.ifcs();
        } else if packet.fcs != data.ifcs() {
            return self.refuse(refusal::MIXED_FCS, word);
        }
        if data.vle() {
            packet.tag = Some(Insertion {
                at: self.port.tag_at,
                kind: self.port.tag_kind,
                tag: data.vlan(),
            });
        }
        if data.ic() {
            packet.plain_checksum = Some((data.css().into(), data.cso().into()));
        }
        self.collect(address, usize::from(data.length()), word)
    }

    /// Fetches the bytes of one descriptor.
    #[inline]
    fn collect(&mut self, address: u64, count: usize, word: u64) -> Result<(), Trouble> {
        let TxQueue {
            packet,
            frame,
            hint,
            ..
        } = &mut *self.queue;
        packet.descriptors += 1;
        if packet.descriptors > limits::TX_DESCRIPTORS_PER_PACKET && !packet.segmented {
            return self.refuse(refusal::TOO_MANY, word);
        }
        let end = packet.bytes + count;
        // What is past the end of the largest packet is not fetched; `finish` finds it too long.
        if end <= frame.len()
            && let Some(room) = frame.get_mut(packet.bytes..)
        {
            self.iommu.read(hint, address, room, count)?;
        }
        packet.bytes = end;
        Ok(())
    }

    fn context(&mut self, low: u64, high: u64) -> Result<(), Trouble> {
        let context = AdvancedContext::from_words([low, high]);
        let (headers, commands) = (context.headers, context.commands);
        if self.queue.packet.descriptors > 0 {
            return self.refuse(refusal::CONTEXT_INSIDE, high);
        }
        if high & refusal::CONTEXT_RESERVED != 0 {
            return Err(Trouble::Refused(refusal::CONTEXT_BITS, high));
        }
        if commands.fcoe() {
            return Err(Trouble::Refused(refusal::FCOE, high));
        }
        let Some(slot) = self.queue.contexts.get_mut(usize::from(commands.idx())) else {
            return Err(Trouble::Refused(refusal::CONTEXT_INDEX, high));
        };
        *slot = Some(Context {
            vlan: headers.vlan(),
            mac_length: usize::from(headers.maclen()),
            ip_length: usize::from(headers.iplen()),
            l4_length: usize::from(commands.l4len()),
            l4_type: commands.l4t(),
            ipv4: commands.ipv4(),
            snap: commands.snap(),
            mss: usize::from(commands.mss()),
        });
        Ok(())
    }

    /// The packet is complete: checks it as a whole and sends it.
    #[inline]
    fn finish(&mut self, word: u64) -> Result<(), Trouble> {
        let packet = std::mem::take(&mut self.queue.packet);
        if packet.spoilt {
            return Ok(());
        }
        if let Some(refusal) = self.unsendable(&packet, word) {
            return Err(Trouble::Refused(refusal, word));
        }
        let sent = if packet.segmented {
            self.send_segments(&packet)
        } else {
            self.send_one(&packet)
        };
        sent.map_err(|refusal| Trouble::Refused(refusal, word))?;
        self.stamped |= packet.stamped;
        Ok(())
    }

    #[inline]
    fn send_one(&mut self, packet: &Packet) -> Result<(), Refusal> {
        let mut length = packet.bytes;
        let frame = &mut self.queue.frame;
        let plain = packet.plain_checksum.is_none() && packet.tag.is_none();
        if !plain || packet.ip_checksum || packet.l4_checksum {
            length = offload::apply(frame, length, packet, 0)?;
        }
        self.out.send_padded(frame, length, self.port.pad)
    }

    #[inline(never)]
    fn send_segments(&mut self, packet: &Packet) -> Result<(), Refusal> {
        let TxQueue { frame, segment, .. } = &mut *self.queue;
        let bytes = frame.get(..packet.bytes).unwrap_or_default();
        let segments = Segmentation::new(packet, bytes, self.port.flag_masks)?;
        segment.resize(FRAME_ROOM, 0);
        for number in 0..segments.count() {
            let length = segments.build(number, segment)?;
            self.out.send_padded(segment, length, self.port.pad)?;
        }
        Ok(())
    }

    /// Why a complete packet can't be sent, if it can't.
    #[inline]
    fn unsendable(&self, packet: &Packet, word: u64) -> Option<Refusal> {
        if !packet.fcs || !self.port.append_fcs {
            return Some(refusal::NO_FCS);
        }
        if packet.bytes < limits::TX_FRAME_MIN as usize {
            return Some(refusal::TOO_SHORT);
        }
        let tagged = self.queue.frame.get(12..14) == Some(&self.port.tag_kind.to_be_bytes());
        let allowance = if tagged { self.port.tag_room } else { 0 };
        let (headers, longest) = if packet.segmented {
            let headers = packet.context.headers();
            (headers, packet.bytes.min(headers + packet.context.mss))
        } else {
            (0, packet.bytes)
        };
        if longest + FCS > self.port.largest + allowance {
            return Some(refusal::TOO_LONG);
        }
        let announced = packet.announced.map(|bytes| bytes as usize + headers);
        if announced.is_some_and(|bytes| bytes != packet.bytes) {
            return Some(refusal::WRONG_LENGTH);
        }
        if self.queue.report_all && !Data::from_bits(word).rs() {
            return Some(refusal::UNREPORTED);
        }
        None
    }

    /// Tells the driver that everything up to the head is done (82599 §7.2.3.5).
    #[inline]
    fn report(
        &mut self,
        [first, second]: &Descriptor,
        advanced: bool,
        high: u64,
    ) -> Result<(), Trouble> {
        if let Some(address) = self.queue.head_write_back {
            let head = self.queue.ring.head;
            self.iommu
                .write32(&mut self.queue.head_hint, address, head)?;
            return Ok(());
        }
        if advanced {
            // The address is gone after a write-back.
            first.store(0, Ordering::Relaxed);
            second.store(Data::DD.to_le(), Ordering::Release);
        } else {
            second.store((high | Data::DD).to_le(), Ordering::Release);
        }
        Ok(())
    }
}
