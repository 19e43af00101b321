//! Each structure against the one that was generated from the kernel's header.

use std::mem::{align_of, offset_of};

use iommufd_bindings as iommufd;
use vfio_bindings::bindings::vfio;

use super::*;

/// Asserts that structures have the same size, alignment and offsets of members.
macro_rules! same {
    ($ours:ty, $theirs:ty, $($mine:ident = $its:ident),+ $(,)?) => {
        assert_eq!(size_of::<$ours>(), size_of::<$theirs>(), stringify!($theirs));
        same_members!($ours, $theirs, $($mine = $its),+);
    };
}

macro_rules! same_members {
    ($ours:ty, $theirs:ty, $($mine:ident = $its:ident),+ $(,)?) => {
        assert_eq!(align_of::<$ours>(), align_of::<$theirs>(), stringify!($theirs));
        $(assert_eq!(
            offset_of!($ours, $mine),
            offset_of!($theirs, $its),
            concat!(stringify!($theirs), ".", stringify!($its)),
        );)+
    };
}

#[test]
fn structures_of_vfio() {
    same!(
        GroupStatus,
        vfio::vfio_group_status,
        argsz = argsz,
        flags = flags
    );
    same!(
        DeviceInfo,
        vfio::vfio_device_info,
        argsz = argsz,
        flags = flags,
        regions = num_regions,
        irqs = num_irqs,
        capabilities = cap_offset,
        pad = pad,
    );
    same!(
        RegionInfo,
        vfio::vfio_region_info,
        argsz = argsz,
        flags = flags,
        index = index,
        capabilities = cap_offset,
        size = size,
        offset = offset,
    );
    same!(
        IrqInfo,
        vfio::vfio_irq_info,
        argsz = argsz,
        flags = flags,
        index = index,
        count = count,
    );
    same_members!(
        IrqSet,
        vfio::vfio_irq_set,
        argsz = argsz,
        flags = flags,
        index = index,
        start = start,
        count = count,
        eventfds = data,
    );
    same!(
        Type1Info,
        vfio::vfio_iommu_type1_info,
        argsz = argsz,
        flags = flags,
        page_sizes = iova_pgsizes,
        capabilities = cap_offset,
        pad = pad,
    );
    same!(
        Type1Map,
        vfio::vfio_iommu_type1_dma_map,
        argsz = argsz,
        flags = flags,
        address = vaddr,
        iova = iova,
        size = size,
    );
    same!(
        Type1Unmap,
        vfio::vfio_iommu_type1_dma_unmap,
        argsz = argsz,
        flags = flags,
        iova = iova,
        size = size,
    );
}

#[test]
fn structures_of_vfio_that_have_grown() {
    same_members!(
        AttachIommufd,
        vfio::vfio_device_attach_iommufd_pt,
        argsz = argsz,
        flags = flags,
        address_space = pt_id,
    );
    // the address that was added later aligns the bindings' structure to 8 bytes
    assert_eq!(
        [
            offset_of!(BindIommufd, argsz),
            offset_of!(BindIommufd, flags),
            offset_of!(BindIommufd, iommufd),
            offset_of!(BindIommufd, device_id),
            size_of::<BindIommufd>(),
        ],
        [
            offset_of!(vfio::vfio_device_bind_iommufd, argsz),
            offset_of!(vfio::vfio_device_bind_iommufd, flags),
            offset_of!(vfio::vfio_device_bind_iommufd, iommufd),
            offset_of!(vfio::vfio_device_bind_iommufd, out_devid),
            offset_of!(vfio::vfio_device_bind_iommufd, token_uuid_ptr),
        ]
    );
}

#[test]
fn structures_of_iommufd() {
    same!(
        IoasAllocate,
        iommufd::iommu_ioas_alloc,
        size = size,
        flags = flags,
        id = out_ioas_id,
    );
    same!(
        IovaRange,
        iommufd::iommu_iova_range,
        first = start,
        last = last,
    );
    same!(
        IoasRanges<'_>,
        iommufd::iommu_ioas_iova_ranges,
        size = size,
        address_space = ioas_id,
        count = num_iovas,
        reserved = __reserved,
        ranges = allowed_iovas,
        alignment = out_iova_alignment,
    );
    same!(
        IoasMap,
        iommufd::iommu_ioas_map,
        size = size,
        flags = flags,
        address_space = ioas_id,
        reserved = __reserved,
        address = user_va,
        length = length,
        iova = iova,
    );
    same!(
        IoasUnmap,
        iommufd::iommu_ioas_unmap,
        size = size,
        address_space = ioas_id,
        iova = iova,
        length = length,
    );
}

#[test]
fn capabilities_follow_their_structure_without_a_gap() {
    assert_eq!(
        offset_of!(WithCapabilities<RegionInfo>, capabilities),
        size_of::<RegionInfo>()
    );
    assert_eq!(
        offset_of!(WithCapabilities<Type1Info>, capabilities),
        size_of::<Type1Info>()
    );
    let info = RegionInfo::new(0);
    assert_eq!(info.head.argsz as usize, size_of_val(&info));
}

