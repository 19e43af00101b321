//! Rings brought up by hand, in every kind of memory and through every kind of doorbell.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use barewire_bus::vfio_user::{DMA_READABLE, DMA_WRITABLE, pci};
use barewire_dma::{DmaRegion, Pages};
use barewire_sim::serve::Doorbells;
use barewire_spec::ixgbe::descriptor::rx::Status;
use barewire_spec::ixgbe::descriptor::tx::Data;
use barewire_spec::ixgbe::*;
use barewire_spec::pci::config;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::bench::Bench;
use crate::client::{Client, Given};

/// Registers, however they are reached.
pub(crate) trait Card {
    fn get(&self, offset: u32) -> u32;
    fn set(&self, offset: u32, value: u32);
    fn be_master(&self);
}

/// Memory, however it is reached.
pub(crate) trait Ram {
    fn read(&self, at: usize, bytes: &mut [u8]);
    fn write(&self, at: usize, bytes: &[u8]);
}

impl Card for Client {
    fn get(&self, offset: u32) -> u32 {
        self.register(offset)
    }
    fn set(&self, offset: u32, value: u32) {
        self.set_register(offset, value);
    }
    fn be_master(&self) {
        let command = self.config(config::COMMAND.into()) | u32::from(config::command::BUS_MASTER);
        let offset = u64::from(config::COMMAND);
        self.write(pci::REGION_CONFIG, offset, &command.to_le_bytes()[..2])
            .unwrap();
    }
}

impl Ram for File {
    fn read(&self, at: usize, bytes: &mut [u8]) {
        self.read_exact_at(bytes, at as u64).unwrap();
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        self.write_all_at(bytes, at as u64).unwrap();
    }
}

impl Ram for DmaRegion {
    fn read(&self, at: usize, bytes: &mut [u8]) {
        self.device_read(at, bytes).unwrap();
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        std::sync::atomic::fence(Ordering::Release);
        self.device_write(at, bytes).unwrap();
        std::sync::atomic::fence(Ordering::Release);
    }
}

/// A client that nobody here wrote, with the pages mapped that the server allows.
struct Foreign {
    client: Mutex<vfio_user::Client>,
    pages: Arc<DmaRegion>,
    areas: Vec<(u64, u64)>,
}

impl Foreign {
    fn connect(bench: &Bench) -> Self {
        let client = vfio_user::Client::new(&bench.path).unwrap();
        let bar = client.region(pci::REGION_BAR0).unwrap();
        let file: OwnedFd = {
            let offset = bar.file_offset.as_ref().expect("a file to map");
            assert_eq!(offset.start(), 0);
            offset.file().try_clone().unwrap().into()
        };
        let areas: Vec<_> = bar
            .sparse_areas
            .iter()
            .map(|area| (area.offset, area.offset + area.size))
            .collect();
        Self {
            pages: DmaRegion::from_file(file, None).expect("pages that can't be cut off"),
            client: Mutex::new(client),
            areas,
        }
    }

    fn mapped(&self, offset: u32) -> bool {
        let offset = u64::from(offset);
        self.areas
            .iter()
            .any(|(from, to)| (*from..*to).contains(&offset))
    }
}

impl Card for Foreign {
    fn get(&self, offset: u32) -> u32 {
        if self.mapped(offset) {
            let pair = self.pages.words()[offset as usize / 8].load(Ordering::Acquire);
            return (pair >> (offset % 8 * 8)) as u32;
        }
        let mut word = [0; 4];
        let mut client = self.client.lock().unwrap();
        client.region_read(0, offset.into(), &mut word).unwrap();
        u32::from_le_bytes(word)
    }

    fn set(&self, offset: u32, value: u32) {
        if self.mapped(offset) {
            let shift = offset % 8 * 8;
            let kept = !(0xFFFF_FFFF << shift);
            let put = |pair| Some(pair & kept | u64::from(value) << shift);
            self.pages.words()[offset as usize / 8]
                .fetch_update(Ordering::Release, Ordering::Relaxed, put)
                .unwrap();
            return;
        }
        let mut client = self.client.lock().unwrap();
        client
            .region_write(0, offset.into(), &value.to_le_bytes())
            .unwrap();
    }

