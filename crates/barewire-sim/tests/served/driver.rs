//! The real driver, on a device behind a socket.

use std::time::{Duration, Instant};

use barewire::{Batch, Pages, Port, PortConfig};
use barewire_bus::PciFunction;
use barewire_bus::vfio_user::RemoteFunction;
use barewire_sim::serve::{Doorbells, Served};
use barewire_sim::virtio::{VirtioConfig, VirtioNic};
use barewire_sim::wire::Loopback;
use barewire_spec::virtio::feature;

use crate::bench::Bench;
use crate::client::{Client, Given};

/// Frames go around, twice, so that the device is seen to be new for the second client.
fn frames_go_around<D: Served + Clone, F: PciFunction>(bench: &Bench<D>, connect: impl Fn() -> F) {
    for _ in 0..2 {
        let function = connect();
        let config = PortConfig {
            promiscuous: true,
            pages: Pages::Ordinary,
            ..PortConfig::default()
        };
        let mut port = Port::open(function, &config).unwrap();
        port.wait_for_link(Duration::from_secs(20)).unwrap();
        let mut rx = port.take_rx(0).unwrap();
        let mut tx = port.take_tx(0).unwrap();
        let pool = rx.pool().clone();
        let mut batch = Batch::new(32);
        let mut received = 0;
        let mut sent = 0;
        let end = Instant::now() + Duration::from_secs(30);
        while received < 1000 && Instant::now() < end {
            if sent < 1000 && batch.is_empty() {
                for number in 0..20u16 {
                    let mut bytes = vec![0x5A; 100 + usize::from(number)];
                    bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
                    bytes[14..16].copy_from_slice(&(sent as u16 + number).to_be_bytes());
                    batch.push(pool.packet(&bytes).unwrap()).unwrap();
                }
                sent += 20;
            }
            while !batch.is_empty() {
                tx.send(&mut batch).unwrap();
            }
            rx.receive(&mut batch).unwrap();
            for packet in batch.iter() {
                let number = received as u16;
                assert_eq!(packet.bytes()[14..16], number.to_be_bytes());
                received += 1;
            }
            batch.clear();
        }
        assert_eq!(received, 1000);
        drop((rx, tx, port));
    }
    bench.assert_clean();
}

#[test]
fn frames_go_around_with_mapped_doorbells() {
    let bench = Bench::new(Doorbells::Mapped);
    frames_go_around(&bench, || RemoteFunction::connect(&bench.path).unwrap());
}

#[test]
fn frames_go_around_with_trapped_doorbells() {
    let bench = Bench::new(Doorbells::Trapped);
    frames_go_around(&bench, || RemoteFunction::connect(&bench.path).unwrap());
}

#[test]
fn frames_go_around_where_nothing_is_mapped() {
    let bench = Bench::new(Doorbells::Mapped);
    frames_go_around(&bench, || Client::connect(&bench.path, Given::Sealed));
}

#[test]
fn frames_go_around_where_memory_is_asked_for() {
    let bench = Bench::new(Doorbells::Trapped);
    frames_go_around(&bench, || {
        let client = Client::connect(&bench.path, Given::Asked);
        assert_eq!(client.asked(), 0);
        client
    });
}

/// Served virtio devices with both kinds of rings.
fn virtio() -> impl Iterator<Item = Bench<VirtioNic>> {
    let usual = VirtioConfig::default();
    let features = [usual.features, usual.features | feature::RING_PACKED];
    features.into_iter().map(move |features| {
        let config = VirtioConfig {
            features,
            ..usual.clone()
        };
        let nic = VirtioNic::new(config, Loopback::new());
        Bench::serving(nic, Doorbells::Auto)
    })
}

#[test]
fn frames_go_around_through_a_virtio_device() {
    for bench in virtio() {
        frames_go_around(&bench, || RemoteFunction::connect(&bench.path).unwrap());
    }
}
#[test]
fn frames_go_around_through_a_virtio_device_that_asks_for_memory() {
    for bench in virtio() {
        frames_go_around(&bench, || Client::connect(&bench.path, Given::Asked));
    }
}
