//! Two devices, software ones on a thread of their own, and the driver's ports on them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use barewire::{Link, Port, PortConfig, Statistics};
use barewire_bus::Host;
use barewire_sim::runner::{Hand, Runner};

use super::device::{Device, Reached, with_remedy};
use super::far_end::Plugs;
use super::losses::{Losses, close_aside};
use super::worker::Lane;
use crate::arguments::{Forward, Mode, Switch};
use crate::port_name::PortName;

/// How long a link may take to come up.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// The devices under test. Fields are dropped in this order: a driver needs its device to stop.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) ports: [OpenPort; 2],
    /// None where no device is software of this program.
    runner: Option<Runner>,
    devices: [Device; 2],
}

/// A port that forwards.
#[derive(Debug)]
pub(super) struct OpenPort {
    /// What reports call it.
    pub(super) label: String,
    pub(super) link: Link,
    driver: &'static str,
    /// None once it is lost.
    port: Option<Port>,
    /// What it had counted when it was last asked.
    counted: Statistics,
}

impl Bench {
    /// Makes the devices, starts them and opens their ports.
    ///
    /// # Errors
    /// What the driver says, with a remedy where there is one.
    pub(super) fn build(command: &Forward, plugs: Plugs) -> Result<Self> {
        let [first, second] = plugs;
        let name = |position: usize| command.ports.get(position).unwrap_or(&PortName::Sim);
        let host = Host::default();
        let devices = [
            Device::new(name(0), 0, first, command, &host),
            Device::new(name(1), 1, second, command, &host),
        ];
        let nics: Vec<_> = devices.iter().filter_map(Device::sim).collect();
        let runner = (!nics.is_empty()).then(|| Runner::start(nics)).transpose();
        let runner = runner.context("cannot start the software cards")?;
        let ports = open_both(
            command,
            &devices,
            [0, 1].map(|position| name(position).label(position)),
        )?;
        Ok(Self {
            ports,
            runner,
            devices,
        })
    }

    /// What the devices are, for people.
    pub(super) fn kinds(&self) -> String {
        match self.devices.each_ref().map(Device::kind) {
            [a, b] if a == b => format!("{a}s"),
            [a, b] => format!("a {a} and a {b}"),
        }
    }

    /// Takes the queues out of the ports, in both directions by turns.
    ///
    /// # Errors
    /// When a device can't be given the other's buffers.
    pub(super) fn lanes(&mut self, command: &Forward) -> Result<Vec<Lane>> {
        let [first, second] = &mut self.ports;
        let sims = self.devices.each_ref().map(Device::sim);
        let [one, other] = sims.each_ref().map(Option::as_ref);
        let hand = |receiving, sending| match command.mode {
            Mode::Poll => Hand::new(receiving, sending),
            Mode::Interrupt | Mode::Adaptive => Hand::default(),
        };
        let touch = command.touch == Switch::On;
        let mut lanes = Vec::new();
        for queue in 0..command.queues {
            let batch = command.batch;
            lanes.push(lane((0, first), second, queue, batch, touch)?.by(hand(one, other)));
            lanes.push(lane((1, second), first, queue, batch, touch)?.by(hand(other, one)));
        }
        Ok(lanes)
    }

    /// Leaves the software devices to the threads that forward, or takes them back.
    pub(super) fn relieve(&self, relieved: bool) {
        if let Some(runner) = &self.runner {
            runner.relieve(relieved);
        }
    }

    /// Whether nothing is on its way in the software devices. When the sources have stopped before
    /// this is asked, they offer nothing more afterwards.
    pub(super) fn idle(&self) -> bool {
        self.runner.as_ref().is_none_or(Runner::idle)
    }

    /// What both ports have counted, up to now or to when they were lost. Losses are found here too.
    pub(super) fn statistics(&mut self, losses: &Losses) -> [Statistics; 2] {
        for (position, open) in self.ports.iter_mut().enumerate() {
            open.look(position, losses);
        }
        self.ports.each_ref().map(|open| open.counted)
    }

