//! The 82599 and its successors, register by register.
//!
//! One module per group of the datasheet's register chapter; all registers and field types
//! are also reachable from here. Offsets are in BAR 0.

pub mod dca;
pub mod dcb;
pub mod descriptor;
pub mod diagnostic;
pub mod eeprom;
pub mod fcoe;
pub mod flow_control;
pub mod flow_director;
pub mod general;
pub mod interrupt;
pub mod limits;
pub mod mac;
pub mod management;
pub mod nvm;
pub mod pcie;
pub mod receive;
pub mod receive_dma;
pub mod register;
pub mod rss;
pub mod security;
pub mod statistics;
pub mod table;
pub mod time_sync;
pub mod transmit;
pub mod virtualization;
pub mod wakeup;
pub mod wider;
pub mod x540;
pub mod x550;
pub mod x553;

pub use dca::*;
pub use dcb::*;
pub use diagnostic::*;
pub use fcoe::*;
pub use flow_control::*;
pub use flow_director::*;
pub use general::*;
pub use interrupt::*;
pub use mac::*;
pub use management::*;
pub use nvm::*;
pub use pcie::*;
pub use receive::*;
pub use receive_dma::*;
pub use register::{Array, Mode, Register};
pub use security::*;
pub use statistics::*;
pub use table::lookup;
pub use time_sync::*;
pub use transmit::*;
pub use virtualization::*;
pub use wakeup::*;
