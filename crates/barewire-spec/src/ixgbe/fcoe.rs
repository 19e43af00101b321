//! Fibre Channel over Ethernet (82599 §8.2.3.20).

use super::register::registers;

registers! {
    /// User descriptors of an exchange, low half of the address.
    FCPTRL: read_write(0x02410, "8.2.3.20");
    /// User descriptors of an exchange, high half of the address.
    FCPTRH: read_write(0x02414, "8.2.3.20");
    /// Buffers of an exchange.
    FCBUFF: read_write(0x02418, "8.2.3.20");
    /// Reads and writes the DMA context of an exchange.
    FCDMARW: read_write(0x02420, "8.2.3.20").self_clearing(0x0000_C000);
    /// Receive control.
    FCRXCTRL: read_write(0x05100, "8.2.3.20");
    /// Filter context of an exchange.
    FCFLT: read_write(0x05108, "8.2.3.20");
    /// Offset of an exchange.
    FCPARAM: read_write(0x051D8, "8.2.3.20");
    /// Reads and writes the filter context of an exchange.
    FCFLTRW: read_write(0x05110, "8.2.3.20").self_clearing(0x0000_C000);
    /// End-of-frame codes on receive.
    REOFF: read_write(0x05158, "8.2.3.20");
    /// Start-of-frame codes on receive.
    RSOFF: read_write(0x051F8, "8.2.3.20");
    /// End-of-frame codes on transmit.
    TEOFF: read_write(0x04A94, "8.2.3.20");
    /// Start-of-frame codes on transmit.
    TSOFF: read_write(0x04A98, "8.2.3.20");
    /// Redirection control.
    FCRECTL: read_write(0x0ED00, "8.2.3.20").layout(0x0000_0003, 0);
    /// Redirection table.
    FCRETA: read_write(0x0ED10, "8.2.3.20").layout(0x0000_007F, 0).array(8, 4);
}
