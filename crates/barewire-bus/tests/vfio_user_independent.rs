//! The client against a server that nobody here wrote: that of the crate `vfio_user`.
#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use barewire_bus::vfio_user::{RemoteFunction, pci};
use barewire_bus::{Bar, InterruptKind, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info, vfio_region_sparse_mmap_area,
};
use vfio_user::{
    DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion, SparseArea,
};

const BAR_BYTES: u64 = 0x4000;

#[derive(Default)]
struct State {
    registers: Vec<u8>,
    config: Vec<u8>,
    maps: Vec<(u64, u64, File)>,
    events: Vec<File>,
    resets: usize,
}

/// What the server's device does.
struct Device(Arc<Mutex<State>>);

fn place(bytes: &mut [u8], offset: u64, count: usize) -> io::Result<&mut [u8]> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    bytes
        .get_mut(start..start + count)
        .ok_or(io::ErrorKind::InvalidInput.into())
}

impl Device {
    fn bytes(state: &mut State, region: u32) -> &mut [u8] {
        match region {
            pci::REGION_BAR0 => &mut state.registers,
            pci::REGION_CONFIG => &mut state.config,
            _ => &mut [],
        }
    }
}

impl ServerBackend for Device {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let from = place(Self::bytes(&mut state, region), offset, data.len())?;
        data.copy_from_slice(from);
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        place(Self::bytes(&mut state, region), offset, data.len())?.copy_from_slice(data);
        // register 8 copies a word of the client's memory to the next one, and interrupts
        if region == pci::REGION_BAR0 && offset == 8 {
            let (_, _, file) = &state.maps[0];
            let mut word = [0; 8];
            file.read_exact_at(&mut word, 0)?;
            file.write_all_at(&word, 8)?;
            if let Some(event) = state.events.get(usize::from(data[0])) {
                rustix::io::write(event, &1u64.to_ne_bytes())?;
            }
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        _: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        assert_eq!(offset, 0);
        let file = fd.ok_or(io::ErrorKind::InvalidInput)?;
        self.0.lock().unwrap().maps.push((address, size, file));
        Ok(())
    }

    fn dma_unmap(&mut self, _: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state
            .maps
            .retain(|(start, bytes, _)| (*start, *bytes) != (address, size));
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().resets += 1;
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        _flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        assert_eq!(index, pci::IRQ_MSIX);
        if count == 0 {
            state.events.clear();
        } else {
            assert_eq!(
                (start as usize, count as usize),
                (state.events.len(), fds.len())
            );
            state.events.extend(fds);
        }
        Ok(())
    }
}

/// Serves one client; the memory behind the mapped page is `shared`.
fn serve(path: &Path, shared: &File) -> (Arc<Mutex<State>>, std::thread::JoinHandle<()>) {
    let regions = (0..pci::REGIONS).map(|index| {
        let (size, flags) = match index {
            pci::REGION_BAR0 => (
                BAR_BYTES,
                VFIO_REGION_INFO_FLAG_READ
                    | VFIO_REGION_INFO_FLAG_WRITE
                    | VFIO_REGION_INFO_FLAG_MMAP,
            ),
            pci::REGION_CONFIG => (
                256,
                VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
            ),
            _ => (0, 0),
        };
        let page = SparseArea {
            area: vfio_region_sparse_mmap_area {
                offset: 0x1000,
                size: 0x1000,
            },
        };
        let is_bar = index == pci::REGION_BAR0;
        ServerRegion {
            region_info: vfio_region_info {
                argsz: size_of::<vfio_region_info>() as u32,
                index,
                size,
                flags,
                ..Default::default()
            },
            sparse_areas: if is_bar { vec![page] } else { Vec::new() },
            mmap_fd: is_bar.then(|| shared.as_raw_fd()),
        }
    });
    let irqs = (0..pci::IRQS).map(|index| IrqInfo {
        index,
        flags: VFIO_IRQ_INFO_EVENTFD,
        count: if index == pci::IRQ_MSIX { 8 } else { 0 },
    });
    let server = Server::new(path, true, irqs.collect(), regions.collect()).unwrap();
    let state = Arc::new(Mutex::new(State {
        registers: (0..BAR_BYTES).map(|at| at as u8).collect(),
        config: (0..=255).collect(),
        ..State::default()
    }));
    let mut device = Device(Arc::clone(&state));
    let thread = std::thread::spawn(move || server.run(&mut device).unwrap());
    (state, thread)
}

#[test]
fn everything_a_driver_does_works_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("independent.sock");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let shared = memfd_create("bar", flags).unwrap();
    ftruncate(&shared, BAR_BYTES).unwrap();
    fcntl_add_seals(&shared, SealFlags::SHRINK).unwrap();
    let shared = File::from(shared);
    let (state, server) = serve(&path, &shared);

    let function = RemoteFunction::connect(&path).unwrap();
    assert_eq!(state.lock().unwrap().resets, 1);
    assert_eq!(function.config_read32(4).unwrap(), 0x0706_0504);
    function.config_write32(4, 0x0000_0006).unwrap();
    assert_eq!(function.config_read32(4).unwrap(), 6);

    let bar = function.bar(0).unwrap();
    assert_eq!((bar.size(), bar.mapped_bytes()), (0x4000, 0x1000));
    assert_eq!(bar.read32(0x2000), 0x0302_0100);
    bar.write32(0x2000, 0xfeed);
    assert_eq!(bar.read32(0x2000), 0xfeed);
    bar.write32(0x1ffc, 0xcafe);
    let mut word = [0; 4];
    shared.read_exact_at(&mut word, 0x1ffc).unwrap();
    assert_eq!(u32::from_le_bytes(word), 0xcafe);

    let region = DmaRegion::allocate(8192, Pages::Ordinary).unwrap();
    let layout = function.dma().map(&region).unwrap();
    let Layout::Linear(address) = &layout else {
        panic!("{layout:?}")
    };
    let (start, bytes) = {
        let state = state.lock().unwrap();
        (state.maps[0].0, state.maps[0].1)
    };
    assert_eq!((start, bytes), (address.get(), 8192));

    let interrupts = function.interrupts(5).unwrap();
    assert_eq!(interrupts.kind(), InterruptKind::MsiX);
    region.words()[0].store(77, Ordering::Relaxed);
    bar.write32(8, 3);
    assert_eq!(region.words()[1].load(Ordering::Relaxed), 77);
    let fired: Vec<_> = interrupts
        .vectors()
        .iter()
        .map(|event| event.clear())
        .collect();
    assert_eq!(fired, [false, false, false, true, false]);
    drop(interrupts);
    assert!(state.lock().unwrap().events.is_empty());

    // what it refuses ends nothing
    assert_eq!(bar.read32(BAR_BYTES as u32 - 4), 0xfffe_fdfc);
    assert!(function.config_read32(256).is_err());
    assert!(!function.is_gone());
    assert_eq!(function.config_read32(4).unwrap(), 6);

    function.dma().unmap(&region, &layout);
    assert!(state.lock().unwrap().maps.is_empty());
    drop((function, bar));
    server.join().unwrap();
}
