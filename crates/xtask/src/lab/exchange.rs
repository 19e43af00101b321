//! The far ends of two cards' cables, between which a guest forwards: frames go in at one and are
//! to come out at the other, in order and as they were but for the byte that a forwarder touches.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::qemu::Ends;

/// Frames of each direction that are on their way at most: fewer than any ring or socket would lose.
const WINDOW: u64 = 48;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long to wait when there is nothing to do.
const PAUSE: Duration = Duration::from_micros(100);
/// The longest frame, which a plain Ethernet has.
const LONGEST: usize = 1514;
/// The byte of the destination address that a forwarder increments.
const TOUCHED: usize = 5;

/// An exchange that is under way, or over.
pub(crate) struct Exchange {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Frames that have come out, of each direction.
    come: [u64; 2],
    end: Option<Result<(), String>>,
    cancelled: bool,
}

impl Exchange {
    /// Sends so many frames each way.
    pub(crate) fn start(ends: [&Ends; 2], frames: u64) -> Result<Self> {
        let [one, two] = ends;
        let far = [Far::open(one)?, Far::open(two)?];
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let end = run(&far, frames, &shared);
            let end = end.map_err(|error| format!("{error:#}"));
            lock(&shared).end = Some(end);
        });
        Ok(Self {
            state,
            thread: Some(thread),
        })
    }

    /// Whether it is over, and well; what has come so far.
    pub(crate) fn look(&self) -> Result<String> {
        let state = lock(&self.state).clone();
        let [there, back] = state.come;
        match state.end {
            Some(Err(error)) => bail!("after {there} frames there and {back} back: {error}"),
            Some(Ok(())) => Ok(format!("done {there} {back}")),
            None => Ok(format!("under way {there} {back}")),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        lock(&self.state).cancelled = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One far end.
struct Far {
    socket: UnixDatagram,
    card: std::path::PathBuf,
}

impl Far {
    fn open(ends: &Ends) -> Result<Self> {
        let place: &Path = &ends.remote;
        // of an exchange before
        if place.exists() {
            std::fs::remove_file(place)?;
        }
        let socket =
            UnixDatagram::bind(place).with_context(|| format!("can't bind {}", place.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            card: ends.local.clone(),
        })
    }

    /// Sends a frame, if the card's socket takes it now.
    fn send(&self, frame: &[u8]) -> Result<bool> {
        match self.socket.send_to(frame, &self.card) {
            Ok(_) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(error).context("the card's end of the cable"),
        }
    }

    fn receive(&self, into: &mut [u8]) -> Result<Option<usize>> {
        match self.socket.recv(into) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("our end of the cable"),
        }
    }
}

/// Whether a socket is only full for now.
fn is_full(error: &std::io::Error) -> bool {
    let full = rustix::io::Errno::NOBUFS.raw_os_error();
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(full)
}

/// Both directions at once.
fn run(far: &[Far; 2], frames: u64, state: &Mutex<State>) -> Result<()> {
    let mut sent = [0; 2];
    let mut buffer = [0; 4096];
    let mut last = Instant::now();
    loop {
        let mut come = lock(state).come;
        if come == [frames; 2] {
            return Ok(());
        }
        let mut idle = true;
        for from in 0..2 {
            let to = 1 - from;
            while sent[from] < frames && sent[from] - come[from] < WINDOW {
                if !far[from].send(&frame(from, sent[from]))? {
                    break;
                }
                sent[from] += 1;
                idle = false;
            }
            while let Some(bytes) = far[to].receive(&mut buffer)? {
                let number = come[from];
                let mut expected = frame(from, number);
                expected[TOUCHED] = expected[TOUCHED].wrapping_add(1);
                let got = buffer.get(..bytes).unwrap_or_default();
                if number >= sent[from] || got != expected {
                    let known = number.saturating_sub(8)..sent[from];
                    let other = known.into_iter().find(|other| {
                        let whole = frame(from, *other);
                        got.get(6..) == whole.get(6..)
                    });
                    bail!(
                        "frame {number} of direction {from} is not what came: {bytes} bytes, {}",
                        other.map_or("not ours".to_owned(), |other| format!("frame {other}"))
                    );
                }
                come[from] += 1;
                idle = false;
            }
        }
        let mut state = lock(state);
        state.come = come;
        if state.cancelled {
            bail!("given up");
        }
        drop(state);
        if !idle {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            bail!("nothing has come for {PATIENCE:?} ({sent:?} were sent)");
        } else {
            sleep(PAUSE);
        }
    }
}

/// Frame `number` of a direction: of any length, its content its own.
fn frame(direction: usize, number: u64) -> Vec<u8> {
    let mix = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number >> 7;
    let sizes = u64::try_from(LONGEST - 60 + 1).unwrap_or(1);
    // short ones mostly, as machines are slow
    let len = match number % 4 {
        0 => 60 + usize::try_from((mix >> 32) % sizes).unwrap_or(0),
        _ => 60 + usize::try_from((mix >> 32) % 64).unwrap_or(0),
    };
    let mut frame = vec![2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0x88, 0xb5];
    let which = u8::try_from(direction).unwrap_or(0);
    frame[4] = which;
    frame[11] = 1 - which;
    frame[TOUCHED] = number.to_le_bytes()[0];
    frame.extend(number.to_be_bytes());
    let words = std::iter::successors(Some(mix), |word| {
        Some(word.rotate_left(13).wrapping_mul(0xBF58_476D_1CE4_E5B9))
    });
    let rest = len - frame.len();
    frame.extend(words.flat_map(u64::to_le_bytes).take(rest));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forwarder between two cables, as a guest would be; `spoil` changes what it forwards.
    fn forwarded(frames: u64, spoil: impl Fn(u64, &mut Vec<u8>) + Send + 'static) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let ends = ["a", "b"].map(|name| Ends {
            local: folder.path().join(name),
            remote: folder.path().join(format!("{name}.peer")),
        });
        let cards = ends.each_ref().map(|ends| {
            let socket = UnixDatagram::bind(&ends.local).unwrap();
            socket.set_read_timeout(Some(PAUSE)).unwrap();
            socket
        });
        let exchange = Exchange::start([&ends[0], &ends[1]], frames)?;
        let mut count = 0;
        let end = loop {
            if lock(&exchange.state).end.is_some() {
                break exchange.look();
            }
            for from in 0..2 {
                let mut bytes = vec![0; 4096];
                if let Ok(len) = cards[from].recv(&mut bytes) {
                    bytes.truncate(len);
                    bytes[TOUCHED] = bytes[TOUCHED].wrapping_add(1);
                    spoil(count, &mut bytes);
                    count += 1;
                    let _ = cards[1 - from].send_to(&bytes, &ends[1 - from].remote);
                }
            }
        };
        end.map(drop)
    }

    #[test]
    fn what_is_forwarded_well_is_counted() {
        forwarded(300, |_, _| {}).unwrap();
    }

    #[test]
    fn a_changed_byte_or_length_is_found() {
        assert!(forwarded(300, |n, frame| frame[40] ^= u8::from(n == 100)).is_err());
        let short = |n, frame: &mut Vec<u8>| {
            if n == 77 {
                frame.pop();
            }
        };
        assert!(forwarded(300, short).is_err());
        assert!(forwarded(300, |n, frame| frame[TOUCHED] ^= u8::from(n == 5)).is_err());
    }
}
