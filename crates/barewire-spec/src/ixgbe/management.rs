//! The manageability firmware: what it filters and how to talk to it (82599 §8.2.3.25, §10.5).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// VLAN tags for the firmware.
    MAVTV: read_write(0x05010, "8.2.3.25").array(8, 4);
    /// Ports for the firmware, two a register.
    MFUTP: read_write(0x05030, "8.2.3.25").array(8, 4);
    /// Address of the management controller.
    BMCIP: read_write(0x05050, "8.2.3.25").array(4, 4);
    /// Whether [`BMCIP`] is valid.
    BMCIPVAL: read_write(0x05060, "8.2.3.25");
    /// Decision filters, continued.
    MDEF_EXT: read_write(0x05160, "8.2.3.25").array(8, 4);
    /// EtherType filters for the firmware.
    METF: read_write(0x05190, "8.2.3.25").array(4, 4);
    /// Management control.
    MANC: read_write(0x05820, "8.2.3.25");
    /// Which filters are valid.
    MFVAL: read_write(0x05824, "8.2.3.25");
    /// Which decision filters' frames also go to the host.
    MANC2H: read_write(0x05860, "8.2.3.25");
    /// Decision filters.
    MDEF: read_write(0x05890, "8.2.3.25").array(8, 4);
    /// IP addresses for the firmware.
    MIPAF: read_write(0x058B0, "8.2.3.25").array(16, 4);
    /// MAC addresses for the firmware, first four bytes.
    MMAL: read_write(0x05910, "8.2.3.25").array(4, 8);
    /// MAC addresses for the firmware, last two bytes.
    MMAH: read_write(0x05914, "8.2.3.25").array(4, 8);
    /// Pattern and mask for the firmware.
    FTFT: read_write(0x09400, "8.2.3.25").array(256, 4);
    /// Commands to the firmware and its answers.
    FLEX_MNG: read_write(0x15800, "10.5").array(448, 4);
    /// Whether the firmware listens and has a command.
    HICR: read_write(0x15F00, "10.5").reset(0x0000_0001).layout(0x0000_00C2, 0xFFFF_FF3D)
        .self_clearing(0x0000_0002);
    /// Whether the firmware was reset.
    FWSTS: read_write(0x15F0C, "10.5").layout(0x0000_0200, 0xFFFF_FDFF);
}

/// Fields of [`HICR`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Hicr {
    /// The firmware listens. Read-only.
    pub en: bool,
    /// A command is in [`FLEX_MNG`]; 0 when it has ended. Self-clearing.
    pub c: bool,
    /// The answer in [`FLEX_MNG`] holds. Read-only.
    pub sv: bool,
    #[bits(29)]
    __: u32,
}
