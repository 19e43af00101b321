//! The flow director: filters that lead single flows to queues (82599 §7.1.2.7).

use std::collections::HashMap;

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Fdircmd, Fdirctrl, Fdirhash, Fdirm, fdircmd};

use super::flow_hash::{Fields, hash};
use super::model::Model;
use super::registers::{Registers, Slot};
use crate::packet::Headers;
use crate::time::Nanos;
use crate::violation::Rule;

/// How long the filter memory takes to be ready.
const INIT: Nanos = Nanos::from_micros(60);

/// What happens to the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action {
    /// Where they go; `None` leaves that to RSS.
    pub(super) queue: Option<usize>,
    pub(super) drop: bool,
    /// The low-latency interrupt was asked for.
    pub(super) interrupt: bool,
}

/// One filter of a chain.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The signature, or software's index.
    identity: u16,
    /// What is compared, if not the signature.
    fields: Option<Fields>,
    command: Fdircmd,
    hash: u16,
}

/// What the flow director found for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) action: Option<Action>,
    /// The descriptor carries the answer in place of the RSS hash.
    pub(super) reported: bool,
    /// What it says: the signature or the software index of the filter, and its hash.
    pub(super) report: u32,
}

/// The filters and what is counted about them.
#[derive(Debug, Default)]
pub(super) struct FlowDirector {
    active: bool,
    perfect: bool,
    control: Fdirctrl,
    ready_at: Nanos,
    hash_key: u32,
    signature_key: u32,
    masks: Masks,
    chains: HashMap<u16, Vec<Entry>>,
    used: u32,
    counts: Counts,
}

/// What was counted since software last read it.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    added: u32,
    removed: u32,
    add_failed: u32,
    remove_failed: u32,
    matched: u64,
    missed: u64,
    longest: u32,
    longest_hash: u16,
}

/// The fields that are ignored, or bits of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Masks {
    pub(super) fields: Fdirm,
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) source_v6: u16,
    pub(super) destination_v6: u16,
    /// Ports of TCP, UDP and SCTP, the source's in the low half.
    pub(super) ports: [u32; 3],
}

impl Masks {
    fn decode(registers: &Registers) -> Self {
        // The ports' bits are numbered from the other end.
        let ports = |register| {
            let value = registers.of(register);
            value.reverse_bits().rotate_left(16)
        };
        let [v6_low, v6_high] = {
            let value = registers.of(&spec::FDIRIP6M);
            let [a, b, c, d] = value.to_le_bytes();
            [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
        };
        Self {
            fields: Fdirm::from_bits(registers.of(&spec::FDIRM)),
            // Addresses lie in registers as in packets: the first byte lowest.
            source: registers.of(&spec::FDIRSIP4M).swap_bytes(),
            destination: registers.of(&spec::FDIRDIP4M).swap_bytes(),
            source_v6: v6_low,
            destination_v6: v6_high,
            ports: [
                ports(&spec::FDIRTCPM),
                ports(&spec::FDIRUDPM),
                ports(&spec::FDIRSCTPM),
            ],
        }
    }
}

impl FlowDirector {
    /// Whether packets are looked up at all.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether the filter memory is ready.
    fn is_ready(&self, now: Nanos) -> bool {
        self.active && now >= self.ready_at
    }

    /// The most filters there can be (82599 §7.1.2.7.2), and how many bits of the hash choose a
    /// chain.
    fn capacity(&self) -> (u32, u16) {
        let size = u32::from(self.control.pballoc());
        let (filters, bits) = if self.perfect {
            (1024 << size, 10 + size)
        } else {
            (4096 << size, 12 + size)
        };
        (
            filters - 2,
            u16::try_from((1u32 << bits) - 1).unwrap_or(u16::MAX),
        )
    }

    fn clear(&mut self) {
        self.chains.clear();
        self.used = 0;
    }

    /// The queue that dropped packets go to.
    pub(super) fn drop_queue(&self) -> usize {
        usize::from(self.control.drop_queue())
    }

