//! Link flow control: pause frames obeyed and sent (82599 §3.7.7, IEEE 802.3 annex 31B).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Fccfg, Fcrth, Fcrtl, Mflcn};

use super::model::Model;
use super::registers::Registers;
use crate::time::Nanos;
use crate::wire::MIN_FRAME;

/// Where pause frames are sent to.
const ADDRESS: [u8; 6] = [0x01, 0x80, 0xC2, 0x00, 0x00, 0x01];
/// The `EtherType` and the opcode.
const KIND: [u8; 4] = [0x88, 0x08, 0x00, 0x01];
/// The time in which 512 bits are sent at 10 Gbit/s, in picoseconds: the unit of pauses.
const QUANTUM: u64 = 51_200;
/// Bytes of a threshold's unit.
const UNIT: usize = 32;

/// What the registers say of pause frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pauses {
    /// They are obeyed.
    pub(super) obeyed: bool,
    /// Those that were obeyed, and other MAC control frames, go on to the filters.
    passed: bool,
    passed_unknown: bool,
    /// They are sent when the packet buffer holds more bytes than this.
    high: Option<usize>,
    /// The partner may go on when it holds fewer; `None` leaves that to the time.
    low: Option<usize>,
    quanta: u16,
    /// After so many quanta a pause that still holds is sent again.
    refresh: u16,
}

impl Pauses {
    /// Decodes the registers.
    pub(super) fn decode(registers: &Registers) -> Self {
        let mflcn = Mflcn::from_bits(registers.of(&spec::MFLCN));
        let high = Fcrth::from_bits(registers.get(&spec::FCRTH, 0));
        let low = Fcrtl::from_bits(registers.get(&spec::FCRTL, 0));
        let sends = Fccfg::from_bits(registers.of(&spec::FCCFG)).tfce() == 1;
        let [a, b, ..] = registers.get(&spec::FCTTV, 0).to_le_bytes();
        let [c, d, ..] = registers.of(&spec::FCRTV).to_le_bytes();
        Self {
            obeyed: mflcn.rfce(),
            passed: !mflcn.dpf(),
            passed_unknown: mflcn.pmcf(),
            high: (sends && high.fcen()).then(|| usize::from(high.rth()) * UNIT),
            low: low.xone().then(|| usize::from(low.rtl()) * UNIT),
            quanta: u16::from_le_bytes([a, b]),
            refresh: u16::from_le_bytes([c, d]),
        }
    }

    /// Whether pause frames are sent.
    pub(super) fn sends(&self) -> bool {
        self.high.is_some()
    }

    /// Whether a MAC control frame goes on to the filters.
    pub(super) fn passes(&self, control: Control) -> bool {
        match control {
            Control::Pause(_) if self.obeyed => self.passed,
            Control::Pause(_) => true,
            Control::Other => self.passed_unknown,
        }
    }
}

/// The state of the two directions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PauseState {
    /// The partner has paused this port until then.
    until: Nanos,
    /// This port has paused the partner, and says so again then.
    partner_again: Option<Nanos>,
}

impl PauseState {
    /// Whether this port may not send.
    #[inline]
    pub(super) fn holds(&self, now: Nanos) -> bool {
        now < self.until
    }
}

/// How long so many quanta are.
fn span(quanta: u16) -> Nanos {
    Nanos(u64::from(quanta) * QUANTUM / 1000)
}

/// A MAC control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// A pause of so many quanta; 0 ends one.
    Pause(u16),
    Other,
}

/// Whether a frame is a MAC control frame.
#[inline]
pub(super) fn control(frame: &[u8]) -> Option<Control> {
    let kind = frame.get(12..14)?;
    if kind != &KIND[..2] {
        return None;
    }
    let is_pause = frame.starts_with(&ADDRESS) && frame.get(14..16) == Some(&KIND[2..]);
    let quanta = frame.get(16..18).and_then(<[u8]>::first_chunk);
    Some(match quanta {
        Some(quanta) if is_pause => Control::Pause(u16::from_be_bytes(*quanta)),
        _ => Control::Other,
    })
}

impl Model {
    /// The partner asked for a pause, or for its end.
    pub(super) fn obey_pause(&mut self, quanta: u16) {
        self.pause.until = self.now + span(quanta);
    }

    /// Pauses the partner when the packet buffer fills, and lets it go on when there is room.
    pub(super) fn pause_partner(&mut self) {
        let pauses = self.port.pauses;
        let used = self.packet_buffer.used();
        let Some(high) = pauses.high else { return };
        if !self.port.sending || !self.port.receiving {
            return;
        }
        let again_at = self.pause.partner_again;
        if used > high && again_at.is_none_or(|again| self.now >= again) {
            let refresh = if pauses.refresh == 0 {
                pauses.quanta / 2
            } else {
                pauses.refresh
            };
            // Never more often than a frame takes.
            self.pause.partner_again = Some(self.now + span(refresh.max(16)));
            self.send_pause(pauses.quanta);
        } else if again_at.is_some() && used <= pauses.low.unwrap_or(high) {
            self.pause.partner_again = None;
            if pauses.low.is_some() {
                self.send_pause(0);
            }
        }
    }

    fn send_pause(&mut self, quanta: u16) {
        let mut frame = [0; MIN_FRAME];
        let low = self.registers.get(&spec::RAL, 0).to_le_bytes();
        let [fifth, sixth, ..] = self.registers.get(&spec::RAH, 0).to_le_bytes();
        let parts: [(usize, &[u8]); 5] = [
            (0, &ADDRESS),
            (6, &low),
            (10, &[fifth, sixth]),
            (12, &KIND),
            (16, &quanta.to_be_bytes()),
        ];
        for (at, bytes) in parts {
            if let Some(field) = frame.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        }
        self.statistics.sent_pause(quanta > 0, &frame);
        let wire: &mut dyn crate::wire::Wire = match &mut self.looped {
            Some(looped) => &mut **looped,
            None => &mut self.wire,
        };
        wire.push(self.now, &frame);
    }
}
