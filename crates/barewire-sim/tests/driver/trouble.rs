//! What goes wrong on a real machine: an error or a counter, never a panic or a hang.

use std::sync::Arc;
use std::time::Duration;

use barewire::{
    Bar, Batch, BusError, DmaMap, Error, Pages, PciFunction, Pool, PoolConfig, Port, PortConfig,
};
use barewire_sim::nic::{Nic, NicConfig, NicFunction};
use barewire_sim::wire::Unplugged;

use super::lab::{Lab, Script, config, frame};

#[test]
fn an_empty_pool_holds_frames_up_and_loses_none() {
    let pool = Pool::new(PoolConfig {
        buffers: 64,
        pages: Pages::Ordinary,
        ..PoolConfig::default()
    });
    let mut lab = Lab::new(&PortConfig {
        rx_ring: 64,
        pool: Some(pool.unwrap()),
        ..config()
    });
    for n in 0..200 {
        lab.wire.send(&frame(60, n));
    }
    // the program keeps all it gets: the ring runs dry
    let mut kept = Vec::new();
    let mut batch = Batch::new(16);
    for _ in 0..100 {
        lab.settle();
        lab.rx[0].receive(&mut batch).unwrap();
        while let Some(packet) = batch.pop() {
            kept.push(packet);
        }
    }
    assert!(kept.len() >= 32 && kept.len() < 64);
    assert!(lab.rx[0].counters().starved > 0);
    let before = kept.len();
    drop(kept);
    assert_eq!(lab.received(0).len(), 200 - before);
    assert_eq!(lab.port.statistics().unwrap().rx_dropped, 0);
}

#[test]
fn with_drop_enable_frames_without_descriptors_are_dropped_and_counted() {
    let mut lab = Lab::new(&PortConfig {
        rx_ring: 64,
        drop_enable: true,
        ..config()
    });
    for n in 0..200 {
        lab.wire.send(&frame(60, n));
    }
    lab.settle();
    let received = lab.received(0).len() as u64;
    let statistics = lab.port.statistics().unwrap();
    assert_eq!(received, 63);
    assert_eq!(statistics.rx_dropped, 200 - 63);
}

#[test]
fn a_full_packet_buffer_misses_frames_and_counts_them() {
    let wire = Script::default();
    wire.insist();
    let nic = NicConfig {
        rx_packet_buffer: 16 * 1024,
        ..NicConfig::default()
    };
    let mut lab = Lab::on(
        nic,
        wire,
        &PortConfig {
            rx_ring: 64,
            ..config()
        },
    )
    .unwrap();
    for n in 0..255 {
        lab.wire.send(&frame(1000, n));
    }
    lab.settle();
    let received = lab.received(0).len() as u64;
    let statistics = lab.port.statistics().unwrap();
    assert!(statistics.rx_dropped > 100);
    assert_eq!(received + statistics.rx_dropped, 255);
}

#[test]
fn a_full_transmit_ring_leaves_frames_in_the_batch() {
    let mut lab = Lab::new(&PortConfig {
        tx_ring: 64,
        ..config()
    });
    let pool = lab.rx[0].pool().clone();
    let mut batch = Batch::new(100);
    for n in 0..100 {
        batch.push(pool.packet(&frame(60, n)).unwrap()).unwrap();
    }
    // the device does nothing meanwhile
    assert_eq!(lab.tx[0].send(&mut batch).unwrap(), 63);
    assert_eq!(lab.tx[0].send(&mut batch).unwrap(), 0);
    assert_eq!((batch.len(), lab.tx[0].counters().full), (37, 2));
    lab.settle();
    assert_eq!(lab.tx[0].send(&mut batch).unwrap(), 32);
    lab.settle();
    lab.tx[0].send(&mut batch).unwrap();
    lab.settle();
    let sent: Vec<_> = lab.wire.taken().iter().map(|frame| frame[5]).collect();
    assert_eq!(sent, (0..100).collect::<Vec<_>>());
}

#[test]
fn pools_of_two_ports_meet_on_one_transmit_queue() {
    let mut first = Lab::new(&config());
    let second = Lab::new(&config());
    let pools = [first.rx[0].pool().clone(), second.rx[0].pool().clone()];
    let free = pools.each_ref().map(Pool::free);
    let mut batch = Batch::new(8);
    for n in 0..100u8 {
        let pool = &pools[usize::from(n % 2)];
        batch.push(pool.packet(&frame(60, n)).unwrap()).unwrap();
        first.tx[0].send(&mut batch).unwrap();
        first.settle();
    }
    assert_eq!(first.wire.taken().len(), 100);
    drop((batch, first));
    let after = pools.each_ref().map(Pool::free);
    assert_eq!(after[1], free[1]);
    assert!(
        after[0] > free[0],
        "the first port's ring gave its buffers back too"
    );
}

