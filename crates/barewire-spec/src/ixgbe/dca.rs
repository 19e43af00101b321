//! Direct cache access and relaxed ordering (82599 §8.2.3.11).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Cache hints and ordering of a receive queue. Queues 0 to 15 are also reachable at
    /// 0x2200 + 4n.
    DCA_RXCTRL: read_write(0x0100C, "8.2.3.11.1").reset(0x0000_A200)
        .layout(0xFF00_A2E0, 0x0000_5500).rx_queues();
    /// Cache hints and ordering of a transmit queue.
    DCA_TXCTRL: read_write(0x0600C, "8.2.3.11.2").reset(0x0000_2A00)
        .layout(0xFF00_2A20, 0x0000_1500).tx_queues();
    /// PCIe requester identity.
    DCA_ID: read_only(0x11070, "8.2.3.11.3");
    /// Cache hints, for all queues.
    DCA_CTRL: read_write(0x11074, "8.2.3.11.4").reset(0x0000_0001).layout(0x0000_001F, 0);
}

/// Fields of [`DCA_RXCTRL`].
#[bitfield(u32, default = false)]
#[derive(PartialEq, Eq)]
pub struct DcaRxctrl {
    #[bits(5)]
    __: u8,
    /// Hints for descriptors.
    pub rx_descriptor_dca_en: bool,
    /// Hints for headers.
    pub rx_header_dca_en: bool,
    /// Hints for payload.
    pub rx_payload_dca_en: bool,
    __: bool,
    /// Descriptor reads may be reordered.
    pub rxdesc_read_ro_en: bool,
    __: bool,
    /// Must be 0: a descriptor's write-back must not pass the data it announces.
    pub rxdesc_wb_ro_en: bool,
    __: bool,
    /// Data writes may be reordered.
    pub rxdata_write_ro_en: bool,
    __: bool,
    /// Header writes may be reordered.
    pub rxhdr_ro_en: bool,
    __: u8,
    /// Which processor the hints are for.
    pub cpuid: u8,
}

/// Fields of [`DCA_TXCTRL`].
#[bitfield(u32, default = false)]
#[derive(PartialEq, Eq)]
pub struct DcaTxctrl {
    #[bits(5)]
    __: u8,
    /// Hints for descriptors.
    pub tx_descriptor_dca_en: bool,
    #[bits(3)]
    __: u8,
    /// Descriptor reads may be reordered.
    pub txdesc_rd_ro_en: bool,
    __: bool,
    /// Descriptor write-back may be reordered. Written 0 where the head write-back or the
    /// done bit must follow what it announces.
    pub txdesc_wb_ro_en: bool,
    __: bool,
    /// Data reads may be reordered.
    pub txdata_read_ro_en: bool,
    #[bits(10)]
    __: u16,
    /// Which processor the hints are for.
    pub cpuid: u8,
}
