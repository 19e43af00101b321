//! Interrupts by eventfd.

use barewire_bus::{Bar, InterruptKind, PciFunction};

use super::device::{DOORBELL, Device, open};

#[test]
fn interrupts_come_by_eventfd_each_on_its_own() {
    let (function, server) = open(Device::new());
    let function = function.unwrap();
    let too_many = function.interrupts(9).unwrap_err().to_string();
    assert!(too_many.contains("8 MSI-X vectors"), "{too_many}");
    // with at most three descriptors a message
    let interrupts = function.interrupts(8).unwrap();
    assert_eq!(interrupts.kind(), InterruptKind::MsiX);
    assert_eq!(interrupts.vectors().len(), 8);
    let bar = function.bar(0).unwrap();
    for fired in 0..8 {
        bar.write32(DOORBELL, fired);
        for (vector, event) in (0..).zip(interrupts.vectors()) {
            assert_eq!(event.clear(), vector == fired);
        }
    }
    // taken down, for the next who wants them
    drop(interrupts);
    let again = function.interrupts(2).unwrap();
    bar.write32(DOORBELL, 1);
    assert!(again.vectors()[1].clear());
    drop((function, bar, again));
    assert!(server.join().unwrap().events.is_empty());
}
