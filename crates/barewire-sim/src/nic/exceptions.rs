//! Where Linux's and DPDK's drivers break the datasheet themselves, in one list.
//!
//! Each entry is as narrow as what was seen: a place, a rule, the bits, who does it, and why the
//! device and its users come to no harm. What matches an entry is counted
//! ([`Nic::exceptions`](super::Nic::exceptions)) and is no violation, if
//! [`NicConfig::tolerate`](super::NicConfig::tolerate) is set. Nothing else is let through.

use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::Register;

use crate::exceptions::{Exception, Place};
use crate::violation::Rule;

/// What [`Place::Object`] calls a long buffer of a packet that is to be segmented.
pub(super) const LONG_BUFFER: &str = "transmit buffer";

/// The longest that is let through, in bytes.
pub(super) const LONGEST_BUFFER: u16 = 16_384;

const ANY: u32 = u32::MAX;

const LINUX: &str = "Linux ixgbe";
const DPDK: &str = "DPDK ixgbe";
const BOTH: &str = "Linux and DPDK ixgbe";
const COPPER: &str = "Linux and DPDK ixgbe, X540 and X550";
const SELF_TEST: &str = "Linux ixgbe, ethtool -t";
const DUMP: &str = "Linux ixgbe, ethtool -d, and DPDK's register dump";

const PATTERNS: &str = "writes patterns and reads them back while nothing runs; a reset follows";

const fn at(
    register: &'static Register,
    rule: Rule,
    bits: u32,
    who: &'static str,
    why: &'static str,
) -> Exception {
    some(register, register.count() - 1, rule, bits, who, why)
}

/// The first registers of an array, up to `last`.
const fn some(
    register: &'static Register,
    last: u32,
    rule: Rule,
    bits: u32,
    who: &'static str,
    why: &'static str,
) -> Exception {
    Exception {
        place: Place::Registers {
            register,
            first: 0,
            last,
        },
        rule,
        bits,
        who,
        why,
    }
}

/// Offsets that a register dump reads although nothing is there.
const fn old(name: &'static str, first: u32, count: u32, stride: u32) -> Exception {
    Exception {
        place: Place::Offsets {
            name,
            first,
            count,
            stride,
        },
        rule: Rule::UndefinedRegister,
        bits: 0,
        who: DUMP,
        why: "a register of another device of the family; the read returns 0 and changes nothing",
    }
}

