//! The memory of a port: its rings, and the pools that frames arrive in.

use std::sync::Arc;

use barewire_dma::{Batch, DmaError, DmaRegion, Domain, Mapping, Pool, PoolConfig};

use crate::PortConfig;

/// The pool of a receive queue: the program's, or one of its own whose buffers take `room` bytes at
/// least.
pub(crate) fn receive_pool(config: &PortConfig, room: usize) -> Result<Pool, DmaError> {
    if let Some(pool) = &config.pool {
        return Ok(pool.clone());
    }
    let needed = usize::from(config.rx_ring) + usize::from(config.tx_ring) + 2 * Batch::MOST;
    let usual = PoolConfig::default();
    Pool::new(PoolConfig {
        buffers: config.buffers.unwrap_or(needed),
        data_room: usual.data_room.max(room),
        pages: config.pages,
        ..usual
    })
}

/// The memory of all rings of a port, in one region.
#[derive(Debug)]
pub(crate) struct RingMemory {
    mapping: Arc<Mapping>,
    offset: usize,
}

impl RingMemory {
    /// At least so many bytes.
    pub(crate) fn allocate(
        domain: &Domain,
        bytes: usize,
        config: &PortConfig,
    ) -> Result<Self, DmaError> {
        let region = DmaRegion::allocate(bytes, config.pages)?;
        let mapping = domain.map(&region)?;
        Ok(Self { mapping, offset: 0 })
    }

    /// The next `bytes`, on a multiple of `alignment`: where they lie in which mapping.
    pub(crate) fn next(&mut self, bytes: usize, alignment: usize) -> (Arc<Mapping>, usize) {
        let offset = self.offset.next_multiple_of(alignment);
        self.offset = offset + bytes;
        (Arc::clone(&self.mapping), offset)
    }
}
