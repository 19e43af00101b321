//! What drivers of others are known to do against the rules, and that it was met.

use std::fmt;

use barewire_spec::ixgbe::Register;

use crate::violation::Rule;

/// Where an exception holds.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A register, or some of an array.
    Registers {
        /// The register.
        register: &'static Register,
        /// The first index.
        first: u32,
        /// The last index.
        last: u32,
    },
    /// Offsets of BAR 0 where the device has no register: its predecessor had one.
    Offsets {
        /// The predecessor's name.
        name: &'static str,
        /// The first offset.
        first: u32,
        /// How many there are.
        count: u32,
        /// Bytes from one to the next.
        stride: u32,
    },
    /// Something else that violations name, such as `transmit descriptor`.
    Object(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registers {
                register,
                first,
                last,
            } => match (register.count(), last - first) {
                (1, _) => f.write_str(register.name),
                (_, 0) => write!(f, "{}[{first}]", register.name),
                _ => write!(f, "{}[{first}..={last}]", register.name),
            },
            Self::Offsets { name, first, .. } => write!(f, "{name} at {first:#x}"),
            Self::Object(name) => f.write_str(name),
        }
    }
}

/// One thing that a driver of others does although the datasheet forbids it.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// Where.
    pub place: Place,
    /// The rule that is broken.
    pub rule: Rule,
    /// The bits that may be wrong: for [`Rule::ReservedBit`] and [`Rule::ForbiddenState`] those
    /// that change, for other writes those that may be set at all.
    pub bits: u32,
    /// Who does it.
    pub who: &'static str,
    /// Why it does no harm.
    pub why: &'static str,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, bits {:#x} ({}: {})",
            self.place,
            self.rule.text(),
            self.bits,
            self.who,
            self.why
        )
    }
}

/// An exception that was met.
#[derive(Clone, Copy, Debug)]
pub struct Tolerated {
    /// The entry of the list.
    pub exception: &'static Exception,
    /// How often.
    pub count: u64,
}

/// What may break a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// A register, and which of an array.
    Register(&'static Register, u32),
    Offset(u32),
    Object(&'a str),
}

impl Place {
    fn holds(&self, subject: Subject<'_>) -> bool {
        match (self, subject) {
            (
                Self::Registers {
                    register,
                    first,
                    last,
                },
                Subject::Register(found, index),
            ) => std::ptr::eq(*register, found) && (*first..=*last).contains(&index),
            (
                Self::Offsets {
                    first,
                    count,
                    stride,
                    ..
                },
                Subject::Offset(offset),
            ) => offset
                .checked_sub(*first)
                .is_some_and(|past| past.is_multiple_of(*stride) && past / stride < *count),
            (Self::Object(name), Subject::Object(what)) => what
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '['])),
            _ => false,
        }
    }
}

/// The exceptions of a device, and how often each was met.
#[derive(Debug)]
pub(crate) struct ExceptionLog {
    list: &'static [Exception],
    counts: Vec<u64>,
}

impl ExceptionLog {
    pub(crate) fn new(list: &'static [Exception]) -> Self {
        Self {
            list,
            counts: vec![0; list.len()],
        }
    }

    /// Whether an entry covers a broken rule; counts it if so.
    pub(crate) fn tolerates(&mut self, rule: Rule, subject: Subject<'_>, bits: u32) -> bool {
        let found = find(self.list, rule, subject, bits);
        let count = found.and_then(|entry| self.counts.get_mut(entry));
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        found.is_some()
    }

    pub(crate) fn met(&self) -> Vec<Tolerated> {
        self.list
            .iter()
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(exception, count)| Tolerated {
                exception,
                count: *count,
            })
            .collect()
    }
}

/// The entry for a broken rule, as its position.
pub(crate) fn find(
    list: &[Exception],
    rule: Rule,
    subject: Subject<'_>,
    bits: u32,
) -> Option<usize> {
    list.iter().position(|entry| {
        entry.rule == rule && bits & !entry.bits == 0 && entry.place.holds(subject)
    })
}