/// All exceptions. Where nothing is defined only reads are let through.
pub static EXCEPTIONS: &[Exception] = &[
    // Interrupts.
    at(
        &spec::EIMC,
        Rule::ReservedBit,
        0x8000_0000,
        BOTH,
        "disables all causes with all ones; bit 31 has no cause",
    ),
    at(
        &spec::EIMS,
        Rule::ReservedBit,
        0x8000_0000,
        BOTH,
        "enables the 82598's cause 31, which does not exist any more",
    ),
    at(
        &spec::EICS,
        Rule::WriteOnly,
        0,
        LINUX,
        "reads causes there because a read of EICR would clear them",
    ),
    at(&spec::EIMC, Rule::WriteOnly, 0, DUMP, "the mask is read"),
    at(
        &spec::EITR,
        Rule::ReservedBit,
        0x0000_0007,
        LINUX,
        "an interval that is no multiple of its unit; the device rounds it down",
    ),
    // Resets.
    at(
        &spec::SWSM,
        Rule::DuringReset,
        ANY,
        COPPER,
        "gives the PHY's semaphore back right after the reset; the reset has cleared it already",
    ),
    at(
        &spec::SW_FW_SYNC,
        Rule::DuringReset,
        ANY,
        COPPER,
        "gives the PHY's semaphore back right after the reset; the reset has cleared it already",
    ),
    // Receive.
    at(
        &spec::FCTRL,
        Rule::ForbiddenState,
        0x0000_F702,
        BOTH,
        "changes what is accepted while frames arrive: only which of them passes is left to chance",
    ),
    Exception {
        place: Place::Object("receive descriptor"),
        rule: Rule::Descriptor,
        bits: 0,
        who: LINUX,
        why: "gives descriptors back with the done bit of their last use, where no header address is; \
              counted for every queue that starts with one buffer a descriptor",
    },
    at(
        &spec::SRRCTL,
        Rule::ForbiddenState,
        0x1000_0000,
        LINUX,
        "changes DROP_EN of queues that run, as pause frames are agreed on: frames without a \
         descriptor wait or are dropped from some moment on",
    ),
    at(
        &spec::RDH,
        Rule::ReadOnly,
        0,
        BOTH,
        "writes 0 to the head of a queue that does not run and has it at 0",
    ),
    at(
        &spec::RDT,
        Rule::Tail,
        0,
        BOTH,
        "writes 0 before the queue starts, which begins at 0 anyway",
    ),
    at(
        &spec::TDT,
        Rule::Tail,
        0,
        BOTH,
        "writes 0 before the queue starts, which begins at the head anyway",
    ),
    at(
        &spec::FCRTH,
        Rule::ReservedBit,
        0x7FF8_000F,
        LINUX,
        "the size of a packet buffer less 24 KiB, where the size is 0 and the buffer unused",
    ),
    // Transmit.
    at(
        &spec::TXDCTL,
        Rule::ForbiddenValue,
        0x0200_007F,
        DPDK,
        "fetches early (PTHRESH) without a least number of descriptors (HTHRESH); the device \
         fetches one if there is one",
    ),
    Exception {
        place: Place::Object(LONG_BUFFER),
        rule: Rule::Frame,
        bits: 0,
        who: LINUX,
        why: "gives buffers of up to 16 KiB, not 15.5, of packets to be segmented; the frames that \
              are made of them are no longer than the port allows",
    },
    // The self-test.
    at(&spec::STATUS, Rule::ReadOnly, ANY, SELF_TEST, PATTERNS),
    at(
        &spec::RAH,
        Rule::ReservedBit,
        0x000C_0000,
        SELF_TEST,
        PATTERNS,
    ),
    some(
        &spec::RDLEN,
        3,
        Rule::RingGeometry,
        ANY,
        SELF_TEST,
        PATTERNS,
    ),
    some(
        &spec::TDBAL,
        3,
        Rule::RingGeometry,
        ANY,
        SELF_TEST,
        PATTERNS,
    ),
    some(
        &spec::RXDCTL,
        3,
        Rule::RingGeometry,
        ANY,
        SELF_TEST,
        PATTERNS,
    ),
    some(&spec::RDT, 3, Rule::Tail, ANY, SELF_TEST, PATTERNS),
    at(
        &spec::RXCTRL,
        Rule::ReservedBit,
        0x0000_0002,
        SELF_TEST,
        "sets a bit of the 82598 for the loopback test, which the device ignores",
    ),
    at(
        &spec::RDRXCTL,
        Rule::ForbiddenValue,
        ANY,
        SELF_TEST,
        "receives without the prescribed bits, which are about coalescing; the test has none",
    ),
    at(
        &spec::RXCTRL,
        Rule::Disagreement,
        ANY,
        SELF_TEST,
        "receives without telling the DMA that the FCS is stripped; the test reads payload only",
    ),
    at(
        &spec::HLREG0,
        Rule::Disagreement,
        ANY,
        SELF_TEST,
        "the same, when loopback is turned on and off",
    ),
    // Registers of the 82598 in a dump of all registers.
    old("RDSTAT", 0x02C00, 9, 4),
    old("MSIXPBA", 0x02000, 1, 4),
    old("RXBUFCTRL", 0x03600, 1, 4),
    old("RXBUFDATA", 0x03610, 4, 4),
    old("RT2CR", 0x03C20, 8, 4),
    old("RT2SR", 0x03C40, 8, 4),
    old("DROPEN", 0x03D04, 1, 4),
    old("PCS1GDBG", 0x04210, 2, 4),
    old("MACA", 0x0424C, 4, 4),
    old("MLADD", 0x04264, 1, 4),
    old("TREG", 0x0426C, 1, 4),
    old("AUTOC3", 0x042AC, 1, 4),
    old("MDFTC1", 0x042B8, 1, 4),
    old("MDFTC2", 0x042C0, 4, 4),
    old("ATLASCTL", 0x04800, 1, 4),
    old("RUPPBMR", 0x050A0, 1, 4),
    old("RFVAL", 0x050A4, 1, 4),
    old("VMD_CTL", 0x0581C, 1, 4),
    old("IMIR", 0x05A80, 17, 4),
    old("TDTQ2TCCR", 0x0602C, 8, 0x40),
    old("TDTQ2TCSR", 0x0622C, 8, 0x40),
    old("DCA_TXCTRL", 0x07214, 1, 4),
    old("DCA_TXCTRL", 0x0721C, 3, 4),
    old("DCA_TXCTRL", 0x0722C, 3, 4),
    old("TDSTAT", 0x07C14, 1, 4),
    old("TDSTAT", 0x07C1C, 2, 4),
    old("TIC_DW", 0x07F14, 1, 4),
    old("TIC_DW", 0x07F1C, 2, 4),
    old("TXBUFCTRL", 0x0C600, 1, 4),
    old("TXBUFDATA", 0x0C610, 4, 4),
    old("PCIEECCCTL", 0x1106C, 1, 4),
    // Registers of the 82599 in a dump of a copper device.
    old("AUTOC", 0x042A0, 1, 4),
    old("AUTOC2", 0x042A8, 1, 4),
    old("ANLP1", 0x042B0, 1, 4),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exceptions::{Subject, find};
    use crate::nic::Device;
    use crate::nic::registers::slot;

    #[test]
    fn an_entry_covers_its_bits_and_places_and_no_others() {
        let rah = slot(spec::RAH.at(3), Device::I82599).unwrap();
        let covers = |rule, bits| find(EXCEPTIONS, rule, rah.subject(), bits).is_some();
        assert!(covers(Rule::ReservedBit, 0x0004_0000));
        assert!(!covers(Rule::ReservedBit, 0x0014_0000));
        assert!(!covers(Rule::ForbiddenState, 0));
        let tail = |queue| slot(spec::RDT.at(queue), Device::I82599).unwrap();
        assert!(find(EXCEPTIONS, Rule::Tail, tail(3).subject(), 7).is_some());
        assert!(find(EXCEPTIONS, Rule::Tail, tail(4).subject(), 7).is_none());
        let dump = |offset| {
            find(
                EXCEPTIONS,
                Rule::UndefinedRegister,
                Subject::Offset(offset),
                0,
            )
            .is_some()
        };
        assert!(dump(0x06_02C + 7 * 0x40));
        assert!(!dump(0x06_02C + 16 * 0x40));
        assert!(!dump(0x02C24));
    }

    #[test]
    fn no_entry_says_nothing() {
        for entry in EXCEPTIONS {
            assert!(!entry.who.is_empty() && entry.why.len() > 10, "{entry}");
        }
    }
}
