//! The control queue (VIRTIO §5.1.6.5).

use barewire_spec::virtio::control as spec;
use barewire_spec::virtio::feature;
use barewire_spec::virtio::net::control_queue;

use super::device_config::{HASH_TYPES, KEY_BYTES, TABLE_ENTRIES};
use super::model::Model;
use super::ring::{Chain, Trouble, while_at};
use super::steering::{Rss, toeplitz};
use super::transmit::collect;
use crate::memory::Hint;
use crate::violation::{Refusal, Rule, refusal};

/// Receive offloads that can be turned on and off (VIRTIO §5.1.6.5.8).
pub(super) const OFFLOADS: u64 = feature::NET_GUEST_CSUM
    | feature::NET_GUEST_TSO4
    | feature::NET_GUEST_TSO6
    | feature::NET_GUEST_ECN
    | feature::NET_GUEST_UFO;

/// The longest command: both address tables of the most entries anyone has use for.
const LONGEST: u64 = 64 * 1024;

const FRAMING: &str = "virtio 1.2 §5.1.6.5";
const NO_ACK: Refusal = refusal(Rule::Descriptor, "a command without room for ack", FRAMING);
const NO_COMMAND: Refusal = refusal(
    Rule::Descriptor,
    "a command without class and command",
    FRAMING,
);
const TOO_LONG: Refusal = refusal(Rule::Descriptor, "a command of more than 64 KiB", FRAMING);
const UNKNOWN: Refusal = refusal(
    Rule::ForbiddenValue,
    "a command that does not exist",
    FRAMING,
);

const fn not_agreed(section: &'static str) -> Refusal {
    refusal(
        Rule::ForbiddenState,
        "the feature that the command belongs to was not agreed on",
        section,
    )
}

const fn data(why: &'static str, section: &'static str) -> Refusal {
    refusal(Rule::ForbiddenValue, why, section)
}

const RX: &str = "virtio 1.2 §5.1.6.5.1.2";
const MAC: &str = "virtio 1.2 §5.1.6.5.2.2";
const VLAN: &str = "virtio 1.2 §5.1.6.5.3";
const ANNOUNCE: &str = "virtio 1.2 §5.1.6.5.4";
const MQ: &str = "virtio 1.2 §5.1.6.5.6.1";
const RSS: &str = "virtio 1.2 §5.1.6.5.7.2";
const OFFLOAD: &str = "virtio 1.2 §5.1.6.5.8.2";

