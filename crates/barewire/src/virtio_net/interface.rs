//! How a virtio device is reached over PCI: structures in memory windows, which its capabilities tell of
//! (VIRTIO §4.1.4), or the legacy interface's registers in I/O ports (§4.1.4.10).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use barewire_bus::{Bar, PciFunction, capabilities};
use barewire_spec::pci::config::capability;
use barewire_spec::virtio::pci::capability as structure;
use barewire_spec::virtio::pci::common;

use crate::Error;

/// How a device's registers are reached.
pub(super) enum Interface<B> {
    Modern {
        common: Structure<B>,
        notify: Structure<B>,
        /// Bytes between two queues' places.
        multiplier: u32,
        config: Option<Structure<B>>,
    },
    Legacy {
        ports: B,
        /// MSI-X is on, which moves the configuration.
        msix: AtomicBool,
    },
}

/// A structure in a window.
pub(super) struct Structure<B> {
    /// The window, which others may be in too.
    pub(super) bar: Arc<B>,
    pub(super) offset: u32,
    pub(super) size: u32,
}

/// What the capabilities say about one structure, before its window is mapped.
#[derive(Clone, Copy)]
struct Found {
    bar: u8,
    offset: u32,
    size: u32,
    multiplier: u32,
}

impl Found {
    /// Reads a virtio capability, of which nothing is believed.
    fn read<P: PciFunction>(function: &P, at: u16) -> Result<(u8, Self), Error> {
        let word = |offset| function.config_read32(at + offset);
        let [_, _, length, kind] = word(0)?.to_le_bytes();
        let [bar, ..] = word(structure::BAR)?.to_le_bytes();
        let long = length >= structure::BYTES + 4;
        let found = Self {
            bar,
            offset: word(structure::OFFSET)?,
            size: word(structure::SIZE)?,
            multiplier: if long && kind == structure::NOTIFY {
                word(structure::NOTIFY_MULTIPLIER)?
            } else {
                0
            },
        };
        Ok((if length >= structure::BYTES { kind } else { 0 }, found))
    }
}

impl<B: Bar> Interface<B> {
    /// Finds out how the device is reached, and maps that.
    pub(super) fn find<P: PciFunction<Bar = B>>(function: &P) -> Result<Self, Error> {
        let mut found = [None; 5];
        for place in capabilities(function)? {
            // the last field of a capability must still lie in the 256 bytes
            if place.id != capability::VENDOR || place.offset > 0x100 - 20 {
                continue;
            }
            let (kind, at) = Found::read(function, place.offset)?;
            // the first of each kind that can be used (VIRTIO §4.1.4.1)
            if let Some(slot) = found.get_mut(usize::from(kind))
                && at.bar <= 5
                && slot.is_none()
            {
                *slot = Some(at);
            }
        }
        match found {
            [_, Some(common), Some(notify), _, config] => {
                Self::modern(function, common, notify, config)
            }
            _ => Ok(Self::Legacy {
                ports: function.bar(0)?,
                msix: AtomicBool::new(false),
            }),
        }
    }

    fn modern<P: PciFunction<Bar = B>>(
        function: &P,
        common: Found,
        notify: Found,
        config: Option<Found>,
    ) -> Result<Self, Error> {
        let mut windows: Vec<(u8, Arc<B>)> = Vec::new();
        let mut place = |found: Found, least: u32| {
            let known = windows.iter().find(|(number, _)| *number == found.bar);
            let bar = if let Some((_, known)) = known {
                Arc::clone(known)
            } else {
                let bar = Arc::new(function.bar(found.bar)?);
                windows.push((found.bar, Arc::clone(&bar)));
                bar
            };
            let whole = bar.size();
            let end = found.offset.checked_add(found.size);
            if found.size < least
                || end.is_none_or(|end| end > whole)
                || !found.offset.is_multiple_of(4)
            {
                let (bar, offset, size) = (found.bar, found.offset, found.size);
                return Err(Error::broken(
                    function.name(),
                    format!("a structure of {size} bytes can't lie at {offset:#x} of BAR{bar}"),
                ));
            }
            Ok(Structure {
                bar,
                offset: found.offset,
                size: found.size,
            })
        };
        Ok(Self::Modern {
            common: place(common, common::BYTES)?,
            notify: place(notify, 2)?,
            multiplier: notify.multiplier,
            config: config.map(|config| place(config, 4)).transpose()?,
        })
    }
}
