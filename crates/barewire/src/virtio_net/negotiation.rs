//! Which of the device's features the driver accepts (VIRTIO §2.2, §5.1.3).

use barewire_bus::Bar;
use barewire_spec::virtio::feature::{self as f, lacking};

use super::transport::Transport;
use crate::{Error, Offloads, PortConfig};

/// What is accepted wherever it is offered.
const ALWAYS: u64 = f::VERSION_1
    | f::RING_PACKED
    | f::EVENT_IDX
    | f::INDIRECT_DESC
    | f::IN_ORDER
    | f::ANY_LAYOUT
    | f::ACCESS_PLATFORM
    | f::ORDER_PLATFORM
    | f::NET_MAC
    | f::NET_MTU
    | f::NET_STATUS
    | f::NET_SPEED_DUPLEX
    | f::NET_MRG_RXBUF
    | f::NET_CTRL_VQ
    | f::NET_CTRL_RX
    | f::NET_CTRL_RX_EXTRA
    | f::NET_CTRL_MAC_ADDR
    | f::NET_GUEST_ANNOUNCE;

/// What finishes checksums of sent frames.
const TRANSMIT_CHECKSUM: u64 = f::NET_CSUM;
/// What cuts them, beside that.
const SEGMENTATION: u64 =
    f::NET_HOST_TSO4 | f::NET_HOST_TSO6 | f::NET_HOST_ECN | f::NET_HOST_USO | f::NET_CSUM;
/// What tells of the checksums of received frames.
const RECEIVE_CHECKSUM: u64 = f::NET_GUEST_CSUM;
/// What joins them, beside that.
const COALESCING: u64 = f::NET_GUEST_TSO4
    | f::NET_GUEST_TSO6
    | f::NET_GUEST_ECN
    | f::NET_GUEST_USO4
    | f::NET_GUEST_USO6
    | f::NET_GUEST_CSUM;

/// What the driver accepts of an offer.
pub(super) fn choose(offered: u64, config: &PortConfig, legacy: bool) -> u64 {
    let Offloads {
        receive_checksum,
        coalescing,
        transmit_checksum,
        segmentation,
    } = config.offloads;
    let mut wanted = ALWAYS;
    for (asked, features) in [
        (receive_checksum, RECEIVE_CHECKSUM),
        // large frames need several buffers
        (coalescing && offered & f::NET_MRG_RXBUF != 0, COALESCING),
        (transmit_checksum, TRANSMIT_CHECKSUM),
        (segmentation, SEGMENTATION),
        (config.rx_queues > 1, f::NET_MQ),
        (config.rx_queues > 1, f::NET_RSS),
        (config.vlans.is_some(), f::NET_CTRL_VLAN),
    ] {
        wanted |= if asked { features } else { 0 };
    }
    let mut features = offered & wanted;
    if legacy {
        features &= u64::from(u32::MAX);
    } else {
        features &= !f::ANY_LAYOUT; // others always have it
    }
    // what a device offers without its needs it does not get
    while let Some(alone) = lacking(features) {
        features &= !alone;
    }
    features
}

/// Negotiates. The device is reset and knows that there is a driver.
pub(super) fn negotiate<B: Bar>(
    transport: &Transport<B>,
    config: &PortConfig,
    translated: bool,
) -> Result<(), Error> {
    let offered = transport.offered();
    let features = choose(offered, config, transport.is_legacy());
    let device = transport.device();
    if !transport.is_legacy() && features & f::VERSION_1 == 0 {
        let what = "it is no legacy device and does not offer VIRTIO_F_VERSION_1";
        return Err(Error::broken(device, what));
    }
    if translated && features & f::ACCESS_PLATFORM == 0 {
        // it would take our addresses for physical ones and write wherever they lead
        let what = "it is behind an IOMMU that it goes round (no VIRTIO_F_ACCESS_PLATFORM): \
                    give it `iommu_platform=on`, or use --backend uio";
        return Err(Error::broken(device, what));
    }
    transport.accept(features)?;
    tracing::info!(
        device,
        offered = format_args!("{offered:#x}"),
        accepted = format_args!("{features:#x}"),
        legacy = transport.is_legacy(),
        "features negotiated"
    );
    Ok(())
}

/// What came of the offloads that were asked for.
pub(super) fn offloads<B: Bar>(transport: &Transport<B>) -> Offloads {
    Offloads {
        receive_checksum: transport.has(f::NET_GUEST_CSUM),
        coalescing: transport.has(f::NET_GUEST_TSO4) || transport.has(f::NET_GUEST_TSO6),
        transmit_checksum: transport.has(f::NET_CSUM),
        segmentation: transport.has(f::NET_HOST_TSO4) || transport.has(f::NET_HOST_TSO6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn everything() -> PortConfig {
        PortConfig {
            rx_queues: 4,
            tx_queues: 4,
            offloads: Offloads {
                receive_checksum: true,
                coalescing: true,
                transmit_checksum: true,
                segmentation: true,
            },
            ..PortConfig::default()
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_was_offered_and_has_what_it_needs(offered: u64, legacy: bool) {
            for config in [PortConfig::default(), everything()] {
                let accepted = choose(offered, &config, legacy);
                prop_assert_eq!(accepted & !offered, 0);
                prop_assert_eq!(lacking(accepted), None);
                prop_assert!(!legacy || accepted >> 32 == 0);
            }
        }
    }

    #[test]
    fn offloads_are_accepted_only_when_asked_for() {
        let plain = choose(u64::MAX, &PortConfig::default(), false);
        let offloads = RECEIVE_CHECKSUM | COALESCING | TRANSMIT_CHECKSUM | SEGMENTATION;
        assert_eq!(plain & (offloads | f::NET_MQ | f::NET_RSS), 0);
        let all = choose(u64::MAX, &everything(), false);
        assert_eq!(all & offloads, offloads);
        let single = choose(!f::NET_MRG_RXBUF, &everything(), false);
        assert_eq!(single & COALESCING, f::NET_GUEST_CSUM);
    }
}
