//! A server on a thread, in a folder of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::serve::{Doorbells, ServeConfig, ServeError, Served, Server};
use barewire_sim::wire::{Loopback, Wire};

pub(crate) struct Bench<D: Served = Nic> {
    pub(crate) nic: D,
    pub(crate) path: PathBuf,
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Bench {
    pub(crate) fn new(doorbells: Doorbells) -> Self {
        Self::with_wire(doorbells, Loopback::new())
    }

    pub(crate) fn with_wire(doorbells: Doorbells, wire: impl Wire + 'static) -> Self {
        Self::serving(Nic::new(NicConfig::default(), wire), doorbells)
    }
}

impl<D: Served + Clone> Bench<D> {
    pub(crate) fn serving(nic: D, doorbells: Doorbells) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nic.sock");
        let config = ServeConfig {
            doorbells,
            patience: Duration::from_millis(400),
        };
        let mut server = Server::bind(&path, Arc::new(nic.clone()), config).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || server.run(&stopped));
        Self {
            nic,
            path,
            folder,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn assert_clean(&self) {
        let violations = self.nic.violations();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}

impl<D: Served> Drop for Bench<D> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            result.unwrap().unwrap().unwrap();
            assert!(!self.path.exists(), "the socket was left behind");
            assert!(self.folder.path().exists());
        }
    }
}
