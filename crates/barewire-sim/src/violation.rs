//! What a strict device says when software does something the datasheet forbids.

use std::fmt;
use std::mem;

use crate::time::Nanos;

/// How many violations a device keeps in full; further ones are counted only.
const KEPT: usize = 256;

/// Which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// An access to an offset that holds no register.
    UndefinedRegister,
    /// An access that is not one aligned 32-bit word.
    Misaligned,
    /// An access of another width than the field's own.
    Width,
    /// A reserved bit written with another value than the datasheet prescribes.
    ReservedBit,
    /// A write to a register that software only reads.
    ReadOnly,
    /// A read of a register whose value is not defined.
    WriteOnly,
    /// A value that the datasheet excludes.
    ForbiddenValue,
    /// A write in a state in which the datasheet forbids it.
    ForbiddenState,
    /// An access before a reset has ended.
    DuringReset,
    /// Two registers that must agree and don't.
    Disagreement,
    /// A ring's address or length is not what the datasheet asks for.
    RingGeometry,
    /// A tail outside the ring, or moved while the queue does not run.
    Tail,
    /// A descriptor the datasheet forbids.
    Descriptor,
    /// A frame the datasheet forbids to send.
    Frame,
    /// An access to memory before bus mastering was enabled in the configuration space.
    NotBusMaster,
    /// An access to an address that is not mapped for the device.
    Unmapped,
    /// An access that starts in mapped memory and runs out of it.
    PastMapping,
    /// A read of memory that is mapped for writing only, or a write of memory for reading only.
    NotPermitted,
    /// A function of the hardware that the model does not have.
    NotImplemented,
}

impl Rule {
    /// The rule as the end of a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UndefinedRegister => "no register there",
            Self::Misaligned => "not one aligned 32-bit access",
            Self::Width => "not an access of the field's own width",
            Self::ReservedBit => "reserved bits changed",
            Self::ReadOnly => "read-only register written",
            Self::WriteOnly => "write-only register read",
            Self::ForbiddenValue => "value not allowed",
            Self::ForbiddenState => "not allowed in this state",
            Self::DuringReset => "accessed before the reset ended",
            Self::Disagreement => "registers disagree",
            Self::RingGeometry => "ring misplaced",
            Self::Tail => "tail not allowed",
            Self::Descriptor => "descriptor not allowed",
            Self::Frame => "frame not allowed",
            Self::NotBusMaster => "DMA without bus mastering",
            Self::Unmapped => "DMA to an address that is not mapped",
            Self::PastMapping => "DMA past the end of a mapping",
            Self::NotPermitted => "DMA against the permissions of a mapping",
            Self::NotImplemented => "not implemented by the model",
        }
    }
}

/// A rule that something breaks, whatever it is that breaks it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) rule: Rule,
    /// The state or the field that makes it wrong, in words.
    pub(crate) why: &'static str,
    pub(crate) section: &'static str,
}

pub(crate) const fn refusal(rule: Rule, why: &'static str, section: &'static str) -> Refusal {
    Refusal { rule, why, section }
}

/// One thing software did that the datasheet forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule was broken.
    pub rule: Rule,
    /// The register (`RXDCTL[3]`) or the object (`transmit descriptor`) it was broken with.
    pub what: String,
    /// What was written, or the address or descriptor word at fault.
    pub value: u64,
    /// The state that made it wrong, in words; may be empty.
    pub state: String,
    /// Where the datasheet says so, such as "82599 §8.2.3.8.6".
    pub section: &'static str,
    /// When, in the device's time.
    pub at: Nanos,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:#x}: {}", self.what, self.value, self.rule.text())?;
        if !self.state.is_empty() {
            write!(f, ": {}", self.state)?;
        }
        let micros = self.at.0 / 1_000;
        write!(
            f,
            " ({}, at {}.{:03} ms)",
            self.section,
            micros / 1_000,
            micros % 1_000
        )
    }
}

/// The violations of one device: the first ones in full, all of them counted.
#[derive(Debug, Default)]
pub(crate) struct ViolationLog {
    kept: Vec<Violation>,
    total: u64,
}

impl ViolationLog {
    /// Records a violation; the parts that cost time are made only while there is room.
    pub(crate) fn record(&mut self, make: impl FnOnce() -> Violation) {
        self.total = self.total.saturating_add(1);
        if self.kept.len() < KEPT {
            let violation = make();
            tracing::warn!(%violation, "the driver broke a rule of the datasheet");
            self.kept.push(violation);
        }
    }

    /// Takes over what another has, and leaves it empty.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        self.total = self.total.saturating_add(mem::take(&mut other.total));
        let room = KEPT.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.drain(..).take(room));
    }

    /// The ones kept, oldest first.
    pub(crate) fn kept(&self) -> &[Violation] {
        &self.kept
    }

    /// All there were.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Violation {
        Violation {
            rule: Rule::ForbiddenState,
            what: "RDBAL[3]".into(),
            value: 0x1000,
            state: "the queue is enabled".into(),
            section: "82599 §8.2.3.8.1",
            at: Nanos::from_micros(12_345),
        }
    }

    #[test]
    fn reads_as_one_line() {
        assert_eq!(
            sample().to_string(),
            "RDBAL[3] = 0x1000: not allowed in this state: the queue is enabled \
             (82599 §8.2.3.8.1, at 12.345 ms)"
        );
    }

    #[test]
    fn the_log_is_bounded_and_counts_on() {
        let mut log = ViolationLog::default();
        for _ in 0..KEPT * 3 {
            log.record(sample);
        }
        assert_eq!(log.kept().len(), KEPT);
        assert_eq!(log.total(), 3 * KEPT as u64);
    }
}
