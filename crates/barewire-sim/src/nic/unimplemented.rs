//! What the hardware can do and the model can't, in one place.

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::Register;

/// A function of the hardware that the model does not have.
#[derive(Clone, Copy, Debug)]
pub struct Unimplemented {
    /// The register that asks for it.
    pub register: &'static Register,
    /// The bits that ask for it: a write with any of them set is a violation.
    pub bits: u32,
    /// What it is.
    pub what: &'static str,
}

const fn entry(register: &'static Register, bits: u32, what: &'static str) -> Unimplemented {
    Unimplemented {
        register,
        bits,
        what,
    }
}

/// Everything registers can ask for that the model does not do. Asking for it is a violation,
/// so that it is never silently missing. Descriptors that ask for `IPsec`, `LinkSec` or `FCoE` are
/// violations of their own.
pub static UNIMPLEMENTED: &[Unimplemented] = &[
    entry(
        &spec::MRQC,
        0b1110,
        "traffic classes and pools (MRQE above 1)",
    ),
    entry(
        &spec::MTQC,
        0b0011,
        "traffic classes and pools (RT_ENA, VT_ENA)",
    ),
    entry(&spec::PFVTCTL, 0x1, "pools (VT_ENA)"),
    entry(&spec::FCCFG, 0x10, "pauses of priorities (TFCE 2)"),
    entry(&spec::MFLCN, 0x4, "pauses of priorities (RPFCM)"),
    entry(&spec::TSAUXC, 0x10F, "target times and clock outputs"),
    entry(&spec::RTTBCNRC, 0x8000_0000, "rate limits of queues"),
];

/// The entry that a write of `value` to `register` asks for.
pub(super) fn find(register: &Register, value: u32) -> Option<&'static Unimplemented> {
    UNIMPLEMENTED
        .iter()
        .find(|entry| std::ptr::eq(entry.register, register) && value & entry.bits != 0)
}
