//! MAC addresses: which are whose, and how they are written.

use crate::Error;

/// Whether a device can have this address.
pub(crate) fn is_unicast(address: [u8; 6]) -> bool {
    address[0] & 1 == 0 && address != [0; 6]
}

/// Refuses an address that no device can have.
pub(crate) fn check_unicast(device: &str, address: [u8; 6]) -> Result<(), Error> {
    if is_unicast(address) {
        return Ok(());
    }
    let allowed = "addresses that are not zero and whose first byte is even";
    Err(Error::config(device, "MAC address", Mac(address), allowed))
}

/// Refuses an address that is no group's.
pub(crate) fn check_multicast(device: &str, address: [u8; 6]) -> Result<(), Error> {
    if address[0] & 1 == 1 {
        return Ok(());
    }
    let allowed = "addresses whose first byte is odd";
    Err(Error::config(
        device,
        "multicast filter",
        Mac(address),
        allowed,
    ))
}

/// Refuses more addresses than a device compares.
pub(crate) fn check_count(device: &str, addresses: &[[u8; 6]], most: usize) -> Result<(), Error> {
    if addresses.len() <= most {
        return Ok(());
    }
    let count = format!("{} addresses", addresses.len());
    let allowed = format!("at most {most}; beyond that use promiscuous mode");
    Err(Error::config(device, "address filter", count, allowed))
}

/// A MAC address, for people.
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}
