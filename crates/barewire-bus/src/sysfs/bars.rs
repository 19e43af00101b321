//! A device's base address registers, from its `resource` file.

use barewire_spec::pci::config;

/// What kind of window a base address register opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory: it can be mapped.
    Memory {
        /// Reads have no side effects.
        prefetchable: bool,
        /// The address has 64 bits.
        wide: bool,
    },
    /// I/O ports: they can be read and written, not mapped.
    Ports,
}

/// One window of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarInfo {
    /// Which base address register, 0 to 5.
    pub index: u8,
    /// Memory or ports.
    pub kind: BarKind,
    /// Size in bytes.
    pub size: u64,
}

/// The kernel's flag for I/O ports (`IORESOURCE_IO` of `linux/ioport.h`).
const PORTS: u64 = 0x100;
/// The kernel's flag for memory (`IORESOURCE_MEM`).
const MEMORY: u64 = 0x200;

/// Reads the first six lines of `resource`: start, end, and flags, whose low byte is that of the
/// register. Lines that make no sense are no windows.
pub(super) fn parse(resource: &str) -> Vec<BarInfo> {
    (0u8..6)
        .zip(resource.lines())
        .filter_map(|(index, line)| window(index, line))
        .collect()
}

fn window(index: u8, line: &str) -> Option<BarInfo> {
    let mut numbers = line
        .split_whitespace()
        .map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let (start, end, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let kind = match flags & (PORTS | MEMORY) {
        PORTS => BarKind::Ports,
        MEMORY => BarKind::Memory {
            prefetchable: flags & u64::from(config::bar::PREFETCHABLE) != 0,
            wide: flags & u64::from(config::bar::MEMORY_64) != 0,
        },
        _ => return None,
    };
    let size = end.checked_sub(start)?.checked_add(1)?;
    Some(BarInfo { index, kind, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_of_an_x520() {
        let resource = "\
0x00000000fe000000 0x00000000fe07ffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x000000000000e020 0x000000000000e03f 0x0000000000040101
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000fe080000 0x00000000fe083fff 0x0000000000140204
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000fe100000 0x00000000fe17ffff 0x0000000000046200
";
        let memory = |prefetchable| BarKind::Memory {
            prefetchable,
            wide: true,
        };
        let expected = [
            (0, memory(true), 0x8_0000),
            (2, BarKind::Ports, 0x20),
            (4, memory(false), 0x4000),
        ]
        .map(|(index, kind, size)| BarInfo { index, kind, size });
        assert_eq!(parse(resource), expected);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-fx \n]{0,200}") {
            parse(&text);
        }

        #[test]
        fn sizes_never_overflow(start in any::<u64>(), end in any::<u64>(), flags in any::<u64>()) {
            let line = format!("{start:#018x} {end:#018x} {flags:#018x}");
            for bar in parse(&line) {
                prop_assert_eq!(bar.size - 1, end - start);
            }
        }
    }
}
