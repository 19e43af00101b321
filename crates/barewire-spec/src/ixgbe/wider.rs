//! Bits that are reserved on the 82599 and mean something on its successors.

use super::Register;
use super::{MFLCN, MRQC, RDRXCTL, RETA, RXDCTL, SW_FW_SYNC};

/// A register with more bits than on the 82599.
#[derive(Clone, Copy, Debug)]
pub struct Wider {
    /// The register.
    pub register: &'static Register,
    /// The bits that software may change besides those of the 82599.
    pub bits: u32,
    /// What they are.
    pub what: &'static str,
}

const fn entry(register: &'static Register, bits: u32, what: &'static str) -> Wider {
    Wider {
        register,
        bits,
        what,
    }
}

/// From the X540 on.
pub static X540: &[Wider] = &[
    entry(
        &RXDCTL,
        0x0000_BFFF,
        "RLPML and its enable: the longest frame of a queue",
    ),
    entry(&MFLCN, 0x0000_0FF0, "priority pause, class by class"),
    entry(
        &SW_FW_SYNC,
        0x8000_1800,
        "I2C semaphores and the semaphore of this register",
    ),
];

/// From the X550 on.
pub static X550: &[Wider] = &[
    entry(&RETA, 0x3F3F_3F3F, "redirection entries of six bits"),
    entry(&MRQC, 0x0000_6000, "RSS of pools, switched frames"),
    entry(&RDRXCTL, 0x0000_0004, "padding of small frames"),
];
