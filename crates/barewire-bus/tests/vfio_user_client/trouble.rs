//! Servers that go, stay silent, refuse, or are not there.

use std::os::unix::net::{UnixListener, UnixStream};

use barewire_bus::vfio_user::{Command, RemoteFunction};
use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Pages};
use rustix::io::Errno;

use super::device::{Device, LONG, SHORT, open, open_within};

#[test]
fn a_server_that_goes_leaves_a_device_that_is_gone() {
    let (function, server) = open(Device::new().trick(|_, message| {
        let gone = message.header.command() == Some(Command::RegionRead);
        gone.then(|| panic!("the server dies"))
    }));
    let function = function.unwrap();
    let bar = function.bar(0).unwrap();
    bar.write32(0x1000, 5);
    assert_eq!(bar.read32(0x1000), 5);
    assert!(!function.is_gone());
    assert_eq!(bar.read32(0), u32::MAX);
    assert!(function.is_gone());
    assert_eq!(
        (bar.read32(0x1000), bar.read16(0), bar.read8(0)),
        (u32::MAX, u16::MAX, u8::MAX)
    );
    bar.write32(0, 1);
    bar.write32(0x1000, 1);
    let error = function.config_read32(0).unwrap_err().to_string();
    assert!(
        error.contains("vfio-user:test") && error.contains("gone"),
        "{error}"
    );
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    assert!(function.dma().map(&region).is_err());
    assert!(function.interrupts(1).is_err());
    assert!(server.join().is_err());
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let (near, _far) = UnixStream::pair().unwrap();
    let error = RemoteFunction::over(near, "vfio-user:silent", SHORT).unwrap_err();
    assert!(
        error.to_string().contains("busy with another client"),
        "{error}"
    );

    let (function, server) = open_within(
        Device::new().trick(|_, message| {
            (message.header.command() == Some(Command::RegionRead)).then_some(())
        }),
        SHORT,
    );
    let bar = function.unwrap().bar(0).unwrap();
    for _ in 0..1_000 {
        // the first waits, the others know
        assert_eq!(bar.read32(0), u32::MAX);
    }
    drop(bar);
    server.join().unwrap();
}

#[test]
fn a_refusal_is_no_end() {
    let (function, server) = open(Device::new().trick(|connection, message| {
        let refused = [
            Command::RegionRead,
            Command::DmaMap,
            Command::DeviceGetIrqInfo,
        ];
        let refused = refused.contains(&message.header.command().unwrap());
        refused.then(|| {
            connection
                .refuse(&message.header, Errno::INVAL, LONG)
                .unwrap()
        })
    }));
    let function = function.unwrap();
    assert_eq!(function.bar(0).unwrap().read32(8), u32::MAX);
    let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
    let error = function.dma().map(&region).unwrap_err().to_string();
    assert!(error.contains("Invalid argument"), "{error}");
    let error = function.interrupts(1).unwrap_err().to_string();
    assert!(error.contains("0 MSI-X vectors"), "{error}");
    assert!(!function.is_gone());
    drop(function);
    server.join().unwrap();
}

#[test]
fn sockets_that_lead_nowhere_are_named_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nic.sock");
    let refusal = |path: &std::path::Path| {
        let error = RemoteFunction::connect(path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("vfio-user:{}", path.display())),
            "{error}"
        );
        error
    };
    assert!(refusal(&path).contains("barewire nic serve --socket"));
    let listener = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(refusal(&path).contains("start it again"));
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(refusal(&file).contains("vfio-user:"));
    assert!(refusal(&directory.path().join("x".repeat(200))).contains("107"));
}
