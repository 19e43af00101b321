//! Servers whose answers are not what was asked for.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use barewire_bus::vfio_user::{
    Command, DEVICE_FLAG_PCI, DeviceInfo, DmaAccess, Message, RegionAccess, RemoteFunction, Version,
};
use barewire_bus::{Bar, PciFunction};
use barewire_dma::{DmaRegion, Pages};
use rustix::io::Errno;

use super::device::{Device, LONG, SHORT, open};

/// A device that answers `command` with what `lie` makes of the truth.
fn lying(command: Command, lie: impl Fn(&Message) -> Vec<u8> + Send + 'static) -> Device {
    Device::new().trick(move |connection, message| {
        if message.header.command() != Some(command) {
            return None;
        }
        let payload = lie(message);
        connection
            .reply(&message.header, &[&payload], &[], LONG)
            .ok()
    })
}

#[test]
fn answers_about_something_else_are_the_end() {
    let lies: [fn(RegionAccess) -> Vec<u8>; 6] = [
        |access| [&access.encode()[..], &[0; 3]].concat(),
        |access| [&access.encode()[..], &[0; 5]].concat(),
        |access| {
            RegionAccess { count: 3, ..access }
                .encode()
                .into_iter()
                .chain([0; 3])
                .collect()
        },
        |access| {
            RegionAccess {
                offset: access.offset + 4,
                ..access
            }
            .encode()
            .into_iter()
            .chain([0; 4])
            .collect()
        },
        |access| {
            RegionAccess {
                region: 3,
                ..access
            }
            .encode()
            .into_iter()
            .chain([0; 4])
            .collect()
        },
        |_| Vec::new(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (function, server) = open(lying(Command::RegionRead, move |message| {
            lie(RegionAccess::decode(&message.payload).unwrap())
        }));
        let function = function.unwrap();
        assert_eq!(function.bar(0).unwrap().read32(8), u32::MAX, "lie {number}");
        assert!(function.is_gone(), "lie {number}");
        drop(function);
        server.join().unwrap();
    }
}

#[test]
fn servers_of_another_kind_are_refused_by_what_they_are() {
    let version = |major, minor| {
        Version {
            major,
            minor,
            ..Version::default()
        }
        .encode()
    };
    let info = |flags, regions| {
        DeviceInfo {
            argsz: 16,
            flags,
            regions,
            irqs: 0,
        }
        .encode()
    };
    for (device, reason) in [
        (
            lying(Command::Version, move |_| version(1, 0)),
            "version 1.0",
        ),
        (
            lying(Command::Version, move |_| version(0, 2)),
            "version 0.2",
        ),
        (lying(Command::Version, |_| vec![0; 3]), "makes no sense"),
        (
            lying(Command::Version, |_| b"\0\0\0\0{".to_vec()),
            "version data",
        ),
        (
            lying(Command::DeviceGetInfo, |_| vec![0; 15]),
            "makes no sense",
        ),
        (
            lying(Command::DeviceGetInfo, move |_| info(0, 9)),
            "no PCI device",
        ),
        (
            lying(Command::DeviceGetInfo, move |_| info(DEVICE_FLAG_PCI, 7)),
            "configuration",
        ),
        (
            lying(Command::DeviceGetRegionInfo, |_| vec![0; 40]),
            "something else",
        ),
    ] {
        let (function, server) = open(device);
        let refusal = match function {
            Ok(_) => panic!("{reason}"),
            Err(error) => error.to_string(),
        };
        assert!(refusal.contains(reason), "{reason}: {refusal}");
        server.join().unwrap();
    }
}

/// Whatever a server answers: no panic, no wait beyond its patience, no access outside of what was
/// checked. The script says what it does with each request.
#[test]
fn a_lying_server_does_no_harm() {
    let script = bolero::generator::produce::<Vec<(u8, u8, u32)>>();
    bolero::check!().with_generator(script).for_each(|script| {
        let mut script = script.clone().into_iter();
        let device = Device::new().trick(move |connection, message| {
            let (what, place, value) = script.next()?;
            let header = &message.header;
            match what % 8 {
                // the truth
                0..=2 => None,
                3 => connection
                    .refuse(header, Errno::from_raw_os_error(i32::from(place)), LONG)
                    .ok(),
                // as many bytes as it likes
                4 => {
                    let payload = vec![place; value as usize % 5000];
                    connection.reply(header, &[&payload], &[], LONG).ok()
                }
                // the request, with another number somewhere
                5 => {
                    let mut payload = message.payload.clone();
                    let at = usize::from(place) * 4 % payload.len().max(1);
                    for (byte, new) in payload.iter_mut().skip(at).zip(value.to_ne_bytes()) {
                        *byte = new;
                    }
                    let fds: Vec<_> = message.fds.iter().map(AsFd::as_fd).collect();
                    connection.reply(header, &[&payload], &fds, LONG).ok()
                }
                // a request of its own first, for memory that may be there
                6 => {
                    let access = DmaAccess {
                        address: (1 << 32) + u64::from(value),
                        count: u64::from(place),
                    };
                    let command = if place % 2 == 0 {
                        Command::DmaRead
                    } else {
                        Command::DmaWrite
                    };
                    let data = vec![place; if place % 3 == 0 { 0 } else { place.into() }];
                    let payload = [&access.encode()[..], &data];
                    connection.request(command, &payload, &[], LONG).ok();
                    None
                }
                // it goes
                _ => panic!("the server ends here"),
            }
        });
        let (near, far) = UnixStream::pair().unwrap();
        let server = device.serve(far);
        if let Ok(function) = RemoteFunction::over(near, "liar", SHORT) {
            let _ = function.config_read32(0);
            if let Ok(bar) = function.bar(0) {
                for offset in [0, 8, 0x1000, 0x1ffc, 0x3ffc, 0x4000] {
                    bar.write32(offset, bar.read32(offset));
                }
                bar.delay(Duration::from_micros(10));
            }
            let region = DmaRegion::allocate(4096, Pages::Ordinary).unwrap();
            if let Ok(layout) = function.dma().map(&region) {
                let _ = function.bar(0).map(|bar| bar.read32(0));
                function.dma().unmap(&region, &layout);
            }
            drop(function.interrupts(2));
            let _ = function.reset();
        }
        let _ = server.join();
    });
}
