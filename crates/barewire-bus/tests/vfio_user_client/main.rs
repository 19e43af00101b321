//! The client against a server made here: one that tells the truth, and ones that do not.
#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::panic)]

mod device;
mod dma;
mod interrupts;
mod lies;
mod registers;
mod trouble;
