//! What a register is: where it sits in BAR 0, how it answers reads and writes, and which of
//! its bits mean something.
//!
//! Registers are data, so that a driver, a strict model and a register dump can share one
//! definition. Nothing here touches a device.

/// How a register answers accesses (82599 §8.1, table of register access types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Writes have no effect; a strict model reports them.
    ReadOnly,
    /// Reads return what was written, apart from bits outside [`Register::writable`] and
    /// bits the device clears by itself.
    ReadWrite,
    /// Writes act at once; the value read back is not defined.
    WriteOnly,
    /// A counter or latch that a read sets back to zero. Writes have no effect.
    ReadClear,
    /// Writing a 1 clears the bit, writing a 0 leaves it.
    Write1Clear,
    /// Writing a 1 sets the bit, writing a 0 leaves it.
    Write1Set,
    /// A read clears the register, and so does writing a 1 to a bit.
    ReadOrWrite1Clear,
}

impl Mode {
    /// Whether software may read a register of this mode and rely on the value.
    #[must_use]
    pub const fn readable(self) -> bool {
        !matches!(self, Self::WriteOnly)
    }

    /// Whether a write to a register of this mode does anything.
    #[must_use]
    pub const fn writable(self) -> bool {
        !matches!(self, Self::ReadOnly | Self::ReadClear)
    }

    /// Whether a read changes the register.
    #[must_use]
    pub const fn clears_on_read(self) -> bool {
        matches!(self, Self::ReadClear | Self::ReadOrWrite1Clear)
    }
}

/// How many copies of a register there are and where they sit. Strides are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Array {
    /// One register at the base.
    Single,
    /// `count` registers, `stride` bytes apart.
    Linear {
        /// How many registers there are; indices run from 0 to `count - 1`.
        count: u32,
        /// Bytes from one register to the next.
        stride: u32,
    },
    /// `count` registers in two runs with the same stride.
    Split {
        /// How many registers follow [`Register::base`]; the others follow `base2`.
        first: u32,
        /// Offset of register `first`.
        base2: u32,
        /// How many registers there are in both runs.
        count: u32,
        /// Bytes from one register to the next inside a run.
        stride: u32,
    },
}

/// One register, or one array of registers, of BAR 0. All registers are 32 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// The datasheet's name.
    pub name: &'static str,
    /// Offset in BAR 0, in bytes, of the register or of the first one of the array.
    pub base: u32,
    /// How it answers reads and writes.
    pub mode: Mode,
    /// The value after a software reset, of every register of an array but those
    /// [`Self::reset_of`] knows better.
    pub reset: u32,
    /// The value after a software reset of the first register, where an array starts with
    /// everything in its first register and nothing in the others.
    first_reset: Option<u32>,
    /// The bits software may change. Bits outside both `writable` and `reserved` are
    /// read-only: what is written to them is ignored.
    pub writable: u32,
    /// The bits the datasheet reserves: they must be written with their value of `reset`.
    pub reserved: u32,
    /// The writable bits the device sets back to 0 by itself once it has acted on them.
    pub self_clearing: u32,
    /// Where the datasheet describes it, such as "82599 §8.2.3.8.6".
    pub section: &'static str,
    /// How many there are and where.
    pub array: Array,
}

impl Register {
    const fn new(name: &'static str, base: u32, mode: Mode, section: &'static str) -> Self {
        Self {
            name,
            base,
            mode,
            reset: 0,
            first_reset: None,
            writable: if mode.writable() { u32::MAX } else { 0 },
            reserved: 0,
            self_clearing: 0,
            section,
            array: Array::Single,
        }
    }

    pub(super) const fn read_only(name: &'static str, base: u32, section: &'static str) -> Self {
        Self::new(name, base, Mode::ReadOnly, section)
    }

    pub(super) const fn read_write(name: &'static str, base: u32, section: &'static str) -> Self {
        Self::new(name, base, Mode::ReadWrite, section)
    }

    pub(super) const fn write_only(name: &'static str, base: u32, section: &'static str) -> Self {
        Self::new(name, base, Mode::WriteOnly, section)
    }

    pub(super) const fn read_clear(name: &'static str, base: u32, section: &'static str) -> Self {
        Self::new(name, base, Mode::ReadClear, section)
    }

    pub(super) const fn write_1_clear(
        name: &'static str,
        base: u32,
        section: &'static str,
    ) -> Self {
        Self::new(name, base, Mode::Write1Clear, section)
    }

    pub(super) const fn write_1_set(name: &'static str, base: u32, section: &'static str) -> Self {
        Self::new(name, base, Mode::Write1Set, section)
    }

    pub(super) const fn read_or_write_1_clear(
        name: &'static str,
        base: u32,
        section: &'static str,
    ) -> Self {
        Self::new(name, base, Mode::ReadOrWrite1Clear, section)
    }

    /// Sets the value after reset.
    pub(super) const fn reset(mut self, value: u32) -> Self {
        self.reset = value;
        self
    }

    /// Sets the value after reset of register 0 of an array.
    pub(super) const fn first_reset(mut self, value: u32) -> Self {
        self.first_reset = Some(value);
        self
    }

    /// Declares the whole layout: `writable` bits, `status` bits that software only reads,
    /// and all others reserved.
    pub(super) const fn layout(mut self, writable: u32, status: u32) -> Self {
        self.writable = writable;
        self.reserved = !(writable | status);
        self
    }

    /// Names the bits the device clears by itself.
    pub(super) const fn self_clearing(mut self, bits: u32) -> Self {
        self.self_clearing = bits;
        self
    }

    /// Makes an array of `count` registers, `stride` bytes apart.
    pub(super) const fn array(mut self, count: u32, stride: u32) -> Self {
        self.array = Array::Linear { count, stride };
        self
    }

