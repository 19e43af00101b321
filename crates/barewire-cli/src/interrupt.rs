//! Ctrl-C and SIGTERM, as a request to end cleanly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// Whether the user wants the run to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches the signals from now on. Once in a process.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let handler = Arc::clone(&asked);
        ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))
            .context("cannot catch Ctrl-C")?;
        Ok(Self { asked })
    }

    /// What becomes true when a signal comes.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// True once a signal came.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}
