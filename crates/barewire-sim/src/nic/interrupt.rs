//! Interrupts: from causes to messages (82599 §7.3, §8.2.3.5).
//!
//! Causes are set with an OR wherever something happens. Once a step, and after each access to a
//! register, the device looks whether an enabled cause is new; only then does it find vectors,
//! moderation and masks.

use std::fmt;

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::{Eicr, Eitr, Gpie, Register, Tcptimer, limits, link_speed};

use super::Nic;
use super::model::Model;
use super::registers::Slot;
use crate::pci::VectorTable;
use crate::time::Nanos;

/// Takes the interrupts of a device.
///
/// It is called while the device is at work, on the thread that steps or accesses it, so it must
/// neither block nor call the device.
pub trait Signal: Send {
    /// Interrupt `vector` fired: an MSI-X vector, or 0 where the device uses MSI or `INTx`.
    fn signal(&mut self, vector: u16);
}

impl Nic {
    /// Sends the device's interrupts to `signal` from now on, in place of whoever had them before.
    pub fn connect_interrupts(&self, signal: impl Signal + 'static) {
        self.shared.access().interrupts.signal = Some(Box::new(signal));
    }

    /// An enabled cause is set and the device does not use MSI-X: what holds an interrupt line
    /// down, for whoever emulates one.
    pub fn interrupt_line(&self) -> bool {
        let model = self.shared.access();
        !model.gpie().multiple_msix() && model.causes & model.interrupts.armed != 0
    }
}

/// Interrupt causes: bits 63:0 are those of queues, by vector, and the others are where EICR has
/// them, [`OTHER`] bits further up.
pub(super) type Causes = u128;

/// Where EICR begins in [`Causes`]; its lowest 16 bits there are unused.
const OTHER: u32 = 64;
/// The bits of EICR that are not those of queues.
const OTHER_BITS: u32 = 0x7FFF_0000;
/// The bits of EICR that are those of queues.
const QUEUE_BITS: u32 = 0x0000_FFFF;
/// The bit of EICR of the TCP timer, which has an entry of `IVAR_MISC` of its own.
const TCP_TIMER: u32 = Eicr::new().with_tcp_timer(true).into_bits();
/// What reading EICR clears while GPIE.OCD is 1.
const OCD_CLEARS: u32 = 0x3FFF_0000;
const VECTORS: usize = limits::MSIX_VECTORS as usize;

/// The causes that bits of EICR stand for.
pub(super) fn causes_of(eicr: u32) -> Causes {
    Causes::from(eicr & QUEUE_BITS) | Causes::from(eicr & OTHER_BITS) << OTHER
}

/// The bits of EICR that causes appear as.
fn eicr_of(causes: Causes) -> u32 {
    let other = u32::try_from(causes >> OTHER).unwrap_or(0);
    low(causes) & QUEUE_BITS | other & OTHER_BITS
}

/// The causes of the queue half `index` of an _EX register.
fn queue_half(index: u32, value: u32) -> Causes {
    Causes::from(value) << (32 * (index & 1))
}

fn low(causes: Causes) -> u32 {
    u32::try_from(causes & Causes::from(u32::MAX)).unwrap_or(0)
}

/// What an entry of IVAR or `IVAR_MISC` assigns: a vector, if it is valid.
pub(super) fn assigned(entry: u8) -> Option<usize> {
    (entry & 0x80 != 0).then_some(usize::from(entry & 0x3F))
}

/// What the device knows of its interrupts beyond the causes.
pub(super) struct Interrupts {
    signal: Option<Box<dyn Signal>>,
    /// Enabled causes: EIMS and `EIMS_EX`.
    armed: Causes,
    /// Enabled causes that were set when the device last looked.
    seen: Causes,
    /// Vectors with an enabled cause whose message has not been sent.
    waiting: u64,
    /// When moderation lets each vector go again.
    ready_at: [Nanos; VECTORS],
    timer: Option<Nanos>,
    pub(super) table: VectorTable,
}

impl fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupts")
            .field("armed", &self.armed)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Interrupts {
    pub(super) fn new() -> Self {
        Self {
            signal: None,
            armed: 0,
            seen: 0,
            waiting: 0,
            ready_at: [Nanos::ZERO; VECTORS],
            timer: None,
            table: VectorTable::new(VECTORS),
        }
    }

    /// Takes over whoever hears of another device's interrupts.
    pub(super) fn take_signal(&mut self, from: &mut Self) {
        self.signal = from.signal.take();
    }

    /// A reset of the device: nothing is enabled any more.
    pub(super) fn reset(&mut self) {
        self.armed = 0;
        self.seen = 0;
        self.waiting = 0;
        self.ready_at = [Nanos::ZERO; VECTORS];
        self.timer = None;
    }

    /// The moments at which something falls due.
    pub(super) fn pending(&self) -> impl Iterator<Item = Nanos> {
        let waiting = self.waiting & !self.table.masked();
        let vectors = self.ready_at.iter().enumerate();
        vectors
            .filter(move |(vector, _)| waiting >> vector & 1 == 1)
            .map(|(_, at)| *at)
            .chain(self.timer)
    }

    /// Vectors whose message has not been sent: the pending bits of the table.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }
}

