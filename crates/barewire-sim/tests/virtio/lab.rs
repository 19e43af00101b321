//! A software virtio device with an open port.

use barewire::{Error, Port, PortConfig};
use barewire_sim::virtio::{Interface, VirtioConfig, VirtioNic};
use barewire_spec::virtio::feature as f;

use super::port_lab;
use super::port_lab::Script;
pub(crate) use super::port_lab::{config, frame};

pub(crate) type Lab = port_lab::Lab<VirtioNic>;

impl Lab {
    pub(crate) fn new(config: &PortConfig) -> Self {
        Self::on(VirtioConfig::default(), config).unwrap()
    }

    pub(crate) fn on(device: VirtioConfig, config: &PortConfig) -> Result<Self, Error> {
        let wire = Script::default();
        let nic = VirtioNic::new(device, wire.clone());
        let port = Port::open(nic.function(), config)?;
        Ok(Self::over(nic, wire, port, config))
    }
}

/// Devices of every kind: interface, ring and how buffers come back.
pub(crate) fn all_kinds() -> impl Iterator<Item = VirtioConfig> {
    let usual = VirtioConfig::default().features;
    let formats = [0, f::RING_PACKED];
    let rings = [0, f::IN_ORDER];
    let without = [0, f::EVENT_IDX, f::NET_MRG_RXBUF, f::INDIRECT_DESC];
    let modern = formats.into_iter().flat_map(move |format| {
        rings.into_iter().flat_map(move |order| {
            without.into_iter().map(move |less| VirtioConfig {
                features: (usual | format | order) & !less,
                shuffled: order == 0,
                ..VirtioConfig::default()
            })
        })
    });
    let legacy = [
        0,
        f::NET_MRG_RXBUF,
        f::ANY_LAYOUT,
        f::NET_MRG_RXBUF | f::ANY_LAYOUT,
    ];
    let legacy = legacy.into_iter().map(move |less| VirtioConfig {
        interface: Interface::Transitional,
        features: (usual & u64::from(u32::MAX) | f::ANY_LAYOUT) & !less,
        ..VirtioConfig::default()
    });
    modern.chain(legacy)
}
