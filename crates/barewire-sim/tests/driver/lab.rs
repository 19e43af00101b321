//! A software 82599 with an open port.

use std::time::Duration;

use barewire::{Error, Port, PortConfig};
use barewire_sim::nic::{Nic, NicConfig};

use super::port_lab;
pub(crate) use super::port_lab::{Script, config, frame};

pub(crate) type Lab = port_lab::Lab<Nic>;

impl Lab {
    pub(crate) fn new(config: &PortConfig) -> Self {
        Self::on(NicConfig::default(), Script::default(), config).unwrap()
    }

    pub(crate) fn on(nic: NicConfig, wire: Script, config: &PortConfig) -> Result<Self, Error> {
        let nic = Nic::new(nic, wire.clone());
        let port = Port::open(nic.function(), config)?;
        let mut lab = Self::over(nic, wire, port, config);
        let link = lab.port.wait_for_link(Duration::from_secs(5))?;
        assert!(link.up, "no link");
        Ok(lab)
    }
}
