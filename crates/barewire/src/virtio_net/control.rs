//! The control queue: commands to the device, and their answers (VIRTIO §5.1.6.5).

use std::sync::Arc;

use barewire_bus::PciFunction;
use barewire_dma::{Packed, Split, VirtControl};
use barewire_spec::virtio::{control as command, feature, net};

use super::Device;
use super::held::Held;
use super::transport::Doorbell;
use crate::patience::Patience;
use crate::{Error, Rss};

/// How long a command may take.
const PATIENCE: Patience = Patience::new(20, 2000);
/// The most addresses of each kind that the driver has compared.
pub(super) const ADDRESSES: usize = 256;

/// A control queue of either format.
pub(super) enum Ring {
    Split(VirtControl<Split>),
    Packed(VirtControl<Packed>),
}

impl Ring {
    fn command(&mut self, parts: [&[u8]; 2]) -> Option<bool> {
        match self {
            Self::Split(ring) => ring.command(parts),
            Self::Packed(ring) => ring.command(parts),
        }
    }

    fn answer(&mut self) -> Result<Option<u8>, barewire_dma::QueueFault> {
        match self {
            Self::Split(ring) => ring.answer(),
            Self::Packed(ring) => ring.answer(),
        }
    }
}

/// The driver's end of the control queue, if the device has one.
pub(super) struct Control<P: PciFunction> {
    ring: Held<P, Ring>,
    doorbell: Doorbell,
}

impl<P: PciFunction> Control<P> {
    pub(super) fn new(device: &Arc<Device<P>>, ring: Ring, doorbell: Doorbell) -> Self {
        Self {
            ring: Held::new(device, ring),
            doorbell,
        }
    }

    /// Has the device carry out a command, and waits for its answer.
    pub(super) fn run(
        &mut self,
        what: &'static str,
        (class, number): (u8, u8),
        data: &[u8],
    ) -> Result<(), Error> {
        let device = Arc::clone(self.ring.device());
        let transport = device.chip();
        let ring = self.ring.get()?;
        let begun = ring.command([&[class, number], data]);
        let Some(notify) = begun else {
            let what = format!("{what}: a command is too long");
            return Err(Error::broken(transport.device(), what));
        };
        if notify {
            transport.notify(self.doorbell);
        }
        let answer = PATIENCE.wait(transport.bar(), || {
            let answer = ring.answer();
            answer.map_err(|fault| Error::broken(transport.device(), fault.to_string()))
        });
        match answer {
            Ok(Some(command::OK)) => Ok(()),
            Ok(Some(answer)) => {
                let what = format!("it refused {what} (answer {answer})");
                Err(Error::broken(transport.device(), what))
            }
            Ok(None) => {
                // the answer may come yet, into memory that is its until it is stopped
                self.ring.retire();
                device.check()?;
                Err(Error::Timeout {
                    device: transport.device().to_owned(),
                    what,
                    register: "the control queue",
                    value: u32::from(transport.status()),
                    millis: PATIENCE.millis(),
                })
            }
            Err(error) => {
                self.ring.retire();
                Err(error)
            }
        }
    }

    fn switch(&mut self, number: u8, on: bool) -> Result<(), Error> {
        let what = "a receive mode";
        self.run(what, (command::RX, number), &[u8::from(on)])
    }

    /// Sets which frames are received beside those that filters let through (§5.1.6.5.1).
    pub(super) fn set_modes(&mut self, unicast: bool, multicast: bool) -> Result<(), Error> {
        let device = Arc::clone(self.ring.device());
        if !device.chip().has(feature::NET_CTRL_RX) {
            return Ok(()); // it receives everything
        }
        let extra = device.chip().has(feature::NET_CTRL_RX_EXTRA);
        self.switch(command::RX_PROMISC, unicast && (multicast || !extra))?;
        self.switch(command::RX_ALLMULTI, multicast)?;
        if extra {
            self.switch(command::RX_ALLUNI, unicast && !multicast)?;
        }
        Ok(())
    }

