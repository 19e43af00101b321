//! Timed sections: the device's turn, then the driver's, again and again.

use std::fmt::Write as _;
use std::hint::black_box;

use anyhow::{Result, bail};

use super::calibration;
use super::device::Device;
use super::forwarder::{Forwarder, forward_section};
use crate::clock::Clock;

/// Packets of a section, at least, where the ring is large enough.
const SECTION: u16 = 64;
const WARM_UP: u32 = 200;
const OVERHEADS: usize = 101;
/// More than any processor's first two caches, less than its last.
const EVICT: usize = 3 << 20;
/// Rounds without a frame until one counts as lost.
const PATIENCE: u32 = 1000;

/// A device, a driver on it, and a clock.
pub(super) struct Harness {
    nic: Box<dyn Device>,
    forwarder: Forwarder,
    ring: u16,
    clock: Clock,
    evicted: Vec<u8>,
}

impl Harness {
    pub(super) fn new(nic: Box<dyn Device>, forwarder: Forwarder, ring: u16) -> Result<Self> {
        Ok(Self {
            nic,
            forwarder,
            ring,
            clock: Clock::new()?,
            evicted: vec![1; EVICT],
        })
    }

    /// Cycles of an empty section.
    fn overhead(&mut self) -> Result<u64> {
        let mut samples = Vec::with_capacity(OVERHEADS);
        for _ in 0..OVERHEADS {
            let begin = self.clock.now();
            forward_section(&mut self.forwarder, 0)?;
            samples.push(self.clock.now() - begin);
        }
        samples.sort_unstable();
        Ok(samples[OVERHEADS / 2])
    }

    /// Reads so much that nothing else is left in the first caches. Returns how many lines it read.
    fn evict(&self) -> usize {
        let first = |line: &[u8]| black_box(line.first().copied());
        let bytes = self.evicted.chunks(64).filter_map(first);
        bytes.map(usize::from).sum()
    }

    /// Times `sections` sections of `batch` frames at a time.
    ///
    /// # Errors
    /// When the driver breaks.
    pub(super) fn run(&mut self, batch: u16, sections: u32, cold: bool) -> Result<String> {
        let most = self.ring / 2;
        let packets = batch.max(SECTION).min(most);
        let calls = packets / batch;
        let packets = calls * batch;
        if calls == 0 || sections == 0 {
            return Ok(format!("error: batches of 1 to {most} fit this ring"));
        }
        self.forwarder.set_batch(batch);
        let mut cycles = Vec::with_capacity(usize::try_from(sections)?);
        let mut short = 0;
        let before = calibration::measure(&self.clock);
        for section in 0..sections + WARM_UP {
            self.nic.step(u64::from(packets));
            if cold {
                black_box(self.evict());
            }
            let begin = self.clock.now();
            let forwarded = forward_section(&mut self.forwarder, u32::from(calls));
            let end = self.clock.now();
            let forwarded = forwarded?;
            if section < WARM_UP {
                continue;
            }
            if forwarded == usize::from(packets) {
                cycles.push(end - begin);
            } else {
                short += 1;
            }
        }
        let calibration = before.max(calibration::measure(&self.clock));
        let overhead = self.overhead()?;
        let mut answer = format!("cycles {packets} {overhead} {calibration} {short}");
        for sample in cycles {
            write!(answer, " {sample}")?;
        }
        Ok(answer)
    }

    /// Forwards `packets` frames that the device writes, and looks at each when it leaves.
    ///
    /// # Errors
    /// When the driver breaks.
    pub(super) fn verify(&mut self, batch: u16, packets: u64) -> Result<String> {
        self.forwarder.set_batch(batch);
        // frames that are still on their way were never written
        self.nic.step(0);
        while forward_section(&mut self.forwarder, 1)? > 0 {
            self.nic.step(0);
        }
        self.nic.check(true);
        let (mut sent, mut offered, mut idle) = (0, 0, 0);
        while sent < packets && idle < PATIENCE {
            let before = sent;
            let step = self.nic.step(u64::from(batch).min(packets - offered));
            offered += step.received;
            sent += step.sent;
            forward_section(&mut self.forwarder, 1)?;
            idle = if sent == before { idle + 1 } else { 0 };
        }
        let wrong = self.nic.check(false);
        if wrong == 0 && sent == packets {
            return Ok(format!("verified {packets}"));
        }
        bail!("{sent} of {packets} frames came out, {wrong} of them wrong");
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_nic::FakeNic;
    use super::super::{SUBJECTS, open};
    use super::*;

    fn harness(ring: u16, subject: &str) -> Harness {
        let (nic, forwarder) = open(subject, ring).unwrap();
        Harness::new(nic, forwarder, ring).unwrap()
    }

    #[test]
    fn the_driver_forwards_on_plain_memory() {
        for subject in SUBJECTS {
            let mut harness = harness(512, subject);
            for batch in [1, 7, 32, 256] {
                assert_eq!(harness.verify(batch, 3000).unwrap(), "verified 3000");
            }
        }
    }

    #[test]
    fn a_run_has_as_many_samples_as_asked_for() {
        let mut harness = harness(256, "barewire");
        let answer = harness.run(32, 20, false).unwrap();
        let words: Vec<&str> = answer.split(' ').collect();
        let short: usize = words[4].parse().unwrap();
        assert_eq!((words[0], words[1]), ("cycles", "64"));
        assert_eq!(words.len() - 5 + short, 20);
        assert!(harness.run(256, 20, false).unwrap().starts_with("error"));
    }

    #[test]
    fn caches_are_emptied_by_what_is_really_read() {
        assert_eq!(harness(64, "barewire").evict(), EVICT / 64);
    }

    #[test]
    fn a_frame_that_is_not_touched_counts_as_wrong() {
        let (mut nic, function) = FakeNic::new();
        let mut port = barewire::Port::open(function, &barewire::PortConfig::default()).unwrap();
        let (mut rx, mut tx) = (port.take_rx(0).unwrap(), port.take_tx(0).unwrap());
        let mut batch = barewire::Batch::new(8);
        nic.check(true);
        nic.step(8);
        assert_eq!(rx.receive(&mut batch).unwrap(), 8);
        assert_eq!(tx.send(&mut batch).unwrap(), 8);
        assert_eq!(nic.step(0).sent, 8);
        assert_eq!(nic.check(false), 8);
    }
}
