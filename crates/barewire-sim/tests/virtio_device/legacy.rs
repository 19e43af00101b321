//! The legacy interface of a transitional device.

use std::sync::Arc;

use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Layout, Pages};
use barewire_sim::violation::Rule;
use barewire_sim::virtio::{Interface, VirtioBar, VirtioConfig, VirtioNic};
use barewire_spec::virtio::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK};
use barewire_spec::virtio::{feature, legacy, net, split};

use super::wire_script::{OWN, Script, frame};

/// A driver of the time before VIRTIO 1.0.
struct Old {
    nic: VirtioNic,
    ports: VirtioBar,
    wire: Script,
    /// Memory of both queues, and of a buffer for each.
    queues: [Arc<DmaRegion>; 2],
    bases: [u64; 2],
    layout: split::Layout,
    next: [u16; 2],
}

const SIZE: u16 = 64;
/// Where a queue's buffer is.
const BUFFER: usize = 0x4000;

fn device() -> (VirtioNic, Script) {
    let wire = Script::default();
    wire.insist(); // a frame without room is lost, and the test that needs it fails
    let nic = VirtioNic::new(
        VirtioConfig {
            interface: Interface::Transitional,
            queue_size: SIZE,
            ..VirtioConfig::default()
        },
        wire.clone(),
    );
    nic.function().config_write32(4, 7).unwrap();
    (nic, wire)
}

impl Old {
    fn new(features: u64) -> Self {
        let (nic, wire) = device();
        let function = nic.function();
        let ports = function.bar(0).unwrap();
        ports.write8(legacy::STATUS, 0);
        ports.write8(legacy::STATUS, ACKNOWLEDGE);
        ports.write8(legacy::STATUS, ACKNOWLEDGE | DRIVER);
        let offered = ports.read32(legacy::DEVICE_FEATURES);
        let accepted = features as u32;
        assert_eq!(offered & accepted, accepted);
        ports.write32(legacy::DRIVER_FEATURES, accepted);
        let queues = [0, 1].map(|_| DmaRegion::allocate(0x8000, Pages::Ordinary).unwrap());
        let bases = [0, 1].map(|queue: usize| {
            let Layout::Linear(base) = function.dma().map(&queues[queue]).unwrap() else {
                panic!("a software device maps regions in one piece");
            };
            base.get()
        });
        for queue in [0u16, 1] {
            ports.write16(legacy::QUEUE_SELECT, queue);
            assert_eq!(ports.read16(legacy::QUEUE_SIZE), SIZE);
            let page = bases[usize::from(queue)] / u64::from(legacy::PAGE);
            ports.write32(legacy::QUEUE_ADDRESS, page as u32);
            assert_eq!(ports.read32(legacy::QUEUE_ADDRESS), page as u32);
        }
        ports.write8(legacy::STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
        Self {
            nic,
            ports,
            wire,
            queues,
            bases,
            layout: split::Layout::new(SIZE, legacy::PAGE as usize),
            next: [0; 2],
        }
    }

    /// Makes a buffer of these pieces available: offset from the buffer's beginning, and length.
    fn add(&mut self, queue: usize, pieces: &[(u64, u32)]) {
        let region = &self.queues[queue];
        for (index, (offset, length)) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            let writes = if queue == 0 { split::WRITE } else { 0 };
            let words = split::Descriptor {
                address: self.bases[queue] + BUFFER as u64 + offset,
                length: *length,
                flags: writes | if last { 0 } else { split::NEXT },
                next: index as u16 + 1,
            }
            .into_words();
            let bytes = words.map(u64::to_le_bytes).concat();
            region.device_write(16 * index, &bytes).unwrap();
        }
        let next = &mut self.next[queue];
        let slot = self.layout.available + 4 + 2 * usize::from(*next % SIZE);
        region.device_write(slot, &[0, 0]).unwrap();
        *next += 1;
        region
            .device_write(self.layout.available + 2, &next.to_le_bytes())
            .unwrap();
        self.ports.write16(legacy::QUEUE_NOTIFY, queue as u16);
        self.nic.run_for(std::time::Duration::from_micros(50));
    }

