//! Interrupts: from the device to whoever waits for them.

use super::Nic;

/// Takes the interrupts of a device.
///
/// It is called while the device is at work, on the thread that steps or accesses it, so it must
/// neither block nor call the device.
pub trait Signal: Send {
    /// Interrupt `vector` fired: an MSI-X vector, or 0 where the device uses MSI or `INTx`.
    fn signal(&mut self, vector: u16);
}

impl Nic {
    /// Sends the device's interrupts to `signal` from now on, in place of whoever had them before.
    pub fn connect_interrupts(&self, signal: impl Signal + 'static) {
        self.shared.access().signal = Some(Box::new(signal));
    }
}
