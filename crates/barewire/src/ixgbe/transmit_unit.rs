//! The transmit path as a whole (82599 datasheet §4.6.8).

use barewire_bus::Bar;
use barewire_spec::ixgbe::{DMATXCTL, DTXMXSZRQ, Dmatxctl, Dtxmxszrq, MTQC, Mtqc, RTTDCS, Rttdcs};

use super::registers::Registers;

/// Sets up one traffic class with up to 64 queues, and starts the path. Queues are enabled after
/// this.
pub(super) fn initialise<B: Bar>(registers: &Registers<B>) {
    registers.write(
        &DTXMXSZRQ,
        Dtxmxszrq::new().with_max_bytes_num_req(0xFFF).into_bits(),
    );
    // MTQC must not change while the arbiter works with it
    let rttdcs = Rttdcs::from_bits(registers.read(&RTTDCS));
    registers.write(&RTTDCS, rttdcs.with_arbdis(true).into_bits());
    registers.write(&MTQC, Mtqc::new().into_bits());
    registers.write(&RTTDCS, rttdcs.with_arbdis(false).into_bits());
    let dmatxctl = Dmatxctl::from_bits(registers.read(&DMATXCTL));
    registers.write(&DMATXCTL, dmatxctl.with_te(true).into_bits());
}