    fn used(&self, queue: usize) -> u16 {
        let mut index = [0; 2];
        self.queues[queue]
            .device_read(self.layout.used + 2, &mut index)
            .unwrap();
        u16::from_le_bytes(index)
    }
}

const PLAIN: u64 = feature::NET_MAC | feature::NET_STATUS;

#[test]
fn frames_go_both_ways_with_short_headers() {
    for (features, header) in [(PLAIN, 10), (PLAIN | feature::NET_MRG_RXBUF, 12)] {
        let mut old = Old::new(features);
        let sent = frame(OWN, 100, 3);
        let bytes = [vec![0; header], sent.clone()].concat();
        old.queues[1].device_write(BUFFER, &bytes).unwrap();
        old.add(1, &[(0, header as u32), (header as u64, 100)]);
        assert_eq!(old.wire.taken(), std::slice::from_ref(&sent));
        assert_eq!(old.used(1), 1);

        old.wire.send(&sent);
        old.add(0, &[(0, header as u32), (header as u64, 1514)]);
        assert_eq!(old.used(0), 1);
        let mut bytes = vec![0; header + 100];
        old.queues[0].device_read(BUFFER, &mut bytes).unwrap();
        assert_eq!(bytes[header..], sent);
        let violations = old.nic.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

#[test]
fn a_header_shares_its_descriptor_only_by_agreement() {
    for (features, broken) in [(PLAIN, 1), (PLAIN | feature::ANY_LAYOUT, 0)] {
        let mut old = Old::new(features);
        let bytes = [vec![0; 10], frame(OWN, 100, 3)].concat();
        old.queues[1].device_write(BUFFER, &bytes).unwrap();
        old.add(1, &[(0, 110)]);
        assert_eq!(old.wire.taken().len(), 1);
        assert_eq!(old.nic.violation_count(), broken);
        for violation in old.nic.violations() {
            assert_eq!(violation.section, "virtio 1.2 §5.1.6.6");
        }
    }
}

#[test]
fn the_configuration_moves_with_msix() {
    let old = Old::new(PLAIN);
    let ports = &old.ports;
    let mac = |at: u32| [0, 1, 2, 3, 4, 5].map(|byte| ports.read8(at + byte));
    assert_eq!(mac(legacy::DEVICE_CONFIG), OWN);
    let interrupts = old.nic.function().interrupts(2).unwrap();
    assert_eq!(mac(legacy::DEVICE_CONFIG_MSIX), OWN);
    ports.write16(legacy::CONFIG_VECTOR, 1);
    assert_eq!(ports.read16(legacy::CONFIG_VECTOR), 1);
    drop(interrupts);
    assert_eq!(mac(legacy::DEVICE_CONFIG), OWN);
    // any width will do there
    let both = ports.read32(legacy::DEVICE_CONFIG + 4);
    assert_eq!(both >> 16, u32::from(net::LINK_UP));
    // and a driver without CTRL_MAC_ADDR writes its address
    ports.write8(legacy::DEVICE_CONFIG + 5, 9);
    assert_eq!(mac(legacy::DEVICE_CONFIG)[5], 9);
    let violations = old.nic.violations();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn accesses_that_are_forbidden() {
    type Access = fn(&VirtioBar);
    let cases: [(Access, Rule); 3] = [
        (
            |ports| ports.write32(legacy::DEVICE_FEATURES, 1),
            Rule::ReadOnly,
        ),
        (|ports| _ = ports.read32(legacy::QUEUE_SIZE), Rule::Width),
        (|ports| ports.write16(legacy::QUEUE_SIZE, 8), Rule::ReadOnly),
    ];
    for (access, rule) in cases {
        let (nic, _) = device();
        access(&nic.function().bar(0).unwrap());
        let violations = nic.violations();
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].rule, rule);
        assert_eq!(violations[0].section, "virtio 1.2 §4.1.4.10");
    }
}

#[test]
fn a_modern_device_has_no_ports() {
    let nic = VirtioNic::new(VirtioConfig::default(), Script::default());
    assert!(nic.function().bar(0).is_err());
}
