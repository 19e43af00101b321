//! The receive path as a whole (82599 datasheet §4.6.7).

use barewire_bus::Bar;
use barewire_spec::ixgbe::limits::FRAME_MAX_PLAIN;
use barewire_spec::ixgbe::{
    CTRL_EXT, CtrlExt, HLREG0, Hlreg0, MAXFRS, Maxfrs, RDRXCTL, RXCTRL, Rdrxctl, Rxctrl, SECRXCTRL,
    SECRXSTAT, Secrxctrl, Secrxstat,
};

use super::registers::Registers;
use crate::Error;
use crate::patience::Patience;

/// Everything of the receive path that is set once, while it is off: lengths, FCS, padding.
pub(super) fn initialise<B: Bar>(registers: &Registers<B>, frame_max: u16, crc_strip: bool) {
    // MAXFRS counts only with JUMBOEN, also for limits below the plain one
    let hlreg0 = Hlreg0::from_bits(registers.read(&HLREG0))
        .with_txcrcen(true)
        .with_txpaden(true)
        .with_rxcrcstrp(crc_strip)
        .with_rxlngtherren(false)
        .with_jumboen(u32::from(frame_max) != FRAME_MAX_PLAIN);
    registers.write(&HLREG0, hlreg0.into_bits());
    registers.write(&MAXFRS, Maxfrs::new().with_mfs(frame_max).into_bits());
    // the strip bits of the MAC and of the DMA engine must agree
    let rdrxctl = Rdrxctl::from_bits(registers.read(&RDRXCTL)).with_crcstrip(crc_strip);
    registers.write(&RDRXCTL, rdrxctl.as_prescribed().into_bits());
    let ctrl_ext = CtrlExt::from_bits(registers.read(&CTRL_EXT));
    registers.write(
        &CTRL_EXT,
        ctrl_ext.with_ns_dis(true).with_drv_load(true).into_bits(),
    );
}

/// Lets frames in.
pub(super) fn enable<B: Bar>(registers: &Registers<B>) {
    registers.write(&RXCTRL, Rxctrl::new().with_rxen(true).into_bits());
}

/// Runs `change` while no frame comes in: some registers must not change under a frame's feet.
/// Frames wait in the device meanwhile.
pub(super) fn paused<B: Bar>(registers: &Registers<B>, change: impl FnOnce()) -> Result<(), Error> {
    let secrxctrl = Secrxctrl::from_bits(registers.read(&SECRXCTRL));
    registers.write(&SECRXCTRL, secrxctrl.with_rx_dis(true).into_bits());
    let empty = |status| Secrxstat::from_bits(status).secrx_rdy();
    let waited = registers.wait(
        "pausing the receive path",
        &SECRXSTAT,
        0,
        Patience::new(10, 10),
        empty,
    );
    if waited.is_ok() {
        registers.write(&RXCTRL, Rxctrl::new().into_bits());
        change();
        registers.write(&RXCTRL, Rxctrl::new().with_rxen(true).into_bits());
    }
    registers.write(&SECRXCTRL, secrxctrl.with_rx_dis(false).into_bits());
    waited.map(drop)
}
