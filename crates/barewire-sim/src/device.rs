//! What all devices made of software have in common.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::exceptions::Tolerated;
use crate::nic::{Nic, NicCounters};
use crate::violation::Violation;
use crate::virtio::VirtioNic;
use crate::wire::Wire;

/// What a step moves frames through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the wire to the driver.
    Receive,
    /// From the driver to the wire.
    Transmit,
    /// Both ways.
    Both,
}

/// A device made of software: a [`Nic`] or a [`VirtioNic`].
///
/// A handle of one is a device; so is an [`Arc`] of any, for programs that have several kinds.
pub trait Device: work::Work + fmt::Debug + Send + Sync + 'static {
    /// The device's name.
    fn name(&self) -> &str;

    /// Does one bounded piece of work; true if anything happened.
    fn step(&self) -> bool;

    /// Nothing is on its way in the device or comes from its wire.
    fn is_idle(&self) -> bool;

    /// The rules that software has broken: the first 256 in full, oldest first.
    fn violations(&self) -> Vec<Violation>;

    /// How many times software has broken a rule.
    fn violation_count(&self) -> u64;

    /// The known exceptions that software made use of, and how often.
    fn exceptions(&self) -> Vec<Tolerated>;

    /// What the device has counted since it was made, whatever software has cleared meanwhile.
    fn totals(&self) -> NicCounters;

    /// Everything that the device has counted since it was made, by name.
    fn statistics(&self) -> Vec<(String, u64)>;

    /// Writes every event from now on to `output`, as text. It slows the device down.
    fn trace(&self, output: Box<dyn Write + Send>);

    /// Ends the record and writes what is buffered.
    ///
    /// # Errors
    /// The first that occurred in writing it.
    fn end_trace(&self) -> io::Result<()>;

    /// Unplugs the port from its wire and plugs it into another; returns the old one.
    fn replace_wire(&self, wire: Box<dyn Wire>) -> Box<dyn Wire>;
}

pub(crate) mod work {
    use super::{Arc, Device, Nic, Part, VirtioNic};

    /// How threads work on a device.
    pub trait Work {
        /// Steps a part of the device, unless another thread works on it or waits for an access;
        /// those come first.
        fn try_step(&self, part: Part) -> bool;

        /// Lets the device follow the real clock, or keep its own time again.
        fn follow_clock(&self, follow: bool);
    }

    macro_rules! by_its_own_methods {
        ($device:ty) => {
            impl Work for $device {
                fn try_step(&self, part: Part) -> bool {
                    <$device>::try_step(self, part)
                }

                fn follow_clock(&self, follow: bool) {
                    <$device>::follow_clock(self, follow);
                }
            }
        };
    }

    by_its_own_methods!(Nic);
    by_its_own_methods!(VirtioNic);

    impl<D: Device + ?Sized> Work for Arc<D> {
        fn try_step(&self, part: Part) -> bool {
            (**self).try_step(part)
        }

        fn follow_clock(&self, follow: bool) {
            (**self).follow_clock(follow);
        }
    }
}

macro_rules! by_its_own_methods {
    ($device:ty) => {
        impl Device for $device {
            fn name(&self) -> &str {
                <$device>::name(self)
            }

            fn step(&self) -> bool {
                <$device>::step(self)
            }

            fn is_idle(&self) -> bool {
                <$device>::is_idle(self)
            }

            fn violations(&self) -> Vec<Violation> {
                <$device>::violations(self)
            }

            fn violation_count(&self) -> u64 {
                <$device>::violation_count(self)
            }

            fn exceptions(&self) -> Vec<Tolerated> {
                <$device>::exceptions(self)
            }

            fn totals(&self) -> NicCounters {
                <$device>::totals(self)
            }

            fn statistics(&self) -> Vec<(String, u64)> {
                <$device>::statistics(self)
            }

            fn trace(&self, output: Box<dyn Write + Send>) {
                <$device>::trace(self, output);
            }

            fn end_trace(&self) -> io::Result<()> {
                <$device>::end_trace(self)
            }

            fn replace_wire(&self, wire: Box<dyn Wire>) -> Box<dyn Wire> {
                <$device>::replace_wire(self, wire)
            }
        }
    };
}

by_its_own_methods!(Nic);
by_its_own_methods!(VirtioNic);

impl<D: Device + ?Sized> Device for Arc<D> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn step(&self) -> bool {
        (**self).step()
    }

    fn is_idle(&self) -> bool {
        (**self).is_idle()
    }

    fn violations(&self) -> Vec<Violation> {
        (**self).violations()
    }

    fn violation_count(&self) -> u64 {
        (**self).violation_count()
    }

    fn exceptions(&self) -> Vec<Tolerated> {
        (**self).exceptions()
    }

    fn totals(&self) -> NicCounters {
        (**self).totals()
    }

    fn statistics(&self) -> Vec<(String, u64)> {
        (**self).statistics()
    }

    fn trace(&self, output: Box<dyn Write + Send>) {
        (**self).trace(output);
    }

    fn end_trace(&self) -> io::Result<()> {
        (**self).end_trace()
    }

    fn replace_wire(&self, wire: Box<dyn Wire>) -> Box<dyn Wire> {
        (**self).replace_wire(wire)
    }
}
