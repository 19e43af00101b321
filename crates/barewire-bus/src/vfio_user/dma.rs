//! The client's memory.

use super::fields::{Builder, Fields};
use super::{DecodeError, MAX_DATA};

/// The device may read the memory.
pub const DMA_READABLE: u32 = 1;
/// The device may write the memory.
pub const DMA_WRITABLE: u32 = 2;

/// Bytes of a map request.
const MAP_BYTES: u32 = 32;
/// Bytes of an unmap request.
const UNMAP_BYTES: u32 = 24;

/// `VFIO_USER_DMA_MAP`: memory that the device may reach. With a file descriptor it can be mapped
/// or read and written as a file; without one, by [`DmaAccess`] messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// [`DMA_READABLE`], [`DMA_WRITABLE`].
    pub flags: u32,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Where the device finds it.
    pub address: u64,
    /// How many bytes it has.
    pub size: u64,
}

impl MapRequest {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        Builder::new()
            .u32(MAP_BYTES)
            .u32(self.flags)
            .u64(self.offset)
            .u64(self.address)
            .u64(self.size)
            .done()
    }

    /// Reads the payload. What the numbers say is not judged here.
    ///
    /// # Errors
    /// [`DecodeError`] where it has not the right length.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("a DMA mapping", payload);
        fields.u32()?;
        let request = Self {
            flags: fields.u32()?,
            offset: fields.u64()?,
            address: fields.u64()?,
            size: fields.u64()?,
        };
        fields.end()?;
        Ok(request)
    }
}

/// `VFIO_USER_DMA_UNMAP`: memory that the device may not reach any more. The reply says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapRequest {
    /// None is defined for software that does not migrate.
    pub flags: u32,
    /// Where the device found it.
    pub address: u64,
    /// How many bytes it has.
    pub size: u64,
}

impl UnmapRequest {
    /// The flag of VFIO that unmaps everything; address and size are 0 then.
    pub const ALL: u32 = 2;

    /// The payload, of request and reply.
    pub fn encode(&self) -> Vec<u8> {
        Builder::new()
            .u32(UNMAP_BYTES)
            .u32(self.flags)
            .u64(self.address)
            .u64(self.size)
            .done()
    }

    /// Reads the payload. Bytes behind it are passed over: there is room there for what only
    /// migration needs.
    ///
    /// # Errors
    /// [`DecodeError`] where it is too short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("the end of a DMA mapping", payload);
        fields.u32()?;
        Ok(Self {
            flags: fields.u32()?,
            address: fields.u64()?,
            size: fields.u64()?,
        })
    }
}

/// `VFIO_USER_DMA_READ` and `VFIO_USER_DMA_WRITE`: the server reaches the client's memory by
/// message. Data follows the reply of a read and the request of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaAccess {
    /// Where the device finds the memory.
    pub address: u64,
    /// How many bytes.
    pub count: u64,
}

impl DmaAccess {
    /// Bytes of the payload before the data.
    pub const BYTES: usize = 16;

    /// The payload before the data.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.address.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.count.to_ne_bytes());
        bytes
    }

    /// Reads a payload without data: the request of a read.
    ///
    /// # Errors
    /// [`DecodeError`] where the payload has not the right length, or for more than [`MAX_DATA`].
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (access, rest) = Self::split(payload)?;
        Fields::new("a DMA read", rest).end()?;
        super::fields::at_most("the count of a DMA read", access.count, MAX_DATA)?;
        Ok(access)
    }

    /// Reads a payload with data: the request of a write, the reply of a read.
    ///
    /// # Errors
    /// [`DecodeError`] where the payload has another number of bytes than it says.
    pub fn decode_with_data(payload: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (access, data) = Self::split(payload)?;
        let count = super::fields::at_most("the count of DMA data", access.count, MAX_DATA)?;
        let mut fields = Fields::new("DMA data", data);
        let data = fields.bytes(count)?;
        fields.end()?;
        Ok((access, data))
    }

    fn split(payload: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut fields = Fields::new("a DMA access", payload);
        let access = Self {
            address: fields.u64()?,
            count: fields.u64()?,
        };
        Ok((access, fields.rest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(flags: u32, numbers: [u64; 3], data: Vec<u8>) {
            let [offset, address, size] = numbers;
            let map = MapRequest { flags, offset, address, size };
            prop_assert_eq!(MapRequest::decode(&map.encode()), Ok(map));
            let unmap = UnmapRequest { flags, address, size };
            prop_assert_eq!(UnmapRequest::decode(&unmap.encode()), Ok(unmap));
            let access = DmaAccess { address, count: data.len() as u64 };
            let mut bytes = access.encode().to_vec();
            prop_assert_eq!(DmaAccess::decode(&bytes), Ok(access));
            bytes.extend_from_slice(&data);
            prop_assert_eq!(DmaAccess::decode_with_data(&bytes), Ok((access, &data[..])));
        }
    }

    #[test]
    fn a_count_that_is_not_there_is_refused() {
        for count in [1, MAX_DATA as u64, MAX_DATA as u64 + 1, u64::MAX] {
            let bytes = DmaAccess { address: 0, count }.encode();
            assert!(DmaAccess::decode_with_data(&bytes).is_err(), "{count}");
        }
        let much = DmaAccess {
            address: 0,
            count: MAX_DATA as u64 + 1,
        };
        assert!(DmaAccess::decode(&much.encode()).is_err());
        assert!(MapRequest::decode(&[0; 31]).is_err());
        assert!(MapRequest::decode(&[0; 33]).is_err());
        assert!(UnmapRequest::decode(&[0; 23]).is_err());
    }
}
