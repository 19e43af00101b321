//! Which device a vendor and device ID stand for.

/// Intel's vendor ID.
pub const VENDOR_INTEL: u16 = 0x8086;

/// The most common 82599: two SFP+ ports.
pub const DEVICE_82599_SFP: u16 = 0x10FB;

/// Controllers that one driver handles alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 82599, sold as X520.
    I82599,
    /// X540.
    X540,
    /// X550.
    X550,
    /// X552, part of the Xeon D-1500.
    X552,
    /// X553, part of the Atom C3000.
    X553,
    /// Virtual function of an 82599.
    I82599Vf,
    /// Virtual function of an X540.
    X540Vf,
    /// Virtual function of an X550.
    X550Vf,
    /// Virtual function of an X552.
    X552Vf,
    /// Virtual function of an X553.
    X553Vf,
}

impl Family {
    /// Whether it is a virtual function, whose registers differ from all others'.
    #[must_use]
    pub const fn is_virtual_function(self) -> bool {
        matches!(
            self,
            Self::I82599Vf | Self::X540Vf | Self::X550Vf | Self::X552Vf | Self::X553Vf
        )
    }
}

/// What the port is wired to. It decides how the link is brought up: a copper port has a PHY
/// that negotiates, and the link mode of a serial port must not be forced on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// SFP+ cage: optics or direct-attach cable, serial.
    Fiber,
    /// QSFP+ cage, serial.
    Qsfp,
    /// Twisted pair.
    Copper,
    /// A backplane or another chip on the board.
    Backplane,
    /// CX4 cable.
    Cx4,
    /// None: the physical function owns the port.
    Virtual,
}

/// A device this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// PCI device ID; the vendor is [`VENDOR_INTEL`].
    pub device: u16,
    /// Which controller it is.
    pub family: Family,
    /// What its ports are wired to.
    pub media: Media,
    /// What people call it.
    pub name: &'static str,
}

const fn identity(device: u16, family: Family, media: Media, name: &'static str) -> Identity {
    Identity {
        device,
        family,
        media,
        name,
    }
}

/// Every device of the ixgbe family from the 82599 on.
pub static IDENTITIES: &[Identity] = &[
    identity(0x10F7, Family::I82599, Media::Backplane, "82599 KX4"),
    identity(
        0x10F8,
        Family::I82599,
        Media::Backplane,
        "82599 backplane (KX, KX4, KR)",
    ),
    identity(0x10F9, Family::I82599, Media::Cx4, "82599 CX4"),
    identity(
        0x10FB,
        Family::I82599,
        Media::Fiber,
        "82599ES SFI/SFP+ (X520)",
    ),
    identity(0x10FC, Family::I82599, Media::Backplane, "82599 XAUI/BX4"),
    identity(
        0x1507,
        Family::I82599,
        Media::Fiber,
        "82599 SFP+ express module (X520-P2)",
    ),
    identity(
        0x1514,
        Family::I82599,
        Media::Backplane,
        "82599 KX4 mezzanine (X520-KX4)",
    ),
    identity(0x1517, Family::I82599, Media::Backplane, "82599 KR"),
    identity(
        0x151C,
        Family::I82599,
        Media::Copper,
        "82599 10GBASE-T (T3)",
    ),
    identity(0x1529, Family::I82599, Media::Fiber, "82599 SFP+ with FCoE"),
    identity(
        0x152A,
        Family::I82599,
        Media::Backplane,
        "82599 backplane with FCoE",
    ),
    identity(
        0x154A,
        Family::I82599,
        Media::Fiber,
        "82599 quad-port SFP+ (X520-4)",
    ),
    identity(
        0x154D,
        Family::I82599,
        Media::Fiber,
        "82599 dual-port SFP+ (X520-2)",
    ),
    identity(0x154F, Family::I82599, Media::Fiber, "82599 SFP+ LS"),
    identity(
        0x1557,
        Family::I82599,
        Media::Fiber,
        "82599EN SFP+ (X520-1)",
    ),
    identity(0x1558, Family::I82599, Media::Qsfp, "82599 QSFP+ (X520-Q1)"),
    identity(
        0x10ED,
        Family::I82599Vf,
        Media::Virtual,
        "82599 virtual function",
    ),
    identity(
        0x152E,
        Family::I82599Vf,
        Media::Virtual,
        "82599 virtual function (Hyper-V)",
    ),
    identity(0x1528, Family::X540, Media::Copper, "X540-AT2"),
    identity(0x1560, Family::X540, Media::Copper, "X540-AT1"),
    identity(
        0x1515,
        Family::X540Vf,
        Media::Virtual,
        "X540 virtual function",
    ),
    identity(
        0x1530,
        Family::X540Vf,
        Media::Virtual,
        "X540 virtual function (Hyper-V)",
    ),
    identity(0x1563, Family::X550, Media::Copper, "X550-AT2"),
    identity(0x15D1, Family::X550, Media::Copper, "X550-AT"),
    identity(
        0x1565,
        Family::X550Vf,
        Media::Virtual,
        "X550 virtual function",
    ),
    identity(
        0x1564,
        Family::X550Vf,
        Media::Virtual,
        "X550 virtual function (Hyper-V)",
    ),
    identity(0x15AA, Family::X552, Media::Backplane, "X552 KX4"),
    identity(0x15AB, Family::X552, Media::Backplane, "X552 KR"),
    identity(0x15AC, Family::X552, Media::Fiber, "X552 SFP+"),
    identity(
        0x15AD,
        Family::X552,
        Media::Copper,
        "X552/X557-AT 10GBASE-T",
    ),
    identity(0x15AE, Family::X552, Media::Copper, "X552 1000BASE-T"),
    identity(0x15B0, Family::X552, Media::Backplane, "X552 XFI"),
    identity(
        0x15A8,
        Family::X552Vf,
        Media::Virtual,
        "X552 virtual function",
    ),
    identity(
        0x15A9,
        Family::X552Vf,
        Media::Virtual,
        "X552 virtual function (Hyper-V)",
    ),
    identity(0x15C2, Family::X553, Media::Backplane, "X553 KR"),
    identity(0x15C3, Family::X553, Media::Backplane, "X553 KR (L)"),
    identity(0x15C4, Family::X553, Media::Fiber, "X553 SFP+ (native)"),
    identity(0x15C6, Family::X553, Media::Backplane, "X553 SGMII"),
    identity(0x15C7, Family::X553, Media::Backplane, "X553 SGMII (L)"),
    identity(
        0x15C8,
        Family::X553,
        Media::Copper,
        "X553/X557-AT 10GBASE-T",
    ),
    identity(0x15CA, Family::X553, Media::Qsfp, "X553 QSFP+"),
    identity(0x15CC, Family::X553, Media::Qsfp, "X553 QSFP+ (native)"),
    identity(0x15CE, Family::X553, Media::Fiber, "X553 SFP+"),
    identity(0x15E4, Family::X553, Media::Copper, "X553 1000BASE-T"),
    identity(0x15E5, Family::X553, Media::Copper, "X553 1000BASE-T (L)"),
    identity(
        0x15C5,
        Family::X553Vf,
        Media::Virtual,
        "X553 virtual function",
    ),
    identity(
        0x15B4,
        Family::X553Vf,
        Media::Virtual,
        "X553 virtual function (Hyper-V)",
    ),
];

