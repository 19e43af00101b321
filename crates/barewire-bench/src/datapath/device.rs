//! A device of plain memory, which does nothing of its own accord.

/// What a step moved.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// The device's side of what is measured.
pub(super) trait Device {
    /// Whether frames are written and looked at from now on; returns how many were wrong so far.
    fn check(&mut self, on: bool) -> u64;

    /// Sends what the driver handed over, then receives up to `frames` frames, as many as there
    /// are descriptors for.
    fn step(&mut self, frames: u64) -> Step;
}
