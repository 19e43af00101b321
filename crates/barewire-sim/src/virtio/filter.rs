//! Which frames the device lets in (VIRTIO §5.1.6.5.1 to §5.1.6.5.3).

/// The most addresses of a table; with more, the device lets in all of their kind (§5.1.6.5.2).
const ADDRESSES: usize = 64;
/// VLAN identifiers.
const VLANS: usize = 4096;

/// Receive modes, addresses and VLANs.
#[allow(clippy::struct_excessive_bools)] // the modes of the specification
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) mac: [u8; 6],
    pub(super) promiscuous: bool,
    pub(super) all_multicast: bool,
    pub(super) all_unicast: bool,
    pub(super) no_multicast: bool,
    pub(super) no_unicast: bool,
    pub(super) no_broadcast: bool,
    unicast: Vec<[u8; 6]>,
    multicast: Vec<[u8; 6]>,
    /// A table was too long.
    overflow: [bool; 2],
    /// VLANs are filtered, and these pass.
    vlans: Option<Box<[u64; VLANS / 64]>>,
}

impl Filter {
    /// What a device has after a reset: its own address, and everything else passes until the driver
    /// says what it wants.
    pub(super) fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Vec::new(),
            multicast: Vec::new(),
            overflow: [false; 2],
            vlans: None,
        }
    }

    /// Features are agreed on.
    pub(super) fn begin(&mut self, filters_vlans: bool) {
        self.vlans = filters_vlans.then(|| Box::new([0; VLANS / 64]));
    }

    /// Replaces both tables.
    pub(super) fn set_tables(&mut self, unicast: &[[u8; 6]], multicast: &[[u8; 6]]) {
        self.overflow = [unicast.len() > ADDRESSES, multicast.len() > ADDRESSES];
        let kept = |table: &[[u8; 6]]| table.iter().take(ADDRESSES).copied().collect();
        self.unicast = kept(unicast);
        self.multicast = kept(multicast);
    }

    /// Lets a VLAN in, or no longer.
    pub(super) fn set_vlan(&mut self, vlan: u16, pass: bool) {
        let word = self
            .vlans
            .as_mut()
            .and_then(|vlans| vlans.get_mut(usize::from(vlan / 64)));
        if let Some(word) = word {
            let bit = 1 << (vlan % 64);
            *word = if pass { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a frame is for the driver.
    pub(super) fn passes(&self, frame: &[u8]) -> bool {
        let Some((destination, rest)) = frame.split_first_chunk::<6>() else {
            return false;
        };
        if let Some(vlans) = &self.vlans
            && let Some([0x81, 0x00, high, low]) = rest.get(6..10)
        {
            let vlan = u16::from_be_bytes([high & 0xF, *low]);
            if vlans[usize::from(vlan / 64)] >> (vlan % 64) & 1 == 0 {
                return false;
            }
        }
        let [no_unicast, no_multicast] = [self.no_unicast, self.no_multicast];
        if self.promiscuous {
            return true;
        }
        if *destination == [0xFF; 6] {
            !self.no_broadcast
        } else if destination[0] & 1 == 1 {
            !no_multicast
                && (self.all_multicast || self.overflow[1] || self.multicast.contains(destination))
        } else {
            !no_unicast
                && (*destination == self.mac
                    || self.all_unicast
                    || self.overflow[0]
                    || self.unicast.contains(destination))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(destination: [u8; 6], vlan: Option<u16>) -> Vec<u8> {
        let mut frame = destination.to_vec();
        frame.extend([2; 6]);
        if let Some(vlan) = vlan {
            frame.extend([0x81, 0]);
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend([8, 0]);
        frame.resize(60, 0);
        frame
    }

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const GROUP: [u8; 6] = [1, 0, 0x5E, 0, 0, 1];

    #[test]
    fn modes_and_tables_decide() {
        let mut filter = Filter::new(OWN);
        let all = [OWN, OTHER, GROUP, [0xFF; 6]];
        let passing = |filter: &Filter| all.map(|to| filter.passes(&frame(to, None)));
        assert_eq!(passing(&filter), [true; 4]);
        filter.promiscuous = false;
        assert_eq!(passing(&filter), [true, false, false, true]);
        filter.set_tables(&[OTHER], &[GROUP]);
        assert_eq!(passing(&filter), [true; 4]);
        filter.no_broadcast = true;
        filter.no_multicast = true;
        filter.all_multicast = true;
        assert_eq!(passing(&filter), [true, true, false, false]);
        filter.promiscuous = true;
        assert_eq!(passing(&filter), [true; 4]);
    }

    #[test]
    fn vlans_pass_that_were_added() {
        let mut filter = Filter::new(OWN);
        assert!(filter.passes(&frame(OWN, Some(5))));
        filter.begin(true);
        assert!(!filter.passes(&frame(OWN, Some(0xE005))));
        filter.set_vlan(5, true);
        assert!(filter.passes(&frame(OWN, Some(0xE005))));
        assert!(!filter.passes(&frame(OWN, Some(4095))));
        assert!(filter.passes(&frame(OWN, None)));
        filter.set_vlan(5, false);
        assert!(!filter.passes(&frame(OWN, Some(5))));
    }
}
