//! A readable record of what software does to the device, and of what the device does to memory.
//!
//! One event a line: the device's time, what happened, to what, with which value.
//!
//! ```text
//!       12.345678 ms  write     RXDCTL[0] = 0x02000000
//!       12.350001 ms  DMA       TX[0] descriptor 5 at 0x1100000050: sends 60 bytes from 0x1100200000 (EOP IFCS RS)
//!       12.350001 ms  DMA       RX[0] descriptor 7 at 0x1100010070: 60 bytes into 0x1100300800 (DD EOP)
//! ```

use std::fmt;
use std::io::{self, Write};

use crate::time::Nanos;

/// Where the record goes.
pub(crate) struct Trace {
    output: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Trace {
    /// Writes to `output`.
    pub(crate) fn new(output: impl Write + Send + 'static) -> Self {
        Self {
            output: Box::new(output),
            failure: None,
        }
    }

    /// Writes what is buffered; the first failure, if there was one.
    pub(crate) fn end(mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.output.flush(),
        }
    }

    /// Writes a line. After a failure nothing more is written.
    pub(crate) fn line(&mut self, now: Nanos, what: &str, event: fmt::Arguments<'_>) {
        if self.failure.is_some() {
            return;
        }
        let millis = now.0 / 1_000_000;
        let rest = now.0 % 1_000_000;
        let line = writeln!(self.output, "{millis:>8}.{rest:06} ms  {what:<8}  {event}");
        self.failure = line.err();
    }

    /// Records a write to configuration space.
    pub(crate) fn config(&mut self, now: Nanos, offset: u16, value: u32) {
        self.line(now, "config", format_args!("{offset:#05x} = {value:#010x}"));
    }

    /// Records whatever else there is to say.
    pub(crate) fn note(&mut self, now: Nanos, what: &str, event: &dyn fmt::Display) {
        self.line(now, what, format_args!("{event}"));
    }
}
