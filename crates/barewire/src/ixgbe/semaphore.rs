//! Resources that software shares with the device's firmware (82599 datasheet §10.5.4).

use std::time::Duration;

use barewire_bus::Bar;
use barewire_spec::ixgbe::{SW_FW_SYNC, SWSM, SwFwSync, Swsm};

use super::registers::Registers;
use crate::Error;
use crate::patience::Patience;

/// What can be claimed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource {
    /// The EEPROM.
    Eeprom,
    /// The PHY of port 0 or 1.
    Phy(u8),
}

impl Resource {
    fn software(self, sync: SwFwSync, claim: bool) -> SwFwSync {
        match self {
            Self::Eeprom => sync.with_sw_eep_sm(claim),
            Self::Phy(0) => sync.with_sw_phy_sm0(claim),
            Self::Phy(_) => sync.with_sw_phy_sm1(claim),
        }
    }

    fn taken(self, sync: SwFwSync) -> bool {
        match self {
            Self::Eeprom => sync.sw_eep_sm() || sync.fw_eep_sm(),
            Self::Phy(0) => sync.sw_phy_sm0() || sync.fw_phy_sm0(),
            Self::Phy(_) => sync.sw_phy_sm1() || sync.fw_phy_sm1(),
        }
    }
}

/// Runs `work` while `resource` is claimed.
pub(super) fn with<B: Bar, T>(
    registers: &Registers<B>,
    resource: Resource,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    claim(registers, resource)?;
    let result = work();
    release(registers, resource)?;
    result
}

fn claim<B: Bar>(registers: &Registers<B>, resource: Resource) -> Result<(), Error> {
    for _ in 0..200 {
        lock(registers)?;
        let sync = SwFwSync::from_bits(registers.read(&SW_FW_SYNC));
        if !resource.taken(sync) {
            registers.write(&SW_FW_SYNC, resource.software(sync, true).into_bits());
            unlock(registers);
            return Ok(());
        }
        unlock(registers);
        registers.delay(Duration::from_millis(5));
    }
    Err(Error::Timeout {
        device: registers.device().to_owned(),
        what: "a resource shared with the firmware becoming free",
        register: SW_FW_SYNC.name,
        value: registers.read(&SW_FW_SYNC),
        millis: 1000,
    })
}

fn release<B: Bar>(registers: &Registers<B>, resource: Resource) -> Result<(), Error> {
    lock(registers)?;
    let sync = SwFwSync::from_bits(registers.read(&SW_FW_SYNC));
    registers.write(&SW_FW_SYNC, resource.software(sync, false).into_bits());
    unlock(registers);
    Ok(())
}

/// Takes the semaphore that guards `SW_FW_SYNC`. The read of `SMBI` that returns 0 takes it.
fn lock<B: Bar>(registers: &Registers<B>) -> Result<(), Error> {
    let free = |swsm| !Swsm::from_bits(swsm).smbi();
    let waited = registers.wait(
        "the software semaphore",
        &SWSM,
        0,
        Patience::new(50, 100),
        free,
    );
    if let Err(error @ Error::Timeout { .. }) = waited {
        // a driver that died with it would keep it for good
        tracing::warn!(%error, "taking over a semaphore that nobody released");
        registers.write(&SWSM, Swsm::new().into_bits());
        registers.wait(
            "the software semaphore",
            &SWSM,
            0,
            Patience::new(50, 100),
            free,
        )?;
    } else {
        waited?;
    }
    for _ in 0..2000 {
        let ours = Swsm::new().with_smbi(true).with_swesmbi(true);
        registers.write(&SWSM, ours.into_bits());
        if Swsm::from_bits(registers.read(&SWSM)).swesmbi() {
            return registers.check();
        }
        registers.delay(Duration::from_micros(50));
    }
    unlock(registers);
    Err(Error::Timeout {
        device: registers.device().to_owned(),
        what: "the firmware's semaphore",
        register: SWSM.name,
        value: registers.read(&SWSM),
        millis: 100,
    })
}

fn unlock<B: Bar>(registers: &Registers<B>) {
    registers.write(&SWSM, Swsm::new().into_bits());
}
