//! Which frames are accepted (82599 §7.1.1).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{
    CtrlExt, Fctrl, Mcstctrl, Mrqc, Rah, Rxcsum, Vlnctrl, limits, mrqe, rss,
};

use super::Device;
use super::registers::Registers;
use super::rss::{Hash, hash};
use super::steering::Steering;
use crate::packet::{Headers, Tags};
use crate::packet::{KEY_BYTES, Toeplitz};

/// The broadcast address, the first byte lowest.
const BROADCAST: u64 = 0xFFFF_FFFF_FFFF;

/// What the address filters say about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    No,
    /// By a table or a promiscuous mode.
    Inexact,
    /// By an exact address.
    Exact,
}

/// The filters and queue selection, decoded from registers once they have changed.
#[derive(Debug)]
pub(super) struct Filter {
    stale: bool,
    control: Fctrl,
    /// Exact addresses, the first byte lowest.
    addresses: Vec<u64>,
    /// The offset in bits of the twelve that index the multicast table, if it is used.
    multicast: Option<u32>,
    table: Box<[u32; 128]>,
    pub(super) tags: Tags,
    pub(super) checksums: Rxcsum,
    pub(super) steering: Steering,
    vlan: Vlnctrl,
    vlans: Box<[u32; 128]>,
    mrqc: Mrqc,
    toeplitz: Toeplitz,
    key: [u8; KEY_BYTES],
    /// The redirection table: 128 entries, or 512.
    queues: Box<[u8; rss::RETA_ENTRIES_X550]>,
    queue_mask: usize,
}

impl Filter {
    pub(super) fn new() -> Self {
        Self {
            stale: true,
            control: Fctrl::new(),
            addresses: Vec::new(),
            multicast: None,
            table: Box::new([0; 128]),
            tags: Tags::usual(),
            checksums: Rxcsum::new(),
            steering: Steering::default(),
            vlan: Vlnctrl::new(),
            vlans: Box::new([0; 128]),
            mrqc: Mrqc::new(),
            toeplitz: Toeplitz::new(&[0; KEY_BYTES]),
            key: [0; KEY_BYTES],
            queues: Box::new([0; rss::RETA_ENTRIES_X550]),
            queue_mask: rss::RETA_ENTRIES - 1,
        }
    }

    /// The registers have changed.
    pub(super) fn mark_stale(&mut self) {
        self.stale = true;
    }

    /// Decodes the registers again if they have changed; true if they have.
    #[inline]
    pub(super) fn refresh(&mut self, registers: &Registers, device: Device) -> bool {
        let stale = self.stale;
        if stale {
            self.decode(registers, device);
        }
        stale
    }

    #[cold]
    fn decode(&mut self, registers: &Registers, device: Device) {
        self.stale = false;
        self.control = Fctrl::from_bits(registers.of(&spec::FCTRL));
        self.addresses.clear();
        for index in 0..limits::RECEIVE_ADDRESSES {
            let high = Rah::from_bits(registers.get(&spec::RAH, index));
            if high.av() {
                let low = registers.get(&spec::RAL, index);
                self.addresses
                    .push(u64::from(high.rah()) << 32 | u64::from(low));
            }
        }
        let multicast = Mcstctrl::from_bits(registers.of(&spec::MCSTCTRL));
        self.multicast = multicast.mfe().then(|| match multicast.mo() {
            0 => 36,
            1 => 35,
            2 => 34,
            _ => 32,
        });
        self.vlan = Vlnctrl::from_bits(registers.of(&spec::VLNCTRL));
        let extended = CtrlExt::from_bits(registers.of(&spec::CTRL_EXT)).extended_vlan();
        self.tags = Tags {
            vlan: self.vlan.vet(),
            // The type is in the register's high half.
            outer: extended.then(|| {
                let [_, _, low, high] = registers.of(&spec::EXVET).to_le_bytes();
                u16::from_le_bytes([low, high])
            }),
        };
        self.checksums = Rxcsum::from_bits(registers.of(&spec::RXCSUM));
        self.steering.decode(registers);
        for (index, (multicast, vlan)) in
            (0..).zip(self.table.iter_mut().zip(self.vlans.iter_mut()))
        {
            *multicast = registers.get(&spec::MTA, index);
            *vlan = registers.get(&spec::VFTA, index);
        }
        self.mrqc = Mrqc::from_bits(registers.of(&spec::MRQC));
        let mut key = [0; KEY_BYTES];
        for (index, word) in (0..).zip(key.as_chunks_mut::<4>().0) {
            *word = registers.get(&spec::RSSRK, index).to_le_bytes();
        }
        if key != self.key {
            self.key = key;
            self.toeplitz = Toeplitz::new(&key);
        }
        let (mask, entries) = if device == Device::X550 {
            (0x3F, rss::RETA_ENTRIES_X550)
        } else {
            (0x0F, rss::RETA_ENTRIES)
        };
        self.queue_mask = entries - 1;
        let first = spec::RETA.count();
        for (index, entries) in (0u32..).zip(self.queues.as_chunks_mut::<4>().0) {
            let value = match index.checked_sub(first) {
                None => registers.get(&spec::RETA, index),
                Some(index) => registers.get(&spec::x550::ERETA, index),
            };
            *entries = value.to_le_bytes().map(|entry| entry & mask);
        }
    }

