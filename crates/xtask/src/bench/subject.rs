//! A driver under measurement, in a process of its own, and the lines exchanged with it.
//! `reference/harness/harness.c` describes them.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::samples::Turn;

/// A program that plays one or several subjects.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The subject's name.
    pub(crate) subject: &'static str,
    pub(crate) path: PathBuf,
    /// The smallest batch that makes sense for it.
    pub(crate) smallest: u16,
}

/// A running subject.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(super) program: Program,
    pub(super) on_hugepages: bool,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it with rings of so many descriptors.
    ///
    /// # Errors
    /// When it does not start; it has said why on standard error.
    pub(crate) fn start(&self, ring: u16) -> Result<Subject> {
        self.spawn(Command::new(&self.path), ring)
    }

    /// The same under a tool, which gets the program as its last arguments.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start_under(&self, mut tool: Command, ring: u16) -> Result<Subject> {
        tool.arg(&self.path);
        self.spawn(tool, ring)
    }

    fn spawn(&self, mut command: Command, ring: u16) -> Result<Subject> {
        let mut child = command
            .arg(self.subject)
            .arg(ring.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", self.path.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no pipe from the subject")?;
        let mut subject = Subject {
            program: self.clone(),
            on_hugepages: false,
            child,
            input,
            output: BufReader::new(output),
        };
        let ready = subject.line()?;
        let words: Vec<&str> = ready.split_whitespace().collect();
        let ["ready", _, _, pages] = words[..] else {
            bail!("{} does not start", self.subject);
        };
        subject.on_hugepages = pages == "hugepages";
        Ok(subject)
    }
}

impl Subject {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        let name = self.program.subject;
        let input = self.input.as_mut().context("the subject has ended")?;
        let gone = || format!("{name} has ended");
        writeln!(input, "{command}").with_context(gone)?;
        input.flush().with_context(gone)?;
        let answer = self.line()?;
        match answer.strip_prefix("error: ") {
            Some(error) => bail!("{name}: {error}"),
            None if answer.is_empty() => bail!("{name} has ended"),
            None => Ok(answer),
        }
    }

    /// Lets it forward frames that are written, and looked at when they leave.
    ///
    /// # Errors
    /// When a frame is lost or wrong.
    pub(crate) fn verify(&mut self, batch: u16, packets: u64) -> Result<()> {
        self.ask(&format!("verify {batch} {packets}")).map(drop)
    }

    /// Times so many sections.
    ///
    /// # Errors
    /// When it breaks.
    pub(super) fn run(&mut self, batch: u16, sections: u32, cold: bool) -> Result<Turn> {
        let command = if cold { "evict" } else { "run" };
        let answer = self.ask(&format!("{command} {batch} {sections}"))?;
        parse(&answer).with_context(|| format!("{} answers {answer:.60}", self.program.subject))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // the end of its input ends it
        self.input.take();
        let _ = self.child.wait();
    }
}

fn parse(answer: &str) -> Option<Turn> {
    let mut words = answer.split_whitespace();
    if words.next()? != "cycles" {
        return None;
    }
    let mut next = || words.next()?.parse::<u64>().ok();
    let (packets, overhead, calibration, short) = (next()?, next()?, next()?, next()?);
    Some(Turn {
        packets: u32::try_from(packets).ok().filter(|packets| *packets > 0)?,
        overhead,
        calibration,
        short,
        cycles: words.map(|word| word.parse().ok()).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let turn = parse("cycles 64 60 70000 2 400 410").unwrap();
        assert_eq!(
            (turn.packets, turn.overhead, turn.calibration),
            (64, 60, 70_000)
        );
        assert_eq!((turn.short, turn.cycles), (2, vec![400, 410]));
        for wrong in [
            "",
            "cycles",
            "cycles 0 1 1 1",
            "cycles 64 60 70000 x",
            "verified 3",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
