//! From whatever state a device is in to a quiet one (82599 datasheet §4.6.3, §4.2, §5.2.5.3.2).

use std::time::Duration;

use barewire_bus::Bar;
use barewire_spec::ixgbe::{
    CTRL, Ctrl, EEC, EICR, EIMC, EIMC_ALL, EIMC_EX, Eec, RDRXCTL, Rdrxctl, STATUS, Status,
};

use super::registers::Registers;
use crate::Error;
use crate::patience::Patience;

/// Masks every interrupt and forgets those that are pending.
pub(super) fn disable_interrupts<B: Bar>(registers: &Registers<B>) {
    registers.write(&EIMC, EIMC_ALL);
    for half in 0..EIMC_EX.count() {
        registers.write_at(&EIMC_EX, half, u32::MAX);
    }
    registers.read(&EICR);
}

/// Asks the device to start no more DMA, and waits until what is under way has ended.
pub(super) fn disable_master<B: Bar>(registers: &Registers<B>) -> Result<(), Error> {
    let ctrl = Ctrl::from_bits(registers.read(&CTRL));
    registers.write(&CTRL, ctrl.with_pcie_master_disable(true).into_bits());
    let idle = |status| !Status::from_bits(status).pcie_master_enable_status();
    registers
        .wait(
            "the end of pending DMA",
            &STATUS,
            0,
            Patience::new(100, 80),
            idle,
        )
        .map(drop)
}

/// Resets the device and waits until it has read its EEPROM and initialised its DMA engine.
/// Interrupts are off before and after: the reset itself enables none, but a driver that ran
/// before may have.
pub(super) fn reset<B: Bar>(registers: &Registers<B>) -> Result<(), Error> {
    registers.check()?;
    disable_interrupts(registers);
    // With requests stuck, the datasheet asks for the reset to be done twice.
    let times = match disable_master(registers) {
        Ok(()) => 1,
        Err(Error::Timeout { .. }) => {
            tracing::warn!(
                device = registers.device(),
                "DMA still pending: resetting twice"
            );
            2
        }
        Err(error) => return Err(error),
    };
    for _ in 0..times {
        // bits that the reset needs; all others go back to their reset values anyway
        registers.write(
            &CTRL,
            Ctrl::new().with_lrst(true).with_rst(true).into_bits(),
        );
        registers.delay(Duration::from_millis(1));
        let over = |ctrl| {
            let ctrl = Ctrl::from_bits(ctrl);
            !ctrl.rst() && !ctrl.lrst()
        };
        registers.wait(
            "the end of the reset",
            &CTRL,
            0,
            Patience::new(100, 100),
            over,
        )?;
        registers.delay(Duration::from_millis(10));
    }
    disable_interrupts(registers);
    let read = |eec| Eec::from_bits(eec).auto_rd();
    registers.wait(
        "reading the EEPROM",
        &EEC,
        0,
        Patience::new(1000, 500),
        read,
    )?;
    let ready = |rdrxctl| Rdrxctl::from_bits(rdrxctl).dmaidone();
    registers.wait(
        "DMA initialisation",
        &RDRXCTL,
        0,
        Patience::new(1000, 500),
        ready,
    )?;
    Ok(())
}
