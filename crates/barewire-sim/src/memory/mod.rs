//! Memory as a device sees it: addresses, what is mapped behind them, and how it is reached.

mod backing;
mod iommu;
mod mirror;
mod number;
mod window;

pub(crate) use backing::{Access, Distant, Memory, Unanswered};
pub(crate) use iommu::{Descriptor, Fault, Hint, Iommu, MAX_MAPPINGS, Refused};
pub(crate) use mirror::Mirror;
pub(crate) use number::Width;
pub(crate) use window::Window;
