//! Ports that are lost while frames are forwarded.

use std::sync::OnceLock;
use std::thread;

use barewire::Error;

/// Which of the two ports are lost, and why. A port that is lost stays so.
#[derive(Debug, Default)]
pub(super) struct Losses([OnceLock<Error>; 2]);

impl Losses {
    /// The port at `position` can't be used any more, for this reason.
    pub(super) fn lose(&self, position: usize, error: Error) {
        let Some(port) = self.0.get(position) else {
            return;
        };
        if let Err(again) = port.set(error) {
            tracing::debug!(%again, "lost already");
        } else if let Some(error) = port.get() {
            tracing::error!("{error}");
        }
    }

    /// Whether the port at `position` is lost.
    #[inline]
    pub(super) fn is_lost(&self, position: usize) -> bool {
        self.0
            .get(position)
            .is_some_and(|port| port.get().is_some())
    }

    /// Whether each port is lost.
    pub(super) fn lost(&self) -> [bool; 2] {
        [0, 1].map(|position| self.is_lost(position))
    }

    /// Why the first lost port is lost.
    pub(super) fn reason(&self) -> Option<String> {
        let mut reasons = self.0.iter().filter_map(OnceLock::get);
        reasons.next().map(ToString::to_string)
    }
}

/// Closes what belongs to a lost port on a thread of its own: the kernel may try for a minute to
/// reset a device that does not answer, and the other port is to go on meanwhile.
pub(super) fn close_aside(part: impl Send + 'static) {
    let closing = thread::Builder::new()
        .name("closing".to_owned())
        .spawn(move || drop(part));
    if let Err(error) = closing {
        tracing::debug!(%error, "no thread to close the device on");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn nobody_waits_for_what_is_closed() {
        struct Slow(mpsc::Receiver<()>, mpsc::Sender<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                self.0.recv().unwrap();
                self.1.send(()).unwrap();
            }
        }
        let (go, gone) = (mpsc::channel(), mpsc::channel());
        close_aside(Slow(go.1, gone.0));
        go.0.send(()).unwrap();
        gone.1.recv().unwrap();
    }

    #[test]
    fn the_first_reason_counts() {
        let losses = Losses::default();
        assert_eq!((losses.lost(), losses.reason()), ([false; 2], None));
        let gone = |device: &str| Error::Gone {
            device: device.to_owned(),
        };
        losses.lose(1, gone("b"));
        losses.lose(1, gone("c"));
        losses.lose(2, gone("d"));
        assert_eq!(losses.lost(), [false, true]);
        assert!(
            losses
                .reason()
                .unwrap()
                .starts_with("b: the device is gone")
        );
    }
}