/// Takes a command's data apart.
struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn double(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    fn addresses(&mut self) -> Option<Vec<[u8; 6]>> {
        let count = usize::try_from(self.double()?).ok()?;
        let bytes = self.take(count.checked_mul(6)?)?;
        Some(bytes.as_chunks().0.to_vec())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl Model {
    /// Carries out commands; true if there were any.
    pub(super) fn control(&mut self) -> bool {
        if !self.is_live() || !self.agreed.has(feature::NET_CTRL_VQ) {
            return false;
        }
        let number = control_queue(self.queue_pairs());
        let mut done = false;
        loop {
            let Some(queue) = self.queues.get_mut(usize::from(number)) else {
                return done;
            };
            if !queue.has_work() || !self.may_master() {
                break;
            }
            let Some(chain) = self.next_buffer(number) else {
                break;
            };
            let result = match self.carry_out(&chain) {
                Err(Trouble::NotYet) => {
                    if let Some(queue) = self.queues.get_mut(usize::from(number)) {
                        queue.put_back(chain);
                    }
                    break;
                }
                Err(trouble) => Err(trouble),
                Ok(written) => self
                    .queues
                    .get_mut(usize::from(number))
                    .map_or(Ok(()), |queue| queue.give_back(&self.iommu, chain, written)),
            };
            if let Err(trouble) = result {
                self.trouble(number, trouble);
                break;
            }
            self.counters.commands += 1;
            done = true;
        }
        if done {
            self.publish(number);
        }
        done
    }

    /// Carries out one command; how many bytes of its buffer were written.
    fn carry_out(&mut self, chain: &Chain) -> Result<u32, Trouble> {
        if chain.readable > LONGEST {
            return Err(Trouble::Broken(TOO_LONG, chain.readable));
        }
        let ack = chain
            .elements
            .iter()
            .find(|element| element.writable && element.length > 0)
            .map(|element| element.address);
        let Some(ack) = ack else {
            self.refuse(NO_ACK, chain.writable, || "control command".into());
            return Ok(0);
        };
        let mut bytes = Vec::new();
        collect(&self.iommu, &mut Hint::default(), chain, &mut bytes)?;
        let result = match bytes.split_first_chunk() {
            Some(([class, command], data)) => self
                .command(*class, *command, Data(data))
                .map_err(|refusal| (refusal, u64::from(*class) << 8 | u64::from(*command))),
            None => Err((NO_COMMAND, chain.readable)),
        };
        let answer = if let Err((refusal, value)) = result {
            self.refuse(refusal, value, || "control command".into());
            spec::ERR
        } else {
            spec::OK
        };
        self.iommu
            .write(&mut Hint::default(), ack, &[answer], 1)
            .map_err(while_at("control command"))?;
        Ok(1)
    }

    fn command(&mut self, class: u8, command: u8, data: Data<'_>) -> Result<(), Refusal> {
        match class {
            spec::RX => self.receive_mode(command, data),
            spec::MAC => self.address_command(command, data),
            spec::VLAN => self.vlan_command(command, data),
            spec::ANNOUNCE => {
                if !self.agreed.has(feature::NET_GUEST_ANNOUNCE) {
                    return Err(not_agreed(ANNOUNCE));
                }
                if command != spec::ANNOUNCE_ACK {
                    return Err(UNKNOWN);
                }
                self.announce = false;
                self.changed = true;
                Ok(())
            }
            spec::MQ => self.steering_command(command, data),
            spec::GUEST_OFFLOADS => self.offload_command(command, data),
            _ => Err(UNKNOWN),
        }
    }

    fn receive_mode(&mut self, command: u8, mut data: Data<'_>) -> Result<(), Refusal> {
        let needs = match command {
            spec::RX_PROMISC | spec::RX_ALLMULTI => feature::NET_CTRL_RX,
            _ => feature::NET_CTRL_RX_EXTRA,
        };
        if !self.agreed.has(needs) {
            return Err(not_agreed(RX));
        }
        let value = data.bytes().zip(data.end());
        let on = match value {
            Some(([0], ())) => false,
            Some(([1], ())) => true,
            _ => return Err(self::data("the data is one byte, 0 or 1", RX)),
        };
        let filter = &mut self.filter;
        let mode = match command {
            spec::RX_PROMISC => &mut filter.promiscuous,
            spec::RX_ALLMULTI => &mut filter.all_multicast,
            spec::RX_ALLUNI => &mut filter.all_unicast,
            spec::RX_NOMULTI => &mut filter.no_multicast,
            spec::RX_NOUNI => &mut filter.no_unicast,
            spec::RX_NOBCAST => &mut filter.no_broadcast,
            _ => return Err(UNKNOWN),
        };
        *mode = on;
        Ok(())
    }

    fn address_command(&mut self, command: u8, mut data: Data<'_>) -> Result<(), Refusal> {
        match command {
            spec::MAC_TABLE_SET => {
                if !self.agreed.has(feature::NET_CTRL_RX) {
                    return Err(not_agreed(MAC));
                }
                let tables = data
                    .addresses()
                    .and_then(|unicast| Some((unicast, data.addresses()?)));
                let tables = tables.filter(|_| data.end().is_some());
                let Some((unicast, multicast)) = tables else {
                    return Err(self::data("the data is not two tables of addresses", MAC));
                };
                let group = |address: &[u8; 6]| address[0] & 1 == 1;
                if unicast.iter().any(group) || !multicast.iter().all(group) {
                    let why = "the first table is of single stations, the second of groups";
                    return Err(self::data(why, MAC));
                }
                self.filter.set_tables(&unicast, &multicast);
                Ok(())
            }
            spec::MAC_ADDR_SET => {
                if !self.agreed.has(feature::NET_CTRL_MAC_ADDR) {
                    return Err(not_agreed(MAC));
                }
                let Some((mac, ())) = data.bytes().zip(data.end()) else {
                    return Err(self::data("the data is not one address", MAC));
                };
                self.filter.mac = mac;
                self.changed = true;
                Ok(())
            }
            _ => Err(UNKNOWN),
        }
    }

    fn vlan_command(&mut self, command: u8, mut data: Data<'_>) -> Result<(), Refusal> {
        if !self.agreed.has(feature::NET_CTRL_VLAN) {
            return Err(not_agreed(VLAN));
        }
        let pass = match command {
            spec::VLAN_ADD => true,
            spec::VLAN_DEL => false,
            _ => return Err(UNKNOWN),
        };
        match data.word().zip(data.end()) {
            Some((vlan, ())) if vlan < 4096 => {
                self.filter.set_vlan(vlan, pass);
                Ok(())
            }
            _ => Err(self::data(
                "the data is not one identifier below 4096",
                VLAN,
            )),
        }
    }

    fn steering_command(&mut self, command: u8, mut data: Data<'_>) -> Result<(), Refusal> {
        match command {
            spec::MQ_VQ_PAIRS_SET => {
                if !self.agreed.has(feature::NET_MQ) {
                    return Err(not_agreed(MQ));
                }
                let Some((pairs, ())) = data.word().zip(data.end()) else {
                    return Err(self::data("the data is not one number", MQ));
                };
                if pairs == 0 || pairs > self.config.queue_pairs {
                    return Err(self::data("pairs must be 1 to max_virtqueue_pairs", MQ));
                }
                self.check_queues(pairs, MQ)?;
                self.steering.automatic(pairs);
                Ok(())
            }
            spec::MQ_RSS_CONFIG => {
                if !self.agreed.has(feature::NET_RSS) {
                    return Err(not_agreed(RSS));
                }
                self.rss_command(data)
            }
            // Hash reports are not offered.
            spec::MQ_HASH_CONFIG => Err(not_agreed("virtio 1.2 §5.1.6.5.6.4")),
            _ => Err(UNKNOWN),
        }
    }

    /// All queues of so many pairs must be set up before they are used.
    fn check_queues(&self, pairs: u16, section: &'static str) -> Result<(), Refusal> {
        let ready = self
            .queues
            .iter()
            .take(usize::from(pairs) * 2)
            .all(|queue| queue.enabled);
        if ready {
            Ok(())
        } else {
            Err(refusal(
                Rule::ForbiddenState,
                "a queue of these pairs is not enabled",
                section,
            ))
        }
    }

    fn rss_command(&mut self, mut data: Data<'_>) -> Result<(), Refusal> {
        let short = self::data("the data ends before its fields do", RSS);
        let types = data.double().ok_or(short)?;
        let mask = data.word().ok_or(short)?;
        let unclassified = data.word().ok_or(short)?;
        if types & !HASH_TYPES != 0 {
            return Err(self::data("hash types that are not offered", RSS));
        }
        if !mask.wrapping_add(1).is_power_of_two() || mask >= TABLE_ENTRIES {
            let why = "the table must have a power of two of entries, 128 at most";
            return Err(self::data(why, RSS));
        }
        let mut table = Vec::with_capacity(usize::from(mask) + 1);
        for _ in 0..=mask {
            table.push(data.word().ok_or(short)?);
        }
        let sending = data.word().ok_or(short)?;
        let [key_bytes] = data.bytes().ok_or(short)?;
        if key_bytes > KEY_BYTES {
            return Err(self::data("a key of more than rss_max_key_size", RSS));
        }
        let key = data.take(key_bytes.into()).ok_or(short)?;
        let pairs = self.config.queue_pairs;
        let most = table.iter().copied().max().unwrap_or(0).max(unclassified);
        if most >= pairs || sending > pairs || sending == 0 {
            return Err(self::data("a queue that the device has not", RSS));
        }
        self.check_queues(sending.max(most + 1), RSS)?;
        let rss = Rss {
            types,
            toeplitz: toeplitz(key),
            table,
            unclassified,
        };
        self.steering.by_hash(sending.max(most + 1), rss);
        Ok(())
    }

    fn offload_command(&mut self, command: u8, mut data: Data<'_>) -> Result<(), Refusal> {
        if !self.agreed.has(feature::NET_CTRL_GUEST_OFFLOADS) {
            return Err(not_agreed(OFFLOAD));
        }
        if command != spec::GUEST_OFFLOADS_SET {
            return Err(UNKNOWN);
        }
        let Some((offloads, ())) = data.bytes().map(u64::from_le_bytes).zip(data.end()) else {
            return Err(self::data("the data is not 64 bits", OFFLOAD));
        };
        if offloads & !(self.agreed.0 & OFFLOADS) != 0 {
            return Err(self::data(
                "an offload whose feature was not agreed on",
                OFFLOAD,
            ));
        }
        self.offloads = offloads;
        Ok(())
    }
}
