//! What a developer of barewire runs.
#![forbid(unsafe_code)]
fn main() {}
