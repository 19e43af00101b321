//! TAP interfaces: Ethernet frames to and from the kernel.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

const DEVICE: &str = "/dev/net/tun";

/// Bytes of an interface's name, with the NUL at its end (Linux `IFNAMSIZ`).
const NAME: usize = 16;

/// Linux `TUNSETIFF`, whose declared type is not that of its argument.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
/// Linux `IFF_TAP`: frames, not packets.
const IFF_TAP: u16 = 0x0002;
/// Linux `IFF_NO_PI`: nothing in front of the frame.
const IFF_NO_PI: u16 = 0x1000;

/// Linux `struct ifreq` as `TUNSETIFF` uses it.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    flags: u16,
    /// The rest of the union, of which the longest member has 24 bytes.
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == 40);

/// An open TAP interface. Each message is one Ethernet frame without FCS; nothing ever waits.
///
/// An interface that was made here goes when it is closed, unless somebody has made it persistent.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

/// Why a TAP interface can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The name can't be that of an interface.
    #[error(
        "{name:?} can't be an interface's name: 1 to 15 letters, digits, '-', '_' or '.' are allowed"
    )]
    Name {
        /// The name given.
        name: String,
    },
    /// The kernel has no TAP interfaces.
    #[error("no TAP interfaces in this kernel ({DEVICE}: {cause}): as root, modprobe tun")]
    Missing {
        /// The system's answer.
        cause: io::Error,
    },
    /// Only root may make interfaces, and only their owner may open them.
    #[error(
        "not allowed to open the TAP interface {name}: as root, ip tuntap add {name} mode tap user $USER && ip link set {name} up"
    )]
    NotAllowed {
        /// The interface.
        name: String,
    },
    /// Another program has it.
    #[error("the TAP interface {name} is in use by another program: end it or choose another name")]
    InUse {
        /// The interface.
        name: String,
    },
    /// Anything else.
    #[error(
        "cannot open the TAP interface {name}: {cause}: it must not exist yet, or be of mode tap"
    )]
    Failed {
        /// The interface.
        name: String,
        /// The system's answer.
        cause: io::Error,
    },
}

impl Tap {
    /// Opens the interface `name`. If there is none it is made, which takes `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`TapError`], with what to do about it.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = (1..NAME).contains(&name.len()) && name.chars().all(allowed);
        if !fits || matches!(name, "." | "..") {
            return Err(TapError::Name {
                name: name.to_owned(),
            });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(DEVICE)
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::PermissionDenied => TapError::NotAllowed {
                    name: name.to_owned(),
                },
                _ => TapError::Missing { cause },
            })?;
        let mut request = Request {
            name: [0; NAME],
            flags: IFF_TAP | IFF_NO_PI,
            rest: [0; 22],
        };
        for (to, from) in request.name.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        attach(&file, request).map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => TapError::NotAllowed {
                name: name.to_owned(),
            },
            io::ErrorKind::ResourceBusy => TapError::InUse {
                name: name.to_owned(),
            },
            _ => TapError::Failed {
                name: name.to_owned(),
                cause,
            },
        })?;
        Ok(Self { file })
    }

    /// Takes the next frame that the kernel sends; a longer one is cut to the length of `into`.
    ///
    /// # Errors
    /// `WouldBlock` if there is none, others when the interface is gone.
    pub fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }

    /// Hands a frame to the kernel.
    ///
    /// # Errors
    /// Those of the system, for example that the interface is down.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write(frame).map(drop)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File, mut request: Request) -> io::Result<()> {
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `Request` is in layout and size,
    // and any bytes are a valid `Request`.
    let update = unsafe { Updater::<TUNSETIFF, Request>::new(&mut request) };
    // SAFETY: the request lives through the call, which has no other effect on memory; a file that
    // is no TUN device refuses the number.
    unsafe { ioctl(file, update) }?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for name in ["", "..", "a/b", "sixteen-letters-", "tap%d", "ä"] {
            let refusal = Tap::open(name).unwrap_err();
            assert!(matches!(refusal, TapError::Name { .. }), "{name}");
            assert!(refusal.to_string().contains("1 to 15"), "{refusal}");
        }
    }

    #[test]
    fn a_file_that_is_no_tun_device_refuses_the_request() {
        let file = File::open("/dev/null").unwrap();
        let request = Request {
            name: *b"none\0\0\0\0\0\0\0\0\0\0\0\0",
            flags: IFF_TAP,
            rest: [0; 22],
        };
        assert!(attach(&file, request).is_err());
    }

    /// Runs where interfaces may be made; elsewhere the refusal must say what to do.
    #[test]
    fn an_interface_is_made_or_the_way_to_it_is_told() {
        match Tap::open("bwtest0") {
            Ok(mut tap) => {
                let busy = Tap::open("bwtest0").unwrap_err();
                assert!(matches!(busy, TapError::InUse { .. }), "{busy}");
                // it is down
                assert!(tap.send(&[0; 60]).is_err());
                assert!(tap.receive(&mut [0; 2048]).is_err());
            }
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(
                    text.contains("ip tuntap add") || text.contains("modprobe tun"),
                    "{text}"
                );
            }
        }
    }
}