    fn be_master(&self) {
        let mut client = self.client.lock().unwrap();
        let offset = config::COMMAND.into();
        let mut command = [0; 2];
        client
            .region_read(pci::REGION_CONFIG, offset, &mut command)
            .unwrap();
        command[0] |= config::command::BUS_MASTER as u8;
        client
            .region_write(pci::REGION_CONFIG, offset, &command)
            .unwrap();
    }
}

/// Waits for something that comes, in the end.
fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !there() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_micros(200));
    }
}

const RECEIVE: usize = 0x0000;
const TRANSMIT: usize = 0x1000;
const BUFFERS: usize = 0x2000;
const COUNT: usize = 16;
const BYTES: usize = BUFFERS + 2 * COUNT * 2048;

/// One receive and one transmit ring on queue `queue`, in memory at `base`.
pub(crate) struct Rings<'a> {
    card: &'a dyn Card,
    ram: &'a dyn Ram,
    base: u64,
    queue: u32,
    next: usize,
}

/// Everything but queues (82599 §4.6.3, §4.6.7, §4.6.8).
pub(crate) fn init(card: &dyn Card) {
    card.be_master();
    for (table, count) in [(&MTA, 128), (&VFTA, 128)] {
        (0..count).for_each(|index| card.set(table.at(index), 0));
    }
    wait_for("the link", || {
        Links::from_bits(card.get(LINKS.base)).link_up()
    });
    let rdrxctl = Rdrxctl::from_bits(card.get(RDRXCTL.base));
    let rdrxctl = rdrxctl.as_prescribed().with_crcstrip(true);
    card.set(RDRXCTL.base, rdrxctl.into_bits());
    let hlreg0 = Hlreg0::from_bits(card.get(HLREG0.base));
    let hlreg0 = hlreg0.with_rxcrcstrp(true).with_txpaden(true);
    card.set(HLREG0.base, hlreg0.into_bits());
    let promiscuous = Fctrl::new().with_bam(true).with_upe(true).with_mpe(true);
    card.set(FCTRL.base, promiscuous.into_bits());
    let dmatxctl = Dmatxctl::from_bits(card.get(DMATXCTL.base)).with_te(true);
    card.set(DMATXCTL.base, dmatxctl.into_bits());
    card.set(RXCTRL.base, 1);
}

/// Starts queues whose rings are in memory at `base`.
pub(crate) fn start_only(card: &dyn Card, base: u64, queue: u32) {
    let halves = |at: usize| [(base + at as u64) as u32, ((base + at as u64) >> 32) as u32];
    for (at, registers) in [
        (RECEIVE, [&RDBAL, &RDBAH, &RDLEN]),
        (TRANSMIT, [&TDBAL, &TDBAH, &TDLEN]),
    ] {
        let [low, high] = halves(at);
        let values = [low, high, COUNT as u32 * 16];
        for (register, value) in registers.iter().zip(values) {
            card.set(register.at(queue), value);
        }
    }
    let srrctl = Srrctl::from_bits(SRRCTL.reset)
        .with_bsizepacket(2)
        .with_desctype(desctype::ADVANCED_ONE_BUFFER);
    card.set(SRRCTL.at(queue), srrctl.into_bits());
    card.set(TDH.at(queue), 0);
    for (control, enable) in [
        (&RXDCTL, Rxdctl::new().with_enable(true).into_bits()),
        (&TXDCTL, Txdctl::new().with_enable(true).into_bits()),
    ] {
        let offset = control.at(queue);
        card.set(offset, card.get(offset) | enable);
        wait_for("a queue", || card.get(offset) & enable != 0);
    }
}

impl<'a> Rings<'a> {
    pub(crate) fn start(card: &'a dyn Card, ram: &'a dyn Ram, base: u64, queue: u32) -> Self {
        let rings = Self {
            card,
            ram,
            base,
            queue,
            next: 0,
        };
        for index in 0..COUNT {
            let buffer = base + (BUFFERS + index * 2048) as u64;
            rings.put(RECEIVE + index * 16, [buffer, 0]);
        }
        start_only(card, base, queue);
        card.set(RDT.at(queue), COUNT as u32 - 1);
        rings
    }

