//! What the lab tells while it works.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Standard error: spinners on a terminal, plain lines elsewhere.
pub(crate) struct Screen {
    bars: Option<MultiProgress>,
    started: Instant,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            started: Instant::now(),
        }
    }

    /// Shows a line that stays.
    pub(crate) fn say(&self, text: &str) {
        match &self.bars {
            // an error means that the terminal has gone: nobody reads the line
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{:6.1} s  {text}", self.started.elapsed().as_secs_f64()),
        }
    }

    /// Prints a line of the result on standard output.
    pub(crate) fn result(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Something that takes a while. `name` stands before what it says.
    pub(crate) fn task(&self, name: &str) -> Task<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix:16} {elapsed:>4} {msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Task {
            screen: self,
            name: name.to_owned(),
            bar,
        }
    }
}

/// A line of progress; gone when dropped.
pub(crate) struct Task<'a> {
    screen: &'a Screen,
    name: String,
    bar: Option<ProgressBar>,
}

impl Task<'_> {
    /// Says what is being done now.
    pub(crate) fn doing(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.screen.say(&format!("{}: {text}", self.name)),
        }
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
