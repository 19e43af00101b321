//! Interrupts: from causes to vectors, masks and moderation (82599 datasheet §7.3, §8.2.3.5).
//!
//! Receive queue `n` has vector `n`, and the link has the vector behind the last queue's. A queue's
//! cause is cleared and masked by the device itself when its message is sent (EIAC, EIAM), so a
//! queue under load interrupts once, and then no more until the program asks for it again.
//!
//! # No wake-up is lost
//!
//! A program that finds its queue empty *arms* it and sleeps until the event is signalled. Between
//! its last look at the ring and the moment the mask is lifted, frames may arrive. So arming is five
//! things, in this order:
//!
//! 1. The event's signal is taken back.
//! 2. The queue's cause is cleared, by writing EICR, so that frames that were polled do not
//!    interrupt afterwards.
//! 3. The mask is lifted, by writing EIMS.
//! 4. A register is read. Its value is back only when both writes have arrived at the device and
//!    what the device wrote to memory before is visible: a completion passes no posted write, in
//!    either direction (PCI Express Base 2.0 §2.4).
//! 5. The ring is looked at once more, and the program sleeps only if it is still empty.
//!
//! Take any frame. Its descriptor is written back first, then its cause is set. If the write-back
//! was before the device answered the read, step 5 sees it, and nobody sleeps. If it was after, then
//! so was the cause: nothing cleared it, and the mask was lifted already. So the device sends a
//! message, no earlier than step 4, and the event is signalled after step 1: the sleeper wakes up. A
//! message for an earlier frame may come late and wake the sleeper for nothing; it can't use up one
//! that is needed, because a signal that comes after step 1 stays until the queue is armed the next
//! time, whose step 5 comes after it. Moderation delays a message and drops none.
//!
//! Queues 16 and above have no bit in EICR, and step 2 is left out: a cause that was pending then
//! wakes the sleeper for nothing.

use std::time::Duration;

use barewire_bus::{Bar, Event, InterruptKind, Interrupts};
use barewire_spec::ixgbe::{
    EIAC, EIAM, EIAM_EX, EICR, EIMS, EIMS_EX, EITR, Eicr, Eitr, GPIE, Gpie, IVAR, IVAR_MISC,
};

use super::registers::Registers;
use crate::device::link_vector;
use crate::{Error, PortConfig};

/// Most vectors of the device (§7.3.1.4).
const VECTORS: u16 = 64;
/// The step of moderation at 1 and 10 Gbit/s, in microseconds (§8.2.3.5.12).
const STEP: u64 = 2;
/// The longest interval, in steps.
const LONGEST: u64 = (1 << 9) - 1;
/// An entry of IVAR is valid.
const VALID: u8 = 1 << 7;
/// The queue causes that EICR has bits for.
const QUEUE_CAUSES: u32 = 0xFFFF;

/// Refuses a configuration before the device is touched.
pub(super) fn check<B: Bar>(registers: &Registers<B>, config: &PortConfig) -> Result<(), Error> {
    if !config.interrupts {
        return Ok(());
    }
    let most = VECTORS - 1; // one is for the link
    if config.rx_queues > most {
        return Err(registers.config_error(
            "receive queues with interrupts",
            config.rx_queues,
            format!("1 to {most}"),
        ));
    }
    interval(config.interrupt_interval)
        .map(drop)
        .ok_or_else(|| {
            registers.config_error(
                "interrupt interval",
                format!("{:?}", config.interrupt_interval),
                format!("0 to {} µs", LONGEST * STEP),
            )
        })
}

/// An interval in steps, rounded up; `None` if it is too long.
fn interval(duration: Duration) -> Option<u16> {
    let micros = u64::try_from(duration.as_nanos().div_ceil(1000)).ok()?;
    u16::try_from(micros.div_ceil(STEP))
        .ok()
        .filter(|steps| u64::from(*steps) <= LONGEST)
}

/// Sets the device up for its vectors, with queues masked and the link not. To be called after the
/// reset, which wipes all of this.
pub(super) fn initialise<B: Bar>(
    registers: &Registers<B>,
    interrupts: &Interrupts,
    config: &PortConfig,
) {
    let msix = interrupts.kind() == InterruptKind::MsiX;
    let gpie = Gpie::from_bits(registers.read(&GPIE))
        .with_multiple_msix(msix)
        .with_ocd(msix)
        .with_pba_support(msix)
        .with_eiame(msix);
    registers.write(&GPIE, gpie.into_bits());
    if msix {
        registers.write(&EIAC, QUEUE_CAUSES);
        for half in 0..EIAM_EX.count() {
            registers.write_at(&EIAM_EX, half, u32::MAX);
        }
    } else {
        // with one message, causes are masked when EICR is read
        registers.write(&EIAM, QUEUE_CAUSES);
    }
    let interval = interval(config.interrupt_interval).unwrap_or(0);
    let eitr = Eitr::new().with_itr_interval(interval).with_cnt_wdis(true);
    for queue in 0..config.rx_queues {
        assign(registers, queue, queue);
        registers.write_at(&EITR, u32::from(queue), eitr.into_bits());
    }
    if link_vector(interrupts, config).is_some() {
        let vector = config.rx_queues;
        let [timer, _, rest @ ..] = registers.read(&IVAR_MISC).to_le_bytes();
        let [low, ..] = vector.to_le_bytes();
        let misc = u32::from_le_bytes([timer, low | VALID, rest[0], rest[1]]);
        registers.write(&IVAR_MISC, misc);
        registers.write(&EIMS, LINK.into_bits());
    }
}

/// The cause of a link that went up or down.
const LINK: Eicr = Eicr::new().with_lsc(true);

/// Gives a receive queue its vector. The transmit queue of the same number has none.
fn assign<B: Bar>(registers: &Registers<B>, queue: u16, vector: u16) {
    let pair = u32::from(queue / 2);
    let [low, ..] = vector.to_le_bytes();
    let mut entries = registers.read_at(&IVAR, pair).to_le_bytes();
    entries[usize::from(queue % 2) * 2] = low | VALID;
    registers.write_at(&IVAR, pair, u32::from_le_bytes(entries));
}

/// Steps 1 to 3 of arming a receive queue; see this module's head.
pub(super) fn arm<B: Bar>(
    registers: &Registers<B>,
    kind: InterruptKind,
    queue: u32,
    event: &Event,
) {
    event.clear();
    match kind {
        InterruptKind::MsiX => {
            if queue < 16 {
                registers.write(&EICR, 1 << queue);
            }
            registers.write_at(&EIMS_EX, queue / 32, 1 << (queue % 32));
        }
        InterruptKind::Msi => {
            registers.read(&EICR);
            registers.write(&EIMS, 1 << (queue % 16));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_rounded_up_to_steps_and_bounded() {
        let steps = |micros| interval(Duration::from_micros(micros));
        assert_eq!(steps(0), Some(0));
        assert_eq!(steps(1), Some(1));
        assert_eq!(steps(2), Some(1));
        assert_eq!(steps(3), Some(2));
        assert_eq!(steps(1022), Some(511));
        assert_eq!(steps(1023), None);
        assert_eq!(interval(Duration::from_nanos(1)), Some(1));
        assert_eq!(interval(Duration::MAX), None);
    }
}