    /// Stops the ports and the devices, in this order, and returns the rules that were broken from
    /// beginning to end: `None` where no device is software of this program.
    ///
    /// # Errors
    /// When a device does not stop.
    pub(super) fn stop(self) -> Result<Option<Vec<String>>> {
        let mut result = Ok(());
        for mut port in self.ports.into_iter().filter_map(|open| open.port) {
            result = result.and(port.stop());
        }
        let is_ours = self.runner.is_some();
        if let Some(runner) = self.runner {
            runner.stop();
        }
        result.context("cannot stop the port")?;
        let mut broken = Vec::new();
        for nic in self.devices.iter().filter_map(Device::sim) {
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
        Ok(is_ours.then_some(broken))
    }
}

impl OpenPort {
    pub(super) fn driver(&self) -> &'static str {
        self.driver
    }

    /// Takes its counters down. A port that is lost is closed, and keeps those it had.
    fn look(&mut self, position: usize, losses: &Losses) {
        if !losses.is_lost(position) {
            match self.port.as_mut().map(Port::statistics) {
                Some(Ok(counted)) => self.counted = counted,
                Some(Err(error)) => losses.lose(position, error),
                None => {}
            }
        }
        if losses.is_lost(position) {
            self.port.take().into_iter().for_each(close_aside);
        }
    }

    /// Frames dropped because they are larger than the port takes, as far as is known.
    pub(super) fn oversize_dropped(&mut self) -> u64 {
        let counters = self.port.as_mut().map(Port::extended_statistics);
        let counters = counters.and_then(Result::ok).unwrap_or_default();
        let oversize = counters.iter().find(|(name, _)| name == "ROC");
        oversize.map_or(0, |(_, count)| *count)
    }
}

/// Opens the ports when both devices are quiet: memory that the first is given may be what the
/// second was left writing to by a program that was killed.
fn open_both(
    command: &Forward,
    devices: &[Device; 2],
    labels: [String; 2],
) -> Result<[OpenPort; 2]> {
    let [first, second] = devices;
    let (first, second) = (first.reach()?, second.reach()?);
    let [label, other] = labels;
    Ok([open(command, first, label)?, open(command, second, other)?])
}

fn open(command: &Forward, device: Reached, label: String) -> Result<OpenPort> {
    let config = PortConfig {
        rx_queues: command.queues,
        tx_queues: command.queues,
        rx_ring: command.ring,
        tx_ring: command.ring,
        mtu: command.mtu,
        promiscuous: true,
        all_multicast: true,
        interrupts: command.mode != Mode::Poll,
        ..PortConfig::default()
    };
    let mut port = device.open(&config)?;
    let link = port.wait_for_link(LINK_PATIENCE)?;
    if !link.up {
        bail!("{label}: the link did not come up within {LINK_PATIENCE:?}");
    }
    Ok(OpenPort {
        label,
        link,
        driver: port.driver(),
        port: Some(port),
        counted: Statistics::default(),
    })
}

fn lane(
    from: (usize, &mut OpenPort),
    to: &mut OpenPort,
    queue: u16,
    batch: u16,
    touch: bool,
) -> Result<Lane> {
    let (position, from) = from;
    let rx = from.port.as_mut().and_then(|port| port.take_rx(queue));
    let tx = to.port.as_mut().and_then(|port| port.take_tx(queue));
    let (Some(rx), Some(tx)) = (rx, tx) else {
        bail!("{}: there is no queue {queue}", from.label);
    };
    Lane::new(position, rx, tx, batch, touch).map_err(with_remedy)
}

#[cfg(test)]
mod tests {
    use barewire_bus::PciAddress;
    use clap::Parser;

    use super::*;
    use crate::made_up::Tree;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        forward: Forward,
    }

    #[test]
    fn no_port_is_opened_before_both_devices_are_quiet() {
        const MASTERING: u16 = 0x0407;
        let tree = Tree::new();
        let addresses = ["0000:03:00.0", "0000:04:00.0"];
        for address in addresses {
            let card = tree.card(address, 0x10FB);
            card.configuration(0x10FB, MASTERING);
        }
        let devices = addresses.map(|address| {
            let address: PciAddress = address.parse().unwrap();
            Device::Pci(tree.host(), address, None)
        });
        let command = Line::parse_from(["forward"]).forward;
        // the first has no registers, so its port can't be opened
        let error = open_both(&command, &devices, addresses.map(str::to_owned)).unwrap_err();
        assert!(error.to_string().contains(addresses[0]), "{error}");
        for address in addresses {
            assert_eq!(tree.command(address), 0x0403, "{address}");
        }
    }
}
