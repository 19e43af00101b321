//! Forwarding on a device of plain memory: one command a line on standard input, one answer a line
//! on standard output. `reference/harness/harness.c` describes the lines.

mod calibration;
mod device;
mod fake_nic;
mod fake_virtio;
mod forwarder;
mod frames;
mod regions;
mod sections;

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};

use device::Device;
use fake_nic::FakeNic;
use fake_virtio::{FakeVirtio, Format};
use forwarder::Forwarder;
use sections::Harness;

/// What there is.
const SUBJECTS: [&str; 4] = [
    "barewire",
    "barewire-in-place",
    "virtio-split",
    "virtio-packed",
];

/// The device of a subject, and the driver on it.
///
/// # Errors
/// When the driver does not start, or there is no such subject.
fn open(subject: &str, ring: u16) -> Result<(Box<dyn Device>, Forwarder)> {
    let format = match subject {
        "barewire" | "barewire-in-place" => {
            let (nic, function) = FakeNic::new();
            let in_place = subject == "barewire-in-place";
            return Ok((Box::new(nic), Forwarder::open(function, ring, in_place)?));
        }
        "virtio-split" => Format::Split,
        "virtio-packed" => Format::Packed,
        _ => bail!(
            "no such subject: {subject}; there are {}",
            SUBJECTS.join(", ")
        ),
    };
    let (nic, function) = FakeVirtio::new(format);
    Ok((Box::new(nic), Forwarder::open(function, ring, false)?))
}

/// A command of the coordinator.
enum Command {
    Run {
        batch: u16,
        sections: u32,
        cold: bool,
    },
    Verify {
        batch: u16,
        packets: u64,
    },
    Quit,
}

/// Serves commands until `quit` or the end of the input.
///
/// # Errors
/// When the driver does not start, or breaks.
pub(crate) fn serve(subject: &str, ring: &str) -> Result<()> {
    let ring: u16 = ring
        .parse()
        .context("the ring is a power of two from 64 to 4096")?;
    let (nic, forwarder) = open(subject, ring)?;
    let pages = if forwarder.on_hugepages() {
        "hugepages"
    } else {
        "ordinary"
    };
    let mut harness = Harness::new(nic, forwarder, ring)?;
    let mut output = io::stdout().lock();
    writeln!(output, "ready {subject} {ring} {pages}")?;
    output.flush()?;
    for line in io::stdin().lock().lines() {
        match parse(&line?) {
            Some(Command::Run {
                batch,
                sections,
                cold,
            }) => writeln!(output, "{}", harness.run(batch, sections, cold)?)?,
            Some(Command::Verify { batch, packets }) => {
                writeln!(output, "{}", harness.verify(batch, packets)?)?;
            }
            Some(Command::Quit) => break,
            None => writeln!(output, "error: unknown command")?,
        }
        output.flush()?;
    }
    Ok(())
}

fn parse(line: &str) -> Option<Command> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [what @ ("run" | "evict"), batch, sections] => Some(Command::Run {
            batch: batch.parse().ok().filter(|batch| *batch > 0)?,
            sections: sections.parse().ok()?,
            cold: what == "evict",
        }),
        ["verify", batch, packets] => Some(Command::Verify {
            batch: batch.parse().ok().filter(|batch| *batch > 0)?,
            packets: packets.parse().ok()?,
        }),
        ["quit"] => Some(Command::Quit),
        _ => None,
    }
}
