//! VFIO's first interface: groups of devices, in containers that share a translation.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use barewire_dma::DmaRegion;

use super::abi::{GroupStatus, Type1Info, Type1Map, Type1Unmap};
use super::address_space::{AddressSpace, Translation};
use super::{capabilities, request};

/// `VFIO_TYPE1v2_IOMMU`.
const TYPE1V2: usize = 3;
/// `VFIO_NOIOMMU_IOMMU`.
const NO_IOMMU: usize = 8;
/// The one version of VFIO there is.
const VERSION: i32 = 0;

/// What is behind a container.
#[derive(Debug)]
pub(super) enum Container {
    /// An IOMMU.
    Translated(Arc<File>, Arc<AddressSpace>),
    /// Nothing: physical addresses.
    Untranslated(File),
}

/// A group of devices, open and in a container. The kernel lets one process have it at a time.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) file: File,
    pub(super) container: Arc<Container>,
}

/// Why a group could not be had.
pub(super) enum GroupError {
    /// The node `/dev/vfio/N`, or `/dev/vfio/vfio`.
    Open(PathBuf, io::Error),
    /// Members belong to other drivers.
    NotViable,
    /// A request failed.
    Request(&'static str, io::Error),
    /// The kernel has no such IOMMU driver for VFIO.
    NoExtension(&'static str),
}

fn open(path: PathBuf) -> Result<File, GroupError> {
    match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => Ok(file),
        Err(error) => Err(GroupError::Open(path, error)),
    }
}

impl Group {
    /// Opens the group's node and puts it into `shared`, the container of the groups before, if
    /// the IOMMU lets it, or into a container of its own.
    pub(super) fn open(
        node: PathBuf,
        container_node: PathBuf,
        no_iommu: bool,
        shared: Option<Arc<Container>>,
    ) -> Result<Self, GroupError> {
        let file = open(node)?;
        let mut status = GroupStatus::new();
        request::request(&file, &mut status)
            .map_err(|error| GroupError::Request("ask for the group's status", error))?;
        if status.flags & GroupStatus::VIABLE == 0 {
            return Err(GroupError::NotViable);
        }
        let shared = shared.filter(|shared| shared.is_translated() != no_iommu);
        if let Some(container) = shared {
            match container.join(&file) {
                Ok(()) => return Ok(Self { file, container }),
                // behind another IOMMU, which can't share tables with the first
                Err(error) => tracing::info!(%error, "the group needs a container of its own"),
            }
        }
        let container = Arc::new(Container::create(container_node, &file, no_iommu)?);
        Ok(Self { file, container })
    }
}

impl Container {
    /// A container for `group`. The first group decides what IOMMU there is.
    fn create(node: PathBuf, group: &File, no_iommu: bool) -> Result<Self, GroupError> {
        let file = open(node)?;
        let container = file.as_fd();
        let failed = |what| move |error| GroupError::Request(what, error);
        let version = request::api_version(container).map_err(failed("ask for VFIO's version"))?;
        let (kind, name) = if no_iommu {
            (
                NO_IOMMU,
                "VFIO without an IOMMU (enable_unsafe_noiommu_mode)",
            )
        } else {
            (TYPE1V2, "VFIO version 0 with a type 1 version 2 IOMMU")
        };
        let available = version == VERSION
            && request::has_extension(container, kind)
                .map_err(failed("ask for VFIO's extensions"))?;
        if !available {
            return Err(GroupError::NoExtension(name));
        }
        request::set_container(group.as_fd(), container)
            .map_err(failed("put the group into a container"))?;
        request::set_iommu(container, kind).map_err(failed("turn the container's IOMMU on"))?;
        if no_iommu {
            return Ok(Self::Untranslated(file));
        }
        let file = Arc::new(file);
        let space = AddressSpace::new(Type1 {
            container: Arc::clone(&file),
        });
        space
            .look_up_ranges()
            .map_err(failed("ask for the IOMMU's addresses"))?;
        Ok(Self::Translated(file, Arc::new(space)))
    }

    fn is_translated(&self) -> bool {
        matches!(self, Self::Translated(..))
    }

    fn join(&self, group: &File) -> io::Result<()> {
        match self {
            Self::Translated(file, space) => {
                request::set_container(group.as_fd(), file.as_fd())?;
                space.look_up_ranges()
            }
            Self::Untranslated(file) => request::set_container(group.as_fd(), file.as_fd()),
        }
    }
}

/// The translation of a container with a type 1 IOMMU.
#[derive(Debug)]
struct Type1 {
    container: Arc<File>,
}

/// `VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`.
const IOVA_RANGES: u16 = 1;
/// Where the kernel does not say what can be used: below the first of the windows that are
/// reserved on common machines.
const CAUTIOUS: (u64, u64) = (0, 0xFEDF_FFFF);

impl Translation for Type1 {
    fn map(&self, region: &DmaRegion, iova: u64) -> io::Result<()> {
        request::request(&self.container, &mut Type1Map::new(region, iova)).map(drop)
    }

    fn unmap(&self, iova: u64, bytes: u64) -> io::Result<()> {
        let mut unmap = Type1Unmap::new(iova, bytes);
        request::request(&self.container, &mut unmap)?;
        if unmap.size == bytes {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} of {bytes} bytes were unmapped",
            unmap.size
        )))
    }

    fn ranges(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut info = Type1Info::new();
        request::request(&self.container, &mut info)?;
        let base = size_of::<Type1Info>();
        let ranges = Some(info.head.flags & Type1Info::CAPABILITIES != 0)
            .filter(|has| *has)
            .and_then(|_| {
                let first = info.head.capabilities;
                capabilities::find(&info.capabilities, base, first, IOVA_RANGES)
            })
            .and_then(capabilities::pairs);
        Ok(ranges.unwrap_or_else(|| vec![CAUTIOUS]))
    }
}