    pub(super) fn set_mac_address(&mut self, address: [u8; 6]) -> Result<(), Error> {
        let what = "a MAC address";
        self.run(what, (command::MAC, command::MAC_ADDR_SET), &address)
    }

    /// Sets the tables of further addresses (§5.1.6.5.2).
    pub(super) fn set_filters(
        &mut self,
        unicast: &[[u8; 6]],
        multicast: &[[u8; 6]],
    ) -> Result<(), Error> {
        let mut data = Vec::new();
        for table in [unicast, multicast] {
            let count = u32::try_from(table.len()).unwrap_or(0); // `ADDRESSES` bounds it
            data.extend(count.to_le_bytes());
            data.extend(table.as_flattened());
        }
        let what = "an address filter";
        self.run(what, (command::MAC, command::MAC_TABLE_SET), &data)
    }

    pub(super) fn set_vlan(&mut self, vlan: u16, on: bool) -> Result<(), Error> {
        let number = if on {
            command::VLAN_ADD
        } else {
            command::VLAN_DEL
        };
        let data = vlan.to_le_bytes();
        self.run("a VLAN filter", (command::VLAN, number), &data)
    }

    /// Says that a wish for announcements was heard (§5.1.6.5.4).
    pub(super) fn acknowledge_announcement(&mut self) -> Result<(), Error> {
        let what = "an acknowledgement";
        self.run(what, (command::ANNOUNCE, command::ANNOUNCE_ACK), &[])
    }

    /// Puts so many pairs of queues to use, with the device's own steering (§5.1.6.5.6).
    pub(super) fn set_pairs(&mut self, pairs: u16) -> Result<(), Error> {
        let data = pairs.to_le_bytes();
        let number = (command::MQ, command::MQ_VQ_PAIRS_SET);
        self.run("the number of queues", number, &data)
    }

    /// Puts queues to use, steered by a hash (§5.1.6.5.7).
    pub(super) fn set_rss(&mut self, rss: &Rss, pairs: u16) -> Result<(), Error> {
        let device = Arc::clone(self.ring.device());
        let transport = device.chip();
        let [key_most] = transport.config(net::RSS_KEY_MAX)?;
        let table_most = u16::from_le_bytes(transport.config(net::RSS_TABLE_MAX)?);
        let can = u32::from_le_bytes(transport.config(net::HASH_TYPES)?);
        if usize::from(key_most) < rss.key.len() || table_most == 0 {
            let what = format!("it takes an RSS key of {key_most} and a table of {table_most}");
            return Err(Error::broken(transport.device(), what));
        }
        // a power of two, and no more than all queues need many times over
        let len = (1 << table_most.ilog2()).min(128u16);
        let fields = [
            (rss.fields.ipv4, net::hash::IPV4),
            (rss.fields.tcp_ipv4, net::hash::TCPV4),
            (rss.fields.udp_ipv4, net::hash::UDPV4),
            (rss.fields.ipv6, net::hash::IPV6),
            (rss.fields.tcp_ipv6, net::hash::TCPV6),
            (rss.fields.udp_ipv6, net::hash::UDPV6),
        ];
        let wanted = fields.iter().filter(|(wanted, _)| *wanted);
        let types = can & wanted.fold(0, |all, (_, one)| all | one);
        let mut data = types.to_le_bytes().to_vec();
        data.extend((len - 1).to_le_bytes());
        data.extend(0u16.to_le_bytes()); // what is not hashed goes to the first
        let all: Vec<u16> = (0..pairs).collect();
        let table = if rss.table.is_empty() {
            &all
        } else {
            &rss.table
        };
        if let Some(none) = table.iter().find(|queue| **queue >= pairs) {
            return Err(Error::config(
                transport.device(),
                "RSS table with queue",
                none,
                format!("0 to {}", pairs - 1),
            ));
        }
        for queue in table.iter().cycle().take(usize::from(len)) {
            data.extend(queue.to_le_bytes());
        }
        data.extend(pairs.to_le_bytes());
        data.push(u8::try_from(rss.key.len()).unwrap_or(0));
        data.extend(rss.key);
        self.run("RSS", (command::MQ, command::MQ_RSS_CONFIG), &data)
    }
}