    /// Looks a packet up.
    pub(super) fn look_up(&mut self, frame: &[u8], headers: &Headers) -> Answer {
        let always = self.control.report_status_always();
        let flex = usize::from(self.control.flex_offset()) * 2;
        let Some(fields) = Fields::of(frame, headers, flex, &self.masks) else {
            return Answer {
                action: None,
                reported: false,
                report: 0,
            };
        };
        let bucket = hash(self.hash_key, &fields);
        let signature = if self.perfect {
            0
        } else {
            hash(self.signature_key, &fields) & 0x7FFF
        };
        let perfect = self.perfect;
        let (_, mask) = self.capacity();
        let found = self.chains.get(&(bucket & mask)).and_then(|chain| {
            chain.iter().find(|entry| match &entry.fields {
                Some(wanted) => perfect && *wanted == fields,
                None => !perfect && entry.identity == signature,
            })
        });
        let Some(entry) = found else {
            self.counts.missed += 1;
            return Answer {
                action: None,
                reported: always,
                report: u32::from(bucket & 0x7FFF) << 16 | u32::from(signature),
            };
        };
        self.counts.matched += 1;
        let command = entry.command;
        Answer {
            action: Some(Action {
                queue: command.queue_en().then(|| usize::from(command.rx_queue())),
                drop: command.drop(),
                interrupt: command.int(),
            }),
            reported: always || self.control.report_status(),
            report: u32::from(entry.hash) << 16 | u32::from(entry.identity),
        }
    }

    /// Adds a filter or changes one; true if few are left free.
    fn add(&mut self, key: Fdirhash, command: Fdircmd, fields: Fields) -> bool {
        let (capacity, mask) = self.capacity();
        let bucket = key.hash() & mask;
        let perfect = self.perfect;
        let chain = self.chains.entry(bucket).or_default();
        let known = chain.iter_mut().find(|entry| match &entry.fields {
            Some(wanted) if perfect => *wanted == fields,
            _ => entry.identity == key.signature_sw_index(),
        });
        let entry = Entry {
            identity: key.signature_sw_index(),
            fields: perfect.then_some(fields),
            command,
            hash: key.hash(),
        };
        if let Some(known) = known {
            if command.filter_update() {
                *known = entry;
            }
        } else if self.used < capacity {
            chain.push(entry);
            self.used += 1;
            self.counts.added += 1;
            let length = u32::try_from(chain.len()).unwrap_or(u32::MAX);
            if length > self.counts.longest {
                self.counts.longest = length;
                self.counts.longest_hash = key.hash();
            }
        } else {
            self.counts.add_failed += 1;
            if chain.is_empty() {
                self.chains.remove(&bucket);
            }
        }
        capacity - self.used < 16 * u32::from(self.control.full_thresh())
    }

    /// The position of a filter in its chain.
    fn find(&self, key: Fdirhash) -> Option<(u16, usize)> {
        let bucket = key.hash() & self.capacity().1;
        let position = self
            .chains
            .get(&bucket)?
            .iter()
            .position(|entry| entry.identity == key.signature_sw_index())?;
        Some((bucket, position))
    }

    fn remove(&mut self, key: Fdirhash) {
        let Some((bucket, position)) = self.find(key) else {
            self.counts.remove_failed += 1;
            return;
        };
        if let Some(chain) = self.chains.get_mut(&bucket) {
            chain.remove(position);
            self.used -= 1;
            self.counts.removed += 1;
            if chain.is_empty() {
                self.chains.remove(&bucket);
            }
        }
    }

    /// What a read of FDIRCMD after a query says of a filter.
    fn query(&self, key: Fdirhash) -> Fdircmd {
        let found = self.find(key).and_then(|(bucket, position)| {
            let chain = self.chains.get(&bucket)?;
            Some((chain.get(position)?, chain.len()))
        });
        match found {
            Some((entry, length)) => entry
                .command
                .with_cmd(fdircmd::NONE)
                .with_filter_valid(true)
                .with_collision(length > 1),
            None => Fdircmd::new(),
        }
    }
}

fn saturate(value: u64, most: u32) -> u32 {
    u32::try_from(value).unwrap_or(most).min(most)
}

impl Model {
    /// FDIRCTRL was written: the filter memory is set up anew (82599 §4.6.7.2.2).
    pub(super) fn write_fdirctrl(&mut self, new: u32) {
        let control = Fdirctrl::from_bits(new);
        let ready_at = self.now + INIT;
        let director = &mut self.flow_director;
        director.clear();
        director.control = control;
        director.active = control.pballoc() != 0;
        director.perfect = control.perfect_match();
        director.ready_at = ready_at;
        self.decode_flow_director();
    }

