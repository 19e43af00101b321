//! `barewire doctor`: what is missing before a device can be driven, and the command that mends it.
//!
//! [`process`] is what this process may do, [`machine`] and [`device`] look, this file tells.

mod device;
mod machine;
mod process;

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use barewire::driver_for;
use barewire_bus::{Host, PciAddress};
use clap::Args;
use serde::Serialize;

use crate::devices;
use process::Process;

/// Say what is missing to drive a device, and the command that mends it
///
/// Run it as the user who will run barewire. Exit status: 0 if nothing is missing, 1 if something
/// is.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Only this device; all that barewire has a driver for, if none is given
    device: Option<PciAddress>,

    /// Print one JSON object, and nothing else, on standard output
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// It would be better otherwise.
    Hint,
    /// Nothing goes without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// Which thing.
    check: &'static str,
    state: State,
    /// What was found.
    what: String,
    /// What mends it: commands to be run one after the other.
    mend: Vec<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            what: what.into(),
            mend: Vec::new(),
        }
    }

    fn hint(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            state: State::Hint,
            ..Self::ok(check, what)
        }
    }

    fn missing(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            state: State::Missing,
            ..Self::ok(check, what)
        }
    }

    /// Adds a command that helps.
    fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend.push(command.into());
        self
    }
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    /// Nothing is missing.
    ready: bool,
    machine: Vec<Finding>,
    devices: Vec<OfDevice>,
}

#[derive(Debug, Serialize)]
struct OfDevice {
    address: String,
    name: String,
    ready: bool,
    findings: Vec<Finding>,
}

/// Looks at the machine and at devices, and tells what is missing.
///
/// # Errors
/// When there is no such device, `/sys` can't be read, or something is missing.
pub(crate) fn run(command: &Doctor) -> Result<()> {
    let diagnosis = diagnose(&Host::default(), command.device)?;
    let mut output = io::stdout().lock();
    let written = if command.json {
        serde_json::to_writer(&mut output, &diagnosis)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(output))
    } else {
        write!(output, "{}", people(&diagnosis))
    };
    written
        .and_then(|()| output.flush())
        .context("cannot write to standard output")?;
    if !diagnosis.ready {
        bail!("something is missing");
    }
    Ok(())
}

fn diagnose(host: &Host, address: Option<PciAddress>) -> Result<Diagnosis> {
    let process = Process::read(host);
    let devices = if let Some(address) = address {
        vec![host.device(address)?]
    } else {
        let mut devices = host.devices()?;
        devices.retain(|device| driver_for(device.vendor, device.device).is_some());
        devices
    };
    let devices: Vec<_> = devices
        .iter()
        .map(|device| {
            let findings = device::findings(host, &process, device);
            OfDevice {
                address: device.address.to_string(),
                name: devices::name(device),
                ready: findings.iter().all(|found| found.state != State::Missing),
                findings,
            }
        })
        .collect();
    Ok(Diagnosis {
        ready: devices.iter().all(|device| device.ready),
        machine: machine::findings(host),
        devices,
    })
}

fn people(diagnosis: &Diagnosis) -> String {
    let mut text = "this machine\n".to_owned();
    list(&mut text, &diagnosis.machine);
    for device in &diagnosis.devices {
        let _ = writeln!(text, "\n{}  {}", device.address, device.name);
        list(&mut text, &device.findings);
        if device.ready {
            let _ = writeln!(text, "  ready: barewire forward {} PORT", device.address);
        }
    }
    if diagnosis.devices.is_empty() {
        text.push_str(
            "\nno card that barewire has a driver for; `barewire forward` runs on software cards\n",
        );
    }
    text
}

fn list(text: &mut String, findings: &[Finding]) {
    for found in findings {
        let state = match found.state {
            State::Ok => "ok",
            State::Hint => "hint",
            State::Missing => "MISSING",
        };
        let _ = writeln!(text, "  {state:<8}{}", found.what);
        for command in &found.mend {
            let _ = writeln!(text, "            {command}");
        }
    }
}

#[cfg(test)]
mod tests;
