//! Accesses to a device's regions.

use super::fields::{Builder, Fields, at_most};
use super::{DecodeError, MAX_DATA};

/// The most writes in one message.
const MAX_WRITES: usize = MAX_DATA / 24;

/// Which bytes of which region. Data follows the reply of a read and the request of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionAccess {
    /// Where in the region, in bytes.
    pub offset: u64,
    /// Which region.
    pub region: u32,
    /// How many bytes.
    pub count: u32,
}

/// A write to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionWrite<'a> {
    /// Where.
    pub access: RegionAccess,
    /// What.
    pub data: &'a [u8],
}

impl RegionAccess {
    /// Bytes of the payload before the data.
    pub const BYTES: usize = 16;

    /// The payload before the data.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.region.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.count.to_ne_bytes());
        bytes
    }

    /// Reads a payload without data: the request of a read, the reply of a write.
    ///
    /// # Errors
    /// [`DecodeError`] where the payload has not the right length, or for more than [`MAX_DATA`].
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("a region access", payload);
        let access = Self::take(&mut fields)?;
        fields.end()?;
        at_most(
            "the count of a region access",
            access.count.into(),
            MAX_DATA,
        )?;
        Ok(access)
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            offset: fields.u64()?,
            region: fields.u32()?,
            count: fields.u32()?,
        })
    }
}

impl<'a> RegionWrite<'a> {
    /// Reads a payload with data: the request of a write, the reply of a read.
    ///
    /// # Errors
    /// [`DecodeError`] where the payload has another number of bytes than it says.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("region data", payload);
        let access = RegionAccess::take(&mut fields)?;
        let count = at_most("the count of region data", access.count.into(), MAX_DATA)?;
        let data = fields.bytes(count)?;
        fields.end()?;
        Ok(Self { access, data })
    }
}

/// `VFIO_USER_REGION_WRITE_MULTI`: writes of up to 8 bytes, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionWrites {
    /// Where and what; each has room for 8 bytes, of which `count` are meant.
    pub writes: Vec<(RegionAccess, [u8; 8])>,
}

impl RegionWrites {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let count = u64::try_from(self.writes.len()).unwrap_or(u64::MAX);
        self.writes
            .iter()
            .fold(Builder::new().u64(count), |builder, (access, data)| {
                builder.bytes(&access.encode()).bytes(data)
            })
            .done()
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`DecodeError`] where the payload has another number of writes than it says, or one of more
    /// than 8 bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("several writes", payload);
        let count = at_most("the number of writes", fields.u64()?, MAX_WRITES)?;
        let mut writes = Vec::new();
        for _ in 0..count {
            let access = RegionAccess::take(&mut fields)?;
            at_most("the count of one of several writes", access.count.into(), 8)?;
            let data = fields.u64()?.to_ne_bytes();
            writes.push((access, data));
        }
        fields.end()?;
        Ok(Self { writes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(offset: u64, region: u32, data: Vec<u8>, writes in proptest::collection::vec(any::<(u64, u32, [u8; 8])>(), 0..20)) {
            let access = RegionAccess { offset, region, count: data.len() as u32 };
            let mut bytes = access.encode().to_vec();
            prop_assert_eq!(RegionAccess::decode(&bytes), Ok(access));
            bytes.extend_from_slice(&data);
            prop_assert_eq!(RegionWrite::decode(&bytes), Ok(RegionWrite { access, data: &data }));
            let writes = writes
                .into_iter()
                .map(|(offset, region, data)| (RegionAccess { offset, region, count: region % 9 }, data))
                .collect();
            let writes = RegionWrites { writes };
            prop_assert_eq!(RegionWrites::decode(&writes.encode()), Ok(writes));
        }
    }

    #[test]
    fn counts_that_are_not_there_are_refused() {
        let access = |count| RegionAccess {
            offset: 0,
            region: 0,
            count,
        };
        assert!(RegionAccess::decode(&access(u32::MAX).encode()).is_err());
        assert!(RegionWrite::decode(&access(1).encode()).is_err());
        assert!(RegionWrite::decode(&[&access(0).encode()[..], &[1]].concat()).is_err());
        let writes = RegionWrites {
            writes: vec![(access(9), [0; 8])],
        };
        assert!(RegionWrites::decode(&writes.encode()).is_err());
        assert!(RegionWrites::decode(&u64::MAX.to_ne_bytes()).is_err());
        assert!(RegionWrites::decode(&1u64.to_ne_bytes()).is_err());
    }
}
