//! The queues of a port, from their sizes to their first buffers (§5.1.2, §5.1.5).

use std::sync::Arc;

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{
    Batch, DmaError, Packed, QueuePlan, RxHeaders, Split, TxHeaders, VirtControl, VirtRx, VirtTx,
    Virtqueue,
};
use barewire_spec::virtio::{feature as f, header, net};

use super::Device;
use super::control::{Control, Ring};
use super::rx::Rx;
use super::totals::Totals;
use super::transport::{Transport, queue_features};
use super::tx::Tx;
use crate::device::Events;
use crate::memory::{RingMemory, receive_pool};
use crate::{Error, PortConfig, RxQueue, TxQueue};

/// Descriptors of a control queue: one command at a time has two.
const CONTROL: u16 = 64;
/// Ethernet header: what a frame has beyond its MTU.
const ETHERNET: u16 = 14;
/// A VLAN tag, which the MTU does not count.
const VLAN_TAG: u16 = 4;

/// Gives a receive queue its first buffers, once the device runs.
pub(super) type Start = Box<dyn FnOnce() -> Result<RxQueue, Error>>;

/// What was set up. The device may not run yet.
pub(super) struct Queues<P: PciFunction> {
    pub(super) rx: Vec<Start>,
    pub(super) tx: Vec<TxQueue>,
    pub(super) control: Option<Control<P>>,
    /// How many pairs are to be put to use.
    pub(super) pairs: u16,
}

impl<P: PciFunction> Queues<P> {
    pub(super) fn start(
        device: &Arc<Device<P>>,
        config: &PortConfig,
        events: &Events,
        totals: &mut Totals,
    ) -> Result<Self, Error> {
        if device.chip().has(f::RING_PACKED) {
            Plan::<Packed>::new(device.chip(), config)?.start(
                device,
                config,
                events,
                totals,
                Ring::Packed,
            )
        } else {
            Plan::<Split>::new(device.chip(), config)?.start(
                device,
                config,
                events,
                totals,
                Ring::Split,
            )
        }
    }
}

/// What the queues will be, before there is memory for them.
struct Plan<Q> {
    pairs: u16,
    rx: Vec<QueuePlan<Q>>,
    tx: Vec<QueuePlan<Q>>,
    control: Option<(u16, QueuePlan<Q>)>,
    rx_headers: RxHeaders,
    tx_headers: TxHeaders,
    /// The longest frame that arrives.
    longest: u16,
}

impl<Q: Virtqueue> Plan<Q> {
    fn new<B: Bar>(transport: &Transport<B>, config: &PortConfig) -> Result<Self, Error> {
        let several = transport.has(f::NET_MQ) || transport.has(f::NET_RSS);
        let most = if several {
            u16::from_le_bytes(transport.config(net::MAX_QUEUE_PAIRS)?)
        } else {
            1
        };
        let device = transport.device();
        if most == 0 || most > net::QUEUE_PAIRS_MAX {
            let what = format!("it has {most} pairs of queues");
            return Err(Error::broken(device, what));
        }
        // of transmit queues a port may have fewer: those are not handed out
        let pairs = config.rx_queues;
        if pairs > most {
            let allowed = format!("1 to {most} on this device");
            return Err(Error::config(device, "queues", pairs, allowed));
        }
        if config.tx_queues > pairs {
            let allowed = format!("1 to {pairs}, as the device has pairs of queues");
            return Err(Error::config(
                device,
                "transmit queues",
                config.tx_queues,
                allowed,
            ));
        }
        let modern = transport.has(f::VERSION_1);
        let mergeable = transport.has(f::NET_MRG_RXBUF);
        let any_layout = modern || transport.has(f::ANY_LAYOUT);
        let bytes = if modern || mergeable {
            header::BYTES
        } else {
            header::BYTES_LEGACY
        };
        let bytes = u16::try_from(bytes).unwrap_or(0);
        let longest = config.mtu + ETHERNET; // `PortConfig::check` bounds it
        let mut plan = Self {
            pairs,
            rx: Vec::new(),
            tx: Vec::new(),
            control: None,
            rx_headers: RxHeaders {
                bytes,
                mergeable,
                apart: !any_layout && !mergeable,
                offloads: transport.has(f::NET_GUEST_CSUM),
            },
            tx_headers: TxHeaders {
                bytes,
                apart: !any_layout,
                checksum: transport.has(f::NET_CSUM),
                segmentation: [f::NET_HOST_TSO4, f::NET_HOST_TSO6, f::NET_HOST_USO]
                    .map(|one| transport.has(one)),
                lens: (ETHERNET, longest),
            },
            longest: longest + VLAN_TAG,
        };
        let features = queue_features(transport);
        let dma_error = Error::dma(device);
        for pair in 0..pairs {
            let size = size(transport, net::receive_queue(pair), config.rx_ring)?;
            let queue = VirtRx::plan(size, features, plan.rx_headers);
            plan.rx.push(queue.map_err(&dma_error)?);
            let size = self::size(transport, net::transmit_queue(pair), config.tx_ring)?;
            let queue = VirtTx::plan(size, features);
            plan.tx.push(queue.map_err(&dma_error)?);
        }
        if transport.has(f::NET_CTRL_VQ) {
            let index = net::control_queue(most);
            let size = size(transport, index, CONTROL)?;
            let queue = VirtControl::plan(size, features).map_err(&dma_error)?;
            plan.control = Some((index, queue));
        }
        Ok(plan)
    }