impl Model {
    fn gpie(&self) -> Gpie {
        Gpie::from_bits(self.registers.of(&spec::GPIE))
    }

    /// Enabled causes that the device has not seen.
    pub(super) fn unseen(&self) -> Causes {
        self.interrupts.armed & !self.interrupts.seen
    }

    /// Sends what new causes ask for. Cheap while there are none.
    #[inline]
    pub(super) fn interrupt(&mut self) {
        if self.causes & self.unseen() != 0 {
            self.deliver();
        }
    }

    /// Finds the vectors of new causes and sends the messages that are due. A vector asks again for
    /// each cause that becomes active, so that none is lost between software's read of the causes
    /// and its clearing them.
    #[cold]
    pub(super) fn deliver(&mut self) {
        let active = self.causes & self.interrupts.armed;
        let new = self.vectors_of(active & !self.interrupts.seen);
        let all = self.vectors_of(active);
        self.interrupts.waiting = self.interrupts.waiting & all | new;
        let mut ready = self.interrupts.waiting & !self.interrupts.table.masked();
        while ready != 0 {
            let vector = ready.trailing_zeros();
            ready &= ready - 1;
            self.send(vector);
        }
        self.interrupts.seen = self.causes & self.interrupts.armed;
        if let Some(at) = self.interrupts.pending().min() {
            self.next_event = self.next_event.min(at);
        }
    }

    /// The vectors that causes ask for.
    fn vectors_of(&self, causes: Causes) -> u64 {
        if !self.gpie().multiple_msix() {
            return u64::from(causes != 0);
        }
        let queues = u64::try_from(causes & Causes::from(u64::MAX)).unwrap_or(0);
        let other = eicr_of(causes) & OTHER_BITS;
        let [timer, misc, ..] = self.registers.of(&spec::IVAR_MISC).to_le_bytes();
        let vector = |entry: u8, asks: bool| match assigned(entry) {
            Some(vector) if asks => 1 << vector,
            _ => 0,
        };
        queues | vector(timer, other & TCP_TIMER != 0) | vector(misc, other & !TCP_TIMER != 0)
    }

    /// The enabled causes that `vector` stands for.
    fn causes_of_vector(&self, vector: u32) -> Causes {
        let active = self.causes & self.interrupts.armed;
        if !self.gpie().multiple_msix() {
            return active;
        }
        let [timer, misc, ..] = self.registers.of(&spec::IVAR_MISC).to_le_bytes();
        let is = |entry: u8| assigned(entry) == Some(vector as usize);
        let timer = if is(timer) { TCP_TIMER } else { 0 };
        let misc = if is(misc) { OTHER_BITS & !TCP_TIMER } else { 0 };
        active & (1 << vector | causes_of(timer | misc))
    }

    /// Sends the message of a vector if moderation lets it go.
    fn send(&mut self, vector: u32) {
        let index = vector as usize % VECTORS;
        if self.interrupts.ready_at[index] > self.now {
            return;
        }
        let interval = self.interval(vector);
        let causes = self.causes_of_vector(vector);
        self.interrupts.ready_at[index] = self.now + interval;
        self.interrupts.waiting &= !(1 << vector);
        let gpie = self.gpie();
        if gpie.multiple_msix() {
            // Queue causes beyond EICR have no other way to be cleared (82599 §7.3.1.4).
            let beyond = Causes::from(u64::MAX) & !Causes::from(QUEUE_BITS);
            let clears = causes_of(self.registers.of(&spec::EIAC)) | beyond;
            self.causes &= !(causes & clears);
            if gpie.eiame() {
                self.interrupts.armed &= !(causes & self.auto_mask());
            }
        }
        if let Some(trace) = &mut self.trace {
            trace.note(self.now, "fires", &format_args!("vector {vector}"));
        }
        if let Some(signal) = &mut self.interrupts.signal {
            signal.signal(u16::try_from(vector).unwrap_or(0));
        }
    }

    /// The shortest time between two messages of a vector (82599 §8.2.3.5.12).
    fn interval(&self, vector: u32) -> Nanos {
        let eitr = Eitr::from_bits(self.registers.get(&spec::EITR, vector));
        let unit = if self.link_speed() == link_speed::MBIT_100 {
            20_000
        } else {
            2_000
        };
        Nanos(unit * u64::from(eitr.itr_interval()))
    }

    /// EIAM and `EIAM_EX`.
    fn auto_mask(&self) -> Causes {
        let half = |index| queue_half(index, self.registers.get(&spec::EIAM_EX, index));
        causes_of(self.registers.of(&spec::EIAM)) | half(0) | half(1)
    }