/// The device with these IDs, or `None` if it is not of the ixgbe family.
#[must_use]
pub fn identify(vendor: u16, device: u16) -> Option<&'static Identity> {
    if vendor != VENDOR_INTEL {
        return None;
    }
    IDENTITIES.iter().find(|identity| identity.device == device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_ids_are_unique() {
        for (position, one) in IDENTITIES.iter().enumerate() {
            for other in &IDENTITIES[position + 1..] {
                assert_ne!(one.device, other.device, "{} and {}", one.name, other.name);
            }
        }
    }

    #[test]
    fn exactly_virtual_functions_have_no_media() {
        for identity in IDENTITIES {
            assert_eq!(
                identity.family.is_virtual_function(),
                identity.media == Media::Virtual,
                "{}",
                identity.name
            );
        }
    }

    #[test]
    fn known_devices() {
        let kind = |device| identify(VENDOR_INTEL, device).map(|known| (known.family, known.media));
        assert_eq!(kind(DEVICE_82599_SFP), Some((Family::I82599, Media::Fiber)));
        assert_eq!(kind(0x151C), Some((Family::I82599, Media::Copper)));
        assert_eq!(kind(0x1528), Some((Family::X540, Media::Copper)));
        assert_eq!(kind(0x1563), Some((Family::X550, Media::Copper)));
        assert_eq!(kind(0x15AC), Some((Family::X552, Media::Fiber)));
        assert_eq!(kind(0x15E4), Some((Family::X553, Media::Copper)));
        assert_eq!(kind(0x10ED), Some((Family::I82599Vf, Media::Virtual)));
        assert_eq!(kind(0x1515), Some((Family::X540Vf, Media::Virtual)));
        assert_eq!(kind(0x1565), Some((Family::X550Vf, Media::Virtual)));
    }

    #[test]
    fn strangers_stay_strangers() {
        assert_eq!(identify(0x1AF4, DEVICE_82599_SFP), None);
        // The 82598, whose registers differ, and a gigabit controller.
        assert_eq!(identify(VENDOR_INTEL, 0x10B6), None);
        assert_eq!(identify(VENDOR_INTEL, 0x10D3), None);
    }
}
