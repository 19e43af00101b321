//! Hugepages for the subjects, reserved for the time of a measurement.

use std::{fs, io};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// 2 MiB pages for all subjects together: DPDK takes 32 for each of its three.
const WANTED: u64 = 144;
const RESERVED: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// Reserved pages, given back when dropped.
#[derive(Debug)]
pub(super) struct Hugepages {
    before: Option<u64>,
}

fn read(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn give_back(before: u64) {
    if let Err(error) = fs::write(RESERVED, before.to_string()) {
        eprintln!("can't give hugepages back: {error}");
    }
}

/// Does something once Ctrl-C, SIGTERM or SIGHUP comes, and ends the program.
fn on_signal(act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            act();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

impl Hugepages {
    /// Reserves what is missing, if it may. Without, the subjects use ordinary pages, and say so.
    pub(super) fn reserve() -> Self {
        let (Some(reserved), Some(free)) = (read(RESERVED), read(FREE)) else {
            return Self { before: None };
        };
        if free >= WANTED {
            return Self { before: None };
        }
        let wanted = reserved + WANTED - free;
        let written = fs::write(RESERVED, wanted.to_string());
        if written.is_err() || read(FREE).is_none_or(|free| free < WANTED) {
            eprintln!(
                "no {WANTED} free hugepages: subjects run on ordinary pages, and DPDK is much slower there"
            );
            eprintln!("  as root: echo {wanted} > {RESERVED}");
        }
        let before = written.is_ok().then_some(reserved);
        if let Some(before) = before {
            // on Ctrl-C nothing is dropped
            if let Err(error) = on_signal(move || give_back(before)) {
                eprintln!("on Ctrl-C hugepages will stay reserved: {error}");
            }
        }
        Self { before }
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            give_back(before);
        }
    }
}
