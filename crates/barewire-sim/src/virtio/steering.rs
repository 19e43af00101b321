//! Which receive queue a frame goes to (VIRTIO §5.1.6.5.5 to §5.1.6.5.7).

use barewire_spec::virtio::net::hash;

use crate::packet::{Headers, KEY_BYTES, Network, Toeplitz, Transport};

/// Flows that are remembered for automatic steering.
const FLOWS: usize = 1024;

/// How frames find their queue.
#[derive(Debug)]
pub(super) struct Steering {
    /// Pairs that the driver has asked for.
    pairs: u16,
    /// The pair on which a flow was sent last, by its hash; filled while there are several pairs.
    flows: Vec<u16>,
    rss: Option<Rss>,
}

/// What RSS was set up with.
#[derive(Debug)]
pub(super) struct Rss {
    pub(super) types: u32,
    pub(super) toeplitz: Toeplitz,
    /// Receive queues, a power of two.
    pub(super) table: Vec<u16>,
    pub(super) unclassified: u16,
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            pairs: 1,
            flows: Vec::new(),
            rss: None,
        }
    }
}

/// A key from the command; shorter ones are filled with zeros.
pub(super) fn toeplitz(key: &[u8]) -> Toeplitz {
    let mut whole = [0; KEY_BYTES];
    for (to, from) in whole.iter_mut().zip(key) {
        *to = *from;
    }
    Toeplitz::new(&whole)
}

impl Steering {
    /// Pairs of queues in use.
    pub(super) fn pairs(&self) -> u16 {
        self.pairs
    }

    /// Steers by flow over so many pairs.
    pub(super) fn automatic(&mut self, pairs: u16) {
        self.pairs = pairs;
        self.rss = None;
        self.flows.clear();
        if pairs > 1 {
            self.flows.resize(FLOWS, u16::MAX);
        }
    }

    /// Steers by hash; `pairs` is what the driver sends on.
    pub(super) fn by_hash(&mut self, pairs: u16, rss: Rss) {
        self.pairs = pairs;
        self.rss = Some(rss);
        self.flows.clear();
    }

    /// Whether headers are looked at for steering.
    pub(super) fn wants_headers(&self) -> bool {
        self.pairs > 1 || self.rss.is_some()
    }

    /// A packet was sent on a pair: what comes back goes there too.
    pub(super) fn sent(&mut self, pair: u16, frame: &[u8], headers: &Headers) {
        if let Some(flow) = flow(frame, headers)
            && let Some(entry) = self.flows.get_mut(flow % FLOWS)
        {
            *entry = pair;
        }
    }

    /// The pair whose receive queue a frame goes to.
    pub(super) fn pair(&self, frame: &[u8], headers: &Headers) -> u16 {
        if let Some(rss) = &self.rss {
            return rss.queue(frame, headers);
        }
        if self.pairs <= 1 {
            return 0;
        }
        let Some(flow) = flow(frame, headers) else {
            return 0;
        };
        match self.flows.get(flow % FLOWS) {
            Some(pair) if *pair < self.pairs => *pair,
            _ => u16::try_from(flow % usize::from(self.pairs)).unwrap_or(0),
        }
    }
}

/// A number that is the same for both directions of a flow.
fn flow(frame: &[u8], headers: &Headers) -> Option<usize> {
    let addresses = addresses(frame, headers)?;
    let ports = match headers.transport {
        Transport::None => &[],
        _ => ports(frame, headers),
    };
    let sum = |bytes: &[u8]| {
        bytes.iter().fold(0usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        })
    };
    let (from, to) = addresses.split_at(addresses.len() / 2);
    let (from_port, to_port) = ports.split_at(ports.len() / 2);
    let mixed = (sum(from) ^ sum(to)).wrapping_mul(31) ^ sum(from_port) ^ sum(to_port);
    Some(mixed ^ mixed >> 7)
}

fn addresses<'f>(frame: &'f [u8], headers: &Headers) -> Option<&'f [u8]> {
    let l3 = usize::from(headers.l3);
    match headers.network {
        Network::None => None,
        Network::V4 => frame.get(l3 + 12..l3 + 20),
        Network::V6 => frame.get(l3 + 8..l3 + 40),
    }
}

fn ports<'f>(frame: &'f [u8], headers: &Headers) -> &'f [u8] {
    let l4 = usize::from(headers.l4);
    frame.get(l4..l4 + 4).unwrap_or_default()
}

impl Rss {
    fn queue(&self, frame: &[u8], headers: &Headers) -> u16 {
        let Some(hash) = self.hash(frame, headers) else {
            return self.unclassified;
        };
        let mask = self.table.len().saturating_sub(1);
        let entry = usize::try_from(hash).unwrap_or(0) & mask;
        self.table.get(entry).copied().unwrap_or(self.unclassified)
    }

    /// The hash of a frame, if one of the types asks for it (VIRTIO §5.1.6.4.3).
    fn hash(&self, frame: &[u8], headers: &Headers) -> Option<u32> {
        let (alone, tcp, udp) = match headers.network {
            Network::None => return None,
            Network::V4 => (hash::IPV4, hash::TCPV4, hash::UDPV4),
            Network::V6 => (hash::IPV6, hash::TCPV6, hash::UDPV6),
        };
        let has = |kind: u32| self.types & kind != 0;
        let ports = match headers.transport {
            Transport::Tcp if has(tcp) => ports(frame, headers),
            Transport::Udp if has(udp) => ports(frame, headers),
            _ if has(alone) => &[],
            _ => return None,
        };
        Some(self.toeplitz.hash(addresses(frame, headers)?, ports))
    }
}
