//! A port: one network card's connection to the world.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use barewire_bus::{Event, PciFunction};

use crate::{Error, Link, Offloads, PortConfig, RxQueue, Statistics, TxQueue, drivers};

/// What a driver does for a [`Port`]. Programs use [`Port`]; drivers implement this.
pub trait Driver: Send {
    /// As [`Port::name`].
    fn name(&self) -> &str;
    /// As [`Port::driver`].
    fn driver(&self) -> &'static str;
    /// As [`Port::take_rx`].
    fn take_rx(&mut self, index: u16) -> Option<RxQueue>;
    /// As [`Port::take_tx`].
    fn take_tx(&mut self, index: u16) -> Option<TxQueue>;
    /// As [`Port::offloads`].
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }
    /// As [`Port::take_announcement`].
    fn take_announcement(&mut self) -> bool {
        false
    }
    /// As [`Port::link`].
    ///
    /// # Errors
    /// As [`Port::link`].
    fn link(&mut self) -> Result<Link, Error>;
    /// As [`Port::wait_for_link`].
    ///
    /// # Errors
    /// As [`Port::wait_for_link`].
    fn wait_for_link(&mut self, limit: Duration) -> Result<Link, Error>;
    /// As [`Port::link_change`].
    ///
    /// # Errors
    /// As [`Port::link_change`].
    fn link_change(&mut self) -> Result<Option<Link>, Error>;
    /// What is signalled when the link has changed.
    fn link_event(&self) -> &Event;
    /// As [`Port::statistics`].
    ///
    /// # Errors
    /// As [`Port::statistics`].
    fn statistics(&mut self) -> Result<Statistics, Error>;
    /// As [`Port::extended_statistics`].
    ///
    /// # Errors
    /// As [`Port::extended_statistics`].
    fn extended_statistics(&mut self) -> Result<Vec<(String, u64)>, Error>;
    /// As [`Port::mac_address`].
    fn mac_address(&self) -> [u8; 6];
    /// As [`Port::set_mac_address`].
    ///
    /// # Errors
    /// As [`Port::set_mac_address`].
    fn set_mac_address(&mut self, address: [u8; 6]) -> Result<(), Error>;
    /// As [`Port::set_promiscuous`].
    ///
    /// # Errors
    /// As [`Port::set_promiscuous`].
    fn set_promiscuous(&mut self, unicast: bool, multicast: bool) -> Result<(), Error>;
    /// As [`Port::set_unicast_filter`].
    ///
    /// # Errors
    /// As [`Port::set_unicast_filter`].
    fn set_unicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error>;
    /// As [`Port::set_multicast_filter`].
    ///
    /// # Errors
    /// As [`Port::set_multicast_filter`].
    fn set_multicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error>;
    /// As [`Port::stop`].
    ///
    /// # Errors
    /// As [`Port::stop`].
    fn stop(&mut self) -> Result<(), Error>;
}

/// An open port.
///
/// Its queues are values that can be taken out, once each, and sent to threads. The device stops
/// when the port and all its queues are dropped, or at [`stop`](Self::stop).
pub struct Port {
    driver: Box<dyn Driver>,
}

impl Port {
    /// Opens a device with the driver for its PCI IDs, resets it and starts its queues. The link
    /// may take seconds to come up: see [`wait_for_link`](Self::wait_for_link).
    ///
    /// # Errors
    /// [`Error::NotSupported`] for a device that no driver knows: nothing of it is touched then.
    /// Otherwise what the driver says; the device is left quiet.
    pub fn open<P: PciFunction>(function: P, config: &PortConfig) -> Result<Self, Error> {
        drivers::open(function, config)
    }

    /// A port of some other driver.
    pub fn from_driver(driver: impl Driver + 'static) -> Self {
        Self {
            driver: Box::new(driver),
        }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.driver.name()
    }

