//! Internal memories and their error detection, which drivers clear or dump
//! (82599 §8.2.3).

use super::register::registers;

registers! {
    /// Receive descriptor cache: address.
    RDHMPN: read_write(0x02F08, "8.2.3");
    /// Receive descriptor cache: data.
    RIC_DW: read_only(0x02F10, "8.2.3").array(4, 4);
    /// Receive descriptor cache control.
    RDDCC: read_write(0x02F20, "8.2.3");
    /// Receive DMA memory: address.
    RDMAM: read_write(0x02F30, "8.2.3");
    /// Receive DMA memory: data.
    RDMAD: read_only(0x02F34, "8.2.3");
    /// Transmit descriptor cache: address.
    TXDESCIC: read_write(0x082CC, "8.2.3");
    /// Transmit descriptor cache: data.
    TIC_DW2: read_only(0x082B0, "8.2.3").array(4, 4);
    /// Receive data buffer: error detection.
    RXDBUECC: read_write(0x03F70, "8.2.3");
    /// Receive data buffer: errors.
    RXDBUEST: read_only(0x03F74, "8.2.3");
    /// Transmit data buffer: error detection.
    TXDBUECC: read_write(0x0CF70, "8.2.3");
    /// Transmit data buffer: errors.
    TXDBUEST: read_only(0x0CF74, "8.2.3");
    /// Receive packet buffer: error detection.
    PBRXECC: read_write(0x03300, "8.2.3");
    /// Transmit packet buffer: error detection.
    PBTXECC: read_write(0x0C300, "8.2.3");
    /// PCIe diagnosis.
    PCIE_DIAG: read_only(0x11090, "8.2.3").array(8, 4);
    /// PCIe completion data queue.
    CDQ_MBR: read_write(0x110B4, "8.2.3");
    /// PCIe, various.
    MISC_REG: read_write(0x110F0, "8.2.3");
    /// PCIe memories: errors.
    ECC_STATUS: read_only(0x110E0, "8.2.3");
    /// PCIe memories: error detection.
    ECC_CTRL: read_write(0x11100, "8.2.3").array(2, 4);
}
