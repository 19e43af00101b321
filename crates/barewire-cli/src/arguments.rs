//! The command line.

use std::io::{self, Write};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use barewire::WaitMode;
use barewire_bus::Backend;
use barewire_sim::wire::Size;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tracing_subscriber::filter::LevelFilter;

use crate::bind::{Bind, Unbind};
use crate::devices::Devices;
use crate::doctor::Doctor;
use crate::nic::arguments::NicCommand;
use crate::port_name::PortName;
use crate::values::{self, AskedRate};

/// Exit status for arguments that can't be.
const BAD_ARGUMENTS: u8 = 2;

/// Place in the help of options that every command has: behind its own.
const LAST: usize = 900;

/// Network card drivers as ordinary programs, on cards of silicon or of software
#[derive(Debug, Parser)]
#[command(name = "barewire", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more: once for information, twice for details
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = LAST)]
    verbose: u8,

    /// No progress and no warnings
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = LAST)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Forward(Forward),

    Devices(Devices),

    Doctor(Doctor),

    Bind(Bind),

    Unbind(Unbind),

    /// A network card made of software, for other programs
    #[command(subcommand)]
    Nic(NicCommand),

    /// Print a completion script for a shell
    Completions {
        shell: Shell,
    },

    /// Write the manual pages into a directory
    Man {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Forward frames between two ports and check that they all arrive
///
/// What comes in on one port goes out of the other, with the last byte of the destination address
/// incremented. Without PORTs: between two software 82599s, with a generator and a checker at the
/// far end of each wire. Where the far end of a wire is not this program's, frames are forwarded and
/// counted, and --size, --flows and --rate have nothing to act on.
///
/// It ends after --duration, after --packets, at the end of --replay, or on Ctrl-C: the generators
/// stop, what is on its way is forwarded, and a summary is printed.
///
/// Exit status: 0 if every frame is accounted for, 1 if frames were lost, reordered or corrupted or
/// something else failed, 2 for bad arguments. With --rate, frames that the device counted as
/// dropped for want of descriptors are no failure.
#[derive(Args, Debug)]
#[command(override_usage = "barewire forward [OPTIONS] [PORT PORT]")]
pub(crate) struct Forward {
    /// The two ports; sim is a new software 82599 each time, sim:NAME one with a name,
    /// sim-virtio[:OPTION,...] a software virtio device (options as of barewire nic serve),
    /// vfio-user:PATH one that barewire nic serve or another program serves, 0000:03:00.0 a PCI
    /// device that was given to programs (see barewire bind)
    #[arg(value_name = "PORT", num_args = 0.., default_values = ["sim", "sim"], hide_default_value = true)]
    pub(crate) ports: Vec<PortName>,

    /// How long: 5, 5s, 500ms, 2m [default: 10s, or no limit with --packets or --replay]
    #[arg(short, long, value_name = "TIME", value_parser = values::duration)]
    duration: Option<Duration>,

    /// End after this many frames have come into each of the two ports
    #[arg(short = 'n', long, value_name = "N", value_parser = values::packets, conflicts_with = "replay")]
    pub(crate) packets: Option<u64>,

    /// Frames taken from a queue at a time: 1 to 512
    #[arg(short, long, value_name = "N", default_value = "32", value_parser = values::batch)]
    pub(crate) batch: u16,

    /// Receive and transmit queues of each port: 1 to 64; RSS uses 16
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::queues)]
    pub(crate) queues: u16,

    /// Descriptors of each ring: a power of two from 64 to 4096
    #[arg(long, value_name = "N", default_value = "512", value_parser = values::ring)]
    pub(crate) ring: u16,

    /// Bytes of each frame without FCS, or imix (60, 590 and 1514 bytes, 7:4:1)
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value = "60",
        conflicts_with = "replay"
    )]
    pub(crate) size: Size,

    /// Offer frames at this rate on each wire, ready or not: 5Mpps, 10G, linerate
    /// [default: whenever the port has room]
    #[arg(short, long)]
    pub(crate) rate: Option<AskedRate>,

    /// Flows that the frames belong to [default: 1, or 64 for each of several queues]
    #[arg(long, value_name = "N", value_parser = values::flows, conflicts_with = "replay")]
    flows: Option<NonZeroU16>,

    /// Largest IP packet: 68 to 9710 bytes; frames have 14 more, 18 with a VLAN tag
    #[arg(long, value_name = "BYTES", default_value = "1500", value_parser = values::mtu)]
    pub(crate) mtu: u16,

    /// How to reach PCI devices [default: by what they are bound to]
    #[arg(long, value_name = "vfio|uio", hide_possible_values = true)]
    pub(crate) backend: Option<BackendName>,

    /// How to wait for frames: poll all the time, sleep until there is an interrupt, or adapt (poll
    /// under load, sleep when idle)
    #[arg(
        long,
        value_name = "poll|interrupt|adaptive",
        default_value = "poll",
        hide_possible_values = true
    )]
    pub(crate) mode: Mode,

    /// Whether to increment the last byte of the destination address
    #[arg(
        long,
        value_name = "on|off",
        default_value = "on",
        hide_possible_values = true
    )]
    pub(crate) touch: Switch,

    /// Send a capture (pcap or pcapng, Ethernet) into the first port, once, in place of generated
    /// frames
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,

    /// Write the frames that leave the second port to a capture: pcapng if FILE ends so, else pcap
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,

    /// Print one JSON object at the end, and nothing else, on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to wait for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Poll,
    Interrupt,
    Adaptive,
}

