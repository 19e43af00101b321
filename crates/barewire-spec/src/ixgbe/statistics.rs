//! Statistics (82599 §8.2.3.23).
//!
//! Counters start at 0 and a read clears them. Counters of bytes have 36 bits in two
//! registers: the low one is read first, and reading the high one clears both. The counters
//! of 32 bits stay at their largest value rather than wrap.

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Frames with a wrong FCS.
    CRCERRS: read_clear(0x04000, "8.2.3.23");
    /// Illegal bytes.
    ILLERRC: read_clear(0x04004, "8.2.3.23");
    /// Error bytes.
    ERRBC: read_clear(0x04008, "8.2.3.23");
    /// Frames too short for the MAC.
    MSPDC: read_clear(0x04010, "8.2.3.23");
    /// Frames missed for want of room in a packet buffer.
    MPC: read_clear(0x03FA0, "8.2.3.23").array(8, 4);
    /// Local faults.
    MLFC: read_clear(0x04034, "8.2.3.23");
    /// Remote faults.
    MRFC: read_clear(0x04038, "8.2.3.23");
    /// Frames whose length field disagrees.
    RLEC: read_clear(0x04040, "8.2.3.23");
    /// Pauses ended by us.
    LXONTXC: read_clear(0x03F60, "8.2.3.23");
    /// Pauses begun by us.
    LXOFFTXC: read_clear(0x03F68, "8.2.3.23");
    /// Pauses ended by the partner.
    LXONRXCNT: read_clear(0x041A4, "8.2.3.23");
    /// Pauses begun by the partner.
    LXOFFRXCNT: read_clear(0x041A8, "8.2.3.23");
    /// Pauses of a priority ended by us.
    PXONTXC: read_clear(0x03F00, "8.2.3.23").array(8, 4);
    /// Pauses of a priority begun by us.
    PXOFFTXC: read_clear(0x03F20, "8.2.3.23").array(8, 4);
    /// Pauses of a priority ended by the partner.
    PXONRXCNT: read_clear(0x04140, "8.2.3.23").array(8, 4);
    /// Pauses of a priority begun by the partner.
    PXOFFRXCNT: read_clear(0x04160, "8.2.3.23").array(8, 4);
    /// Pauses of a priority begun again.
    PXON2OFFCNT: read_clear(0x03240, "8.2.3.23").array(8, 4);
    /// Good frames received of 64 bytes, FCS included.
    PRC64: read_clear(0x0405C, "8.2.3.23");
    /// Good frames received of 65 to 127 bytes.
    PRC127: read_clear(0x04060, "8.2.3.23");
    /// Good frames received of 128 to 255 bytes.
    PRC255: read_clear(0x04064, "8.2.3.23");
    /// Good frames received of 256 to 511 bytes.
    PRC511: read_clear(0x04068, "8.2.3.23");
    /// Good frames received of 512 to 1,023 bytes.
    PRC1023: read_clear(0x0406C, "8.2.3.23");
    /// Good frames received of 1,024 bytes and more.
    PRC1522: read_clear(0x04070, "8.2.3.23");
    /// Good frames received that passed the filters.
    GPRC: read_clear(0x04074, "8.2.3.23");
    /// Good broadcast frames received.
    BPRC: read_clear(0x04078, "8.2.3.23");
    /// Good multicast frames received.
    MPRC: read_clear(0x0407C, "8.2.3.23");
    /// Good frames sent.
    GPTC: read_clear(0x04080, "8.2.3.23");
    /// Bytes of good frames received, FCS included, low 32 bits. Read before [`GORCH`].
    GORCL: read_clear(0x04088, "8.2.3.23");
    /// Bytes of good frames received, high 4 bits. Reading it clears both halves.
    GORCH: read_clear(0x0408C, "8.2.3.23");
    /// Bytes of good frames sent, FCS included, low 32 bits. Read before [`GOTCH`].
    GOTCL: read_clear(0x04090, "8.2.3.23");
    /// Bytes of good frames sent, high 4 bits. Reading it clears both halves.
    GOTCH: read_clear(0x04094, "8.2.3.23");
    /// Frames below 64 bytes with a right FCS.
    RUC: read_clear(0x040A4, "8.2.3.23");
    /// Frames below 64 bytes with a wrong FCS.
    RFC: read_clear(0x040A8, "8.2.3.23");
    /// Frames above the limit with a right FCS.
    ROC: read_clear(0x040AC, "8.2.3.23");
    /// Frames above the limit with a wrong FCS.
    RJC: read_clear(0x040B0, "8.2.3.23");
    /// Frames received for the firmware.
    MNGPRC: read_clear(0x040B4, "8.2.3.23");
    /// Frames for the firmware dropped.
    MNGPDC: read_clear(0x040B8, "8.2.3.23");
    /// Frames sent by the firmware.
    MNGPTC: read_clear(0x0CF90, "8.2.3.23");
    /// Bytes received, good or bad, low 32 bits. Read before [`TORH`].
    TORL: read_clear(0x040C0, "8.2.3.23");
    /// Bytes received, good or bad, high 4 bits. Reading it clears both halves.
    TORH: read_clear(0x040C4, "8.2.3.23");
    /// Frames received, good or bad.
    TPR: read_clear(0x040D0, "8.2.3.23.59");
    /// Frames sent.
    TPT: read_clear(0x040D4, "8.2.3.23");
    /// Frames sent of 64 bytes, FCS included.
    PTC64: read_clear(0x040D8, "8.2.3.23");
    /// Frames sent of 65 to 127 bytes.
    PTC127: read_clear(0x040DC, "8.2.3.23");
    /// Frames sent of 128 to 255 bytes.
    PTC255: read_clear(0x040E0, "8.2.3.23");
    /// Frames sent of 256 to 511 bytes.
    PTC511: read_clear(0x040E4, "8.2.3.23");
    /// Frames sent of 512 to 1,023 bytes.
    PTC1023: read_clear(0x040E8, "8.2.3.23");
    /// Frames sent of 1,024 bytes and more.
    PTC1522: read_clear(0x040EC, "8.2.3.23");
    /// Multicast frames sent.
    MPTC: read_clear(0x040F0, "8.2.3.23");
    /// Broadcast frames sent.
    BPTC: read_clear(0x040F4, "8.2.3.23");
    /// Frames with a wrong IPv4, TCP or UDP checksum.
    XEC: read_clear(0x04120, "8.2.3.23");
    /// Frames of virtual functions dropped for spoofing.
    SSVPC: read_clear(0x08780, "8.2.3.23");
    /// Good frames received before filters.
    RXNFGPC: read_clear(0x041B0, "8.2.3.23");
    /// Bytes of good frames before filters, low 32 bits. Read before [`RXNFGBCH`].
    RXNFGBCL: read_clear(0x041B4, "8.2.3.23");
    /// Bytes of good frames before filters, high 4 bits. Reading it clears both halves.
    RXNFGBCH: read_clear(0x041B8, "8.2.3.23");
    /// Good frames given to the host.
    RXDGPC: read_clear(0x02F50, "8.2.3.23");
    /// Bytes of good frames given to the host, low 32 bits. Read before [`RXDGBCH`].
    RXDGBCL: read_clear(0x02F54, "8.2.3.23");
    /// Bytes of good frames given to the host, high 4 bits. Reading it clears both halves.
    RXDGBCH: read_clear(0x02F58, "8.2.3.23");
    /// Good frames copied to further pools.
    RXDDPC: read_clear(0x02F5C, "8.2.3.23");
    /// Bytes of frames copied to further pools, low 32 bits.
    RXDDBCL: read_clear(0x02F60, "8.2.3.23");
    /// Bytes of frames copied to further pools, high 4 bits.
    RXDDBCH: read_clear(0x02F64, "8.2.3.23");
    /// Frames looped back between pools.
    RXLPBKPC: read_clear(0x02F68, "8.2.3.23");
    /// Bytes looped back between pools, low 32 bits.
    RXLPBKBCL: read_clear(0x02F6C, "8.2.3.23");
    /// Bytes looped back between pools, high 4 bits.
    RXLPBKBCH: read_clear(0x02F70, "8.2.3.23");
    /// Copies of frames looped back between pools.
    RXDLPBKPC: read_clear(0x02F74, "8.2.3.23");
    /// Bytes of copies looped back, low 32 bits.
    RXDLPBKBCL: read_clear(0x02F78, "8.2.3.23");
    /// Bytes of copies looped back, high 4 bits.
    RXDLPBKBCH: read_clear(0x02F7C, "8.2.3.23");
    /// Frames fetched from the host.
    TXDGPC: read_clear(0x087A0, "8.2.3.23");
    /// Bytes fetched from the host, low 32 bits. Read before [`TXDGBCH`].
    TXDGBCL: read_clear(0x087A4, "8.2.3.23");
    /// Bytes fetched from the host, high 4 bits. Reading it clears both halves.
    TXDGBCH: read_clear(0x087A8, "8.2.3.23");
    /// FCoE frames with a wrong FC CRC.
    FCCRC: read_clear(0x05118, "8.2.3.23");
    /// FCoE frames dropped.
    FCOERPDC: read_clear(0x0241C, "8.2.3.23");
    /// FCoE last frames in error.
    FCLAST: read_clear(0x02424, "8.2.3.23");
    /// FCoE frames received.
    FCOEPRC: read_clear(0x02428, "8.2.3.23");
    /// FCoE 32-bit words received.
    FCOEDWRC: read_clear(0x0242C, "8.2.3.23");
    /// FCoE frames sent.
    FCOEPTC: read_clear(0x08784, "8.2.3.23");
    /// FCoE 32-bit words sent.
    FCOEDWTC: read_clear(0x08788, "8.2.3.23");
    /// Statistics index of receive queues 4n to 4n + 3, a byte each.
    RQSMR: read_write(0x02300, "8.2.3.23.71").layout(0x0F0F_0F0F, 0).array(32, 4);
    /// Which frames [`RXDGPC`] and its kin count.
    RXDSTATCTRL: read_write(0x02F40, "8.2.3.23.72").layout(0x0000_001F, 0);
    /// Statistics index of transmit queues 4n to 4n + 3, a byte each.
    TQSM: read_write(0x08600, "8.2.3.23.73").layout(0x0F0F_0F0F, 0).array(32, 4);
    /// Frames received by the queues of a statistics index.
    QPRC: read_clear(0x01030, "8.2.3.23.74").array(16, 0x40);
    /// Frames dropped for want of descriptors by the queues of a statistics index.
    QPRDC: read_clear(0x01430, "8.2.3.23.75").array(16, 0x40);
    /// Bytes received by the queues of a statistics index, low 32 bits. Read before
    /// [`QBRC_H`].
    QBRC_L: read_clear(0x01034, "8.2.3.23.76").array(16, 0x40);
    /// Bytes received by the queues of a statistics index, high 4 bits. Reading it clears
    /// both halves.
    QBRC_H: read_clear(0x01038, "8.2.3.23.77").array(16, 0x40);
    /// Frames sent by the queues of a statistics index. Also reachable at 0x6030 + 0x40n.
    QPTC: read_clear(0x08680, "8.2.3.23.78").array(16, 4);
    /// Bytes sent by the queues of a statistics index, low 32 bits. Read before [`QBTC_H`].
    QBTC_L: read_clear(0x08700, "8.2.3.23.79").array(16, 8);
    /// Bytes sent by the queues of a statistics index, high 4 bits. Reading it clears both
    /// halves.
    QBTC_H: read_clear(0x08704, "8.2.3.23.80").array(16, 8);
}

