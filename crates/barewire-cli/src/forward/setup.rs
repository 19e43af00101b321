//! Two software cards on a thread of their own, and the driver's ports on them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use barewire::{Error, Link, Port, PortConfig, Statistics};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::runner::{Runner, Stepper};

use super::far_end::{Plug, Plugs};
use super::worker::Lane;
use crate::arguments::{Forward, Switch};

/// How long a link may take to come up.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// The devices under test. Fields are dropped in this order: a driver needs its device to stop.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) ports: [OpenPort; 2],
    runner: Runner,
    nics: [Nic; 2],
}

/// A port that forwards.
#[derive(Debug)]
pub(super) struct OpenPort {
    /// What reports call it.
    pub(super) label: String,
    pub(super) link: Link,
    port: Port,
}

impl Bench {
    /// Makes the devices, starts them and opens their ports.
    ///
    /// # Errors
    /// What the driver says, with a remedy where there is one.
    pub(super) fn build(command: &Forward, plugs: Plugs) -> Result<Self> {
        let [first, second] = plugs;
        let label = |position: usize| match command.ports.get(position) {
            Some(name) => name.label(position),
            None => format!("sim{position}"),
        };
        let nic = |position: u8, plug: Plug| {
            let config = NicConfig {
                name: label(usize::from(position)),
                mac: [0x02, 0x42, 0x57, 0x00, 0x00, position + 1],
                ..NicConfig::default()
            };
            plug(config)
        };
        let nics = [nic(0, first), nic(1, second)];
        let runner = Runner::start(nics.to_vec()).context("cannot start the software cards")?;
        let [first, second] = &nics;
        let ports = [open(command, first)?, open(command, second)?];
        Ok(Self {
            ports,
            runner,
            nics,
        })
    }

    /// Takes the queues out of the ports, in pairs of both directions.
    ///
    /// # Errors
    /// When a device can't be given the other's buffers.
    pub(super) fn lanes(&mut self, command: &Forward) -> Result<Vec<[Lane; 2]>> {
        let [first, second] = &mut self.ports;
        let touch = command.touch == Switch::On;
        let mut lanes = Vec::new();
        for queue in 0..command.queues {
            lanes.push([
                lane((0, first), second, queue, command.batch, touch)?,
                lane((1, second), first, queue, command.batch, touch)?,
            ]);
        }
        Ok(lanes)
    }

    /// A handle to lend the devices a hand with.
    pub(super) fn stepper(&self) -> Stepper {
        self.runner.stepper()
    }

    /// Whether nothing is on its way in the devices. When the sources have stopped before this is
    /// asked, they offer nothing more afterwards.
    pub(super) fn idle(&self) -> bool {
        self.runner.idle()
    }

    /// What both ports have counted.
    ///
    /// # Errors
    /// When a device is gone.
    pub(super) fn statistics(&mut self) -> Result<[Statistics; 2]> {
        let [first, second] = &mut self.ports;
        Ok([first.port.statistics()?, second.port.statistics()?])
    }

    /// Stops the ports and the devices, in this order, and returns the rules that were broken from
    /// beginning to end.
    ///
    /// # Errors
    /// When a device does not stop.
    pub(super) fn stop(self) -> Result<Vec<String>> {
        let mut result = Ok(());
        for mut open in self.ports {
            result = result.and(open.port.stop());
        }
        self.runner.stop();
        result.context("cannot stop the port")?;
        let mut broken = Vec::new();
        for nic in &self.nics {
            let violations = nic.violations();
            let more = nic.violation_count() - violations.len() as u64;
            broken.extend(
                violations
                    .iter()
                    .map(|broken| format!("{}: {broken}", nic.name())),
            );
            if more > 0 {
                broken.push(format!("{}: and {more} more", nic.name()));
            }
        }
        Ok(broken)
    }
}

impl OpenPort {
    pub(super) fn driver(&self) -> &'static str {
        self.port.driver()
    }

    /// Frames dropped because they are larger than the port takes.
    ///
    /// # Errors
    /// When the device is gone.
    pub(super) fn oversize_dropped(&mut self) -> Result<u64> {
        let counters = self.port.extended_statistics()?;
        let oversize = counters.iter().find(|(name, _)| name == "ROC");
        Ok(oversize.map_or(0, |(_, count)| *count))
    }
}

fn open(command: &Forward, nic: &Nic) -> Result<OpenPort> {
    let config = PortConfig {
        rx_queues: command.queues,
        tx_queues: command.queues,
        rx_ring: command.ring,
        tx_ring: command.ring,
        mtu: command.mtu,
        promiscuous: true,
        all_multicast: true,
        ..PortConfig::default()
    };
    let label = nic.name().to_owned();
    let mut port = Port::open(nic.function(), &config).map_err(with_remedy)?;
    let link = port.wait_for_link(LINK_PATIENCE)?;
    if !link.up {
        bail!("{label}: the link did not come up within {LINK_PATIENCE:?}");
    }
    Ok(OpenPort { label, link, port })
}

/// What the user can do about it.
fn with_remedy(error: Error) -> anyhow::Error {
    let remedy = match &error {
        Error::Dma { .. } => Some("try a smaller --ring or fewer --queues"),
        _ => None,
    };
    match remedy {
        Some(remedy) => anyhow::anyhow!("{error}: {remedy}"),
        None => error.into(),
    }
}

fn lane(
    from: (usize, &mut OpenPort),
    to: &mut OpenPort,
    queue: u16,
    batch: u16,
    touch: bool,
) -> Result<Lane> {
    let (position, from) = from;
    let rx = from.port.take_rx(queue);
    let tx = to.port.take_tx(queue);
    let (Some(rx), Some(tx)) = (rx, tx) else {
        bail!("{}: there is no queue {queue}", from.label);
    };
    Lane::new(position, rx, tx, batch, touch).map_err(with_remedy)
}
