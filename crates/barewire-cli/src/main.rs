//! The program `barewire`.
//!
//! `arguments` says what can be asked for, `forward` does the main job, `nic` serves software
//! cards.
#![forbid(unsafe_code)]

mod arguments;
mod bind;
mod devices;
mod doctor;
mod forward;
mod interrupt;
#[cfg(test)]
mod made_up;
mod manual;
mod nic;
mod port_name;
mod values;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Arguments, Command};

/// Exit status of a run that failed.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(status) => return ExitCode::from(status),
    };
    start_log(arguments.log_level());
    let result = match &arguments.command {
        Command::Forward(command) => forward::run(command, arguments.quiet),
        Command::Devices(command) => devices::run(command),
        Command::Doctor(command) => doctor::run(command),
        Command::Bind(command) => bind::bind(command),
        Command::Unbind(command) => bind::unbind(command),
        Command::Nic(command) => nic::run(command, arguments.quiet),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { directory } => manual::pages(directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !reader_has_gone(&error) {
                let _ = writeln!(io::stderr(), "error: {error:#}");
            }
            ExitCode::from(FAILURE)
        }
    }
}

fn start_log(level: tracing_subscriber::filter::LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        .without_time()
        .init();
}

/// Whether whoever read our output (`head`, a pager) has closed it: nobody is there to be told.
fn reader_has_gone(error: &anyhow::Error) -> bool {
    error
        .root_cause()
        .downcast_ref::<io::Error>()
        .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
