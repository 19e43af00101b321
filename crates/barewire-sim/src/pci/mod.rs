//! What every PCI function has: configuration space and a table of MSI-X vectors.

mod config_space;
mod vector_table;

pub(crate) use config_space::ConfigSpace;
pub(crate) use vector_table::VectorTable;
