//! What the device has: regions and interrupts.

use super::fields::{Builder, Fields, at_most};
use super::{DecodeError, MAX_DATA};

/// The device can be reset by message.
pub const DEVICE_FLAG_RESET: u32 = 1;
/// The device is a PCI device.
pub const DEVICE_FLAG_PCI: u32 = 2;

/// The region can be read.
pub const REGION_FLAG_READ: u32 = 1;
/// The region can be written.
pub const REGION_FLAG_WRITE: u32 = 2;
/// The region can be mapped, in whole or in the areas that it names.
pub const REGION_FLAG_MMAP: u32 = 4;
/// Capabilities follow the region's description.
pub const REGION_FLAG_CAPS: u32 = 8;

/// The interrupt is given by eventfd.
pub const IRQ_FLAG_EVENTFD: u32 = 1;
/// The interrupt can be masked and unmasked.
pub const IRQ_FLAG_MASKABLE: u32 = 2;
/// The interrupt masks itself when it fires.
pub const IRQ_FLAG_AUTOMASKED: u32 = 4;
/// The interrupts are set up all at once.
pub const IRQ_FLAG_NORESIZE: u32 = 8;

const CAPABILITY_SPARSE_MMAP: u16 = 1;
/// The most areas of a region that are read: more than there are pages in any BAR of ours.
const MAX_AREAS: usize = 1024;

/// `VFIO_USER_DEVICE_GET_INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The bytes that the asker has room for, or that the answer takes.
    pub argsz: u32,
    /// [`DEVICE_FLAG_RESET`], [`DEVICE_FLAG_PCI`].
    pub flags: u32,
    /// How many regions there are.
    pub regions: u32,
    /// How many types of interrupts there are.
    pub irqs: u32,
}

impl DeviceInfo {
    /// Bytes of the payload.
    pub const BYTES: u32 = 16;

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        Builder::new()
            .u32(self.argsz)
            .u32(self.flags)
            .u32(self.regions)
            .u32(self.irqs)
            .done()
    }

    /// Reads the payload. Fields of later versions behind it are passed over.
    ///
    /// # Errors
    /// [`DecodeError`] where it is too short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("device information", payload);
        Ok(Self {
            argsz: fields.u32()?,
            flags: fields.u32()?,
            regions: fields.u32()?,
            irqs: fields.u32()?,
        })
    }
}

/// A part of a region that can be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseArea {
    /// Where in the region it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub size: u64,
}

/// `VFIO_USER_DEVICE_GET_REGION_INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionInfo {
    /// The bytes that the asker has room for, or that the whole answer takes.
    pub argsz: u32,
    /// [`REGION_FLAG_READ`] and so on. Encoding sets [`REGION_FLAG_CAPS`] by itself.
    pub flags: u32,
    /// Which region.
    pub index: u32,
    /// How many bytes it has.
    pub size: u64,
    /// Where in its file it begins.
    pub offset: u64,
    /// The parts that can be mapped; empty where no such capability is there.
    pub areas: Vec<SparseArea>,
}

impl RegionInfo {
    /// Bytes of the payload before its capabilities.
    pub const BYTES: u32 = 32;

    /// Bytes of the whole payload.
    pub fn full_bytes(&self) -> u32 {
        let areas = u32::try_from(self.areas.len()).unwrap_or(0);
        if areas == 0 {
            Self::BYTES
        } else {
            Self::BYTES
                .saturating_add(16)
                .saturating_add(areas.saturating_mul(16))
        }
    }

    /// The payload, with capabilities where `room` bytes are enough for them.
    pub fn encode(&self, room: u32) -> Vec<u8> {
        let full = self.full_bytes() <= room && !self.areas.is_empty();
        let caps = if full { REGION_FLAG_CAPS } else { 0 };
        let mut builder = Builder::new()
            .u32(self.argsz)
            .u32(self.flags & !REGION_FLAG_CAPS | caps)
            .u32(self.index)
            .u32(if full { Self::BYTES } else { 0 })
            .u64(self.size)
            .u64(self.offset);
        if full {
            builder = builder
                .u16(CAPABILITY_SPARSE_MMAP)
                .u16(1)
                .u32(0)
                .u32(u32::try_from(self.areas.len()).unwrap_or(0))
                .u32(0);
            for area in &self.areas {
                builder = builder.u64(area.offset).u64(area.size);
            }
        }
        builder.done()
    }

