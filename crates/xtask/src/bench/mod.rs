//! Measurements: `cargo xtask bench`. `docs/performance.md` says what they mean.
//!
//! Each keeps its result as JSON in `target/bench/`, where `cargo xtask report` finds it.

pub(crate) mod datapath;
mod dpdk;
mod guard;
mod hugepages;
pub(crate) mod instructions;
pub(crate) mod latency;
pub(crate) mod machine;
pub(crate) mod programs;
pub(crate) mod safety;
pub(crate) mod samples;
pub(crate) mod subject;
mod table;
pub(crate) mod throughput;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Cycles per forwarded packet on a device of plain memory, beside C, DPDK and the floor
    Datapath(datapath::Arguments),
    /// Instructions, branches and memory accesses per packet, counted by valgrind
    Instructions(instructions::Arguments),
    /// Frames per second end to end, by batch, frame size and queues
    Throughput(throughput::Arguments),
    /// The latency of every frame at several loads
    Latency(latency::Arguments),
    /// What bounds checks and overflow checks cost
    Safety(safety::Arguments),
    /// Fail if a packet takes more instructions than recorded
    Guard,
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Datapath(arguments) => datapath::run(arguments),
        Bench::Instructions(arguments) => instructions::run(arguments),
        Bench::Throughput(arguments) => throughput::run(arguments),
        Bench::Latency(arguments) => latency::run(arguments),
        Bench::Safety(arguments) => safety::run(arguments),
        Bench::Guard => guard::run(),
    }
}
