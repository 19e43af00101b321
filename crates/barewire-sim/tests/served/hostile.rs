//! Whatever a client does, the next one is served.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use barewire_bus::vfio_user::{
    Command, Connection, DMA_READABLE, DMA_WRITABLE, HEADER_BYTES, Header, Kind, MapRequest,
    RegionAccess, Version,
};
use barewire_dma::{DmaRegion, Pages};
use barewire_sim::serve::{Doorbells, ServeConfig, ServeError, Server};
use barewire_spec::ixgbe::{RDT, TDT};

use crate::bench::Bench;
use crate::client::{Client, Given, LIMIT};
use crate::rings::{init, start_only};

fn raw(bench: &Bench) -> UnixStream {
    let stream = UnixStream::connect(&bench.path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn greeted(bench: &Bench) -> Connection {
    let mut connection = Connection::new(raw(bench)).unwrap();
    connection
        .call(
            Command::Version,
            &[&Version::default().encode()],
            &[],
            LIMIT,
        )
        .unwrap();
    connection
}

/// The first message, as bytes.
fn greeting() -> Vec<u8> {
    let version = Version::default().encode();
    let size = HEADER_BYTES + version.len();
    let mut bytes = header(Command::Version, size as u32);
    bytes.extend_from_slice(&version);
    bytes
}

fn works(bench: &Bench) {
    let client = Client::connect(&bench.path, Given::Sealed);
    assert_eq!(client.config(0), 0x10FB_8086);
}

fn header(command: Command, size: u32) -> Vec<u8> {
    let kind = Kind::Request { posted: false };
    let mut bytes = Header {
        id: 1,
        number: command.number(),
        size: HEADER_BYTES,
        kind,
    }
    .encode();
    bytes[4..8].copy_from_slice(&size.to_ne_bytes());
    bytes.to_vec()
}

#[test]
fn garbage_and_huge_lengths() {
    let bench = Bench::new(Doorbells::Mapped);
    let noise: Vec<u8> = (0..5000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    for bytes in [
        noise,
        vec![0; 4000],
        vec![0xFF; 4000],
        header(Command::Version, u32::MAX),
        header(Command::RegionWrite, 3),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut stream = raw(&bench);
        stream.write_all(&bytes).unwrap();
        // It is let go, in good time.
        let _ = stream.read_to_end(&mut Vec::new());
        works(&bench);
    }
    bench.assert_clean();
}

#[test]
fn a_client_that_stalls_or_says_nothing() {
    let bench = Bench::new(Doorbells::Mapped);
    let silent = raw(&bench);
    works(&bench);
    let mut stalled = raw(&bench);
    stalled.write_all(&[1, 0, 1]).unwrap();
    works(&bench);
    // One that has said its version may stall all the same.
    let mut cut = raw(&bench);
    cut.write_all(&greeting()).unwrap();
    cut.write_all(&header(Command::DmaMap, 500)).unwrap();
    works(&bench);
    drop((silent, stalled, cut));
    works(&bench);
}

#[test]
fn a_client_that_leaves_in_the_middle() {
    let bench = Bench::new(Doorbells::Mapped);
    for _ in 0..20 {
        let mut stream = raw(&bench);
        stream.write_all(&header(Command::DmaMap, 48)[..9]).unwrap();
        drop(stream);
        // Questions whose answers nobody takes.
        let mut connection = greeted(&bench);
        let access = RegionAccess {
            offset: 0,
            region: 7,
            count: 4096,
        };
        for _ in 0..20 {
            let asked = connection.request(Command::RegionRead, &[&access.encode()], &[], LIMIT);
            asked.unwrap();
        }
    }
    works(&bench);
}

#[test]
fn a_client_that_takes_no_answers() {
    let bench = Bench::new(Doorbells::Trapped);
    let mut connection = greeted(&bench);
    let access = RegionAccess {
        offset: 0,
        region: 7,
        count: 4096,
    };
    let short = Duration::from_millis(50);
    let sent = (0..100_000).take_while(|_| {
        let asked = connection.post(Command::RegionRead, &[&access.encode()], short);
        let asked = asked.and_then(|()| {
            connection.request(Command::RegionRead, &[&access.encode()], &[], short)
        });
        asked.is_ok()
    });
    // What arrives meanwhile is kept for a while and then refused, at both ends.
    assert!(sent.count() < 100_000);
    works(&bench);
}

#[test]
fn a_client_that_does_not_answer_for_its_memory() {
    let bench = Bench::new(Doorbells::Trapped);
    let mut mute = greeted(&bench);
    let map = MapRequest {
        flags: DMA_READABLE | DMA_WRITABLE,
        offset: 0,
        address: 0x1000_0000,
        size: 1 << 30,
    };
    mute.call(Command::DmaMap, &[&map.encode()], &[], LIMIT)
        .unwrap();
    let card = Mute(std::sync::Mutex::new(mute));
    init(&card);
    // The rings are started; what they hold is asked for, and never comes.
    start_only(&card, 0x1000_0000, 0);
    card.post(RDT.at(0), 8);
    card.post(TDT.at(0), 8);
    works(&bench);
}

/// A client that reads and writes registers and answers nothing.
struct Mute(std::sync::Mutex<Connection>);

impl Mute {
    fn access(
        &self,
        command: Command,
        region: u32,
        offset: u32,
        data: &[u8],
        count: u32,
    ) -> Vec<u8> {
        let access = RegionAccess {
            offset: offset.into(),
            region,
            count,
        };
        let mut connection = self.0.lock().unwrap();
        let reply = connection
            .call(command, &[&access.encode(), data], &[], LIMIT)
            .unwrap();
        reply.payload[16..].to_vec()
    }

    fn post(&self, offset: u32, value: u32) {
        let access = RegionAccess {
            offset: offset.into(),
            region: 0,
            count: 4,
        };
        let mut connection = self.0.lock().unwrap();
        connection
            .post(
                Command::RegionWrite,
                &[&access.encode(), &value.to_le_bytes()],
                LIMIT,
            )
            .unwrap();
    }
}

impl crate::rings::Card for Mute {
    fn get(&self, offset: u32) -> u32 {
        let data = self.access(Command::RegionRead, 0, offset, &[], 4);
        u32::from_le_bytes(data.try_into().unwrap())
    }
    fn set(&self, offset: u32, value: u32) {
        self.access(Command::RegionWrite, 0, offset, &value.to_le_bytes(), 4);
    }
    fn be_master(&self) {
        self.access(Command::RegionWrite, 7, 4, &[6], 1);
    }
}

#[test]
fn a_live_servers_socket_is_not_taken() {
    let bench = Bench::new(Doorbells::Trapped);
    let second = Server::bind(
        &bench.path,
        Arc::new(bench.nic.clone()),
        ServeConfig::default(),
    );
    assert!(matches!(second, Err(ServeError::InUse { .. })));
    works(&bench);
}

#[test]
fn many_clients_leave_nothing_behind() {
    let bench = Bench::new(Doorbells::Mapped);
    let region: Arc<DmaRegion> = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    let before = Arc::strong_count(&region);
    for _ in 0..50 {
        let client = Client::connect(&bench.path, Given::Sealed);
        client.map(&region);
    }
    works(&bench);
    assert_eq!(Arc::strong_count(&region), before);
    // Each client has mapped a region, and each mapping has gone with it.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let shared = maps
        .lines()
        .filter(|line| line.contains("barewire-dma"))
        .count();
    assert!(shared < 40, "{shared} mappings are left");
}