    /// Reads the payload, request or reply, and the areas in its capabilities. Capabilities that
    /// are not known are passed over.
    ///
    /// # Errors
    /// [`DecodeError`] where it is too short or its capabilities are no list.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("region information", payload);
        let argsz = fields.u32()?;
        let flags = fields.u32()?;
        let index = fields.u32()?;
        let next = fields.u32()?;
        let mut info = Self {
            argsz,
            flags,
            index,
            size: fields.u64()?,
            offset: fields.u64()?,
            areas: Vec::new(),
        };
        if flags & REGION_FLAG_CAPS != 0 {
            info.capabilities(payload, next)?;
        }
        Ok(info)
    }

    fn capabilities(&mut self, payload: &[u8], first: u32) -> Result<(), DecodeError> {
        let mut next = first;
        let mut past = 0;
        while next != 0 {
            // Each one lies behind the one before, so that a list in a circle ends.
            if next <= past {
                return Err(DecodeError::Meaningless {
                    what: "the place of a region's capability",
                    value: next.into(),
                });
            }
            past = next;
            let at = at_most("the place of a capability", next.into(), MAX_DATA)?;
            let mut fields = Fields::new("a region's capabilities", payload);
            fields.bytes(at)?;
            let id = fields.u16()?;
            fields.u16()?;
            next = fields.u32()?;
            if id != CAPABILITY_SPARSE_MMAP {
                continue;
            }
            let count = at_most("the number of areas", fields.u32()?.into(), MAX_AREAS)?;
            fields.u32()?;
            for _ in 0..count {
                let offset = fields.u64()?;
                let size = fields.u64()?;
                self.areas.push(SparseArea { offset, size });
            }
        }
        Ok(())
    }
}

/// `VFIO_USER_DEVICE_GET_IRQ_INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqInfo {
    /// The bytes that the asker has room for, or that the answer takes.
    pub argsz: u32,
    /// [`IRQ_FLAG_EVENTFD`] and so on.
    pub flags: u32,
    /// Which type of interrupt.
    pub index: u32,
    /// How many there are of it.
    pub count: u32,
}

impl IrqInfo {
    /// Bytes of the payload.
    pub const BYTES: u32 = 16;

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        Builder::new()
            .u32(self.argsz)
            .u32(self.flags)
            .u32(self.index)
            .u32(self.count)
            .done()
    }

    /// Reads the payload. Fields of later versions behind it are passed over.
    ///
    /// # Errors
    /// [`DecodeError`] where it is too short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("interrupt information", payload);
        Ok(Self {
            argsz: fields.u32()?,
            flags: fields.u32()?,
            index: fields.u32()?,
            count: fields.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(numbers: [u32; 4], size: u64, offset: u64, areas in proptest::collection::vec(any::<(u64, u64)>(), 0..20)) {
            let [argsz, flags, a, b] = numbers;
            let info = DeviceInfo { argsz, flags, regions: a, irqs: b };
            prop_assert_eq!(DeviceInfo::decode(&info.encode()), Ok(info));
            let info = IrqInfo { argsz, flags, index: a, count: b };
            prop_assert_eq!(IrqInfo::decode(&info.encode()), Ok(info));
            let areas: Vec<_> = areas.into_iter().map(|(offset, size)| SparseArea { offset, size }).collect();
            let caps = if areas.is_empty() { 0 } else { REGION_FLAG_CAPS };
            let flags = flags & !REGION_FLAG_CAPS | caps;
            let info = RegionInfo { argsz, flags, index: a, size, offset, areas };
            let bytes = info.encode(u32::MAX);
            prop_assert_eq!(bytes.len(), info.full_bytes() as usize);
            prop_assert_eq!(RegionInfo::decode(&bytes), Ok(info.clone()));
            let short = RegionInfo::decode(&info.encode(RegionInfo::BYTES)).unwrap();
            prop_assert!(short.areas.is_empty() && short.flags & REGION_FLAG_CAPS == 0);
        }
    }

    #[test]
    fn capabilities_in_a_circle_end() {
        let info = RegionInfo {
            areas: vec![SparseArea { offset: 0, size: 1 }],
            ..RegionInfo::default()
        };
        let mut bytes = info.encode(u32::MAX);
        bytes[36..40].copy_from_slice(&32u32.to_ne_bytes());
        assert!(RegionInfo::decode(&bytes).is_err());
        bytes[36..40].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(RegionInfo::decode(&bytes).is_err());
        bytes[36..40].copy_from_slice(&0u32.to_ne_bytes());
        bytes[40..44].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(RegionInfo::decode(&bytes).is_err());
    }

    #[test]
    fn another_capability_is_passed_over() {
        let info = RegionInfo {
            areas: vec![SparseArea { offset: 7, size: 9 }],
            ..RegionInfo::default()
        };
        let sparse = info.encode(u32::MAX).split_off(32);
        let mut bytes = info.encode(u32::MAX);
        bytes.truncate(32);
        bytes.extend_from_slice(&3u16.to_ne_bytes());
        bytes.extend_from_slice(&1u16.to_ne_bytes());
        bytes.extend_from_slice(&40u32.to_ne_bytes());
        bytes.extend_from_slice(&sparse);
        assert_eq!(RegionInfo::decode(&bytes).unwrap().areas, info.areas);
    }
}
