//! The real driver on the strict model. Every test ends with the model's list of violations being
//! empty, unless violating is what it is about.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation)]

mod bring_up;
mod filters;
mod in_place;
mod interrupts;
mod lab;
#[path = "../port_lab/mod.rs"]
mod port_lab;
mod queues;
mod sizes;
mod teardown;
mod trouble;
