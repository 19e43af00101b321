//! What a developer of barewire runs: `cargo xtask help`.
#![forbid(unsafe_code)]

mod fuzz;
mod unsafe_lines;

use anyhow::Result;
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
    /// Run the fuzz targets for longer than the tests do
    Fuzz(fuzz::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Unsafe => unsafe_lines::run(),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
    }
}
