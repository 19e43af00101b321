//! The list of capabilities in a function's configuration space.

use barewire_spec::pci::config;

use crate::{BusError, PciFunction};

/// A capability of a PCI function (PCI Local Bus 3.0 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is about: see [`config::capability`].
    pub id: u8,
    /// Where it begins in configuration space: a multiple of 4 from 0x40 on, below 0x100.
    pub offset: u16,
}

/// The capabilities of a function, in the order of their list. One that goes in circles or leaves
/// its bounds ends there.
///
/// # Errors
/// [`BusError`] when the device can't be reached.
pub fn capabilities<P: PciFunction + ?Sized>(function: &P) -> Result<Vec<Capability>, BusError> {
    let mut found: Vec<Capability> = Vec::new();
    let status = function.config_read32(config::COMMAND)? >> 16;
    if status & u32::from(config::status::CAPABILITIES_LIST) == 0 {
        return Ok(found);
    }
    let [mut next, ..] = function
        .config_read32(config::CAPABILITIES & !3)?
        .to_le_bytes();
    loop {
        let offset = u16::from(next & !3);
        if offset < 0x40 || found.iter().any(|known| known.offset == offset) {
            return Ok(found);
        }
        let [id, behind, ..] = function.config_read32(offset)?.to_le_bytes();
        found.push(Capability { id, offset });
        next = behind;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use barewire_dma::DmaMap;

    use super::*;
    use crate::MappedBar;

    /// A configuration space: words by offset, 0 elsewhere.
    struct Space(Vec<(u16, u32)>);

    impl PciFunction for Space {
        type Bar = MappedBar;
        fn name(&self) -> &'static str {
            "space"
        }
        fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
            let word = self.0.iter().find(|(at, _)| *at == offset);
            Ok(word.map_or(0, |(_, word)| *word))
        }
        fn config_write32(&self, _: u16, _: u32) -> Result<(), BusError> {
            Ok(())
        }
        fn bar(&self, index: u8) -> Result<MappedBar, BusError> {
            let device = "space".to_owned();
            Err(BusError::NoBar { device, index })
        }
        fn dma(&self) -> Arc<dyn DmaMap> {
            unreachable!("nothing is mapped")
        }
    }

    #[test]
    fn a_list_is_followed_to_its_end_or_its_first_nonsense() {
        let has = (config::COMMAND, 0x10 << 16);
        let list = |words: &[(u16, u32)]| {
            let mut all = vec![has, (config::CAPABILITIES, 0x42)];
            all.extend(words);
            let found = capabilities(&Space(all)).unwrap();
            found
                .iter()
                .map(|it| (it.id, it.offset))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            list(&[(0x40, 0x8009), (0x80, 0x0011)]),
            [(9, 0x40), (0x11, 0x80)]
        );
        assert_eq!(
            list(&[(0x40, 0x8009), (0x80, 0x4011)]),
            [(9, 0x40), (0x11, 0x80)]
        );
        assert_eq!(list(&[(0x40, 0x3C09)]), [(9, 0x40)]);
        let none = Space(vec![(config::CAPABILITIES, 0x40), (0x40, 9)]);
        assert_eq!(capabilities(&none).unwrap(), []);
    }
}
