//! The guard against a slower data path: instructions per packet, which do not depend on the
//! machine's mood, against recorded bounds.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::instructions;
use super::machine::root;
use super::programs;
use super::subject::Program;

/// Where the bounds are recorded.
const BOUNDS: &str = "crates/barewire-bench/instructions.toml";
/// A count so far below its bound asks for the bound to follow.
const SLACK: f64 = 0.95;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    bound: Vec<Bound>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    subject: String,
    batch: u16,
    /// Most instructions per packet.
    instructions: f64,
    /// Why it is so high.
    reason: String,
}

fn read(text: &str) -> Result<Vec<Bound>> {
    let bounds: Bounds = toml::from_str(text)?;
    if bounds.bound.is_empty() {
        bail!("there is no bound");
    }
    for bound in &bounds.bound {
        if bound.reason.trim().is_empty() {
            bail!("the bound at batch {} has no reason", bound.batch);
        }
    }
    Ok(bounds.bound)
}

pub(crate) fn run() -> Result<()> {
    let text = fs::read_to_string(root().join(BOUNDS)).context(BOUNDS)?;
    let bounds = read(&text).context(BOUNDS)?;
    let level = programs::level();
    if level != programs::COUNTED {
        println!(
            "skipped: the bounds are for {}, and this processor is not",
            programs::COUNTED
        );
        return Ok(());
    }
    if let Err(error) = instructions::valgrind() {
        println!("skipped: {error}");
        return Ok(());
    }
    let path = programs::rust_subject(level, &[])?;
    let mut over = Vec::new();
    for bound in &bounds {
        let Some(subject) = programs::RUST.iter().find(|name| **name == bound.subject) else {
            bail!("{BOUNDS}: no such subject: {}", bound.subject);
        };
        let program = Program {
            subject,
            path: path.clone(),
            smallest: 1,
        };
        let counted = instructions::count(&program, bound.batch)?.instructions;
        let most = bound.instructions;
        println!(
            "{} at batches of {}: {counted:.2} instructions per packet, at most {most}",
            bound.subject, bound.batch
        );
        if counted > most {
            over.push(format!("{} at batches of {}", bound.subject, bound.batch));
        } else if counted < most * SLACK {
            println!("  the bound may be lowered");
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    bail!(
        "more instructions per packet than recorded: {}. If it is worth it, raise the bound in {BOUNDS} \
         and say why there",
        over.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_bounds_can_be_read() {
        let text = fs::read_to_string(root().join(BOUNDS)).unwrap();
        assert!(read(&text).unwrap().iter().any(|bound| bound.batch == 32));
    }

    #[test]
    fn a_bound_without_a_reason_is_refused() {
        let bound = "[[bound]]\nsubject = \"barewire\"\nbatch = 8\ninstructions = 60.0\n";
        assert!(read(bound).is_err());
        assert!(read(&format!("{bound}reason = \" \"\n")).is_err());
        assert!(read(&format!("{bound}reason = \"checks\"\n")).is_ok());
        assert!(read("").is_err());
    }
}
