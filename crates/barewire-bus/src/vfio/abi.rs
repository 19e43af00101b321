//! The structures of `linux/vfio.h` and `linux/iommufd.h` that are used here. Tests compare each
//! with the bindings that were generated from the headers.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use barewire_dma::DmaRegion;

use super::request::Argument;

/// Size of a structure, as its own first member says it.
fn size_of_it<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}

/// Capabilities come behind a structure, in room that the caller provides. The longest that is
/// used here is a list of IOVA ranges, 16 bytes each.
pub(super) const CAPABILITY_BYTES: usize = 4096 - 32;

/// A structure with room behind it for capabilities.
#[repr(C, align(8))]
pub(super) struct WithCapabilities<T> {
    pub(super) head: T,
    pub(super) capabilities: [u8; CAPABILITY_BYTES],
}

/// `vfio_group_status`.
#[repr(C)]
pub(super) struct GroupStatus {
    argsz: u32,
    pub(super) flags: u32,
}

impl GroupStatus {
    pub(super) const VIABLE: u32 = 1;

    pub(super) fn new() -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: 0,
        }
    }
}

// SAFETY: laid out as `vfio_group_status`, whose size `new` sets; it holds numbers alone.
unsafe impl Argument for GroupStatus {
    const NUMBER: u8 = 103;
}

/// `vfio_device_info`, without capabilities.
#[repr(C)]
pub(super) struct DeviceInfo {
    argsz: u32,
    pub(super) flags: u32,
    pub(super) regions: u32,
    pub(super) irqs: u32,
    capabilities: u32,
    pad: u32,
}

impl DeviceInfo {
    pub(super) const RESET: u32 = 1;
    pub(super) const PCI: u32 = 2;

    pub(super) fn new() -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: 0,
            regions: 0,
            irqs: 0,
            capabilities: 0,
            pad: 0,
        }
    }
}

// SAFETY: laid out as `vfio_device_info`, whose size `new` sets; it holds numbers alone.
unsafe impl Argument for DeviceInfo {
    const NUMBER: u8 = 107;
}

/// `vfio_region_info`.
#[repr(C)]
pub(super) struct RegionInfo {
    pub(super) argsz: u32,
    pub(super) flags: u32,
    index: u32,
    pub(super) capabilities: u32,
    pub(super) size: u64,
    pub(super) offset: u64,
}

impl RegionInfo {
    pub(super) const MMAP: u32 = 4;
    pub(super) const CAPABILITIES: u32 = 8;
    /// Regions 0 to 5 are the BARs.
    pub(super) const CONFIGURATION: u32 = 7;

    pub(super) fn new(index: u32) -> WithCapabilities<Self> {
        WithCapabilities {
            head: Self {
                argsz: size_of_it::<WithCapabilities<Self>>(),
                flags: 0,
                index,
                capabilities: 0,
                size: 0,
                offset: 0,
            },
            capabilities: [0; CAPABILITY_BYTES],
        }
    }
}

// SAFETY: `vfio_region_info` with room behind it, both of which `new` counts; numbers alone.
unsafe impl Argument for WithCapabilities<RegionInfo> {
    const NUMBER: u8 = 108;
}

/// `vfio_irq_info`.
#[repr(C)]
pub(super) struct IrqInfo {
    argsz: u32,
    pub(super) flags: u32,
    index: u32,
    pub(super) count: u32,
}

/// Kinds of interrupts of a PCI device.
pub(super) mod irq {
    pub(in super::super) const MSI: u32 = 1;
    pub(in super::super) const MSIX: u32 = 2;
    /// Not the device's: the system asks for the device to be given back.
    pub(in super::super) const REQUEST: u32 = 4;
}

impl IrqInfo {
    pub(super) const EVENTFD: u32 = 1;

    pub(super) fn new(index: u32) -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: 0,
            index,
            count: 0,
        }
    }
}

// SAFETY: laid out as `vfio_irq_info`, whose size `new` sets; it holds numbers alone.
unsafe impl Argument for IrqInfo {
    const NUMBER: u8 = 109;
}

/// `vfio_irq_set` with eventfds behind it.
#[repr(C)]
pub(super) struct IrqSet {
    argsz: u32,
    flags: u32,
    index: u32,
    start: u32,
    count: u32,
    eventfds: [i32; Self::MOST],
}

impl IrqSet {
    /// The most vectors that are set up here.
    pub(super) const MOST: usize = 128;

    const DATA_NONE: u32 = 1;
    const DATA_EVENTFD: u32 = 4;
    const ACTION_TRIGGER: u32 = 32;

