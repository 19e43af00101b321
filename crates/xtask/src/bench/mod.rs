//! Measurements: `cargo xtask bench`. `docs/performance.md` says what they mean.
//!
//! Each keeps its result as JSON in `target/bench/`, where `cargo xtask report` finds it.

mod datapath;
mod dpdk;
mod hugepages;
mod machine;
mod programs;
mod samples;
mod subject;
mod table;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Cycles per forwarded packet on a device of plain memory, beside C, DPDK and the floor
    Datapath(datapath::Arguments),
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Datapath(arguments) => datapath::run(arguments),
    }
}
