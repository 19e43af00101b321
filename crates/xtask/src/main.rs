//! What a developer of barewire runs: `cargo xtask help`.
#![forbid(unsafe_code)]

mod bench;
mod fuzz;
mod lab;
mod reference;
mod report;
mod unsafe_lines;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer of barewire runs.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count the lines inside `unsafe` in each crate; fail if a crate has any that may not
    Unsafe,
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Test the C reference with sanitizers, also between served cards
    Reference(reference::Arguments),
    /// Make one page of the last measurements
    Report(report::Arguments),
    /// Run the fuzz targets for longer than the tests do
    Fuzz(fuzz::Arguments),
    /// Run Linux guests whose drivers judge the software cards
    Lab(lab::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Unsafe => unsafe_lines::run(),
        Command::Bench(bench) => bench::run(&bench),
        Command::Reference(arguments) => reference::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Lab(arguments) => lab::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