#[test]
fn numbers_of_requests_flags_and_indices() {
    assert_eq!(super::super::request::KIND, vfio::VFIO_TYPE);
    assert_eq!(super::super::request::KIND, iommufd::IOMMUFD_TYPE);
    let from_base = |number: u8| u32::from(number) - vfio::VFIO_BASE;
    // the order of the requests in the header
    let numbers = [
        GroupStatus::NUMBER,
        DeviceInfo::NUMBER,
        <WithCapabilities<RegionInfo>>::NUMBER,
        IrqInfo::NUMBER,
        IrqSet::NUMBER,
        <WithCapabilities<Type1Info>>::NUMBER,
        Type1Map::NUMBER,
        Type1Unmap::NUMBER,
        BindIommufd::NUMBER,
        AttachIommufd::NUMBER,
    ];
    assert_eq!(numbers.map(from_base), [3, 7, 8, 9, 10, 12, 13, 14, 18, 19]);
    let numbers = [
        IoasAllocate::NUMBER,
        IoasRanges::NUMBER,
        IoasMap::NUMBER,
        IoasUnmap::NUMBER,
    ];
    assert_eq!(
        numbers.map(u32::from),
        [
            iommufd::IOMMUFD_CMD_IOAS_ALLOC,
            iommufd::IOMMUFD_CMD_IOAS_IOVA_RANGES,
            iommufd::IOMMUFD_CMD_IOAS_MAP,
            iommufd::IOMMUFD_CMD_IOAS_UNMAP,
        ]
    );
    assert_eq!(GroupStatus::VIABLE, vfio::VFIO_GROUP_FLAGS_VIABLE);
    assert_eq!(DeviceInfo::RESET, vfio::VFIO_DEVICE_FLAGS_RESET);
    assert_eq!(DeviceInfo::PCI, vfio::VFIO_DEVICE_FLAGS_PCI);
    assert_eq!(RegionInfo::MMAP, vfio::VFIO_REGION_INFO_FLAG_MMAP);
    assert_eq!(RegionInfo::CAPABILITIES, vfio::VFIO_REGION_INFO_FLAG_CAPS);
    assert_eq!(
        RegionInfo::CONFIGURATION,
        vfio::VFIO_PCI_CONFIG_REGION_INDEX
    );
    assert_eq!(IrqInfo::EVENTFD, vfio::VFIO_IRQ_INFO_EVENTFD);
    assert_eq!(irq::MSI, vfio::VFIO_PCI_MSI_IRQ_INDEX);
    assert_eq!(irq::MSIX, vfio::VFIO_PCI_MSIX_IRQ_INDEX);
    assert_eq!(irq::REQUEST, vfio::VFIO_PCI_REQ_IRQ_INDEX);
    assert_eq!(IrqSet::DATA_NONE, vfio::VFIO_IRQ_SET_DATA_NONE);
    assert_eq!(IrqSet::DATA_EVENTFD, vfio::VFIO_IRQ_SET_DATA_EVENTFD);
    assert_eq!(IrqSet::ACTION_TRIGGER, vfio::VFIO_IRQ_SET_ACTION_TRIGGER);
    assert_eq!(Type1Info::CAPABILITIES, vfio::VFIO_IOMMU_INFO_CAPS);
    assert_eq!(
        Type1Map::READ_AND_WRITE,
        vfio::VFIO_DMA_MAP_FLAG_READ | vfio::VFIO_DMA_MAP_FLAG_WRITE
    );
    assert_eq!(
        [IoasMap::FIXED_IOVA, IoasMap::WRITEABLE, IoasMap::READABLE],
        [
            iommufd::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA,
            iommufd::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE,
            iommufd::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE,
        ]
    );
}

#[test]
fn every_vector_has_its_own_eventfd_in_one_request() {
    use std::os::fd::AsFd;
    let events: Vec<_> = (0..3).map(|_| crate::Event::new().unwrap()).collect();
    let eventfds: Vec<_> = events.iter().map(AsFd::as_fd).collect();
    let set = IrqSet::connect(irq::MSIX, &eventfds).unwrap();
    assert_eq!((set.argsz, set.start, set.count), (32, 0, 3));
    // whole numbers, not their low bytes, each in its own place
    let expected: Vec<_> = events.iter().map(AsRawFd::as_raw_fd).collect();
    assert_eq!(set.eventfds[..3], expected);
    assert_eq!(set.eventfds[3], -1);

    let off = IrqSet::disconnect(irq::MSIX);
    assert_eq!((off.argsz, off.start, off.count), (20, 0, 0));
    assert!(IrqSet::connect(irq::MSIX, &[]).is_none());
    let too_many = vec![eventfds[0]; IrqSet::MOST + 1];
    assert!(IrqSet::connect(irq::MSIX, &too_many).is_none());
}
