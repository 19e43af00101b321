//! How a device is reached: registers, configuration space, DMA mappings and interrupts.
//!
//! A driver is generic over [`Bar`] and [`PciFunction`]; the compiler makes one driver for mapped
//! hardware, one for the software device in the same process, one for a device behind a socket,
//! all from the same text. Whoever reaches a device in another way implements the two traits.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_lossless,
        reason = "tests count in small numbers"
    )
)]

mod bar;
mod event;
mod function;
mod interrupts;
mod mapped;
mod tap;

pub use bar::Bar;
pub use event::Event;
pub use function::{BusError, PciFunction};
pub use interrupts::{InterruptKind, Interrupts};
pub use mapped::MappedBar;
pub use tap::{Tap, TapError};
