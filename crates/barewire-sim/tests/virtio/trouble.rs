//! Devices that go, fail, or are taken over; queues that are dropped; programs that are slow.

use barewire::{Batch, Error, Pages, Pool, PoolConfig, Port, PortConfig};
use barewire_sim::virtio::{VirtioConfig, VirtioNic};
use barewire_sim::wire::Unplugged;
use barewire_spec::virtio::feature as f;

use super::lab::{Lab, all_kinds, config, frame};

#[test]
fn a_device_that_another_driver_left_running_is_taken_over() {
    let nic = VirtioNic::new(VirtioConfig::default(), Unplugged::new());
    let first = Port::open(nic.function(), &config()).unwrap();
    // as if the process had been killed: nothing is stopped
    std::mem::forget(first);
    let mut port = Port::open(nic.function(), &config()).unwrap();
    port.link().unwrap();
    assert_eq!(nic.violations(), []);
}

#[test]
fn a_device_that_is_gone_is_reported() {
    let mut lab = Lab::new(&config());
    lab.nic.unplug();
    assert!(matches!(lab.port.link(), Err(Error::Gone { .. })));
    let mut batch = Batch::new(4);
    let error = loop {
        match lab.rx[0].receive(&mut batch) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert!(matches!(
        Port::open(lab.nic.function(), &config()),
        Err(Error::Gone { .. } | Error::NotSupported { .. })
    ));
}

#[test]
fn a_device_that_needs_a_reset_is_reported() {
    let mut lab = Lab::new(&config());
    lab.nic.fail();
    let error = lab.port.link().unwrap_err();
    assert!(error.to_string().contains("DEVICE_NEEDS_RESET"), "{error}");
    // and opened again it works
    let nic = lab.nic.clone();
    drop(std::mem::take(&mut lab.rx));
    lab.port.stop().unwrap();
    let mut port = Port::open(nic.function(), &config()).unwrap();
    assert!(port.link().unwrap().up);
}

#[test]
fn queues_of_a_stopped_port_say_so() {
    let mut lab = Lab::new(&config());
    lab.wire.send(&frame(60, 1));
    lab.settle();
    lab.port.stop().unwrap();
    lab.port.stop().unwrap();
    let mut batch = Batch::new(4);
    // what had arrived is still there
    assert_eq!(lab.rx[0].receive(&mut batch).unwrap(), 1);
    let error = lab.rx[0].receive(&mut batch).unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
    let error = lab.tx[0].send(&mut batch).unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
}

#[test]
fn buffers_come_home_when_all_is_dropped() {
    for device in all_kinds() {
        let pool = Pool::new(PoolConfig {
            buffers: 2048,
            pages: Pages::Ordinary,
            ..PoolConfig::default()
        });
        let pool = pool.unwrap();
        let config = PortConfig {
            pool: Some(pool.clone()),
            ..config()
        };
        let mut lab = Lab::on(device, &config).unwrap();
        for n in 0..10 {
            lab.wire.send(&frame(60, n));
        }
        lab.send(0, &[frame(60, 1)]);
        // one queue goes first: its buffers stay the device's until it is stopped
        lab.rx.clear();
        assert!(pool.free() < pool.buffers());
        lab.assert_clean();
        drop(lab);
        assert_eq!(pool.free(), pool.buffers());
    }
}

#[test]
fn a_pool_that_is_empty_is_survived() {
    let pool = Pool::new(PoolConfig {
        buffers: 64,
        pages: Pages::Ordinary,
        ..PoolConfig::default()
    });
    let pool = pool.unwrap();
    let config = PortConfig {
        pool: Some(pool.clone()),
        ..config()
    };
    let mut lab = Lab::on(VirtioConfig::default(), &config).unwrap();
    let mut kept = Vec::new();
    for n in 0..64 {
        lab.wire.send(&frame(60, n));
        let mut batch = Batch::new(8);
        lab.settle();
        lab.rx[0].receive(&mut batch).unwrap();
        kept.push(batch);
    }
    assert!(lab.rx[0].counters().starved > 0);
    assert_eq!(kept.iter().map(Batch::len).sum::<usize>(), 64);
    kept.clear();
    lab.wire.send(&frame(60, 99));
    assert_eq!(lab.received(0), [frame(60, 99)]);
}

#[test]
fn a_full_ring_takes_frames_again_when_there_is_room() {
    let mut lab = Lab::new(&config());
    let pool = lab.rx[0].pool().clone();
    let mut batch = Batch::new(512);
    for n in 0..400usize {
        batch
            .push(pool.packet(&frame(60, n as u8)).unwrap())
            .unwrap();
    }
    let sent = lab.tx[0].send(&mut batch).unwrap();
    assert_eq!(sent, 256);
    assert_eq!(lab.tx[0].send(&mut batch).unwrap(), 0);
    assert!(lab.tx[0].counters().full >= 2);
    lab.settle();
    assert_eq!(lab.tx[0].send(&mut batch).unwrap(), 144);
    lab.settle();
    assert_eq!(lab.wire.taken().len(), 400);
}

#[test]
fn frames_of_many_pools_are_sent_and_go_home() {
    let mut lab = Lab::new(&config());
    let pools: Vec<_> = (0..64)
        .map(|_| {
            Pool::new(PoolConfig {
                buffers: 4,
                pages: Pages::Ordinary,
                ..PoolConfig::default()
            })
            .unwrap()
        })
        .collect();
    let mut batch = Batch::new(4);
    for pool in &pools {
        batch.push(pool.packet(&frame(60, 1)).unwrap()).unwrap();
        assert_eq!(lab.tx[0].send(&mut batch).unwrap(), 1);
    }
    lab.settle();
    assert_eq!(lab.tx[0].reclaim(), 64);
    drop(batch);
    assert!(pools.iter().all(|pool| pool.free() == 4));
    assert_eq!(lab.wire.taken().len(), 64);
}

#[test]
fn a_device_that_goes_round_the_iommu_or_is_no_modern_one_is_refused() {
    let device = VirtioConfig {
        features: VirtioConfig::default().features & !f::VERSION_1,
        ..VirtioConfig::default()
    };
    let nic = VirtioNic::new(device, Unplugged::new());
    if let Err(error) = Port::open(nic.function(), &config()) {
        assert!(error.to_string().contains("VERSION_1"), "{error}");
    }
}
