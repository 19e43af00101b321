//! The register file: where registers are, what they hold, and how they answer accesses.

use std::sync::OnceLock;

use barewire_spec::ixgbe::{Mode, Register, table, wider, x540, x550};

use super::Device;
use super::roles::{Role, role_of};
use crate::exceptions::Subject;

/// Bytes of BAR 0 in which registers are defined.
pub(crate) const REGISTER_SPACE: u32 = 0x2_0000;
const WORDS: usize = REGISTER_SPACE as usize / 4;
const NOTHING: u16 = u16::MAX;

/// One register at one offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) register: &'static Register,
    /// Which one of an array.
    pub(crate) index: u32,
    /// What the model does beyond storing the value.
    pub(crate) role: Role,
    /// Bits that are reserved on the 82599 and that this device has.
    pub(crate) extra: u32,
}

impl Slot {
    /// As what may break a rule.
    pub(super) fn subject(&self) -> Subject<'static> {
        Subject::Register(self.register, self.index)
    }

    /// The index as a queue number or table position.
    pub(crate) fn position(&self) -> usize {
        self.index as usize
    }

    /// The bits that software may change.
    pub(crate) fn writable(&self) -> u32 {
        self.register.writable | self.extra
    }

    /// The name with its index: `RXDCTL[3]`.
    pub(crate) fn name(&self) -> String {
        if self.register.count() == 1 {
            self.register.name.to_owned()
        } else {
            format!("{}[{}]", self.register.name, self.index)
        }
    }
}

/// A register as the devices have it.
struct Entry {
    register: &'static Register,
    role: Role,
    /// The first device that has it.
    since: Device,
    /// Bits that the X540 and the X550 have beyond it.
    extra: [u32; 2],
}

impl Entry {
    fn new(register: &'static Register, since: Device) -> Self {
        let more = |list: &[wider::Wider]| {
            let found = list
                .iter()
                .filter(|wider| std::ptr::eq(wider.register, register));
            found.fold(0, |bits, wider| bits | wider.bits)
        };
        let x540 = more(wider::X540);
        Self {
            register,
            role: role_of(register),
            since,
            extra: [x540, x540 | more(wider::X550)],
        }
    }
}

/// Which register sits at each offset. The same for all devices of the process.
struct Map {
    registers: Vec<Entry>,
    /// Index into `registers` and position in the array, for each word of BAR 0.
    words: Vec<(u16, u16)>,
}

impl Map {
    fn build() -> Self {
        let mut map = Self {
            registers: Vec::new(),
            words: vec![(NOTHING, 0); WORDS],
        };
        let successors = x540::all()
            .map(|register| (register, Device::X540))
            .chain(x550::all().map(|register| (register, Device::X550)));
        let all = table::all().map(|register| (register, Device::I82599));
        for (register, since) in all.chain(successors) {
            let Ok(number) = u16::try_from(map.registers.len()) else {
                break;
            };
            map.registers.push(Entry::new(register, since));
            for index in 0..register.count() {
                map.put(register.get(index), number, index);
            }
        }
        for alias in table::ALIASES {
            let number = map
                .registers
                .iter()
                .position(|entry| std::ptr::eq(entry.register, alias.register));
            let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else {
                continue;
            };
            for index in 0..alias.count {
                map.put(Some(alias.base + index * alias.stride), number, index);
            }
        }
        map
    }

    fn put(&mut self, offset: Option<u32>, number: u16, index: u32) {
        let word = offset.and_then(|offset| self.words.get_mut(offset as usize / 4));
        if let (Some(word), Ok(index)) = (word, u16::try_from(index)) {
            *word = (number, index);
        }
    }
}

fn map() -> &'static Map {
    static MAP: OnceLock<Map> = OnceLock::new();
    MAP.get_or_init(Map::build)
}

/// The register that `device` has at `offset`, which must be a multiple of 4.
pub(crate) fn slot(offset: u32, device: Device) -> Option<Slot> {
    let map = map();
    let (number, index) = *map.words.get(offset as usize / 4)?;
    let entry = map.registers.get(usize::from(number))?;
    let extra = match device {
        Device::I82599 => 0,
        Device::X540 => entry.extra[0],
        Device::X550 => entry.extra[1],
    };
    (entry.since <= device).then_some(Slot {
        register: entry.register,
        index: u32::from(index),
        role: entry.role,
        extra,
    })
}

/// What registers hold that are more than a view of something else.
#[derive(Debug)]
pub(crate) struct Registers {
    values: Vec<u32>,
}

