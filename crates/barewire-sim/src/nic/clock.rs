//! The clock for time stamps, and the free-running timer (82599 §7.9, §8.2.3.15, §8.2.3.26).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Timinca, Tsauxc, link_speed};

use super::Device;
use super::model::Model;
use crate::time::Nanos;

/// The system time: what it was at a moment. It advances by TIMINCA from then on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SystemTime {
    value: u64,
    at: Nanos,
}

/// Nanoseconds of a second, where the X550's clock carries.
const SECOND: u64 = 1_000_000_000;

fn halves(value: u64) -> [u32; 2] {
    [value & u64::from(u32::MAX), value >> 32].map(|half| u32::try_from(half).unwrap_or(0))
}

impl Model {
    /// Nanoseconds times ten of a tick of the 82599's and X540's clock (82599 §7.9.3.1).
    fn tick(&self) -> u64 {
        match self.link_speed() {
            link_speed::GBIT_10 => 64,
            link_speed::GBIT_1 => 640,
            _ => 6_400,
        }
    }

    /// The system time now. On the X550 its upper half counts seconds, its lower nanoseconds.
    pub(super) fn system_time(&self) -> u64 {
        let SystemTime { value, at } = self.system_time;
        let passed = self.now.since(at).0;
        if self.config.device == Device::X550 {
            if Tsauxc::from_bits(self.registers.of(&spec::TSAUXC)).disable_systime() {
                return value;
            }
            let nanos = (value & u64::from(u32::MAX)).saturating_add(passed);
            return (((value >> 32) + nanos / SECOND) << 32) | (nanos % SECOND);
        }
        let bits = self.registers.of(&spec::TIMINCA);
        // The X540 has no period: all bits are the increment of every tick.
        let (increment, ticks_each) = if self.config.device == Device::X540 {
            (bits, 1)
        } else {
            let timinca = Timinca::from_bits(bits);
            (timinca.incvalue(), timinca.incperiod())
        };
        let period = self.tick() * u64::from(ticks_each);
        if period == 0 {
            return value;
        }
        let ticks = u128::from(passed) * 10 / u128::from(period);
        let advance = ticks * u128::from(increment);
        let wrapped = advance & u128::from(u64::MAX);
        value.wrapping_add(u64::try_from(wrapped).unwrap_or(0))
    }

    /// The halves of the system time, low first.
    pub(super) fn read_system_time(&self) -> [u32; 2] {
        halves(self.system_time())
    }

    /// Fixes the system time at what it is now, before something changes how it advances.
    pub(super) fn hold_system_time(&mut self) {
        self.system_time = SystemTime {
            value: self.system_time(),
            at: self.now,
        };
    }

    /// SYSTIML or SYSTIMH was written.
    pub(super) fn write_system_time(&mut self, high: bool, value: u32) {
        self.hold_system_time();
        let [low, upper] = halves(self.system_time.value);
        let [low, upper] = if high { [low, value] } else { [value, upper] };
        self.system_time.value = u64::from(upper) << 32 | u64::from(low);
    }

    /// TIMADJH was written: adds the adjustment, or takes it away where bit 31 says so.
    pub(super) fn adjust_system_time(&mut self, high: u32) {
        self.hold_system_time();
        let low = self.registers.of(&spec::TIMADJL);
        let amount = u64::from(high & 0x7FFF_FFFF) << 32 | u64::from(low);
        let value = self.system_time.value;
        self.system_time.value = if high >> 31 == 1 {
            value.wrapping_sub(amount)
        } else {
            value.wrapping_add(amount)
        };
    }

    /// FRTIMER: 40.96 µs a count at 10 Gbit/s.
    pub(super) fn free_running_timer(&self) -> u32 {
        let counts = self.now.0 / 40_960;
        u32::try_from(counts & u64::from(u32::MAX)).unwrap_or(0)
    }
}