    /// Keys and masks were written.
    pub(super) fn decode_flow_director(&mut self) {
        let director = &mut self.flow_director;
        director.hash_key = self.registers.of(&spec::FDIRHKEY);
        director.signature_key = self.registers.of(&spec::FDIRSKEY);
        director.masks = Masks::decode(&self.registers);
    }

    /// Forgets all filters, as a reset does.
    pub(super) fn reset_flow_director(&mut self) {
        self.flow_director = FlowDirector::default();
        self.decode_flow_director();
    }

    /// Performs a command; it is done at once.
    pub(super) fn write_fdircmd(&mut self, slot: &Slot, value: u32) {
        let command = Fdircmd::from_bits(value);
        if command.clearht() {
            self.flow_director.clear();
        }
        let key = Fdirhash::from_bits(self.registers.of(&spec::FDIRHASH));
        if command.cmd() != fdircmd::NONE && !self.flow_director.is_ready(self.now) {
            self.violate_at(slot, Rule::ForbiddenState, value, || {
                "FDIRCTRL.INIT_DONE is 0".into()
            });
        }
        let mut shown = command.with_cmd(fdircmd::NONE);
        match command.cmd() {
            fdircmd::ADD => {
                let fields = Fields::of_filter(&self.registers, command, &self.flow_director.masks);
                if self.flow_director.add(key, command, fields) {
                    self.raise(spec::Eicr::new().with_flow_director(true).into_bits());
                }
            }
            fdircmd::REMOVE => self.flow_director.remove(key),
            fdircmd::QUERY => shown = self.flow_director.query(key),
            _ => {}
        }
        self.registers.put_at(slot, shown.into_bits());
    }

    /// FDIRCTRL with the bit that says whether the memory is ready.
    pub(super) fn read_fdirctrl(&self) -> u32 {
        let ready = self.flow_director.is_ready(self.now);
        Fdirctrl::from_bits(self.registers.of(&spec::FDIRCTRL))
            .with_init_done(ready)
            .into_bits()
    }

    /// How many filters are free, and how many share a chain with others.
    pub(super) fn read_fdirfree(&self) -> u32 {
        let director = &self.flow_director;
        if !director.active {
            return self.registers.of(&spec::FDIRFREE);
        }
        let free = director.capacity().0 - director.used;
        let behind = director.chains.values().map(|chain| chain.len() - 1);
        let collisions = u32::try_from(behind.sum::<usize>()).unwrap_or(u32::MAX);
        free | collisions.min(0x7FFF) << 16
    }

    /// Reads and clears one of the flow director's counters.
    pub(super) fn read_flow_count(&mut self, register: &spec::Register) -> u32 {
        let counts = &mut self.flow_director.counts;
        let take = |count: &mut u32, most: u32| std::mem::take(count).min(most);
        if std::ptr::eq(register, &raw const spec::FDIRUSTAT) {
            take(&mut counts.added, 0xFFFF) | take(&mut counts.removed, 0xFFFF) << 16
        } else if std::ptr::eq(register, &raw const spec::FDIRFSTAT) {
            take(&mut counts.add_failed, 0xFF) | take(&mut counts.remove_failed, 0xFF) << 8
        } else if std::ptr::eq(register, &raw const spec::FDIRMATCH) {
            saturate(std::mem::take(&mut counts.matched), u32::MAX)
        } else if std::ptr::eq(register, &raw const spec::FDIRMISS) {
            saturate(std::mem::take(&mut counts.missed), u32::MAX)
        } else {
            let longest = take(&mut counts.longest, 0x3F);
            longest | u32::from(std::mem::take(&mut counts.longest_hash) & 0x7FFF) << 16
        }
    }
}
