//! PCI: the configuration space and who is who.

pub mod config;
mod identity;

pub use identity::{DEVICE_82599_SFP, Family, IDENTITIES, Identity, Media, VENDOR_INTEL, identify};
