//! Filters that choose a queue ahead of the flow director and RSS: by `EtherType`, by TCP's SYN and
//! by five fields of a packet (82599 §7.1.2.3 to §7.1.2.6).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Etqf, Etqs, Ftqf, L34timir, Synqf, limits};

use super::registers::Registers;
use crate::packet::{Headers, Network, Transport};

/// What a filter says of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Match {
    /// Where it goes; `None` leaves that to the filters behind.
    pub(super) queue: Option<usize>,
    /// The low-latency interrupt was asked for.
    pub(super) interrupt: bool,
    /// Which `EtherType` filter it was.
    pub(super) ethertype: Option<u8>,
    /// The moment of its arrival is to be kept.
    pub(super) stamp: bool,
}

#[derive(Clone, Copy, Debug)]
struct EtherType {
    index: u8,
    filter: Etqf,
    action: Etqs,
}

#[derive(Clone, Copy, Debug)]
struct Tuple {
    filter: Ftqf,
    source: u32,
    destination: u32,
    ports: u32,
    action: L34timir,
}

/// The filters in use, decoded from registers.
#[derive(Debug, Default)]
pub(super) struct Steering {
    ethertypes: Vec<EtherType>,
    syn: Option<Synqf>,
    /// The highest priority first.
    tuples: Vec<Tuple>,
}

fn word32(frame: &[u8], at: usize) -> Option<u32> {
    let bytes = frame.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

impl Steering {
    /// Whether no filter is in use.
    pub(super) fn is_empty(&self) -> bool {
        self.ethertypes.is_empty() && self.syn.is_none() && self.tuples.is_empty()
    }

    /// Decodes the registers anew.
    pub(super) fn decode(&mut self, registers: &Registers) {
        self.ethertypes.clear();
        for index in 0..8 {
            let filter = Etqf::from_bits(registers.get(&spec::ETQF, u32::from(index)));
            if filter.filter_enable() {
                self.ethertypes.push(EtherType {
                    index,
                    filter,
                    action: Etqs::from_bits(registers.get(&spec::ETQS, u32::from(index))),
                });
            }
        }
        let syn = Synqf::from_bits(registers.of(&spec::SYNQF));
        self.syn = syn.queue_enable().then_some(syn);
        self.tuples.clear();
        for index in 0..limits::FIVE_TUPLE_FILTERS {
            let filter = Ftqf::from_bits(registers.get(&spec::FTQF, index));
            if filter.queue_enable() {
                self.tuples.push(Tuple {
                    filter,
                    source: registers.get(&spec::SAQF, index),
                    destination: registers.get(&spec::DAQF, index),
                    ports: registers.get(&spec::SDPQF, index),
                    action: L34timir::from_bits(registers.get(&spec::L34TIMIR, index)),
                });
            }
        }
        self.tuples
            .sort_by_key(|tuple| std::cmp::Reverse(tuple.filter.priority()));
    }

    /// What the filters say of a frame.
    pub(super) fn find(&self, frame: &[u8], headers: &Headers) -> Match {
        let found = self.ethertype(frame, headers);
        if found.queue.is_some() {
            return found;
        }
        let syn = self.syn.filter(|_| is_syn(frame, headers));
        let syn_queue = syn.map(|syn| usize::from(syn.rx_queue()));
        let ahead = syn.is_some_and(|syn| syn.synqfp());
        if ahead {
            return Match {
                queue: syn_queue,
                ..found
            };
        }
        let tuple = self
            .tuples
            .iter()
            .find(|tuple| tuple.matches(frame, headers));
        match tuple {
            Some(tuple) => Match {
                queue: Some(usize::from(tuple.action.rx_queue())),
                interrupt: found.interrupt || tuple.action.llien(),
                ..found
            },
            None => Match {
                queue: syn_queue,
                ..found
            },
        }
    }

    fn ethertype(&self, frame: &[u8], headers: &Headers) -> Match {
        if self.ethertypes.is_empty() {
            return Match::default();
        }
        let at = usize::from(headers.l3).saturating_sub(2);
        let kind = frame
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map(|kind| u16::from_be_bytes(*kind));
        let priority = headers.vlan.map_or(0, |tag| tag >> 13);
        let found = self.ethertypes.iter().find(|entry| {
            Some(entry.filter.etype()) == kind
                && (!entry.filter.up_enable() || u16::from(entry.filter.up()) == priority)
        });
        found.map_or_else(Match::default, |entry| Match {
            queue: entry
                .action
                .queue_enable()
                .then(|| usize::from(entry.action.rx_queue())),
            interrupt: entry.action.low_latency_interrupt(),
            ethertype: Some(entry.index),
            stamp: entry.filter.time_stamp_1588(),
        })
    }
}

fn is_syn(frame: &[u8], headers: &Headers) -> bool {
    const SYN: u8 = 0x02;
    headers.transport == Transport::Tcp
        && frame
            .get(usize::from(headers.l4) + 13)
            .is_some_and(|flags| flags & SYN != 0)
}

impl Tuple {
    fn matches(&self, frame: &[u8], headers: &Headers) -> bool {
        let filter = self.filter;
        if headers.network != Network::V4 || headers.fragment {
            return false;
        }
        let protocol = match headers.transport {
            Transport::Tcp => 0,
            Transport::Udp => 1,
            Transport::Sctp => 2,
            Transport::None => 3,
        };
        if !filter.mask_protocol() && filter.protocol() != protocol {
            return false;
        }
        let l3 = usize::from(headers.l3);
        if !filter.mask_source_address() && word32(frame, l3 + 12) != Some(self.source) {
            return false;
        }
        if !filter.mask_destination_address() && word32(frame, l3 + 16) != Some(self.destination) {
            return false;
        }
        // Ports lie in the register as in the packet, the source's first.
        let mut ignored = 0;
        if filter.mask_source_port() {
            ignored |= 0x0000_FFFF;
        }
        if filter.mask_destination_port() {
            ignored |= 0xFFFF_0000;
        }
        if ignored == u32::MAX {
            return true;
        }
        let ports = (headers.transport != Transport::None)
            .then(|| word32(frame, usize::from(headers.l4)))
            .flatten();
        ports.is_some_and(|ports| (ports ^ self.ports) & !ignored == 0)
    }
}
