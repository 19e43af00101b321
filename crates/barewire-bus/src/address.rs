//! Where a PCI function is.

use std::fmt;
use std::str::FromStr;

/// A PCI function's address, as `lspci -D` and sysfs write it: `0000:03:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// The text is no PCI address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PCI address: they look like 0000:03:00.0, or 03:00.0 for domain 0000")]
pub struct ParseAddressError;

impl FromStr for PciAddress {
    type Err = ParseAddressError;

    /// Reads `0000:03:00.0`, or `03:00.0` for domain 0. A domain has 4 digits, or up to 8 where
    /// they are needed (as for the disks behind Intel's VMD).
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let parse = || {
            let (bus, slot) = text.rsplit_once(':')?;
            let (domain, bus) = bus.split_once(':').unwrap_or(("0000", bus));
            let (device, function) = slot.split_once('.')?;
            let address = Self {
                domain: hexadecimal(domain, 4..=8)?,
                bus: u8::try_from(hexadecimal(bus, 2..=2)?).ok()?,
                device: u8::try_from(hexadecimal(device, 2..=2)?).ok()?,
                function: u8::try_from(hexadecimal(function, 1..=1)?).ok()?,
            };
            (address.device < 32 && address.function < 8).then_some(address)
        };
        parse().ok_or(ParseAddressError)
    }
}

fn hexadecimal(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let fits = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_forms_and_long_domains() {
        let short: PciAddress = "03:1f.7".parse().unwrap();
        assert_eq!(short.to_string(), "0000:03:1f.7");
        let vmd: PciAddress = "10000:E1:00.0".parse().unwrap();
        assert_eq!(vmd.to_string(), "10000:e1:00.0");
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            ":",
            "::.",
            "eth0",
            "3:00.0",
            "03:0.0",
            "03:20.0",
            "03:00.8",
            "03:00",
            "000:03:00.0",
            "0000:0000:03:00.0",
            "+0:03:00.0",
            "0000:03:00.0 ",
            "0000:03:00.00",
            "123456789:00:00.0",
        ] {
            assert_eq!(text.parse::<PciAddress>(), Err(ParseAddressError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(domain in any::<u32>(), bus in any::<u8>(), device in 0u8..32, function in 0u8..8) {
            let address = PciAddress { domain, bus, device, function };
            prop_assert_eq!(address.to_string().parse::<PciAddress>(), Ok(address));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:.]{0,20}") {
            let _ = text.parse::<PciAddress>();
        }
    }
}
