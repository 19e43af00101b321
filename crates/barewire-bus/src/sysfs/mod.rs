//! What the kernel says about PCI devices, in `/sys`.
//!
//! Everything is read below a root that can be chosen, so that tests run on trees that they make
//! up. What is read is text of at most [`LONGEST`] bytes.

mod bars;
mod binding;
mod device;
mod group;
mod interface;
#[cfg(test)]
pub(crate) mod made_up;
mod route;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use bars::{BarInfo, BarKind};
pub use binding::Binding;
pub use device::{PciDevice, PcieLink};
pub use group::{GroupMember, IommuGroup};
pub use interface::NetInterface;

/// The most that is read of one file.
const LONGEST: u64 = 64 * 1024;

/// A file's text without the line's end; `None` if it can't be read.
pub(crate) fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}

/// A file's number, hexadecimal with `0x` or decimal; `None` if it has none.
fn number<T: TryFrom<i64>>(path: &Path) -> Option<T> {
    let text = text(path)?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    T::try_from(number.ok()?).ok()
}

/// The last part of what a symbolic link points to.
fn link_name(path: &Path) -> Option<String> {
    let target: PathBuf = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The names in a folder, sorted; none if there is no such folder.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