    /// Memory for all of it.
    fn memory<P: PciFunction>(
        &self,
        device: &Device<P>,
        config: &PortConfig,
    ) -> Result<RingMemory, DmaError> {
        let control = self.control.iter().map(|(_, plan)| plan);
        let all = self.rx.iter().chain(&self.tx).chain(control);
        let bytes = all.map(|plan| plan.bytes().next_multiple_of(plan.alignment()));
        RingMemory::allocate(device.domain(), bytes.sum(), config)
    }

    fn start<P: PciFunction>(
        self,
        device: &Arc<Device<P>>,
        config: &PortConfig,
        events: &Events,
        totals: &mut Totals,
        ring: impl FnOnce(VirtControl<Q>) -> Ring,
    ) -> Result<Queues<P>, Error> {
        let transport = device.chip();
        let dma_error = Error::dma(transport.device());
        let mut memory = self.memory(device, config).map_err(&dma_error)?;
        let mut place = |plan: &QueuePlan<Q>| memory.next(plan.bytes(), plan.alignment());
        let mut queues = Queues {
            rx: Vec::new(),
            tx: Vec::new(),
            control: None,
            pairs: self.pairs,
        };
        // without room for a whole frame in several buffers, each must have it in one
        let room = if self.rx_headers.mergeable {
            0
        } else {
            usize::from(self.longest)
        };
        for ((pair, plan), event) in (0..).zip(self.rx).zip(&events.queues) {
            let pool = receive_pool(config, room).map_err(&dma_error)?;
            let at = place(&plan);
            let rx = VirtRx::new(plan, at, &pool, device.domain(), self.rx_headers);
            let rx = rx.map_err(&dma_error)?;
            if usize::from(rx.whole_frame()) < room {
                return Err(Error::config(
                    transport.device(),
                    "receive buffers",
                    format!("{} bytes", rx.whole_frame()),
                    format!("pools whose buffers take {room}, as the device needs one a frame"),
                ));
            }
            let vector = events.kind.is_some().then_some(pair);
            let memory = rx.memory();
            let (index, size) = (net::receive_queue(pair), memory.size());
            let doorbell = transport.start_queue(index, size, memory.addresses(), vector)?;
            let events = (Arc::clone(event), events.kind);
            let mut queue = Rx::new(device, rx, doorbell, totals.rx(), events);
            queues.rx.push(Box::new(move || {
                queue.refill(&mut Batch::new(1))?;
                Ok(RxQueue::new(queue))
            }));
        }
        for (pair, plan) in (0..).zip(self.tx) {
            let at = place(&plan);
            let tx = VirtTx::new(plan, at, self.tx_headers).map_err(&dma_error)?;
            let memory = tx.memory();
            let (index, size) = (net::transmit_queue(pair), memory.size());
            let doorbell = transport.start_queue(index, size, memory.addresses(), None)?;
            let queue = Tx::new(device, tx, doorbell, totals.tx());
            queues.tx.push(TxQueue::new(queue));
        }
        queues.tx.truncate(usize::from(config.tx_queues));
        if let Some((index, plan)) = self.control {
            let (mapping, offset) = place(&plan);
            let control = VirtControl::new(plan, mapping, offset).map_err(&dma_error)?;
            let memory = control.memory();
            let (size, at) = (memory.size(), memory.addresses());
            let doorbell = transport.start_queue(index, size, at, None)?;
            queues.control = Some(Control::new(device, ring(control), doorbell));
        }
        Ok(queues)
    }
}

/// How many descriptors a queue gets: as many as were asked for, or the device has, if that is fewer;
/// where it can't be told, as many as it has.
fn size<B: Bar>(transport: &Transport<B>, queue: u16, wanted: u16) -> Result<u16, Error> {
    let most = transport.queue_size(queue);
    let device = transport.device();
    if most < 2 || (transport.is_legacy() && !most.is_power_of_two()) {
        let what = format!("its queue {queue} has {most} descriptors");
        return Err(Error::broken(device, what));
    }
    Ok(if transport.is_legacy() {
        most
    } else {
        1 << most.min(wanted).ilog2()
    })
}