    /// Reads EICR, which clears what GPIE says (82599 §8.2.3.5.1).
    pub(super) fn read_eicr(&mut self) -> u32 {
        let value = eicr_of(self.causes);
        let clears = if self.gpie().ocd() {
            OCD_CLEARS
        } else {
            u32::MAX
        };
        self.clear_causes(clears);
        value
    }

    /// Clears causes by a read of EICR or by writing ones to it.
    pub(super) fn clear_causes(&mut self, eicr: u32) {
        self.causes &= !causes_of(eicr);
        if !self.gpie().eiame() {
            self.interrupts.armed &= !self.auto_mask();
        }
        self.deliver();
    }

    /// EICR without its side effects, as a read of EICS returns it.
    pub(super) fn peek_eicr(&self) -> u32 {
        eicr_of(self.causes)
    }

    /// EICS and `EICS_EX`: causes by the hand of software. They wait for moderation unless
    /// GPIE.EIMEN says otherwise.
    pub(super) fn write_eics(&mut self, slot: &Slot, value: u32) {
        let causes = if std::ptr::eq(slot.register, &raw const spec::EICS) {
            causes_of(value)
        } else {
            queue_half(slot.index, value)
        };
        self.causes |= causes;
        if self.gpie().eimen() {
            self.interrupts.ready_at = [Nanos::ZERO; VECTORS];
        }
        self.deliver();
    }

    /// EIMS and EIMC and their _EX halves; the lowest 16 queue causes are the same in both.
    pub(super) fn write_mask(&mut self, slot: &Slot, value: u32) {
        let is = |register: &'static Register| std::ptr::eq(slot.register, register);
        let causes = if is(&spec::EIMS) || is(&spec::EIMC) {
            causes_of(value)
        } else {
            queue_half(slot.index, value)
        };
        if is(&spec::EIMS) || is(&spec::EIMS_EX) {
            self.interrupts.armed |= causes;
        } else {
            self.interrupts.armed &= !causes;
        }
        self.deliver();
    }

    /// EIMS as it reads.
    pub(super) fn read_eims(&self) -> u32 {
        eicr_of(self.interrupts.armed)
    }

    /// `EIMS_EX` as it reads.
    pub(super) fn read_eims_ex(&self, index: u32) -> u32 {
        low(self.interrupts.armed >> (32 * (index & 1)))
    }

    /// EIAM[15:0] and `EIAM_EX`(0)[15:0] are the same bits.
    pub(super) fn write_auto_mask(&mut self, slot: &Slot, new: u32) {
        let is_ex = std::ptr::eq(slot.register, &raw const spec::EIAM_EX);
        let twin: &Register = match (is_ex, slot.index) {
            (false, _) => &spec::EIAM_EX,
            (true, 0) => &spec::EIAM,
            (true, _) => return,
        };
        let kept = self.registers.of(twin) & !QUEUE_BITS | new & QUEUE_BITS;
        self.registers.put(twin, 0, kept);
    }

    /// EITR: `CNT_WDIS` leaves the running interval alone; without it a new one has run out.
    pub(super) fn write_eitr(&mut self, slot: &Slot, new: u32) {
        let eitr = Eitr::from_bits(new);
        if !eitr.cnt_wdis()
            && let Some(at) = self.interrupts.ready_at.get_mut(slot.position())
        {
            *at = self.now;
        }
        let kept = eitr.with_cnt_wdis(false).into_bits();
        self.registers.put_at(slot, kept);
        self.deliver();
    }

    /// The TCP timer (82599 §8.2.3.15): starts, stops and loops as its register says.
    pub(super) fn write_tcp_timer(&mut self, slot: &Slot, new: u32) {
        let timer = Tcptimer::from_bits(new);
        self.registers.put_at(
            slot,
            timer.with_kick_start(false).with_finish(false).into_bits(),
        );
        if timer.finish() || !timer.count_enable() {
            self.interrupts.timer = None;
        }
        if timer.kick_start() && timer.count_enable() && !timer.finish() {
            self.interrupts.timer = Some(self.now + timer_period(timer));
        }
        self.reschedule();
    }

    /// What falls due at this moment: the timer, and vectors that moderation held back.
    pub(super) fn update_interrupts(&mut self) {
        if self.interrupts.timer.is_some_and(|at| at <= self.now) {
            let timer = Tcptimer::from_bits(self.registers.of(&spec::TCPTIMER));
            self.interrupts.timer = timer.loops().then(|| self.now + timer_period(timer));
            self.raise(TCP_TIMER);
        }
        self.deliver();
    }
}

/// The duration of a timer, which is in milliseconds and never 0.
fn timer_period(timer: Tcptimer) -> Nanos {
    Nanos::from_millis(u64::from(timer.duration().max(1)))
}
