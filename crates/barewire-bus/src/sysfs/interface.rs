//! Network interfaces that a kernel driver made of a device.

use std::path::Path;

use super::{names, number, text};

/// A network interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetInterface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Whether it has a link: `None` while it is down, when the kernel does not know.
    pub carrier: Option<bool>,
    /// Speed of the link in Mbit/s, while there is one.
    pub mbits: Option<u32>,
}

/// The interfaces of the device whose folder is `device`.
pub(super) fn read(device: &Path) -> Vec<NetInterface> {
    // virtio puts a device of its own between
    let mut folders = vec![device.join("net")];
    let nested = names(device).unwrap_or_default();
    let nested = nested.iter().filter(|name| name.starts_with("virtio"));
    folders.extend(nested.map(|name| device.join(name).join("net")));
    let mut interfaces = Vec::new();
    for folder in folders {
        for name in names(&folder).unwrap_or_default() {
            let interface = folder.join(&name);
            interfaces.push(NetInterface {
                carrier: text(&interface.join("carrier")).map(|carrier| carrier == "1"),
                mbits: number::<u32>(&interface.join("speed")).filter(|mbits| *mbits > 0),
                name,
            });
        }
    }
    interfaces
}
