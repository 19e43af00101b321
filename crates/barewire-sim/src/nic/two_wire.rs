//! The two wires between the port and its module, as the module sees them (I²C, SFF-8472 §4).

use super::module::Module;

/// What the module does between two edges of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a start.
    Idle,
    /// Takes a byte; it is an address if it is the first one.
    Take { first: bool },
    /// Holds the data wire low for one clock, then goes on.
    Acknowledge { read: bool },
    /// Gives a byte.
    Give,
    /// Looks whether another byte is wanted.
    Wanted,
}

/// The module's end of the wires.
#[allow(clippy::struct_excessive_bools)] // levels of wires
#[derive(Debug)]
pub(super) struct TwoWire {
    clock: bool,
    /// What the host drives onto the data wire.
    data: bool,
    /// What the module drives onto it: high lets go.
    own: bool,
    state: State,
    shift: u8,
    bits: u8,
    /// The page that was addressed, and whether the next byte is a position in it.
    page: u8,
    positioned: bool,
}

/// Addresses of a module's two pages, with the read bit 0.
const PAGES: [u8; 2] = [0xA0, 0xA2];

impl TwoWire {
    pub(super) fn new() -> Self {
        Self {
            clock: true,
            data: true,
            own: true,
            state: State::Idle,
            shift: 0,
            bits: 0,
            page: 0,
            positioned: false,
        }
    }

    /// The level of the data wire.
    pub(super) fn data(&self) -> bool {
        self.data && self.own
    }

    /// Sets what the host drives.
    pub(super) fn drive(&mut self, module: &mut Module, clock: bool, data: bool) {
        let before = self.data();
        let was = self.clock;
        self.clock = clock;
        self.data = data;
        if was && clock {
            match (before, self.data()) {
                (true, false) => self.start(),
                (false, true) => self.state = State::Idle,
                _ => {}
            }
        } else if clock && !was {
            self.rise(module);
        } else if was && !clock {
            self.fall(module);
        }
    }

    fn start(&mut self) {
        self.state = State::Take { first: true };
        self.bits = 0;
        self.own = true;
    }

    fn rise(&mut self, module: &mut Module) {
        match self.state {
            State::Take { .. } => {
                self.shift = self.shift << 1 | u8::from(self.data());
                self.bits += 1;
            }
            State::Wanted => {
                if self.data() {
                    self.state = State::Idle;
                } else {
                    self.shift = module.give(self.page);
                }
            }
            State::Idle | State::Acknowledge { .. } | State::Give => {}
        }
    }

    fn fall(&mut self, module: &mut Module) {
        match self.state {
            State::Take { first } if self.bits == 8 => self.taken(module, first),
            State::Acknowledge { read } => {
                self.own = true;
                self.bits = 0;
                if read {
                    self.shift = module.give(self.page);
                    self.give();
                } else {
                    self.state = State::Take { first: false };
                }
            }
            State::Give => self.give(),
            State::Wanted => {
                self.bits = 0;
                self.give();
            }
            State::Idle | State::Take { .. } => {}
        }
    }

    /// A byte has come in: acknowledges it, or not.
    fn taken(&mut self, module: &mut Module, first: bool) {
        let byte = self.shift;
        self.bits = 0;
        let read = if first {
            self.page = byte & 0xFE;
            if !PAGES.contains(&self.page) {
                self.state = State::Idle;
                return;
            }
            self.positioned = false;
            byte & 1 == 1
        } else {
            if self.positioned {
                module.take(self.page, byte);
            } else {
                module.position(self.page, byte);
                self.positioned = true;
            }
            false
        };
        self.own = false;
        self.state = State::Acknowledge { read };
    }

    /// The next bit of the byte that goes out; after eight of them the host's answer.
    fn give(&mut self) {
        if self.bits == 8 {
            self.own = true;
            self.state = State::Wanted;
            return;
        }
        self.own = self.shift & 0x80 != 0;
        self.shift <<= 1;
        self.bits += 1;
        self.state = State::Give;
    }
}
