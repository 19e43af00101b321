//! The program that is measured: `cargo xtask bench` starts it and talks to it in lines.
//!
//! `barewire-bench SUBJECT RING` forwards on a device of plain memory, as the C subjects under
//! `reference/harness` do, and understands the same commands.
#![forbid(unsafe_code)]

mod clock;
mod datapath;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [subject, ring] => datapath::serve(subject, ring),
        _ => bail!("usage: barewire-bench SUBJECT RING"),
    }
}
