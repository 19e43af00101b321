//! Queues of both formats against a device that keeps to the rules, and one that does not.

mod device;
mod frames;
mod lies;
mod rig;
mod runs;