/// Fields of [`RQSMR`] and [`TQSM`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct QueueStatisticsMap {
    /// Index, 0 to 15, of the counters of queue 4n.
    #[bits(4)]
    pub q_map_0: u8,
    #[bits(4)]
    __: u8,
    /// Index of the counters of queue 4n + 1.
    #[bits(4)]
    pub q_map_1: u8,
    #[bits(4)]
    __: u8,
    /// Index of the counters of queue 4n + 2.
    #[bits(4)]
    pub q_map_2: u8,
    #[bits(4)]
    __: u8,
    /// Index of the counters of queue 4n + 3.
    #[bits(4)]
    pub q_map_3: u8,
    #[bits(4)]
    __: u8,
}

/// Bits of a byte counter's high register that count; the others read 0.
pub const OCTETS_HIGH_MASK: u32 = 0x0000_000F;

/// A byte counter from its two halves, the low one read first.
///
/// ```
/// assert_eq!(barewire_spec::ixgbe::octets(5, 1), 0x1_0000_0005);
/// ```
#[must_use]
pub const fn octets(low: u32, high: u32) -> u64 {
    let high = high & OCTETS_HIGH_MASK;
    // `u64::from` is not const yet; widening cannot lose bits.
    ((high as u64) << 32) | low as u64
}