#[test]
fn a_device_that_vanishes_is_reported_by_everything_that_asks_it() {
    let mut lab = Lab::new(&config());
    lab.nic.unplug();
    let gone = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Gone { .. })));
    gone(lab.port.link().map(drop));
    gone(lab.port.statistics().map(drop));
    gone(lab.port.set_promiscuous(false, false));
    gone(lab.port.set_mac_address([2, 0, 0, 0, 0, 9]));
    gone(lab.port.stop());
    // the data path notices by itself
    let mut batch = Batch::new(32);
    let noticed = (0..3_000_000).any(|_| lab.rx[0].receive(&mut batch).is_err());
    assert!(noticed, "an idle receive queue never looks");
}

#[test]
fn a_device_of_all_ones_is_gone_before_it_is_opened() {
    let nic = Nic::new(NicConfig::default(), Unplugged::new());
    let function = nic.function();
    let ids = Stuck {
        function,
        stuck: |_, _| Some(u32::MAX),
    };
    assert!(matches!(
        Port::open(ids, &config()),
        Err(Error::Gone { .. })
    ));
}

/// A device of which some registers are stuck.
struct Stuck {
    function: NicFunction,
    stuck: fn(u32, u32) -> Option<u32>,
}

struct StuckBar<B> {
    bar: B,
    stuck: fn(u32, u32) -> Option<u32>,
}

impl<B: Bar> Bar for StuckBar<B> {
    fn size(&self) -> u32 {
        self.bar.size()
    }
    fn read32(&self, offset: u32) -> u32 {
        let value = self.bar.read32(offset);
        (self.stuck)(offset, value).unwrap_or(value)
    }
    fn write32(&self, offset: u32, value: u32) {
        self.bar.write32(offset, value);
    }
    fn delay(&self, duration: Duration) {
        self.bar.delay(duration);
    }
}

impl PciFunction for Stuck {
    type Bar = StuckBar<<NicFunction as PciFunction>::Bar>;
    fn name(&self) -> &'static str {
        "stuck"
    }
    fn config_read32(&self, offset: u16) -> Result<u32, BusError> {
        self.function.config_read32(offset)
    }
    fn config_write32(&self, offset: u16, value: u32) -> Result<(), BusError> {
        self.function.config_write32(offset, value)
    }
    fn bar(&self, index: u8) -> Result<Self::Bar, BusError> {
        Ok(StuckBar {
            bar: self.function.bar(index)?,
            stuck: self.stuck,
        })
    }
    fn dma(&self) -> Arc<dyn DmaMap> {
        self.function.dma()
    }
}

#[test]
fn every_wait_for_the_device_ends() {
    use barewire_spec::ixgbe as spec;
    type Case = (&'static str, fn(u32, u32) -> Option<u32>);
    let cases: [Case; 6] = [
        ("CTRL", |offset, value| {
            (offset == spec::CTRL.offset()).then_some(value | 1 << 26)
        }),
        ("EEC", |offset, value| {
            (offset == spec::EEC.offset()).then_some(value & !(1 << 9))
        }),
        ("RDRXCTL", |offset, value| {
            (offset == spec::RDRXCTL.offset()).then_some(value & !8)
        }),
        ("EERD", |offset, value| {
            (offset == spec::EERD.offset()).then_some(value & !2)
        }),
        ("RXDCTL", |offset, value| {
            (offset == spec::RXDCTL.at(0)).then_some(value & !(1 << 25))
        }),
        ("TXDCTL", |offset, value| {
            (offset == spec::TXDCTL.at(0)).then_some(value & !(1 << 25))
        }),
    ];
    for (name, stuck) in cases {
        let nic = Nic::new(NicConfig::default(), Unplugged::new());
        let device = Stuck {
            function: nic.function(),
            stuck,
        };
        match Port::open(device, &config()) {
            Err(Error::Timeout { register, .. }) => assert_eq!(register, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_queue_that_does_not_stop_keeps_its_buffers_for_good() {
    use barewire_spec::ixgbe as spec;
    let pool = Pool::new(PoolConfig {
        buffers: 1000,
        pages: Pages::Ordinary,
        ..PoolConfig::default()
    });
    let pool = pool.unwrap();
    let nic = Nic::new(NicConfig::default(), Unplugged::new());
    let stuck = |offset, value| (offset == spec::RXDCTL.at(0)).then_some(value | 1 << 25);
    let device = Stuck {
        function: nic.function(),
        stuck,
    };
    let config = PortConfig {
        pool: Some(pool.clone()),
        ..config()
    };
    let mut port = Port::open(device, &config).unwrap();
    let free = pool.free();
    drop(port.take_rx(0));
    assert_eq!(
        pool.free(),
        free,
        "a device that still runs may write into them"
    );
}

#[test]
fn a_broken_eeprom_is_reported_not_used() {
    use barewire_spec::ixgbe as spec;
    let nic = Nic::new(NicConfig::default(), Unplugged::new());
    let flipped = |offset, value| {
        let word = spec::Eerd::from_bits(value).addr();
        let damaged = offset == spec::EERD.offset() && word == spec::eeprom::ETRACK_LOW;
        damaged.then_some(value ^ 1 << 16)
    };
    let device = Stuck {
        function: nic.function(),
        stuck: flipped,
    };
    let error = Port::open(device, &config()).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}
