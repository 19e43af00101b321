//! The software virtio device against programs that follow the specification step by step, and
//! against ones that don't.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation)] // numbers of a test

mod control;
mod legacy;
mod offloads;
mod program;
mod registers;
mod rings;
#[path = "../wire_script/mod.rs"]
mod wire_script;