    /// Connects vectors 0 and up with `eventfds`, all in one step: the kernel enables as many as it
    /// is told of the first time. `None` for none, and for more than [`MOST`](Self::MOST).
    pub(super) fn connect(index: u32, eventfds: &[BorrowedFd<'_>]) -> Option<Self> {
        let mut set = Self {
            argsz: size_of_it::<[u32; 5]>() + size_of_it::<i32>() * count(eventfds),
            flags: Self::DATA_EVENTFD | Self::ACTION_TRIGGER,
            index,
            start: 0,
            count: count(eventfds),
            eventfds: [-1; Self::MOST],
        };
        if eventfds.is_empty() {
            return None;
        }
        let places = set.eventfds.get_mut(..eventfds.len())?;
        for (place, eventfd) in places.iter_mut().zip(eventfds) {
            *place = eventfd.as_raw_fd();
        }
        Some(set)
    }

    /// Turns all vectors off.
    pub(super) fn disconnect(index: u32) -> Self {
        Self {
            argsz: size_of_it::<[u32; 5]>(),
            flags: Self::DATA_NONE | Self::ACTION_TRIGGER,
            index,
            start: 0,
            count: 0,
            eventfds: [-1; Self::MOST],
        }
    }
}

fn count(eventfds: &[BorrowedFd<'_>]) -> u32 {
    u32::try_from(eventfds.len()).unwrap_or(u32::MAX / 8)
}

// SAFETY: laid out as `vfio_irq_set` with `count` file descriptors as its data, which `argsz`
// covers and which is at most the array's length; the kernel only reads it.
unsafe impl Argument for IrqSet {
    const NUMBER: u8 = 110;
}

/// `vfio_iommu_type1_info`.
#[repr(C)]
pub(super) struct Type1Info {
    pub(super) argsz: u32,
    pub(super) flags: u32,
    page_sizes: u64,
    pub(super) capabilities: u32,
    pad: u32,
}

impl Type1Info {
    pub(super) const CAPABILITIES: u32 = 2;

    pub(super) fn new() -> WithCapabilities<Self> {
        WithCapabilities {
            head: Self {
                argsz: size_of_it::<WithCapabilities<Self>>(),
                flags: 0,
                page_sizes: 0,
                capabilities: 0,
                pad: 0,
            },
            capabilities: [0; CAPABILITY_BYTES],
        }
    }
}

// SAFETY: `vfio_iommu_type1_info` with room behind it, both of which `new` counts; numbers alone.
unsafe impl Argument for WithCapabilities<Type1Info> {
    const NUMBER: u8 = 112;
}

/// `vfio_iommu_type1_dma_map`.
#[repr(C)]
pub(super) struct Type1Map {
    argsz: u32,
    flags: u32,
    address: u64,
    iova: u64,
    size: u64,
}

impl Type1Map {
    const READ_AND_WRITE: u32 = 1 | 2;

    /// Lets devices read and write a region, at `iova`. The kernel pins the pages and gives the
    /// device nothing but them, whatever becomes of the address afterwards.
    pub(super) fn new(region: &DmaRegion, iova: u64) -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: Self::READ_AND_WRITE,
            address: region.address().get() as u64,
            iova,
            size: region.len() as u64,
        }
    }
}

// SAFETY: laid out as `vfio_iommu_type1_dma_map`, whose size `new` sets; the kernel only reads it.
// `address` is that of a region of DMA memory, which is made for devices to read and write: it is
// reached through atomics, and through slices of buffers that no device has.
unsafe impl Argument for Type1Map {
    const NUMBER: u8 = 113;
}

/// `vfio_iommu_type1_dma_unmap`, without a bitmap.
#[repr(C)]
pub(super) struct Type1Unmap {
    argsz: u32,
    flags: u32,
    iova: u64,
    pub(super) size: u64,
}

impl Type1Unmap {
    pub(super) fn new(iova: u64, size: u64) -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: 0,
            iova,
            size,
        }
    }
}

// SAFETY: laid out as `vfio_iommu_type1_dma_unmap`, whose size `new` sets; it holds numbers alone.
unsafe impl Argument for Type1Unmap {
    const NUMBER: u8 = 114;
}

/// `vfio_device_bind_iommufd`, as the kernel that introduced it has it.
#[repr(C)]
pub(super) struct BindIommufd {
    argsz: u32,
    flags: u32,
    iommufd: i32,
    device_id: u32,
}

impl BindIommufd {
    pub(super) fn new(iommufd: BorrowedFd<'_>) -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: 0,
            iommufd: iommufd.as_raw_fd(),
            device_id: 0,
        }
    }
}

