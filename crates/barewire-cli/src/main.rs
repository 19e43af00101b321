//! The program `barewire`.
#![forbid(unsafe_code)]
fn main() {}