    /// Whether filters that choose a queue ahead of RSS are in use.
    pub(super) fn is_steering(&self) -> bool {
        !self.steering.is_empty()
    }

    /// Whether frames with errors are stored.
    pub(super) fn stores_bad(&self) -> bool {
        self.control.sbp()
    }

    /// Whether the destination is one the device listens to (82599 §7.1.1.1).
    #[inline]
    pub(super) fn accepts(&self, frame: &[u8]) -> Acceptance {
        let Some(first) = frame.first_chunk::<8>() else {
            return Acceptance::No;
        };
        let address = u64::from_le_bytes(*first) & BROADCAST;
        if self.addresses.contains(&address) {
            return Acceptance::Exact;
        }
        let accepted = if address & 1 == 0 {
            self.control.upe()
        } else if address == BROADCAST {
            self.control.bam() || self.control.mpe()
        } else {
            self.control.mpe()
                || self
                    .multicast
                    .is_some_and(|shift| self.in_multicast_table(address, shift))
        };
        if accepted {
            Acceptance::Inexact
        } else {
            Acceptance::No
        }
    }

    fn in_multicast_table(&self, address: u64, shift: u32) -> bool {
        let index = (address >> shift) & 0xFFF;
        self.table
            .get(usize::try_from(index / 32).unwrap_or(usize::MAX))
            .is_some_and(|word| word >> (index % 32) & 1 == 1)
    }

    /// Whether the frame's VLAN is one the device listens to (82599 §7.1.1.2).
    #[inline]
    pub(super) fn accepts_vlan(&self, headers: &Headers) -> bool {
        let Some(tag) = headers.vlan else { return true };
        if !self.vlan.vfe() {
            return true;
        }
        if self.vlan.cfien() && (tag >> 12 & 1 == 1) != self.vlan.cfi() {
            return false;
        }
        let id = tag & 0xFFF;
        self.vlans[usize::from(id / 32)] >> (id % 32) & 1 == 1
    }

    /// The hash of a frame and the queue it goes to (82599 §7.1.2.8).
    #[inline]
    pub(super) fn steer(&self, frame: &[u8], headers: &Headers) -> (Hash, usize) {
        if self.mrqc.mrqe() != mrqe::RSS {
            return (Hash::default(), 0);
        }
        let hash = hash(&self.toeplitz, self.mrqc, frame, headers);
        if hash.kind == 0 {
            return (hash, 0);
        }
        let entry = usize::try_from(hash.value).unwrap_or(0) & self.queue_mask;
        let queue = usize::from(self.queues[entry]);
        // In place of the hash descriptors may tell of fragments.
        let told = if self.checksums.pcsd() {
            hash
        } else {
            Hash::default()
        };
        (told, queue)
    }
}
