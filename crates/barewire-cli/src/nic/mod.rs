//! `barewire nic`: a network card made of software, for programs that are not this one.
//!
//! 1. [`arguments`] says what can be asked for.
//! 2. [`serve`] makes the card and serves it until it is told to end.
//! 3. [`report`] is what was found, for people and as JSON.

pub(crate) mod arguments;
mod report;
mod serve;

use anyhow::Result;

use arguments::NicCommand;

/// Does what the command line says.
///
/// # Errors
/// When the card can't be served, or a rule was broken and that was to be an error.
pub(crate) fn run(command: &NicCommand, quiet: bool) -> Result<()> {
    match command {
        NicCommand::Serve(command) => serve::run(command, quiet),
    }
}