impl From<Mode> for WaitMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Poll => Self::Poll,
            Mode::Interrupt => Self::Interrupt,
            Mode::Adaptive => Self::Adaptive,
        }
    }
}

/// How a program reaches a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    Vfio,
    Uio,
}

impl From<BackendName> for Backend {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Vfio => Self::Vfio,
            BackendName::Uio => Self::Uio,
        }
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Arguments {
    /// Reads the command line. `Err` is the exit status, when there is nothing left to do: help was
    /// asked for, or the arguments can't be.
    pub(crate) fn read() -> Result<Self, u8> {
        let error = match Self::try_parse() {
            Ok(arguments) => match arguments.conflict() {
                None => return Ok(arguments),
                Some(conflict) => Self::command().error(ErrorKind::ValueValidation, conflict),
            },
            Err(error) => error,
        };
        if !error.use_stderr() {
            // nothing to be done about a reader that has gone
            let _ = error.print();
            return Err(0);
        }
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let _ = error.print();
        } else {
            let _ = writeln!(io::stderr(), "{}", one_line(&error));
        }
        Err(BAD_ARGUMENTS)
    }

    /// What is wrong with arguments that are right one by one.
    fn conflict(&self) -> Option<String> {
        match &self.command {
            Command::Forward(forward) => forward.conflict(),
            Command::Nic(NicCommand::Serve(serve)) => serve.conflict(),
            Command::Devices(_)
            | Command::Doctor(_)
            | Command::Bind(_)
            | Command::Unbind(_)
            | Command::Completions { .. }
            | Command::Man { .. } => None,
        }
    }

    pub(crate) fn log_level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        }
    }
}

impl Forward {
    fn conflict(&self) -> Option<String> {
        match &self.ports[..] {
            [a, b] if a.is_same_device(b) => Some(format!(
                "{a} can't be both ports; allowed: two different ones, or sim twice"
            )),
            [a, b] => self.homeless(a, b),
            ports => Some(format!(
                "PORT given {} times; allowed: twice, or not at all for two sim",
                ports.len()
            )),
        }
    }

    /// What can't be done where the far end of a wire is not this program's.
    fn homeless(&self, a: &PortName, b: &PortName) -> Option<String> {
        let refusal = |option: &str, which: &str, port: &PortName| {
            format!("{option} needs a software card as its {which} PORT, not {port}: allowed: sim")
        };
        if self.replay.is_some() && !a.is_ours() {
            return Some(refusal("--replay", "first", a));
        }
        if self.record.is_some() && !b.is_ours() {
            return Some(refusal("--record", "second", b));
        }
        if self.rate.is_some() && !a.is_ours() && !b.is_ours() {
            return Some(format!(
                "--rate needs a software card: frames come from the far ends of {a} and {b}"
            ));
        }
        None
    }

    /// How long to run at most.
    pub(crate) fn time_limit(&self) -> Option<Duration> {
        let ends_by_itself = self.packets.is_some() || self.replay.is_some();
        self.duration
            .or_else(|| (!ends_by_itself).then_some(Duration::from_secs(10)))
    }

    pub(crate) fn flows(&self) -> NonZeroU16 {
        self.flows.unwrap_or_else(|| match self.queues {
            0..=1 => NonZeroU16::MIN,
            queues => NonZeroU16::MIN.saturating_add(queues.saturating_mul(64) - 1),
        })
    }
}

