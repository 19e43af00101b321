//! The moments at which frames of the precision time protocol come and go (82599 §7.9).

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Rxmtrl, Tsyncrxctl, Tsynctxctl, tsync_type};

use super::model::Model;
use super::registers::Registers;
use crate::packet::{Headers, Transport};

/// Which frames are stamped, decoded from registers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    /// Received frames are stamped, and the last stamp has been read.
    pub(super) enabled: bool,
    kind: u8,
    messages: Rxmtrl,
}

impl Stamps {
    /// What the registers ask for.
    pub(super) fn decode(registers: &Registers) -> Self {
        let control = Tsyncrxctl::from_bits(registers.of(&spec::TSYNCRXCTL));
        Self {
            enabled: control.en() && !control.rxtt(),
            kind: control.kind(),
            messages: Rxmtrl::from_bits(registers.of(&spec::RXMTRL)),
        }
    }
}

/// A frame that was stamped: what the registers tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Six bytes of the source's identity.
    source: (u32, u16),
    sequence: u16,
}

/// Where in a message version 1 has its control field and both have source and sequence number.
const SOURCE: usize = 22;
const SEQUENCE: usize = 30;
const CONTROL: usize = 32;

/// Whether a frame is one of those that are stamped. `selected` says that an `EtherType` filter
/// for such frames matched.
pub(super) fn sight(
    stamps: Stamps,
    frame: &[u8],
    headers: &Headers,
    selected: bool,
) -> Option<Sighting> {
    let kind = stamps.kind;
    let message = if selected {
        // Behind the EtherType.
        frame.get(usize::from(headers.l3)..)?
    } else {
        let l4 = usize::from(headers.l4);
        let port = frame.get(l4 + 2..)?.first_chunk()?;
        let is_port = u16::from_be_bytes(*port) == stamps.messages.udpt();
        if headers.transport != Transport::Udp || !is_port {
            return None;
        }
        frame.get(l4 + 8..)?
    };
    let message_type = message.first()? & 0xF;
    let matches = match kind {
        tsync_type::L2_V2 => selected && message_type == stamps.messages.msgt(),
        tsync_type::L4_V1 => !selected && message.get(CONTROL) == Some(&stamps.messages.ctrlt()),
        tsync_type::L2_L4_V2 => message_type == stamps.messages.msgt(),
        // Those that need a stamp have the lowest eight types.
        tsync_type::EVENT_V2 => message_type < 8,
        _ => false,
    };
    if !matches {
        return None;
    }
    let sequence = message.get(SEQUENCE..)?.first_chunk()?;
    let first = message.get(SOURCE..)?.first_chunk()?;
    let last = message.get(SOURCE + 4..)?.first_chunk()?;
    Some(Sighting {
        source: (u32::from_be_bytes(*first), u16::from_be_bytes(*last)),
        sequence: u16::from_be_bytes(*sequence),
    })
}

impl Model {
    /// Keeps the moment of a received frame until it is read.
    pub(super) fn stamp_received(&mut self, sighting: Sighting) {
        let (low, high) = sighting.source;
        let high = u32::from(high) | u32::from(sighting.sequence) << 16;
        self.registers.put(&spec::RXSATRL, 0, low);
        self.registers.put(&spec::RXSATRH, 0, high);
        self.keep_stamp([&spec::RXSTMPL, &spec::RXSTMPH]);
        let control = Tsyncrxctl::from_bits(self.registers.of(&spec::TSYNCRXCTL));
        let valid = control.with_rxtt(true).into_bits();
        self.registers.put(&spec::TSYNCRXCTL, 0, valid);
        self.decode_port();
    }

    /// Keeps the moment of a sent frame until it is read, if none is kept yet.
    pub(super) fn stamp_sent(&mut self) {
        let control = Tsynctxctl::from_bits(self.registers.of(&spec::TSYNCTXCTL));
        if !control.en() || control.txtt() {
            return;
        }
        self.keep_stamp([&spec::TXSTMPL, &spec::TXSTMPH]);
        let valid = control.with_txtt(true).into_bits();
        self.registers.put(&spec::TSYNCTXCTL, 0, valid);
    }

    fn keep_stamp(&mut self, [low, high]: [&'static spec::Register; 2]) {
        let time = self.system_time();
        for (register, half) in [(low, time), (high, time >> 32)] {
            let half = u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0);
            self.registers.put(register, 0, half);
        }
    }

    /// The high half of a received frame's stamp was read: the next frame may be stamped.
    pub(super) fn free_receive_stamp(&mut self) {
        let control = Tsyncrxctl::from_bits(self.registers.of(&spec::TSYNCRXCTL));
        let free = control.with_rxtt(false).into_bits();
        self.registers.put(&spec::TSYNCRXCTL, 0, free);
        self.decode_port();
    }

    /// The high half of a sent frame's stamp was read.
    pub(super) fn free_transmit_stamp(&mut self) {
        let control = Tsynctxctl::from_bits(self.registers.of(&spec::TSYNCTXCTL));
        let free = control.with_txtt(false).into_bits();
        self.registers.put(&spec::TSYNCTXCTL, 0, free);
    }
}
