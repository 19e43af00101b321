//! How it ends: the device quiet, nothing mapped, every buffer back.

use barewire::{Batch, Error, Pages, Pool, PoolConfig, Port, PortConfig};
use barewire_sim::nic::{Nic, NicConfig};
use barewire_sim::wire::Loopback;

use super::lab::{Lab, config, frame};

fn pool() -> Pool {
    Pool::new(PoolConfig {
        buffers: 3000,
        pages: Pages::Ordinary,
        ..PoolConfig::default()
    })
    .unwrap()
}

#[test]
fn whatever_is_dropped_first_every_buffer_comes_back() {
    for order in 0..6 {
        let pool = pool();
        let mut lab = Lab::new(&PortConfig {
            pool: Some(pool.clone()),
            ..config()
        });
        let mut batch = Batch::new(32);
        for n in 0..150 {
            lab.wire.send(&frame(60, n));
        }
        for _ in 0..3 {
            lab.settle();
            lab.rx[0].receive(&mut batch).unwrap();
            lab.tx[0].send(&mut batch).unwrap();
        }
        lab.settle();
        lab.rx[0].receive(&mut batch).unwrap();
        assert!(!batch.is_empty());
        let mut rx = Some(lab.rx.pop().unwrap());
        let mut tx = Some(lab.tx.pop().unwrap());
        match order {
            0 => drop((rx.take(), tx.take())),
            1 => drop((tx.take(), rx.take())),
            2 => lab.port.stop().unwrap(),
            3 => drop(batch.pop()),
            4 => drop((rx.take(), lab.port.stop())),
            _ => batch.clear(),
        }
        let nic = lab.nic.clone();
        drop((lab, rx, tx, batch));
        assert_eq!(pool.free(), pool.buffers(), "order {order}");
        assert_eq!(nic.violations(), [], "order {order}");
    }
}

#[test]
fn a_stopped_port_writes_no_memory() {
    let mut lab = Lab::new(&config());
    lab.port.stop().unwrap();
    lab.wire.send(&frame(60, 1));
    lab.settle();
    assert_eq!(
        lab.wire.waiting(),
        1,
        "a quiet device takes nothing from the wire"
    );
    let mut batch = Batch::new(32);
    batch
        .push(lab.rx[0].pool().packet(&frame(60, 2)).unwrap())
        .unwrap();
    let stopped = |result| matches!(result, Err(Error::Stopped { .. }));
    assert!(stopped(lab.rx[0].receive(&mut batch)));
    assert!(stopped(lab.tx[0].send(&mut batch)));
    assert_eq!(batch.len(), 1);
}

#[test]
fn a_device_can_be_opened_again_and_again() {
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    for round in 0..5 {
        let mut port = Port::open(nic.function(), &config()).unwrap();
        assert!(
            port.wait_for_link(std::time::Duration::from_secs(5))
                .unwrap()
                .up
        );
        let (mut rx, mut tx) = (port.take_rx(0).unwrap(), port.take_tx(0).unwrap());
        assert!(port.take_rx(0).is_none());
        let mut batch = Batch::new(1);
        batch
            .push(rx.pool().packet(&frame(60, round)).unwrap())
            .unwrap();
        tx.send(&mut batch).unwrap();
        for _ in 0..10 {
            nic.step();
        }
        assert_eq!(rx.receive(&mut batch).unwrap(), 1);
        assert_eq!(batch.pop().unwrap().bytes(), frame(60, round));
    }
    assert_eq!(nic.violations(), []);
}

#[test]
fn a_port_that_fails_to_open_leaves_the_device_quiet_and_the_pool_whole() {
    let pool = pool();
    let small = Pool::new(PoolConfig {
        data_room: 512,
        pages: Pages::Ordinary,
        ..PoolConfig::default()
    });
    let nic = Nic::new(NicConfig::default(), Loopback::new());
    let config = PortConfig {
        pool: Some(small.unwrap()),
        ..config()
    };
    assert!(Port::open(nic.function(), &config).is_err());
    let config = PortConfig {
        pool: Some(pool.clone()),
        ..config
    };
    drop(Port::open(nic.function(), &config).unwrap());
    assert_eq!(pool.free(), pool.buffers());
    assert_eq!(nic.violations(), []);
}

#[test]
fn statistics_accumulate_beyond_the_devices_registers() {
    let mut lab = Lab::new(&config());
    for round in 1..=3u64 {
        for n in 0..10 {
            lab.wire.send(&frame(60, n));
        }
        assert_eq!(lab.received(0).len(), 10);
        let statistics = lab.port.statistics().unwrap();
        assert_eq!(
            (statistics.rx_packets, statistics.rx_bytes),
            (10 * round, 600 * round)
        );
    }
    let extended = lab.port.extended_statistics().unwrap();
    let value = |name: &str| {
        extended
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| *value)
    };
    assert_eq!(value("GPRC"), Some(30));
    assert_eq!(value("PRC64"), Some(30));
    assert_eq!(value("QPRC[0]"), Some(30));
    assert_eq!(value("GORC"), Some(30 * 64));
}
