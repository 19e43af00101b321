//! How a port is set up.

use std::time::Duration;

use barewire_dma::{Pages, Pool};

use crate::Error;

/// How to set up a port. The default is one queue each way and whatever frames are addressed to
/// the device.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent switches of the device
pub struct PortConfig {
    /// Number of receive queues, 1 to 64.
    pub rx_queues: u16,
    /// Number of transmit queues, 1 to 64.
    pub tx_queues: u16,
    /// Descriptors of each receive ring: a power of two from 64 to 4,096.
    pub rx_ring: u16,
    /// Descriptors of each transmit ring: a power of two from 64 to 4,096.
    pub tx_ring: u16,
    /// Largest IP packet in bytes: 68 to 9,710. Frames have 14 bytes more, and 4 more with a VLAN
    /// tag.
    pub mtu: u16,
    /// Receive every unicast frame.
    pub promiscuous: bool,
    /// Receive every multicast frame.
    pub all_multicast: bool,
    /// Drop frames for a queue without descriptors, so that a slow queue does not hold up the
    /// others. Without it they wait in the device's packet buffer, and are missed when that is
    /// full.
    pub drop_enable: bool,
    /// Take the FCS off received frames.
    pub crc_strip: bool,
    /// How frames are spread over several receive queues.
    pub rss: Rss,
    /// Which VLANs frames are received of, beside those without a tag; `None`: all.
    pub vlans: Option<Vec<u16>>,
    /// Which work on frames to leave to the device. What it can't do is left out: see
    /// [`Port::offloads`](crate::Port::offloads).
    pub offloads: Offloads,
    /// Where received frames go. `None`: a pool for each receive queue, which no other queue
    /// touches.
    pub pool: Option<Pool>,
    /// Buffers of a pool made for a receive queue. `None`: enough for its ring, a transmit ring of
    /// the same size and two full batches. Ignored where `pool` is given.
    pub buffers: Option<usize>,
    /// Memory for rings and for pools made here.
    pub pages: Pages,
    /// Each receive queue interrupts when it is asked to ([`RxQueue::arm`](crate::RxQueue::arm)),
    /// and so does the link when it changes. Without it, all there is is polling.
    pub interrupts: bool,
    /// The shortest time between two interrupts of a queue: 0 (no limit) to 1,022 µs, in steps of
    /// 2 µs; ten times as long at 100 Mbit/s. Frames that come in between are met by the interrupt
    /// that is due next, so it is also how long a frame may wait. Ignored without `interrupts`.
    pub interrupt_interval: Duration,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_ring: 512,
            tx_ring: 512,
            mtu: 1500,
            promiscuous: false,
            all_multicast: false,
            drop_enable: false,
            crc_strip: true,
            rss: Rss::default(),
            vlans: None,
            offloads: Offloads::default(),
            pool: None,
            buffers: None,
            pages: Pages::PreferHuge,
            interrupts: false,
            interrupt_interval: Duration::from_micros(20),
        }
    }
}

/// Work on frames that a device can do: what a frame's [note](crate::Offload) is about.
///
/// By default none: frames are then as they are on the wire, and have no notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent switches of the device
pub struct Offloads {
    /// It says of received frames whether their checksums are right, and leaves those to be finished
    /// that were never on a wire.
    pub receive_checksum: bool,
    /// It joins the segments of a connection to frames of up to 64 KiB.
    pub coalescing: bool,
    /// It finishes checksums of sent frames. Without it they are finished on the way there.
    pub transmit_checksum: bool,
    /// It cuts sent frames into segments. Without it frames to be cut are refused.
    pub segmentation: bool,
}

impl PortConfig {
    /// Refuses what no device can have, before `device` is touched.
    pub(crate) fn check(&self, device: &str) -> Result<(), Error> {
        for (what, queues) in [
            ("receive queues", self.rx_queues),
            ("transmit queues", self.tx_queues),
        ] {
            if !(1..=64).contains(&queues) {
                return Err(Error::config(device, what, queues, "1 to 64"));
            }
        }
        for (what, ring) in [
            ("receive ring", self.rx_ring),
            ("transmit ring", self.tx_ring),
        ] {
            if !ring.is_power_of_two() || !(64..=4096).contains(&ring) {
                let allowed = "a power of two from 64 to 4096";
                return Err(Error::config(device, what, ring, allowed));
            }
        }
        if !(68..=9710).contains(&self.mtu) {
            return Err(Error::config(device, "MTU", self.mtu, "68 to 9710"));
        }
        let mut vlans = self.vlans.iter().flatten();
        if let Some(vlan) = vlans.find(|vlan| **vlan > 4095) {
            return Err(Error::config(device, "VLAN", vlan, "0 to 4095"));
        }
        Ok(())
    }
}

/// Receive-side scaling: a Toeplitz hash over addresses and ports chooses the receive queue
/// (82599 datasheet §7.1.2.8). Used as soon as there are two receive queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The secret key.
    pub key: [u8; 40],
    /// What is hashed.
    pub fields: RssFields,
    /// Which queue each of 128 (X550: 512) hash values goes to. Empty: all queues in turn. A
    /// shorter table is repeated.
    pub table: Vec<u16>,
}

impl Rss {
    /// The key of Microsoft's RSS specification, for which test vectors are published.
    pub const KNOWN_KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// A key that sends both directions of a connection to the same queue: its 16-bit words are
    /// all equal, so that swapping addresses and ports does not change the hash.
    pub const SYMMETRIC_KEY: [u8; 40] = {
        let mut key = [0x6d; 40];
        let mut odd = 1;
        while odd < 40 {
            key[odd] = 0x5a;
            odd += 2;
        }
        key
    };
}

impl Default for Rss {
    fn default() -> Self {
        Self {
            key: Self::KNOWN_KEY,
            fields: RssFields::default(),
            table: Vec::new(),
        }
    }
}

/// Which headers RSS hashes (82599 datasheet, `MRQC`). A frame that matches none goes to queue 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // one for each field of the register
pub struct RssFields {
    /// IPv4 addresses.
    pub ipv4: bool,
    /// IPv4 addresses and TCP ports.
    pub tcp_ipv4: bool,
    /// IPv4 addresses and UDP ports.
    pub udp_ipv4: bool,
    /// IPv6 addresses.
    pub ipv6: bool,
    /// IPv6 addresses and TCP ports.
    pub tcp_ipv6: bool,
    /// IPv6 addresses and UDP ports.
    pub udp_ipv6: bool,
}

impl Default for RssFields {
    /// All of them.
    fn default() -> Self {
        Self {
            ipv4: true,
            tcp_ipv4: true,
            udp_ipv4: true,
            ipv6: true,
            tcp_ipv6: true,
            udp_ipv6: true,
        }
    }
}
