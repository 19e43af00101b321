//! What can be asked for of a software card.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use barewire_sim::nic::Device;
use barewire_sim::virtio::VirtioConfig;
use barewire_sim::wire::WireWord;
use clap::{Args, Subcommand, ValueEnum};

use crate::arguments::Switch;

/// The longest name of a socket (Linux `sockaddr_un`, less the NUL).
const LONGEST_NAME: usize = 107;

#[derive(Debug, Subcommand)]
pub(crate) enum NicCommand {
    Serve(Serve),
}

/// Serve a software network card on a Unix socket, to QEMU or any other vfio-user client
///
/// The card checks whoever drives it against its datasheet or specification; the summary lists every rule that was
/// broken. Clients may come and go. It ends on Ctrl-C or SIGTERM and removes its socket. On SIGUSR1
/// it prints `status: ` and what the summary's JSON object would be now on standard error.
///
/// Exit status: 0, or 1 if the card can't be served or, with --strict, if a rule was broken; 2 for
/// bad arguments.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The socket to serve at; a socket that a dead program left there is replaced
    #[arg(short, long, value_name = "PATH", value_parser = socket)]
    pub(crate) socket: PathBuf,

    /// Which card: a controller of Intel's, or virtio-net[:OPTION,...]
    ///
    /// The options of virtio-net are pairs=N (of queues), size=N (of queues), mtu=N, transitional
    /// (with the legacy interface), shuffled (buffers come back out of order), with=FEATURE and
    /// without=FEATURE, such as with=rss.
    #[arg(
        long,
        value_name = "82599|X540|X550|virtio-net",
        default_value = "82599"
    )]
    pub(crate) device: Card,

    /// What the port is plugged into: none, loopback, cable:PATH, cable:LOCAL,REMOTE, tap:NAME,
    /// pcap:IN[,OUT], generator[:OPTION=VALUE,...]
    ///
    /// cable:PATH and cable:PATH.peer are the two ends of one cable between two cards;
    /// cable:LOCAL,REMOTE names both sockets, for QEMU's -netdev dgram. A generator sends numbered
    /// frames and checks those that come back; its options are size, flows, rate, packets, touch
    /// (on, off) and to (a MAC address).
    #[arg(short, long, default_value = "loopback")]
    pub(crate) wire: WireWord,

    /// The MAC address in the card's EEPROM [default: one made of the socket's name]
    #[arg(long)]
    mac: Option<MacAddress>,

    /// Whether to let the known exceptions of Linux's and DPDK's drivers pass; they are listed
    #[arg(
        long,
        value_name = "on|off",
        default_value = "on",
        hide_possible_values = true
    )]
    pub(crate) exceptions: Switch,

    /// Exit with status 1 if a rule of the datasheet was broken
    #[arg(long)]
    pub(crate) strict: bool,

    /// Whether the queues' registers are memory of the client, or each write is a message; `auto`
    /// is trapped for clients that put several writes into a message, as QEMU does
    #[arg(
        long,
        value_name = "auto|mapped|trapped",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) doorbells: Doorbells,

    /// Write a line for every access to a register, every descriptor and every broken rule, by name;
    /// it slows the card down
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Print one JSON object at the end, and nothing else, on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// A card by its name.
#[derive(Clone, Debug)]
pub(crate) enum Card {
    Intel(Device),
    Virtio(VirtioConfig),
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel(device) => device.fmt(f),
            Self::Virtio(_) => f.write_str("virtio-net"),
        }
    }
}

impl FromStr for Card {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let device = match name.to_ascii_lowercase().as_str() {
            "82599" => Device::I82599,
            "x540" => Device::X540,
            "x550" => Device::X550,
            "virtio-net" => {
                let config: Result<VirtioConfig, _> = options.parse();
                return config.map(Self::Virtio).map_err(|error| error.to_string());
            }
            _ => return Err("allowed: 82599, X540, X550, virtio-net[:OPTION,...]".to_owned()),
        };
        if options.is_empty() {
            Ok(Self::Intel(device))
        } else {
            Err(format!("an {name} has no options"))
        }
    }
}

/// How a client reaches the tail registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Doorbells {
    Auto,
    Mapped,
    Trapped,
}

/// Six bytes in hexadecimal with colons between; of one station, and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MacAddress(pub(crate) [u8; 6]);

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || "allowed: six bytes such as 02:42:57:00:00:01, not of a group".to_owned();
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().ok_or_else(refusal)?;
            let digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16)
                .ok()
                .filter(|_| digits)
                .ok_or_else(refusal)?;
        }
        if parts.next().is_some() || address[0] & 1 == 1 || address == [0; 6] {
            return Err(refusal());
        }
        Ok(Self(address))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let colon = if position > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl Serve {
    /// The address asked for, or one that is the same for the same socket and another for another,
    /// so that two cards on one cable do not share theirs.
    pub(crate) fn mac(&self) -> MacAddress {
        self.mac.unwrap_or_else(|| {
            let path = std::path::absolute(&self.socket);
            let mut hasher = DefaultHasher::new();
            path.unwrap_or_else(|_| self.socket.clone())
                .hash(&mut hasher);
            let [a, b, c, ..] = hasher.finish().to_be_bytes();
            MacAddress([0x02, 0x42, 0x57, a, b, c])
        })
    }

    /// What is wrong with arguments that are right one by one.
    pub(crate) fn conflict(&self) -> Option<String> {
        let sockets = self.wire.sockets();
        let both = sockets
            .into_iter()
            .flatten()
            .any(|path| path == self.socket);
        both.then(|| {
            format!(
                "{} can't be both --socket and an end of the cable",
                self.socket.display()
            )
        })
    }
}

fn socket(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if text.len() > LONGEST_NAME {
        return Err(format!(
            "allowed: up to {LONGEST_NAME} bytes; a path from the current directory may be shorter"
        ));
    }
    if path.file_name().is_none() {
        return Err("allowed: the name of a file".to_owned());
    }
    Ok(path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        let text = "02:42:57:0a:fF:01";
        let address: MacAddress = text.parse().unwrap();
        assert_eq!(address.0, [2, 0x42, 0x57, 0x0a, 0xff, 1]);
        assert_eq!(address.to_string(), text.to_lowercase());
    }

    #[test]
    fn addresses_that_no_card_has_are_refused() {
        for text in [
            "",
            "02:42:57:00:00",
            "02:42:57:00:00:01:02",
            "2:42:57:00:00:01",
            "+2:42:57:00:00:01",
            "02-42-57-00-00-01",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            let refusal = text.parse::<MacAddress>().unwrap_err();
            assert!(refusal.contains("02:42:57"), "{text}: {refusal}");
        }
    }

    #[test]
    fn cards_are_known_by_name() {
        let card = |text: &str| text.parse::<Card>().map(|card| card.to_string());
        assert_eq!(card("82599").as_deref(), Ok("82599"));
        assert_eq!(card("x540").as_deref(), Ok("X540"));
        assert_eq!(card("virtio-net").as_deref(), Ok("virtio-net"));
        assert_eq!(card("virtio-net:pairs=2").as_deref(), Ok("virtio-net"));
        for (text, part) in [
            ("e1000", "virtio-net[:OPTION,...]"),
            ("82599:pairs=2", "no options"),
            ("virtio-net:pairs=0", "1 to 16"),
        ] {
            assert!(card(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn a_sockets_name_has_a_limit() {
        assert!(socket("/run/nic").is_ok());
        assert!(socket(&"x".repeat(107)).is_ok());
        assert!(socket(&"x".repeat(108)).unwrap_err().contains("107"));
        assert!(socket("/").is_err() && socket("").is_err());
    }
}
