//! Flow director: filters that steer single flows (82599 §8.2.3.21).

use super::register::registers;
use bitfield_struct::bitfield;

registers! {
    /// Flow director control.
    FDIRCTRL: read_write(0x0EE00, "8.2.3.21.1").layout(0xFF1F_7FB3, 0x0000_0008);
    /// Source IPv6 address, upper three words.
    FDIRSIPV6: read_write(0x0EE0C, "8.2.3.21").array(3, 4);
    /// Source IPv4 address, or lowest word of the IPv6 address.
    FDIRIPSA: read_write(0x0EE18, "8.2.3.21");
    /// Destination IPv4 address.
    FDIRIPDA: read_write(0x0EE1C, "8.2.3.21");
    /// Source (15:0) and destination (31:16) port.
    FDIRPORT: read_write(0x0EE20, "8.2.3.21");
    /// VLAN tag (15:0) and flexible bytes (31:16).
    FDIRVLAN: read_write(0x0EE24, "8.2.3.21");
    /// Hash and signature of the filter.
    FDIRHASH: read_write(0x0EE28, "8.2.3.21");
    /// Filter command. Its two low bits turn 0 when it is done.
    FDIRCMD: read_write(0x0EE2C, "8.2.3.21").self_clearing(0x0000_0003);
    /// Free filters and collisions.
    FDIRFREE: read_write(0x0EE38, "8.2.3.21");
    /// Bits of destination IPv4 addresses that are ignored.
    FDIRDIP4M: read_write(0x0EE3C, "8.2.3.21");
    /// Bits of source IPv4 addresses that are ignored.
    FDIRSIP4M: read_write(0x0EE40, "8.2.3.21");
    /// Bits of TCP ports that are ignored.
    FDIRTCPM: read_write(0x0EE44, "8.2.3.21");
    /// Bits of UDP ports that are ignored.
    FDIRUDPM: read_write(0x0EE48, "8.2.3.21");
    /// Longest chain of filters.
    FDIRLEN: read_clear(0x0EE4C, "8.2.3.21");
    /// Filters added and removed.
    FDIRUSTAT: read_clear(0x0EE50, "8.2.3.21");
    /// Filters that could not be added or removed.
    FDIRFSTAT: read_clear(0x0EE54, "8.2.3.21");
    /// Packets that matched a filter.
    FDIRMATCH: read_clear(0x0EE58, "8.2.3.21");
    /// Packets that matched none.
    FDIRMISS: read_clear(0x0EE5C, "8.2.3.21");
    /// Key of the hash that finds the chain.
    FDIRHKEY: read_write(0x0EE68, "8.2.3.21").reset(0x8000_0001);
    /// Key of the signature hash.
    FDIRSKEY: read_write(0x0EE6C, "8.2.3.21").reset(0x8000_0001);
    /// Fields that are ignored.
    FDIRM: read_write(0x0EE70, "8.2.3.21").layout(0x0000_007F, 0);
    /// Bytes of IPv6 addresses that are ignored: source (15:0), destination (31:16).
    FDIRIP6M: read_write(0x0EE74, "8.2.3.21");
    /// Bits of SCTP ports that are ignored.
    FDIRSCTPM: read_write(0x0EE78, "8.2.3.21");
}

/// Fields of [`FDIRCTRL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fdirctrl {
    /// Packet buffer given to filters: 0 none, 1 64 KiB, 2 128 KiB, 3 256 KiB.
    #[bits(2)]
    pub pballoc: u8,
    __: bool,
    /// The filter memory is ready. Read-only.
    pub init_done: bool,
    /// Filters compare all fields instead of a signature.
    pub perfect_match: bool,
    /// Descriptors of matching packets say so.
    pub report_status: bool,
    __: bool,
    /// Descriptors of all packets carry the filter's answer.
    pub report_status_always: bool,
    /// Queue of packets to drop.
    #[bits(7)]
    pub drop_queue: u8,
    __: bool,
    /// Where the flexible bytes are, in 16-bit words from the start of the packet.
    #[bits(5)]
    pub flex_offset: u8,
    #[bits(3)]
    __: u8,
    /// Longest chain, in units of two filters.
    #[bits(4)]
    pub max_length: u8,
    /// Interrupt when fewer than 16 × this many filters are free.
    #[bits(4)]
    pub full_thresh: u8,
}

/// Fields of [`FDIRHASH`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fdirhash {
    /// Which chain the filter is in.
    #[bits(15)]
    pub hash: u16,
    /// The chain is in use.
    pub bucket_valid: bool,
    /// The signature; or, of a filter that compares all fields, software's name for it.
    #[bits(15)]
    pub signature_sw_index: u16,
    __: bool,
}

/// Fields of [`FDIRCMD`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fdircmd {
    /// One of [`fdircmd`]; 0 when the command is done.
    #[bits(2)]
    pub cmd: u8,
    /// The filter that was asked for is there. Read-only.
    pub filter_valid: bool,
    /// A filter that is there gets the new action.
    pub filter_update: bool,
    /// IPv6 destination addresses are compared with one of the port's own.
    pub ipv6_dmatch: bool,
    /// 0 none, 1 UDP, 2 TCP, 3 SCTP.
    #[bits(2)]
    pub l4type: u8,
    /// IPv6, not IPv4.
    pub ipv6: bool,
    /// Empties the filter table; set, then reset.
    pub clearht: bool,
    /// Matching packets go to the drop queue.
    pub drop: bool,
    /// Matching packets raise an interrupt.
    pub int: bool,
    /// The filter ends its chain.
    pub last: bool,
    /// The filter shares its chain with others. Read-only.
    pub collision: bool,
    #[bits(2)]
    __: u8,
    /// Matching packets go to [`Self::rx_queue`].
    pub queue_en: bool,
    /// Where matching packets go.
    #[bits(7)]
    pub rx_queue: u8,
    /// The filter is for packets in a tunnel; X550.
    pub tunnel_filter: bool,
    /// Which pool the filter is for.
    #[bits(6)]
    pub pool: u8,
    #[bits(2)]
    __: u8,
}

/// Values of [`Fdircmd::cmd`].
pub mod fdircmd {
    /// Nothing.
    pub const NONE: u8 = 0;
    /// Adds a filter, or changes one.
    pub const ADD: u8 = 1;
    /// Removes a filter.
    pub const REMOVE: u8 = 2;
    /// Asks whether a filter is there.
    pub const QUERY: u8 = 3;
}

/// Fields of [`FDIRM`]: what is ignored.
#[allow(clippy::struct_excessive_bools)] // one bit a field of a packet
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fdirm {
    /// VLAN identifier.
    pub vlanid: bool,
    /// VLAN priority.
    pub vlanp: bool,
    /// Pool.
    pub pool: bool,
    /// Transport protocol.
    pub l4p: bool,
    /// Flexible bytes.
    pub flex: bool,
    /// Destination IPv6 address.
    pub dipv6: bool,
    /// Network protocol.
    pub l3p: bool,
    #[bits(25)]
    __: u32,
}
