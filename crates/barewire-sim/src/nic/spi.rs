//! A serial EEPROM at the other end of EEC's wires: the commands of the 25xxx family with 16-bit
//! addresses (82599 §3.4.1).

/// Commands.
mod opcode {
    pub(super) const WRITE_STATUS: u8 = 0x01;
    pub(super) const WRITE: u8 = 0x02;
    pub(super) const READ: u8 = 0x03;
    pub(super) const WRITE_DISABLE: u8 = 0x04;
    pub(super) const READ_STATUS: u8 = 0x05;
    pub(super) const WRITE_ENABLE: u8 = 0x06;
}

/// Status: writes are enabled. Bit 0, busy, is never set: a write takes no time.
const WRITE_ENABLED: u8 = 1 << 1;

/// Bytes that one write may change; it wraps within them.
const PAGE: usize = 64;

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opcode,
    AddressHigh(u8),
    AddressLow(u8),
    Read,
    Write,
    Status,
    Done,
}

/// The part's state between two edges of the clock.
#[derive(Debug)]
pub(super) struct SerialEeprom {
    selected: bool,
    clock: bool,
    phase: Phase,
    /// Bits of the byte that comes in, and how many there are.
    shift: u8,
    bits: u8,
    /// The byte that goes out.
    out: u8,
    address: usize,
    write_enabled: bool,
}

impl SerialEeprom {
    pub(super) fn new() -> Self {
        Self {
            selected: false,
            clock: false,
            phase: Phase::Opcode,
            shift: 0,
            bits: 0,
            out: 0,
            address: 0,
            write_enabled: false,
        }
    }

    /// The wire from the part.
    pub(super) fn data_out(&self) -> bool {
        self.out & 0x80 != 0
    }

    /// Sets the wires to the part: its chip select is active when low. Data is taken at rising
    /// edges of the clock and given at falling ones.
    pub(super) fn drive(&mut self, words: &mut [u16], select: bool, clock: bool, data_in: bool) {
        let selected = !select;
        if selected != self.selected {
            self.selected = selected;
            // A write ends its permission when the part is deselected.
            if !selected && self.phase == Phase::Write {
                self.write_enabled = false;
            }
            self.phase = Phase::Opcode;
            self.bits = 0;
            self.out = 0;
        }
        let edge = clock != self.clock;
        self.clock = clock;
        if !selected || !edge {
            return;
        }
        if clock {
            self.shift = self.shift << 1 | u8::from(data_in);
            self.bits += 1;
        } else {
            self.out <<= 1;
            if self.bits == 8 {
                self.bits = 0;
                self.byte(words);
            }
        }
    }

    /// A byte has come in, and the next one to go out is wanted.
    fn byte(&mut self, words: &mut [u16]) {
        let byte = self.shift;
        self.phase = match self.phase {
            Phase::Opcode => self.command(byte),
            Phase::AddressHigh(command) => {
                self.address = usize::from(byte) << 8;
                Phase::AddressLow(command)
            }
            Phase::AddressLow(command) => {
                self.address |= usize::from(byte);
                if command == opcode::READ {
                    Phase::Read
                } else {
                    Phase::Write
                }
            }
            Phase::Write => {
                if self.write_enabled {
                    put_byte(words, self.address, byte);
                }
                let page = self.address / PAGE * PAGE;
                self.address = page + (self.address + 1) % PAGE;
                Phase::Write
            }
            other => other,
        };
        match self.phase {
            Phase::Read => {
                self.out = get_byte(words, self.address);
                self.address = (self.address + 1) % (words.len().max(1) * 2);
            }
            Phase::Status => self.out = if self.write_enabled { WRITE_ENABLED } else { 0 },
            _ => {}
        }
    }

    fn command(&mut self, byte: u8) -> Phase {
        match byte {
            opcode::READ | opcode::WRITE => Phase::AddressHigh(byte),
            opcode::READ_STATUS => Phase::Status,
            opcode::WRITE_ENABLE => {
                self.write_enabled = true;
                Phase::Done
            }
            opcode::WRITE_DISABLE | opcode::WRITE_STATUS => {
                self.write_enabled = false;
                Phase::Done
            }
            _ => Phase::Done,
        }
    }
}

fn get_byte(words: &[u16], address: usize) -> u8 {
    let [low, high] = words
        .get(address / 2)
        .copied()
        .unwrap_or(u16::MAX)
        .to_le_bytes();
    if address.is_multiple_of(2) { low } else { high }
}

fn put_byte(words: &mut [u16], address: usize, byte: u8) {
    if let Some(word) = words.get_mut(address / 2) {
        let [low, high] = word.to_le_bytes();
        *word = u16::from_le_bytes(if address.is_multiple_of(2) {
            [byte, high]
        } else {
            [low, byte]
        });
    }
}