    /// Makes an array of two runs: `first` registers at the base, the others at `base2`.
    pub(super) const fn split(mut self, first: u32, base2: u32, count: u32, stride: u32) -> Self {
        self.array = Array::Split {
            first,
            base2,
            count,
            stride,
        };
        self
    }

    /// Makes a register of the 128 receive queues: 0 to 63 at the base, 64 to 127 at
    /// the base + 0xC000, 0x40 bytes apart (82599 §8.2.3.8).
    pub(super) const fn rx_queues(self) -> Self {
        let base2 = self.base + 0xC000;
        self.split(64, base2, 128, 0x40)
    }

    /// Makes a register of the 128 transmit queues, 0x40 bytes apart (82599 §8.2.3.9).
    pub(super) const fn tx_queues(self) -> Self {
        self.array(128, 0x40)
    }

    /// How many registers this stands for: 1, or the length of the array.
    #[must_use]
    pub const fn count(&self) -> u32 {
        match self.array {
            Array::Single => 1,
            Array::Linear { count, .. } | Array::Split { count, .. } => count,
        }
    }

    /// The value after a software reset of register `index`.
    #[must_use]
    pub const fn reset_of(&self, index: u32) -> u32 {
        match self.first_reset {
            Some(value) if index == 0 => value,
            _ => self.reset,
        }
    }

    /// The offset in BAR 0 of the register, or of the first one of an array.
    #[must_use]
    pub const fn offset(&self) -> u32 {
        self.base
    }

    /// The offset in BAR 0 of register `index`, or `None` past the end of the array.
    #[must_use]
    pub const fn get(&self, index: u32) -> Option<u32> {
        if index >= self.count() {
            return None;
        }
        Some(match self.array {
            Array::Single => self.base,
            Array::Linear { stride, .. } => self.base + index * stride,
            Array::Split {
                first,
                base2,
                stride,
                ..
            } => {
                if index < first {
                    self.base + index * stride
                } else {
                    base2 + (index - first) * stride
                }
            }
        })
    }

    /// The offset in BAR 0 of register `index`, for indices the program itself bounds.
    ///
    /// # Panics
    ///
    /// If `index` is past the end of the array: another register's offset would be worse,
    /// since a write there would silently change something else. Use [`Self::get`] for an
    /// index that comes from outside, and take offsets when a queue is made rather than on
    /// the data path.
    #[must_use]
    #[track_caller]
    pub const fn at(&self, index: u32) -> u32 {
        assert!(
            index < self.count(),
            "register index past the end of its array"
        );
        match self.get(index) {
            Some(offset) => offset,
            None => self.base,
        }
    }

    /// The index of the register at `offset`, or `None` if this register is elsewhere.
    /// A single register has index 0.
    #[must_use]
    pub const fn index_of(&self, offset: u32) -> Option<u32> {
        match self.array {
            Array::Single => {
                if offset == self.base {
                    Some(0)
                } else {
                    None
                }
            }
            Array::Linear { count, stride } => run_index(self.base, count, stride, offset),
            Array::Split {
                first,
                base2,
                count,
                stride,
            } => match run_index(self.base, first, stride, offset) {
                Some(index) => Some(index),
                None => match run_index(base2, count - first, stride, offset) {
                    Some(index) => Some(first + index),
                    None => None,
                },
            },
        }
    }

    /// Whether a register of this name sits at `offset`.
    #[must_use]
    pub const fn contains(&self, offset: u32) -> bool {
        self.index_of(offset).is_some()
    }
}

/// The position of `offset` in a run of `count` registers from `base`.
const fn run_index(base: u32, count: u32, stride: u32, offset: u32) -> Option<u32> {
    if offset < base {
        return None;
    }
    let distance = offset - base;
    if distance.is_multiple_of(stride) && distance / stride < count {
        Some(distance / stride)
    } else {
        None
    }
}

/// A second place where (some of) the registers of an array can be reached, kept by the
/// 82599 so that software written for its predecessor finds them.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The register that answers.
    pub register: &'static Register,
    /// Offset in BAR 0 of the alias of register 0.
    pub base: u32,
    /// How many registers, from index 0, have an alias.
    pub count: u32,
    /// Bytes from one alias to the next.
    pub stride: u32,
}

impl Alias {
    /// The index of the register that answers at `offset`.
    #[must_use]
    pub const fn index_of(&self, offset: u32) -> Option<u32> {
        run_index(self.base, self.count, self.stride, offset)
    }
}

/// Defines the registers of one group as statics, and `REGISTERS`, the list of them, so that
/// no register can be defined and left out of the table.
macro_rules! registers {
    ($(
        $(#[$doc:meta])*
        $name:ident: $mode:ident($base:expr, $section:literal)
            $(.$method:ident($($argument:expr),*))*;
    )+) => {
        $crate::ixgbe::register::registers! {
            of "82599";
            $($(#[$doc])* $name: $mode($base, $section)$(.$method($($argument),*))*;)+
        }
    };
    (of $sheet:literal; $(
        $(#[$doc:meta])*
        $name:ident: $mode:ident($base:expr, $section:literal)
            $(.$method:ident($($argument:expr),*))*;
    )+) => {
        $(
            $(#[$doc])*
            pub static $name: $crate::ixgbe::register::Register =
                $crate::ixgbe::register::Register::$mode(
                    stringify!($name),
                    $base,
                    concat!($sheet, " §", $section),
                )$(.$method($($argument),*))*;
        )+

        /// Every register of this group.
        pub(super) static REGISTERS: &[&$crate::ixgbe::register::Register] = &[$(&$name),+];
    };
}
pub(super) use registers;