// SAFETY: the first members of `vfio_device_bind_iommufd`, whose size `new` sets, so that the
// kernel leaves later ones alone; it holds numbers alone.
unsafe impl Argument for BindIommufd {
    const NUMBER: u8 = 118;
}

/// `vfio_device_attach_iommufd_pt`, as the kernel that introduced it has it.
#[repr(C)]
pub(super) struct AttachIommufd {
    argsz: u32,
    flags: u32,
    address_space: u32,
}

impl AttachIommufd {
    pub(super) fn new(address_space: u32) -> Self {
        Self {
            argsz: size_of_it::<Self>(),
            flags: 0,
            address_space,
        }
    }
}

// SAFETY: the first members of `vfio_device_attach_iommufd_pt`, whose size `new` sets, so that the
// kernel leaves later ones alone; it holds numbers alone.
unsafe impl Argument for AttachIommufd {
    const NUMBER: u8 = 119;
}

/// `iommu_ioas_alloc`.
#[repr(C)]
pub(super) struct IoasAllocate {
    size: u32,
    flags: u32,
    pub(super) id: u32,
}

impl IoasAllocate {
    pub(super) fn new() -> Self {
        Self {
            size: size_of_it::<Self>(),
            flags: 0,
            id: 0,
        }
    }
}

// SAFETY: laid out as `iommu_ioas_alloc`, whose size `new` sets; it holds numbers alone.
unsafe impl Argument for IoasAllocate {
    const NUMBER: u8 = 129;
}

/// `iommu_iova_range`: first and last address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IovaRange {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// `iommu_ioas_iova_ranges`.
#[repr(C)]
pub(super) struct IoasRanges<'a> {
    size: u32,
    address_space: u32,
    pub(super) count: u32,
    reserved: u32,
    ranges: u64,
    alignment: u64,
    _ranges: std::marker::PhantomData<&'a mut [IovaRange]>,
}

impl<'a> IoasRanges<'a> {
    pub(super) fn new(address_space: u32, ranges: &'a mut [IovaRange]) -> Self {
        let count = u32::try_from(ranges.len()).unwrap_or(u32::MAX);
        Self {
            size: size_of_it::<Self>(),
            address_space,
            count,
            reserved: 0,
            ranges: ranges.as_mut_ptr().expose_provenance() as u64,
            alignment: 0,
            _ranges: std::marker::PhantomData,
        }
    }
}

// SAFETY: laid out as `iommu_ioas_iova_ranges`, whose size `new` sets. `ranges` is the address of
// `count` elements that are borrowed exclusively for the life of the structure; the kernel writes
// at most so many, and any numbers are a range.
unsafe impl Argument for IoasRanges<'_> {
    const NUMBER: u8 = 132;
}

/// `iommu_ioas_map`.
#[repr(C)]
pub(super) struct IoasMap {
    size: u32,
    flags: u32,
    address_space: u32,
    reserved: u32,
    address: u64,
    length: u64,
    iova: u64,
}

impl IoasMap {
    const FIXED_IOVA: u32 = 1;
    const WRITEABLE: u32 = 2;
    const READABLE: u32 = 4;

    /// As [`Type1Map::new`].
    pub(super) fn new(address_space: u32, region: &DmaRegion, iova: u64) -> Self {
        Self {
            size: size_of_it::<Self>(),
            flags: Self::FIXED_IOVA | Self::WRITEABLE | Self::READABLE,
            address_space,
            reserved: 0,
            address: region.address().get() as u64,
            length: region.len() as u64,
            iova,
        }
    }
}

// SAFETY: laid out as `iommu_ioas_map`, whose size `new` sets; the kernel writes numbers alone.
// `address` as for `Type1Map`.
unsafe impl Argument for IoasMap {
    const NUMBER: u8 = 133;
}

/// `iommu_ioas_unmap`.
#[repr(C)]
pub(super) struct IoasUnmap {
    size: u32,
    address_space: u32,
    iova: u64,
    pub(super) length: u64,
}

impl IoasUnmap {
    pub(super) fn new(address_space: u32, iova: u64, length: u64) -> Self {
        Self {
            size: size_of_it::<Self>(),
            address_space,
            iova,
            length,
        }
    }
}

// SAFETY: laid out as `iommu_ioas_unmap`, whose size `new` sets; it holds numbers alone.
unsafe impl Argument for IoasUnmap {
    const NUMBER: u8 = 134;
}

#[cfg(test)]
mod tests;