    /// The driver's name, such as `ixgbe`.
    pub fn driver(&self) -> &'static str {
        self.driver.driver()
    }

    /// Takes receive queue `index` out; `None` if there is no such queue or it was taken already.
    pub fn take_rx(&mut self, index: u16) -> Option<RxQueue> {
        self.driver.take_rx(index)
    }

    /// Takes transmit queue `index` out; `None` if there is no such queue or it was taken already.
    pub fn take_tx(&mut self, index: u16) -> Option<TxQueue> {
        self.driver.take_tx(index)
    }

    /// Which of the offloads that were asked for the device does.
    pub fn offloads(&self) -> Offloads {
        self.driver.offloads()
    }

    /// Whether the device has asked for an announcement since this was last called: the program is
    /// to send something by which the network learns where its addresses are now, such as a
    /// gratuitous ARP. [`link`](Self::link) and [`link_change`](Self::link_change) take note of it.
    pub fn take_announcement(&mut self) -> bool {
        self.driver.take_announcement()
    }

    /// The state of the link at this moment.
    ///
    /// # Errors
    /// [`Error::Gone`] when the device is gone.
    pub fn link(&mut self) -> Result<Link, Error> {
        self.driver.link()
    }

    /// Waits until the link is up, at most for `limit` of the device's time, and returns its state:
    /// down if the time was not enough.
    ///
    /// # Errors
    /// [`Error::Gone`] when the device is gone.
    pub fn wait_for_link(&mut self, limit: Duration) -> Result<Link, Error> {
        self.driver.wait_for_link(limit)
    }

    /// The state of the link if it has changed since the last time this was called or the port was
    /// opened. It never waits: the port's file descriptor is readable ([`AsFd`]) when there is a
    /// change. A link that has gone down and come up again in between is a change too.
    ///
    /// # Errors
    /// [`Error::NoInterrupts`] unless the port was opened with
    /// [`interrupts`](PortConfig::interrupts), on a device with a vector for it;
    /// [`Error::Gone`] when the device is gone.
    pub fn link_change(&mut self) -> Result<Option<Link>, Error> {
        self.driver.link_change()
    }

    /// Waits until the link has changed, at most for `limit` (`None`: for ever), and returns its
    /// state if it has.
    ///
    /// # Errors
    /// As [`link_change`](Self::link_change).
    pub fn wait_for_link_change(&mut self, limit: Option<Duration>) -> Result<Option<Link>, Error> {
        if let Some(link) = self.driver.link_change()? {
            return Ok(Some(link));
        }
        self.driver.link_event().wait(limit).map_err(Error::Wait)?;
        self.driver.link_change()
    }

    /// What the device counted since the port was opened.
    ///
    /// The device's counters are 32 bits of frames and 36 of bytes: call this, or
    /// [`extended_statistics`](Self::extended_statistics), at least every 50 seconds under full
    /// load, or counts are lost.
    ///
    /// # Errors
    /// [`Error::Gone`] when the device is gone.
    pub fn statistics(&mut self) -> Result<Statistics, Error> {
        self.driver.statistics()
    }

    /// Every counter of the device that is not 0, by the datasheet's name.
    ///
    /// # Errors
    /// [`Error::Gone`] when the device is gone.
    pub fn extended_statistics(&mut self) -> Result<Vec<(String, u64)>, Error> {
        self.driver.extended_statistics()
    }

    /// The MAC address that frames are received for.
    pub fn mac_address(&self) -> [u8; 6] {
        self.driver.mac_address()
    }

    /// Changes the MAC address that frames are received for.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is multicast or zero.
    pub fn set_mac_address(&mut self, address: [u8; 6]) -> Result<(), Error> {
        self.driver.set_mac_address(address)
    }

    /// Receives all unicast frames, all multicast frames, or only those that filters let through.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the receive path can't be paused for the change.
    pub fn set_promiscuous(&mut self, unicast: bool, multicast: bool) -> Result<(), Error> {
        self.driver.set_promiscuous(unicast, multicast)
    }

    /// Receives frames for these addresses too, in place of those given before.
    ///
    /// # Errors
    /// [`Error::Config`] for more addresses than the device compares or one that is multicast.
    pub fn set_unicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        self.driver.set_unicast_filter(addresses)
    }

    /// Receives frames for these multicast groups, in place of those given before. The device
    /// compares 12 bits of the address, so others may come along.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is not multicast.
    pub fn set_multicast_filter(&mut self, addresses: &[[u8; 6]]) -> Result<(), Error> {
        self.driver.set_multicast_filter(addresses)
    }

    /// Stops the device: no interrupt, no DMA. Queues that are still in a program's hands return
    /// [`Error::Stopped`] from then on.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the device does not stop, [`Error::Gone`] when it is gone.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.driver.stop()
    }
}

impl AsFd for Port {
    /// Readable when the link has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.driver.link_event().as_fd()
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.driver.link_event().as_raw_fd()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
