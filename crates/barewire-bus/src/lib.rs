//! How a device is reached: registers, configuration space and DMA mappings.
//!
//! A driver is generic over [`Bar`] and [`PciFunction`]; the compiler makes one driver for mapped
//! hardware, one for the software device in the same process, one for a device behind a socket,
//! all from the same text. Whoever reaches a device in another way implements the two traits.

mod bar;
mod function;

pub use bar::Bar;
pub use function::{BusError, PciFunction};