impl Registers {
    /// All registers as the power-on reset leaves them.
    pub(crate) fn new() -> Self {
        let mut registers = Self {
            values: vec![0; WORDS],
        };
        registers.reset(|_| true);
        registers
    }

    /// Sets the registers whose role `which` selects to their reset values.
    pub(crate) fn reset(&mut self, which: impl Fn(Role) -> bool) {
        for Entry { register, role, .. } in &map().registers {
            if which(*role) {
                for index in 0..register.count() {
                    self.put(register, index, register.reset_of(index));
                }
            }
        }
    }

    /// The value kept for register `index` of an array; 0 for an index past its end.
    #[inline]
    pub(crate) fn get(&self, register: &Register, index: u32) -> u32 {
        register
            .get(index)
            .and_then(|offset| self.values.get(offset as usize / 4))
            .copied()
            .unwrap_or(0)
    }

    /// The value kept for a register that is no array.
    #[inline]
    pub(crate) fn of(&self, register: &Register) -> u32 {
        self.get(register, 0)
    }

    /// Keeps a value, whatever the register's mode says.
    pub(crate) fn put(&mut self, register: &Register, index: u32, value: u32) {
        if let Some(word) = register
            .get(index)
            .and_then(|offset| self.values.get_mut(offset as usize / 4))
        {
            *word = value;
        }
    }

    /// The value kept at a slot.
    pub(crate) fn at(&self, slot: &Slot) -> u32 {
        self.get(slot.register, slot.index)
    }

    /// Keeps a value at a slot.
    pub(crate) fn put_at(&mut self, slot: &Slot, value: u32) {
        self.put(slot.register, slot.index, value);
    }

    /// What the register holds after a write of `value`, by its mode and its writable bits.
    pub(crate) fn merged(&self, slot: &Slot, value: u32) -> u32 {
        let old = self.at(slot);
        let bits = slot.writable();
        match slot.register.mode {
            Mode::ReadOnly | Mode::ReadClear | Mode::WriteOnly => old,
            Mode::ReadWrite => old & !bits | value & bits,
            Mode::Write1Clear | Mode::ReadOrWrite1Clear => old & !(value & bits),
            Mode::Write1Set => old | value & bits,
        }
    }

    /// The reserved bits that `value` would change, 0 if it changes none.
    pub(crate) fn reserved_changed(slot: &Slot, value: u32) -> u32 {
        (value ^ slot.register.reset_of(slot.index)) & slot.register.reserved & !slot.extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barewire_spec::ixgbe::{CTRL, MTA, RXDCTL, SRRCTL, lookup};

    #[test]
    fn the_map_agrees_with_the_table() {
        for offset in (0..REGISTER_SPACE).step_by(4) {
            let found = slot(offset, Device::I82599).map(|slot| (slot.register.name, slot.index));
            let expected = lookup(offset).map(|(register, index)| (register.name, index));
            assert_eq!(found, expected, "{offset:#x}");
        }
        assert!(slot(REGISTER_SPACE, Device::X550).is_none());
        assert!(slot(u32::MAX - 3, Device::X550).is_none());
    }

    #[test]
    fn an_alias_is_the_same_register() {
        let mut registers = Registers::new();
        let alias = slot(0x2104, Device::I82599).unwrap();
        assert_eq!(alias.name(), "SRRCTL[1]");
        registers.put_at(&alias, 7);
        assert_eq!(registers.get(&SRRCTL, 1), 7);
        assert_eq!(slot(0x4, Device::I82599).unwrap().register.base, CTRL.base);
    }

    #[test]
    fn successors_have_more() {
        assert!(slot(x540::EEWR.at(0), Device::I82599).is_none());
        assert!(slot(x540::EEWR.at(0), Device::X540).is_some());
        assert!(slot(x550::ERETA.at(95), Device::X540).is_none());
        assert!(slot(x550::ERETA.at(95), Device::X550).is_some());
        let rxdctl = slot(RXDCTL.at(0), Device::X540).unwrap();
        assert_eq!(Registers::reserved_changed(&rxdctl, 0x8600), 0);
    }

    #[test]
    fn modes_and_reserved_bits() {
        let registers = Registers::new();
        let rxdctl = slot(RXDCTL.at(127), Device::I82599).unwrap();
        assert_eq!(registers.merged(&rxdctl, u32::MAX), RXDCTL.writable);
        assert_ne!(Registers::reserved_changed(&rxdctl, u32::MAX), 0);
        assert_eq!(Registers::reserved_changed(&rxdctl, RXDCTL.writable), 0);
        assert_eq!(
            Registers::reserved_changed(&slot(MTA.at(3), Device::I82599).unwrap(), u32::MAX),
            0
        );
    }
}
