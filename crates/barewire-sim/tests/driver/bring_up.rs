//! From a device in any state to one that carries traffic.

use std::time::Duration;

use barewire::{Error, Port, PortConfig};
use barewire_sim::nic::{Device, Nic, NicConfig};
use barewire_sim::wire::Unplugged;

use super::lab::{Lab, Script, config, frame};

#[test]
fn every_model_comes_up_with_its_own_kind_of_link() {
    for device in [Device::I82599, Device::X540, Device::X550] {
        let nic = NicConfig {
            device,
            ..NicConfig::default()
        };
        let mut lab = Lab::on(nic, Script::default(), &config()).unwrap();
        assert_eq!(lab.port.link().unwrap().mbits, 10_000, "{device}");
        lab.wire.send(&frame(60, 1));
        assert_eq!(lab.received(0), [frame(60, 1)], "{device}");
        lab.send(0, &[frame(60, 2)]);
        assert_eq!(lab.wire.taken(), [frame(60, 2)], "{device}");
    }
}

#[test]
fn a_device_that_another_driver_left_running_is_taken_over() {
    let wire = Script::default();
    let nic = Nic::new(NicConfig::default(), wire.clone());
    let first = Port::open(nic.function(), &config()).unwrap();
    // as if the process had been killed: nothing is stopped
    std::mem::forget(first);
    let mut port = Port::open(nic.function(), &config()).unwrap();
    assert!(port.wait_for_link(Duration::from_secs(5)).unwrap().up);
    assert_eq!(nic.violations(), []);
}

#[test]
fn the_mac_address_is_the_eeproms() {
    let mac = [0x02, 0x10, 0x20, 0x30, 0x40, 0x50];
    let lab = Lab::on(
        NicConfig {
            mac,
            ..NicConfig::default()
        },
        Script::default(),
        &config(),
    )
    .unwrap();
    assert_eq!(lab.port.mac_address(), mac);
}

#[test]
fn without_a_cable_the_link_is_down_and_comes_up_with_it() {
    let nic = Nic::new(
        NicConfig {
            plugged: false,
            ..NicConfig::default()
        },
        Unplugged::new(),
    );
    let mut port = Port::open(nic.function(), &config()).unwrap();
    assert!(!port.wait_for_link(Duration::from_millis(500)).unwrap().up);
    nic.set_cable(true);
    assert!(port.wait_for_link(Duration::from_secs(5)).unwrap().up);
    nic.set_cable(false);
    nic.run_for(Duration::from_millis(100));
    assert!(!port.link().unwrap().up);
    assert_eq!(nic.violations(), []);
}

#[test]
fn configurations_out_of_range_are_refused_before_the_device_is_touched() {
    let good = config();
    let bad = [
        PortConfig {
            rx_queues: 0,
            ..good.clone()
        },
        PortConfig {
            rx_queues: 65,
            ..good.clone()
        },
        PortConfig {
            tx_queues: 65,
            ..good.clone()
        },
        PortConfig {
            rx_ring: 100,
            ..good.clone()
        },
        PortConfig {
            rx_ring: 32,
            ..good.clone()
        },
        PortConfig {
            tx_ring: 8192,
            ..good.clone()
        },
        PortConfig {
            mtu: 67,
            ..good.clone()
        },
        PortConfig {
            mtu: 9711,
            ..good.clone()
        },
    ];
    for config in bad {
        let nic = Nic::new(NicConfig::default(), Unplugged::new());
        let error = Port::open(nic.function(), &config).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert_eq!(nic.violations(), []);
    }
}

#[test]
fn an_unknown_device_is_not_tried_as_ixgbe() {
    use barewire::{Bar, BusError, DmaMap, PciFunction};
    use std::sync::Arc;

    struct Never;
    impl Bar for Never {
        fn size(&self) -> u32 {
            0
        }
        fn read32(&self, _: u32) -> u32 {
            panic!("touched")
        }
        fn write32(&self, _: u32, _: u32) {
            panic!("touched")
        }
    }
    struct Stranger(u32);
    impl PciFunction for Stranger {
        type Bar = Never;
        fn name(&self) -> &'static str {
            "stranger"
        }
        fn config_read32(&self, _: u16) -> Result<u32, BusError> {
            Ok(self.0)
        }
        fn config_write32(&self, _: u16, _: u32) -> Result<(), BusError> {
            panic!("touched")
        }
        fn bar(&self, _: u8) -> Result<Never, BusError> {
            panic!("touched")
        }
        fn dma(&self) -> Arc<dyn DmaMap> {
            panic!("touched")
        }
    }
    // e1000, virtio's block device, an 82599's virtual function, nothing at all
    for ids in [0x100e_8086, 0x1001_1af4, 0x10ed_8086, u32::MAX] {
        let error = Port::open(Stranger(ids), &config()).unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error}");
    }
}
