//! What installs beside the program: completions and manual pages.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;

/// Prints a completion script.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(shell, &mut command, "barewire", &mut script);
    let mut output = io::stdout().lock();
    output
        .write_all(&script)
        .and_then(|()| output.flush())
        .context("cannot write to standard output")
}

/// Writes a manual page for the program and one for each command.
pub(crate) fn pages(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory))
        .with_context(|| format!("cannot write manual pages into {}", directory.display()))
}
