//! Spreading frames over receive queues (82599 datasheet §7.1.2.8).

use barewire_bus::Bar;
use barewire_spec::ixgbe::{MRQC, Mrqc, RETA, RSSRK, RXCSUM, Rxcsum, mrqe, rss};

use super::registers::Registers;
use crate::{Error, Rss};

/// Queues that a redirection table entry can name: four bits of the 82599's and X540's.
pub(super) const QUEUES: u16 = 16;

/// Sets RSS up for `queues` receive queues, or turns it off for one. Receiving must be off.
///
/// The hardware spreads over at most [`QUEUES`] queues; those beyond receive nothing by RSS.
pub(super) fn initialise<B: Bar>(
    registers: &Registers<B>,
    rss: &Rss,
    queues: u16,
) -> Result<(), Error> {
    let rxcsum = Rxcsum::from_bits(registers.read(&RXCSUM));
    registers.write(&RXCSUM, rxcsum.with_pcsd(queues > 1).into_bits());
    if queues <= 1 {
        registers.write(&MRQC, Mrqc::new().into_bits());
        return Ok(());
    }
    let spread = queues.min(QUEUES);
    if let Some(queue) = rss.table.iter().find(|queue| **queue >= spread) {
        return Err(registers.config_error(
            "RSS table with queue",
            queue,
            format!("queues 0 to {}", spread - 1),
        ));
    }
    for (index, word) in (0..RSSRK.count()).zip(rss::key_registers(&rss.key)) {
        registers.write_at(&RSSRK, index, word);
    }
    let entry = |n: usize| -> u8 {
        let queue = if rss.table.is_empty() {
            u16::try_from(n).unwrap_or(0) % spread
        } else {
            rss.table[n % rss.table.len()]
        };
        u8::try_from(queue).unwrap_or(0)
    };
    for (index, first) in (0..RETA.count()).zip((0..rss::RETA_ENTRIES).step_by(4)) {
        let entries = [
            entry(first),
            entry(first + 1),
            entry(first + 2),
            entry(first + 3),
        ];
        registers.write_at(&RETA, index, u32::from_le_bytes(entries));
    }
    let mrqc = Mrqc::new()
        .with_mrqe(mrqe::RSS)
        .with_ipv4(rss.fields.ipv4)
        .with_tcp_ipv4(rss.fields.tcp_ipv4)
        .with_udp_ipv4(rss.fields.udp_ipv4)
        .with_ipv6(rss.fields.ipv6)
        .with_tcp_ipv6(rss.fields.tcp_ipv6)
        .with_udp_ipv6(rss.fields.udp_ipv6);
    registers.write(&MRQC, mrqc.into_bits());
    Ok(())
}
