//! A served device, and those who come to it.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod bench;
mod client;
mod driver;
mod hostile;
mod protocol;
mod rings;
