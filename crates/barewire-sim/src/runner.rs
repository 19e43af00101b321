//! A thread that runs software devices at full speed, and hands that others lend.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::device::{Device, Part};

/// Rounds without work after which the thread gives its turn away, and after which it sleeps.
const SPIN: u32 = 64;
const YIELD: u32 = 2_048;
/// How long it sleeps then: short against any rate at which a program would notice.
const NAP: Duration = Duration::from_micros(20);
/// How long it sleeps while others step the devices: short against what devices do by themselves.
const REST: Duration = Duration::from_millis(1);

/// Runs devices on a thread, against the real clock, until it is stopped or dropped.
#[derive(Debug)]
pub struct Runner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    devices: Vec<Arc<dyn Device>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    relieved: AtomicBool,
}

impl Runner {
    /// Starts a thread that steps `devices` in turns. Their time is the real clock's from now on.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(devices: impl IntoIterator<Item = impl Device>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let devices: Vec<Arc<dyn Device>> = devices
            .into_iter()
            .map(|device| Arc::new(device) as Arc<dyn Device>)
            .collect();
        for device in &devices {
            device.follow_clock(true);
        }
        let theirs = devices.clone();
        let told = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("barewire-sim".into())
            .spawn(move || run(&theirs, &told));
        match thread {
            Ok(thread) => Ok(Self {
                shared,
                thread: Some(thread),
                devices,
            }),
            Err(error) => {
                for device in &devices {
                    device.follow_clock(false);
                }
                Err(error)
            }
        }
    }

    /// Tells the runner's thread whether others step the devices, each through a [`Hand`]: it only
    /// looks after them once a millisecond then.
    pub fn relieve(&self, relieved: bool) {
        self.shared.relieved.store(relieved, Ordering::Relaxed);
    }

    /// No device has anything on its way; see [`Device::is_idle`].
    pub fn idle(&self) -> bool {
        self.devices.iter().all(Device::is_idle)
    }

    /// Stops the thread. The devices keep their state, and their own time from now on.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                tracing::error!("the thread of the software devices panicked");
            }
            for device in &self.devices {
                device.follow_clock(false);
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Steps the two devices that frames of one direction pass, from the thread that forwards them.
///
/// What a frame is made of then stays in the caches of one processor from the wire it comes from to
/// the wire it leaves by. A runner's thread beside a program's moves each frame from one processor's
/// caches to the other's and back, which costs more than the frame's whole way otherwise.
#[derive(Clone, Debug, Default)]
pub struct Hand {
    receiving: Option<Arc<dyn Device>>,
    sending: Option<Arc<dyn Device>>,
}

impl Hand {
    /// For frames that come in through `receiving` and leave through `sending`. `None` stands for a
    /// device that nobody here has to step.
    pub fn new(receiving: Option<&Arc<dyn Device>>, sending: Option<&Arc<dyn Device>>) -> Self {
        Self {
            receiving: receiving.cloned(),
            sending: sending.cloned(),
        }
    }

    /// Takes some frames from the wire, unless another thread is at the device; true if anything
    /// happened.
    #[inline]
    pub fn receive(&self) -> bool {
        let device = self.receiving.as_ref();
        device.is_some_and(|device| device.try_step(Part::Receive))
    }

    /// Sends some of the frames that were handed over, unless another thread is at the device; true
    /// if anything happened.
    #[inline]
    pub fn send(&self) -> bool {
        let device = self.sending.as_ref();
        device.is_some_and(|device| device.try_step(Part::Transmit))
    }
}

fn run(devices: &[Arc<dyn Device>], shared: &Shared) {
    let mut quiet = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut busy = false;
        for device in devices {
            busy |= device.try_step(Part::Both);
        }
        if shared.relieved.load(Ordering::Relaxed) {
            thread::sleep(REST);
            continue;
        }
        quiet = if busy { 0 } else { quiet + 1 };
        match quiet {
            0..SPIN => std::hint::spin_loop(),
            SPIN..YIELD => thread::yield_now(),
            _ => {
                quiet = YIELD;
                thread::sleep(NAP);
            }
        }
    }
}
