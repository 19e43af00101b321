//! Serving a software card until somebody says stop.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::serve::{ServeConfig, Served, Server};
use barewire_sim::virtio::{VirtioConfig, VirtioNic};
use barewire_sim::wire::{Plugged, Unplugged, Wire, WireWatch};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;

use super::arguments::{Card, Doorbells, Serve};
use super::report::{Met, Report, with_article};
use crate::arguments::Switch;
use crate::interrupt::Interrupt;

/// The card that the command line asks for.
fn make(command: &Serve, wire: Box<dyn Wire>) -> Arc<dyn Served> {
    let mac = command.mac().0;
    let name = command.socket.display().to_string();
    let plugged = command.wire.is_plugged();
    let tolerate = command.exceptions == Switch::On;
    match &command.device {
        Card::Intel(device) => {
            let config = NicConfig {
                device: *device,
                mac,
                name,
                plugged,
                tolerate,
                ..NicConfig::default()
            };
            Arc::new(Nic::new(config, wire))
        }
        Card::Virtio(config) => {
            let config = VirtioConfig {
                mac,
                name,
                plugged,
                tolerate,
                ..config.clone()
            };
            Arc::new(VirtioNic::new(config, wire))
        }
    }
}

/// Serves a card as the command line says, until a signal comes.
///
/// # Errors
/// When socket or wire can't be had, the wire's recording fails or, if that is to be an error, a
/// rule was broken.
pub(super) fn run(command: &Serve, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::catch()?;
    // before anybody is told that there is someone to ask
    let mut signals = Signals::new([SIGUSR1]).context("cannot catch SIGUSR1")?;
    let questions = signals.handle();
    let socket = command.socket.display().to_string();
    let Plugged { wire, watch } = command.wire.plug_in()?;
    let nic = make(command, wire);
    if let Some(file) = &command.trace {
        let output = File::create(file);
        let output =
            output.with_context(|| format!("cannot write a trace to {}", file.display()))?;
        nic.trace(Box::new(BufWriter::new(output)));
    }
    let how = ServeConfig {
        doorbells: match command.doorbells {
            Doorbells::Auto => barewire_sim::serve::Doorbells::Auto,
            Doorbells::Mapped => barewire_sim::serve::Doorbells::Mapped,
            Doorbells::Trapped => barewire_sim::serve::Doorbells::Trapped,
        },
        ..ServeConfig::default()
    };
    let mut server = Server::bind(&command.socket, Arc::clone(&nic), how)?;
    let began = Instant::now();
    if !quiet {
        // whoever started it may not want to hear of it
        let _ = writeln!(
            io::stderr(),
            "serving {} at {socket}, wire {}, MAC address {}",
            with_article(&command.device.to_string()),
            command.wire,
            command.mac()
        );
    }
    let look = |nic: &dyn Served, watch: &WireWatch| Report {
        socket: socket.clone(),
        device: command.device.to_string(),
        mac: command.mac().to_string(),
        far_end: command.wire.to_string(),
        seconds: began.elapsed().as_secs_f64(),
        counters: nic.totals().into(),
        statistics: nic.statistics(),
        wire: watch.counts(),
        exceptions: nic.exceptions().iter().map(Met::from).collect(),
        violations: nic.violation_count(),
        violation_list: nic.violations().iter().map(ToString::to_string).collect(),
    };
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in signals.forever() {
                // whoever asked may have gone
                let _ = look(&*nic, &watch).print_status(&mut io::stderr().lock());
            }
        });
        let outcome = server.run(interrupt.flag());
        questions.close();
        outcome
    });
    drop(server);
    watch.stop();
    let report = look(&*nic, &watch);
    // takes sockets away, and gives a recording its last frame
    drop(nic.replace_wire(Box::new(Unplugged::new())));
    let recorded = watch.finish();
    let traced = nic.end_trace().context("cannot write the trace");

    let mut output = io::stdout().lock();
    if command.json {
        report.print_json(&mut output)
    } else {
        report.print(&mut output)
    }
    .context("cannot write to standard output")?;
    outcome?;
    recorded?;
    traced?;
    if command.strict && report.violations > 0 {
        bail!(
            "the driver broke the card's rules {} times",
            report.violations
        );
    }
    Ok(())
}
