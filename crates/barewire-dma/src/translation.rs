//! Where a device finds the buffers of a pool.

use std::sync::Arc;

use crate::lanes::Group;
use crate::{Batch, DmaError, Domain, Lanes, Mapping, Pool};

/// A pool as a device sees it.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) pool: Pool,
    pub(crate) places: Places,
    /// Keeps the pool's memory visible to the device.
    _mapping: Arc<Mapping>,
}

/// How a place in a pool's region becomes an address.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// By adding this.
    Linear(Linear),
    /// Page by page.
    Paged(Paged),
}

/// Turns places in a region into the addresses that a device uses for them.
pub(crate) trait Translate {
    /// Of one place.
    fn one(&self, at: u64) -> u64;

    /// Of a group of places.
    fn group(&self, at: Group) -> Group;
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Linear(u64);

impl Translate for Linear {
    #[inline]
    fn one(&self, at: u64) -> u64 {
        at.plus(self.0)
    }

    #[inline]
    fn group(&self, at: Group) -> Group {
        at.plus(self.0)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Paged {
    /// Of a page's size.
    bits: u32,
    /// What to add to a place, for each page.
    differences: Arc<[u64]>,
}

impl Translate for Paged {
    #[inline]
    fn one(&self, at: u64) -> u64 {
        let page = usize::try_from(at >> self.bits).unwrap_or(usize::MAX);
        let difference = self.differences.get(page).copied().unwrap_or(0);
        at.plus(difference)
    }

    #[inline]
    fn group(&self, at: Group) -> Group {
        Group::from(at.to_array().map(|at| self.one(at)))
    }
}

impl Attached {
    pub(crate) fn new(pool: &Pool, domain: &Domain) -> Result<Self, DmaError> {
        let mapping = domain.map(pool.region())?;
        let places = if let Ok(base) = mapping.iova(0, pool.extent()) {
            Places::Linear(Linear(base.get()))
        } else {
            Places::Paged(Paged::new(pool, &mapping)?)
        };
        Ok(Self {
            pool: pool.clone(),
            places,
            _mapping: mapping,
        })
    }
}

/// The pools that a queue has seen, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Pools(Vec<Attached>);

impl Pools {
    /// The most that one queue tells apart.
    pub(crate) const MOST: usize = 64;

    /// Makes a pool known, mapping its memory for the device if it is not yet.
    pub(crate) fn attach(&mut self, pool: &Pool, domain: &Domain) -> Result<(), DmaError> {
        if self.0.iter().any(|attached| attached.pool.is(pool)) {
            return Ok(());
        }
        if self.0.len() >= Self::MOST {
            return Err(DmaError::TooManyPools { most: Self::MOST });
        }
        self.0.push(Attached::new(pool, domain)?);
        Ok(())
    }

    /// The pool of the frames of a batch, and its number.
    pub(crate) fn owner_of(&self, batch: &Batch) -> Option<(u8, &Attached)> {
        let mut pools = (0..).zip(&self.0);
        pools.find(|(_, attached)| batch.carries(&attached.pool))
    }

    /// The pool with this number.
    #[inline]
    pub(crate) fn get(&self, owner: u8) -> Option<&Attached> {
        self.0.get(usize::from(owner))
    }
}

impl Translate for Places {
    #[inline]
    fn one(&self, at: u64) -> u64 {
        match self {
            Self::Linear(places) => places.one(at),
            Self::Paged(places) => places.one(at),
        }
    }

    #[inline]
    fn group(&self, at: Group) -> Group {
        match self {
            Self::Linear(places) => places.group(at),
            Self::Paged(places) => places.group(at),
        }
    }
}

impl Paged {
    fn new(pool: &Pool, mapping: &Mapping) -> Result<Self, DmaError> {
        let page = pool.region().page_size();
        for start in pool.starts() {
            match mapping.iova(start, pool.stride()) {
                Ok(_) => {}
                // on hugepages a pool leaves out the places across a page's end
                Err(DmaError::Scattered { .. }) if pool.region().is_huge() => {}
                Err(error) => return Err(error),
            }
        }
        let differences = (0..pool.extent())
            .step_by(page)
            .map(|at| Ok(mapping.iova(at, page)?.get().wrapping_sub(at as u64)))
            .collect::<Result<_, DmaError>>()?;
        Ok(Self {
            bits: page.trailing_zeros(),
            differences,
        })
    }
}
