//! The device's statistics, accumulated in 64 bits (82599 datasheet §8.2.3.23).
//!
//! The device clears a counter when it is read, so each read is added to a total. Counters of
//! bytes have 36 bits in two registers, of which the low one is read first.

use std::collections::BTreeMap;

use barewire_bus::Bar;
use barewire_spec::ixgbe as spec;
use barewire_spec::ixgbe::Register;

use super::registers::Registers;
use crate::{Error, Statistics};

/// Counters of one register each.
static SINGLE: &[&Register] = &[
    &spec::CRCERRS,
    &spec::ILLERRC,
    &spec::ERRBC,
    &spec::MPC,
    &spec::MLFC,
    &spec::MRFC,
    &spec::RLEC,
    &spec::LXONTXC,
    &spec::LXOFFTXC,
    &spec::LXONRXCNT,
    &spec::LXOFFRXCNT,
    &spec::PRC64,
    &spec::PRC127,
    &spec::PRC255,
    &spec::PRC511,
    &spec::PRC1023,
    &spec::PRC1522,
    &spec::GPRC,
    &spec::BPRC,
    &spec::MPRC,
    &spec::GPTC,
    &spec::RUC,
    &spec::RFC,
    &spec::ROC,
    &spec::RJC,
    &spec::MNGPRC,
    &spec::MNGPDC,
    &spec::MNGPTC,
    &spec::TPR,
    &spec::TPT,
    &spec::PTC64,
    &spec::PTC127,
    &spec::PTC255,
    &spec::PTC511,
    &spec::PTC1023,
    &spec::PTC1522,
    &spec::MPTC,
    &spec::BPTC,
    &spec::XEC,
    &spec::QPRC,
    &spec::QPRDC,
    &spec::QPTC,
];

/// Counters of two registers, the low one first, and their name together.
static DOUBLE: &[(&Register, &Register, &str)] = &[
    (&spec::GORCL, &spec::GORCH, "GORC"),
    (&spec::GOTCL, &spec::GOTCH, "GOTC"),
    (&spec::TORL, &spec::TORH, "TOR"),
    (&spec::QBRC_L, &spec::QBRC_H, "QBRC"),
    (&spec::QBTC_L, &spec::QBTC_H, "QBTC"),
];

/// Bytes of the FCS, which the device's byte counters include.
const FCS: u64 = 4;

/// Totals, by the datasheet's name and index.
#[derive(Debug, Default)]
pub(super) struct Counters {
    totals: BTreeMap<(&'static str, u32), u64>,
}

impl Counters {
    /// Gives each queue below 16 counters of its own, the 17th the first's again, and so on.
    pub(super) fn assign_queues<B: Bar>(registers: &Registers<B>) {
        let map = u32::from_le_bytes([0, 1, 2, 3]);
        for index in 0..spec::RQSMR.count() {
            // queues 4n to 4n + 3, a byte each
            let value = map + 0x0404_0404 * (index % 4);
            registers.write_at(&spec::RQSMR, index, value);
            registers.write_at(&spec::TQSM, index, value);
        }
    }

    /// Reads all counters, so that they start from 0.
    pub(super) fn clear<B: Bar>(&mut self, registers: &Registers<B>) -> Result<(), Error> {
        self.update(registers)?;
        self.totals.clear();
        Ok(())
    }

    /// Adds what the device counted since the last time.
    pub(super) fn update<B: Bar>(&mut self, registers: &Registers<B>) -> Result<(), Error> {
        registers.check()?;
        let mut fresh = Vec::with_capacity(256);
        for register in SINGLE {
            for index in 0..register.count() {
                let value = u64::from(registers.read_at(register, index));
                fresh.push(((register.name, index), value));
            }
        }
        for (low, high, name) in DOUBLE {
            for index in 0..low.count() {
                let low = registers.read_at(low, index);
                let high = registers.read_at(high, index);
                fresh.push(((*name, index), spec::octets(low, high)));
            }
        }
        // a device that went away meanwhile has read all ones: count none of it
        registers.check()?;
        for (counter, value) in fresh {
            let total = self.totals.entry(counter).or_default();
            *total = total.saturating_add(value);
        }
        Ok(())
    }

    fn total(&self, name: &str) -> u64 {
        self.totals
            .iter()
            .filter(|((counter, _), _)| *counter == name)
            .map(|(_, value)| value)
            .sum()
    }

    pub(super) fn statistics(&self) -> Statistics {
        let [rx_packets, tx_packets] = ["GPRC", "GPTC"].map(|name| self.total(name));
        Statistics {
            rx_packets,
            rx_bytes: self
                .total("GORC")
                .saturating_sub(rx_packets.saturating_mul(FCS)),
            rx_dropped: self.total("MPC") + self.total("QPRDC"),
            rx_errors: ["CRCERRS", "RLEC", "RUC", "RFC", "ROC", "RJC"]
                .iter()
                .map(|name| self.total(name))
                .sum(),
            tx_packets,
            tx_bytes: self
                .total("GOTC")
                .saturating_sub(tx_packets.saturating_mul(FCS)),
        }
    }

    /// Every counter that is not 0: `GPRC`, and `QPRC[3]` where there are several.
    pub(super) fn extended(&self) -> Vec<(String, u64)> {
        let arrays: Vec<_> = SINGLE
            .iter()
            .filter(|register| register.count() > 1)
            .map(|register| register.name)
            .chain(
                DOUBLE
                    .iter()
                    .filter(|(low, _, _)| low.count() > 1)
                    .map(|(_, _, name)| *name),
            )
            .collect();
        self.totals
            .iter()
            .filter(|(_, value)| **value > 0)
            .map(|((name, index), value)| {
                let name = if arrays.contains(name) {
                    format!("{name}[{index}]")
                } else {
                    (*name).to_owned()
                };
                (name, *value)
            })
            .collect()
    }
}
