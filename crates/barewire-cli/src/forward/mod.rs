//! `barewire forward`: the main job, from wire to wire.
//!
//! 1. [`far_end`] makes what the wires are plugged into; [`ledger`] knows a capture's frames.
//! 2. [`device`] is what a PORT names; [`setup`] opens the ports.
//! 3. [`worker`] forwards, on threads, while [`run`](mod@run) watches and [`progress`] prints;
//!    [`losses`] knows which ports are lost on the way.
//! 4. [`report`] is what was found, and [`summary`] its form for people.

mod device;
mod far_end;
mod ledger;
mod losses;
mod progress;
mod report;
mod run;
mod setup;
mod software;
mod summary;
mod worker;

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use barewire_sim::wire::Size;

use crate::arguments::Forward;
use crate::interrupt::Interrupt;
use far_end::FarEnds;
use report::Terms;
use run::Run;
use setup::Bench;

/// Forwards as the command line says.
///
/// # Errors
/// When something can't be set up, breaks on the way, or frames are not accounted for.
pub(crate) fn run(command: &Forward, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::catch()?;
    let (far_ends, plugs) = FarEnds::build(command)?;
    let bench = Bench::build(command, plugs)?;
    let mut screen: Box<dyn Write> = if command.json {
        Box::new(io::stderr())
    } else {
        Box::new(io::stdout())
    };
    if !quiet {
        headline(&mut screen, command, &far_ends, &bench).context("cannot write")?;
    }

    let run = Run::start(command, bench, far_ends)?;
    let outcome = run.watch(&interrupt, &mut screen, !quiet)?;

    if command.json {
        let mut output = io::stdout().lock();
        serde_json::to_writer(&mut output, &outcome.report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(output))
            .and_then(|()| output.flush())
            .context("cannot write to standard output")?;
    } else {
        if !quiet {
            writeln!(screen).context("cannot write to standard output")?;
        }
        summary::print(&mut screen, &outcome.report, &outcome.notes)
            .context("cannot write to standard output")?;
    }
    outcome.result?;
    let terms = Terms {
        open_loop: command.rate.is_some(),
        any_order: command.replay.is_some() && command.queues > 1,
    };
    let failures = outcome.report.failures(terms);
    if !failures.is_empty() {
        bail!("{}", failures.join(", "));
    }
    Ok(())
}

/// Says what is about to happen.
fn headline(
    screen: &mut dyn Write,
    command: &Forward,
    far_ends: &FarEnds,
    bench: &Bench,
) -> io::Result<()> {
    let [a, b] = bench.ports.each_ref().map(|port| &port.label);
    let queues = match command.queues {
        1 => String::new(),
        queues => format!(", {queues} queues each"),
    };
    let devices = bench.kinds();
    writeln!(
        screen,
        "forwarding between {a} and {b}: {devices}{queues}{}",
        if far_ends.has_source() {
            String::new()
        } else {
            end(command)
        }
    )?;
    if far_ends.has_source() {
        let source = match (far_ends.replayed, &command.replay) {
            (Some(count), Some(file)) => {
                let frames = summary::frames(count);
                format!("replaying {frames} of {} into {a}", file.display())
            }
            _ => format!("generating {} into {}", size(command), far_ends.fed(a, b)),
        };
        let pace = match &command.rate {
            Some(rate) => format!("at {rate}, taken or not"),
            None => "as fast as they are taken".to_owned(),
        };
        writeln!(screen, "{source}, {pace}{}", end(command))?;
    }
    if let Some(file) = &command.record {
        writeln!(screen, "recording what leaves {b} to {}", file.display())?;
    }
    screen.flush()
}

fn size(command: &Forward) -> String {
    if command.size == Size::IMIX {
        "imix frames".to_owned()
    } else {
        format!("{}-byte frames", command.size)
    }
}

fn end(command: &Forward) -> String {
    let packets = command.packets;
    let number = packets.map(|packets| format!(", {} each", summary::grouped(packets)));
    let time = command.time_limit().map(|limit| format!(", for {limit:?}"));
    number.into_iter().chain(time).collect()
}
