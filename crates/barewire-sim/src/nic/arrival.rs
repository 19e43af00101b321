//! What is unusual about an arriving frame: filters ahead of RSS, fragments, outer tags.

use barewire_spec::ixgbe::descriptor::rx::{Status, rss_type};

use super::packet_buffer::Arrival;
use super::receive::Burst;
use super::time_stamps;
use crate::packet::checksum;
use crate::packet::{Headers, Network, packet_type};

/// The fields of a write-back's first word.
const TYPE: u64 = 0x1FFF << 4;
const HASH: u64 = 0xFFFF_FFFF << 32 | 0xF;

const MATCHED: u64 = Status::new().with_flm(true).into_bits();
const DROPPED: u64 = Status::new().with_fdir_err(2).into_bits();
const LOW_LATENCY: u64 = Status::new().with_llint(true).into_bits();
const OUTER: u64 = Status::new().with_vext(true).into_bits();
const STAMPED: u64 = Status::new().with_ts(true).into_bits();
const SUMMED: u64 = Status::new().with_udpcs(true).into_bits();
const UDP: u8 = 17;
const FRAGMENT_SUM: u64 = Status::new().with_udpv(true).into_bits();

impl Burst<'_> {
    /// Asks the filters ahead of RSS where a frame goes.
    #[inline(never)]
    pub(super) fn redirect(&mut self, frame: &[u8], headers: &Headers, arrival: &mut Arrival) {
        let found = self.filter.steering.find(frame, headers);
        if let Some(index) = found.ethertype {
            let kind = packet_type::L2 | u16::from(index);
            arrival.info = arrival.info & !TYPE | u64::from(kind) << 4;
        }
        if self.port.stamps.enabled && self.sighting.is_none() {
            self.sighting = time_stamps::sight(self.port.stamps, frame, headers, found.stamp);
            if self.sighting.is_some() {
                arrival.status |= STAMPED;
            }
        }
        if found.interrupt {
            arrival.status |= LOW_LATENCY;
        }
        if let Some(queue) = found.queue {
            arrival.queue = queue;
            return;
        }
        if !self.flow_director.is_active() || found.ethertype.is_some() {
            return;
        }
        let answer = self.flow_director.look_up(frame, headers);
        if answer.reported {
            let report = answer.report;
            arrival.info =
                arrival.info & !HASH | u64::from(report) << 32 | u64::from(rss_type::FLOW_DIRECTOR);
        }
        let Some(action) = answer.action else { return };
        arrival.status |= MATCHED;
        if action.interrupt {
            arrival.status |= LOW_LATENCY;
        }
        if action.drop {
            arrival.status |= DROPPED;
            arrival.queue = self.flow_director.drop_queue();
        } else if let Some(queue) = action.queue {
            arrival.queue = queue;
        }
    }

    /// Tells of an outer tag, or of a fragment.
    #[cold]
    pub(super) fn unusual(&mut self, frame: &[u8], headers: &Headers, arrival: &mut Arrival) {
        if headers.outer {
            arrival.status |= OUTER;
        }
        let checksums = self.filter.checksums;
        if headers.network != Network::V4 || !headers.fragment || checksums.pcsd() {
            return;
        }
        let l3 = usize::from(headers.l3);
        let Some(header) = frame.get(l3..).and_then(<[u8]>::first_chunk::<20>) else {
            return;
        };
        let identification = u16::from_be_bytes([header[4], header[5]]);
        let mut told = u64::from(identification);
        if checksums.ippcse() && header[9] == UDP {
            let start = l3 + usize::from(headers.l3_length);
            let payload = frame
                .get(start..usize::from(headers.end))
                .unwrap_or_default();
            // The sum of what this fragment carries; software adds those of all fragments.
            told |= u64::from(!checksum::internet(payload, 0)) << 16;
            arrival.status |= SUMMED;
            let offset = u16::from_be_bytes([header[6] & 0x1F, header[7]]);
            if offset == 0 && payload.get(6..8).is_some_and(|sum| sum != [0, 0]) {
                arrival.status |= FRAGMENT_SUM;
            }
        }
        arrival.info = arrival.info & !HASH | told << 32;
    }
}