/// What clap says, in one line: what is wrong, and what is allowed or meant.
fn one_line(error: &clap::Error) -> String {
    let message = error.to_string();
    let lines = message.lines().map(str::trim);
    let wrong = lines
        .clone()
        .take_while(|line| !line.is_empty() && !line.starts_with("Usage:"));
    let mut line = wrong.collect::<Vec<_>>().join(" ");
    // of the tips, only those that name what may have been meant
    let tips = lines.filter_map(|line| line.strip_prefix("tip: "));
    if let Some(tip) = tips.into_iter().find(|tip| tip.contains("similar")) {
        line = format!("{line}; {tip}");
    } else if error.kind() == ErrorKind::UnknownArgument {
        line.push_str("; --help shows those allowed");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(words: &str) -> Result<Forward, String> {
        let words = ["barewire", "forward"]
            .into_iter()
            .chain(words.split_whitespace());
        let arguments = Arguments::try_parse_from(words).map_err(|error| one_line(&error))?;
        if let Some(conflict) = arguments.conflict() {
            return Err(conflict);
        }
        match arguments.command {
            Command::Forward(forward) => Ok(forward),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn nothing_given_is_the_main_job() {
        let forward = forward("").unwrap();
        assert_eq!(forward.ports, [PortName::Sim, PortName::Sim]);
        assert_eq!(forward.time_limit(), Some(Duration::from_secs(10)));
        assert_eq!((forward.batch, forward.queues, forward.ring), (32, 1, 512));
        assert_eq!(
            (forward.size, forward.mtu, &forward.rate),
            (Size::MIN, 1500, &None)
        );
        assert_eq!((forward.touch, forward.flows().get()), (Switch::On, 1));
    }

    #[test]
    fn a_run_that_ends_by_itself_has_no_time_limit_unless_given() {
        assert_eq!(forward("-n 5").unwrap().time_limit(), None);
        assert_eq!(forward("--replay x").unwrap().time_limit(), None);
        let both = forward("-n 5 -d 1").unwrap();
        assert_eq!(both.time_limit(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn several_queues_get_several_flows() {
        assert_eq!(forward("--queues 4").unwrap().flows().get(), 256);
        assert_eq!(forward("--queues 4 --flows 9").unwrap().flows().get(), 9);
    }

    #[test]
    fn ports_come_in_pairs() {
        assert!(forward("sim sim").is_ok() && forward("sim:a sim:b").is_ok());
        assert!(forward("sim:a sim").is_ok());
        assert!(forward("sim:a sim:a").unwrap_err().contains("both ports"));
        assert!(
            forward("sim")
                .unwrap_err()
                .contains("1 times; allowed: twice")
        );
        assert!(
            forward("sim sim sim")
                .unwrap_err()
                .contains("allowed: twice")
        );
    }

    #[test]
    fn refusals_are_one_line_that_says_what_is_allowed() {
        for (words, allowed) in [
            ("--batch 0", "1 to 512"),
            ("--batch 513", "1 to 512"),
            ("--ring 100", "a power of two from 64 to 4096"),
            ("--queues 65", "1 to 64"),
            ("--mtu 9711", "68 to 9710"),
            ("--size 59", "imix"),
            ("--rate fast", "5Mpps"),
            ("--touch maybe", "on, off"),
            ("--mode sleep", "poll, interrupt, adaptive"),
            ("--duration 0", "ms, s, m or h"),
            ("--packets 0", "from 1 on"),
            ("--flows 0", "1 to 65535"),
            ("--replay a --packets 1", "cannot be used with"),
            ("eth0 eth1", "sim, sim:NAME"),
            ("0000:03:00.0 0000:3:00.0", "PCI address"),
            ("0000:03:00.0 03:00.0", "both ports"),
            ("0000:03:00.0 sim --backend tcp", "vfio, uio"),
            ("vfio-user:a vfio-user:a", "both ports"),
            ("vfio-user:a sim --replay x", "sim"),
            ("sim vfio-user:a --record x", "sim"),
            ("vfio-user:a vfio-user:b --rate 1G", "software card"),
            ("--bath 1", "--batch"),
            ("--nonsense", "--help"),
        ] {
            let refusal = forward(words).unwrap_err();
            assert!(refusal.contains(allowed), "{words}: {refusal}");
            assert_eq!(refusal.lines().count(), 1, "{refusal}");
        }
    }
}