    /// Stops the queues, and lets the device see it, as any access does that is a message.
    fn stop(&self) {
        for control in [&RXDCTL, &TXDCTL] {
            let offset = control.at(self.queue);
            let enable = Rxdctl::new().with_enable(true).into_bits();
            self.card.set(offset, self.card.get(offset) & !enable);
            wait_for("the end of a queue", || self.card.get(offset) & enable == 0);
        }
        self.card.get(STATUS.base);
    }

    fn put(&self, at: usize, words: [u64; 2]) {
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        self.ram.write(at, &bytes);
    }

    /// Sends a frame and gets it back from the loop.
    pub(crate) fn go_around(&mut self, length: usize) {
        let index = self.next;
        self.next = (index + 1) % COUNT;
        let frame: Vec<u8> = (0..length).map(|at| (at + index) as u8).collect();
        let buffer = BUFFERS + (COUNT + index) * 2048;
        self.ram.write(buffer, &frame);
        let data = Data::whole_packet(length as u16).with_rs(true);
        let descriptor = TRANSMIT + index * 16;
        self.put(descriptor, [self.base + buffer as u64, data.into_bits()]);
        self.card.set(TDT.at(self.queue), self.next as u32);
        let word = |at: usize| {
            let mut bytes = [0; 8];
            self.ram.read(at + 8, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        wait_for("the report of a frame", || word(descriptor) & Data::DD != 0);
        let received = RECEIVE + index * 16;
        let status = || Status::from_bits(word(received));
        wait_for("a frame", || status().dd());
        assert!(status().eop());
        let mut bytes = vec![0; status().pkt_len().into()];
        self.ram.read(BUFFERS + index * 2048, &mut bytes);
        assert_eq!(bytes, frame);
        let buffer = self.base + (BUFFERS + index * 2048) as u64;
        self.put(received, [buffer, 0]);
        self.card.set(RDT.at(self.queue), index as u32);
    }
}

pub(crate) fn open_file() -> OwnedFd {
    let file = memfd_create("open", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, BYTES as u64).unwrap();
    file
}

const BASE: u64 = 0x7_0000_0000;

#[test]
fn memory_in_a_file_that_could_be_cut_off() {
    let bench = Bench::new(Doorbells::Trapped);
    let client = Client::connect(&bench.path, Given::Sealed);
    let file = open_file();
    let both = DMA_READABLE | DMA_WRITABLE;
    client
        .map_at(BASE, BYTES as u64, 0, Some(&file), both)
        .unwrap();
    let ram = File::from(file);
    init(&client);
    let mut rings = Rings::start(&client, &ram, BASE, 0);
    (0..40).for_each(|number| rings.go_around(60 + number * 10));
    bench.assert_clean();
    // It is cut off: the device loses its memory, and nobody anything else.
    ftruncate(&ram, 0).unwrap();
    client.set_register(TDT.at(0), 15);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(ram.metadata().unwrap().len(), 0);
    drop(client);
    let again = Client::connect(&bench.path, Given::Asked);
    assert_eq!(again.config(0), 0x10FB_8086);
}

#[test]
fn memory_for_reading_or_for_writing_only() {
    let bench = Bench::new(Doorbells::Trapped);
    let client = Client::connect(&bench.path, Given::Sealed);
    let region = DmaRegion::allocate(BYTES, Pages::Ordinary).unwrap();
    let file = region.memfd().try_clone_to_owned().unwrap();
    // As an operating system behind an IOMMU has it: rings both ways, buffers one way each.
    let half = COUNT * 2048;
    let parts = [
        (0, BUFFERS, DMA_READABLE | DMA_WRITABLE),
        (BUFFERS, half, DMA_WRITABLE),
        (BUFFERS + half, half, DMA_READABLE),
    ];
    for (at, size, flags) in parts {
        let at = at as u64;
        client
            .map_at(BASE + at, size as u64, at, Some(&file), flags)
            .unwrap();
    }
    init(&client);
    let mut rings = Rings::start(&client, &*region, BASE, 0);
    (0..20).for_each(|number| rings.go_around(60 + number * 50));
    bench.assert_clean();
    // The other way round each is a fault.
    rings.put(
        TRANSMIT + rings.next * 16,
        [
            BASE + BUFFERS as u64,
            Data::whole_packet(60).with_rs(true).into_bits(),
        ],
    );
    client.set_register(TDT.at(0), (rings.next as u32 + 1) % COUNT as u32);
    wait_for("a violation", || bench.nic.violation_count() == 1);
    let violation = bench.nic.violations().remove(0).to_string();
    assert!(violation.contains("permissions"), "{violation}");
}

#[test]
fn a_foreign_client_with_mapped_doorbells() {
    let bench = Bench::new(Doorbells::Mapped);
    let card = Foreign::connect(&bench);
    for (from, to) in &card.areas {
        assert!(from % 4096 == 0 && to % 4096 == 0);
    }
    assert!(card.mapped(RDT.at(0)) && card.mapped(TDT.at(127)) && card.mapped(RDT.at(127)));
    for register in [&EICR, &GPRC, &QPTC, &CTRL, &SWSM, &EIMS] {
        assert!(!card.mapped(register.base), "{}", register.name);
    }
    let region = DmaRegion::allocate(BYTES, Pages::Ordinary).unwrap();
    {
        let mut client = card.client.lock().unwrap();
        let fd = region.memfd();
        let size = region.len() as u64;
        client
            .dma_map(0, BASE, size, std::os::fd::AsFd::as_fd(&fd).as_raw_fd())
            .unwrap();
    }
    init(&card);
    let mut rings = Rings::start(&card, &*region, BASE, 0);
    (0..40).for_each(|number| rings.go_around(60 + number * 30));
    // The heads are there to be seen.
    wait_for("the head", || {
        card.get(TDH.at(0)) == 40 % COUNT as u32 && card.get(RDH.at(0)) == 40 % COUNT as u32
    });
    rings.stop();
    let mut rings = Rings::start(&card, &*region, BASE, 0);
    (0..20).for_each(|_| rings.go_around(100));
    bench.assert_clean();

    // Drivers begin with MPC[0]; what is counted between is seen once.
    card.get(MPC.base);
    assert_eq!(card.get(QPRC.at(0)), 60);
    rings.go_around(60);
    card.get(MPC.base);
    assert_eq!(card.get(QPRC.at(0)), 1);
    card.get(MPC.base);
    assert_eq!(card.get(QPRC.at(0)), 0);
    bench.assert_clean();
}

#[test]
fn a_ring_that_moves_between_two_looks_has_been_stopped() {
    let bench = Bench::new(Doorbells::Mapped);
    let card = Foreign::connect(&bench);
    let regions: Vec<_> = (0..2)
        .map(|_| DmaRegion::allocate(BYTES, Pages::Ordinary).unwrap())
        .collect();
    let other = BASE + 0x1000_0000;
    for (region, base) in regions.iter().zip([BASE, other]) {
        let fd = region.memfd();
        let mut client = card.client.lock().unwrap();
        client
            .dma_map(0, base, region.len() as u64, fd.as_raw_fd())
            .unwrap();
    }
    init(&card);
    let mut rings = Rings::start(&card, &*regions[0], BASE, 0);
    (0..5).for_each(|_| rings.go_around(200));
    // Nothing of a stop is seen: only that the ring is elsewhere.
    let mut rings = Rings::start(&card, &*regions[1], other, 0);
    (0..5).for_each(|_| rings.go_around(300));
    bench.assert_clean();
}

#[test]
fn a_trapped_device_sees_every_write() {
    let bench = Bench::new(Doorbells::Trapped);
    let client = Client::connect(&bench.path, Given::Sealed);
    let region = DmaRegion::allocate(BYTES, Pages::Ordinary).unwrap();
    let base = client.map(&region);
    init(&client);
    let _rings = Rings::start(&client, &*region, base, 0);
    bench.assert_clean();
    client.set_register(TDT.at(0), 4000);
    client.set_register(TDT.at(0), 0);
    client.set_register(RDLEN.at(0), 128);
    assert_eq!(bench.nic.violation_count(), 2);
}
