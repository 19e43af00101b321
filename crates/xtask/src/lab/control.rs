//! The line between a guest and the lab: the guest's second serial port.
//!
//! The guest writes lines: `step TEXT` and `note TEXT` for people, `done` or `fail TEXT` at its
//! end, and `ask VERB …` for something that only the host can do. An `ask` gets one line back,
//! `ok …` or `no …`.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long a look for the guest's next line takes.
const LOOK: Duration = Duration::from_millis(50);

/// How long a guest may take to read a reply.
const WRITE: Duration = Duration::from_secs(10);

/// A longer line is none of ours.
const LONGEST: usize = 4096;

/// What a guest says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// What it does now.
    Step(String),
    /// Something to show beside the verdict.
    Note(String),
    /// It wants something done.
    Ask(Vec<String>),
    /// It has ended well.
    Done,
    /// It has found something wrong.
    Fail(String),
}

/// The lab's end.
pub(crate) struct Control {
    listener: UnixListener,
    stream: Option<UnixStream>,
    pending: Vec<u8>,
}

impl Control {
    /// Waits for a guest at `path`.
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)
            .with_context(|| format!("can't listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            stream: None,
            pending: Vec::new(),
        })
    }

    /// The guest's next line, if there is one before long.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        if let Some(line) = self.take_line()? {
            return Ok(Some(line));
        }
        let Some(stream) = &mut self.stream else {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(LOOK))?;
                    stream.set_write_timeout(Some(WRITE))?;
                    self.stream = Some(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                Err(error) => return Err(error).context("can't accept the guest"),
            }
            return Ok(None);
        };
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            // QEMU has ended: its exit status tells more
            Ok(0) => std::thread::sleep(LOOK),
            Ok(length) => self
                .pending
                .extend_from_slice(bytes.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => std::thread::sleep(LOOK),
            Err(error) => return Err(error).context("can't read from the guest"),
        }
        self.take_line()
    }

    /// Answers an `ask`.
    pub(crate) fn reply(&mut self, answer: Result<String>) -> Result<()> {
        let text = match answer {
            Ok(text) => format!("ok {text}\n"),
            Err(error) => format!("no {}\n", format!("{error:#}").replace('\n', " ")),
        };
        match &mut self.stream {
            Some(stream) => stream
                .write_all(text.as_bytes())
                .context("the guest takes no reply"),
            None => bail!("there is no guest to reply to"),
        }
    }

    fn take_line(&mut self) -> Result<Option<Line>> {
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            if let Some(line) = parse(text.trim()) {
                return Ok(Some(line));
            }
        }
        if self.pending.len() > LONGEST {
            bail!("the guest sent a line of more than {LONGEST} bytes");
        }
        Ok(None)
    }
}

fn parse(text: &str) -> Option<Line> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    match word {
        "step" => Some(Line::Step(rest.to_owned())),
        "note" => Some(Line::Note(rest.to_owned())),
        "ask" => Some(Line::Ask(
            rest.split_whitespace().map(str::to_owned).collect(),
        )),
        "done" => Some(Line::Done),
        "fail" => Some(Line::Fail(rest.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a guest that sends `text` is understood to say.
    fn heard(text: &[u8]) -> Result<Vec<Line>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let mut control = Control::listen(&path).unwrap();
        let mut guest = UnixStream::connect(&path).unwrap();
        guest.set_write_timeout(Some(WRITE)).unwrap();
        guest.write_all(text).unwrap();
        drop(guest);
        let mut lines = Vec::new();
        for _ in 0..20 {
            lines.extend(control.next()?);
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_understood() {
        let lines = heard(b"step link up\r\nask counters 1\nnoise\nfail 3 frames lost\ndone\nste");
        assert_eq!(
            lines.unwrap(),
            [
                Line::Step("link up".into()),
                Line::Ask(vec!["counters".into(), "1".into()]),
                Line::Fail("3 frames lost".into()),
                Line::Done,
            ]
        );
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        assert!(heard(&[b'a'; 3 * LONGEST]).is_err());
    }

    #[test]
    fn a_reply_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let mut control = Control::listen(&path).unwrap();
        assert!(control.reply(Ok(String::new())).is_err());
        let mut guest = UnixStream::connect(&path).unwrap();
        assert_eq!(control.next().unwrap(), None);
        control.reply(Err(anyhow::anyhow!("a\nb"))).unwrap();
        let mut bytes = [0; 7];
        guest.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"no a b\n");
    }
}
