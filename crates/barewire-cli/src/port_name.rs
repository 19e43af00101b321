//! The word on the command line that names a port.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use barewire_bus::PciAddress;
use barewire_sim::virtio::{OptionsError, VirtioConfig};

/// What a port may be.
pub(crate) const ALLOWED: &str =
    "allowed: sim, sim:NAME, sim-virtio[:OPTION,...], vfio-user:PATH, PCI address (0000:03:00.0)";

/// Longest name of a software port.
const LONGEST: usize = 32;

/// A port as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortName {
    /// A software 82599: a new one each time it is named.
    Sim,
    /// The software 82599 of this name.
    NamedSim(String),
    /// A software virtio device: a new one each time it is named. Its options as they were written,
    /// and what they mean.
    Virtio(String, Box<VirtioConfig>),
    /// The device that another program serves at this socket.
    VfioUser(PathBuf),
    /// The PCI device at this address.
    Pci(PciAddress),
}

impl PortName {
    /// What the port is called in reports, where it is the port at `position`.
    pub(crate) fn label(&self, position: usize) -> String {
        match self {
            Self::Sim => format!("sim{position}"),
            Self::Virtio(..) => format!("sim-virtio{position}"),
            Self::NamedSim(_) | Self::VfioUser(_) | Self::Pci(_) => self.to_string(),
        }
    }

    /// Whether the device is software of this program, with the far end of its wire.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self, Self::Sim | Self::NamedSim(_) | Self::Virtio(..))
    }

    /// Whether both words name one and the same device.
    pub(crate) fn is_same_device(&self, other: &Self) -> bool {
        !matches!(self, Self::Sim | Self::Virtio(..)) && self == other
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim => f.write_str("sim"),
            Self::NamedSim(name) => write!(f, "sim:{name}"),
            Self::Virtio(options, _) if options.is_empty() => f.write_str("sim-virtio"),
            Self::Virtio(options, _) => write!(f, "sim-virtio:{options}"),
            Self::VfioUser(path) => write!(f, "vfio-user:{}", path.display()),
            Self::Pci(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for PortName {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "sim" {
            return Ok(Self::Sim);
        }
        let options = word.strip_prefix("sim-virtio:");
        if let Some(options) = options.or_else(|| (word == "sim-virtio").then_some("")) {
            let config: VirtioConfig = options
                .parse()
                .map_err(|error: OptionsError| error.to_string())?;
            return Ok(Self::Virtio(options.to_owned(), Box::new(config)));
        }
        if let Some(name) = word.strip_prefix("sim:") {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if (1..=LONGEST).contains(&name.len()) && name.chars().all(allowed) {
                return Ok(Self::NamedSim(name.to_owned()));
            }
            return Err(format!(
                "NAME must be 1 to {LONGEST} letters, digits, '-', '_' or '.'"
            ));
        }
        if let Some(path) = word.strip_prefix("vfio-user:") {
            if path.is_empty() {
                return Err("PATH is missing; allowed: vfio-user:PATH".to_owned());
            }
            return Ok(Self::VfioUser(path.into()));
        }
        match word.parse() {
            Ok(address) => Ok(Self::Pci(address)),
            Err(_) => Err(format!("unknown PORT; {ALLOWED}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(word: &str) -> String {
        word.parse::<PortName>().unwrap_err()
    }

    #[test]
    fn software_ports_with_and_without_a_name() {
        assert_eq!("sim".parse(), Ok(PortName::Sim));
        assert_eq!("sim:a-1".parse(), Ok(PortName::NamedSim("a-1".into())));
        assert_eq!(PortName::Sim.label(1), "sim1");
        assert_eq!(PortName::NamedSim("left".into()).label(1), "sim:left");
    }

    #[test]
    fn a_virtio_device_has_options() {
        let port: PortName = "sim-virtio:with=RING_PACKED".parse().unwrap();
        assert_eq!(port.to_string(), "sim-virtio:with=RING_PACKED");
        assert_eq!(port.label(1), "sim-virtio1");
        assert!(port.is_ours() && !port.is_same_device(&port.clone()));
        assert_eq!(
            "sim-virtio".parse::<PortName>().unwrap().to_string(),
            "sim-virtio"
        );
        assert!(refusal("sim-virtio:fast").contains("pairs=N"));
    }

    #[test]
    fn only_a_name_makes_it_the_same_device() {
        let named = |name: &str| PortName::NamedSim(name.into());
        assert!(!PortName::Sim.is_same_device(&PortName::Sim));
        assert!(named("a").is_same_device(&named("a")));
        assert!(!named("a").is_same_device(&named("b")));
    }

    #[test]
    fn served_devices_are_named_by_their_socket() {
        let port: PortName = "vfio-user:/run/nic".parse().unwrap();
        assert_eq!(port, PortName::VfioUser("/run/nic".into()));
        assert_eq!(port.label(0), "vfio-user:/run/nic");
        assert!(!port.is_ours() && port.is_same_device(&port.clone()));
        assert!(refusal("vfio-user:").contains("vfio-user:PATH"));
    }

    #[test]
    fn pci_devices_are_named_by_their_address() {
        let port: PortName = "03:00.1".parse().unwrap();
        assert_eq!(port, "0000:03:00.1".parse().unwrap());
        assert_eq!(port.label(0), "0000:03:00.1");
        assert!(!port.is_ours() && port.is_same_device(&port.clone()));
    }

    #[test]
    fn everything_else_is_unknown() {
        for word in [
            "",
            "eth0",
            "sim0",
            "SIM",
            "0000:03:00",
            "3:00.0",
            "0000:0000:03:00.0",
            "::.",
        ] {
            assert_eq!(refusal(word), format!("unknown PORT; {ALLOWED}"), "{word}");
        }
        for name in [
            "sim:",
            "sim:a b",
            "sim:ä",
            &format!("sim:{}", "x".repeat(33)),
        ] {
            assert!(refusal(name).contains("1 to 32"), "{name}");
        }
    }
}
