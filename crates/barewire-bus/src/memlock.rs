//! The limit on locked memory, which is what a device's memory counts against.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Why memory was not mapped for a device, and what would help. `bytes` were asked for and
/// `already` are mapped.
pub(crate) fn explain(error: &io::Error, bytes: u64, already: u64) -> String {
    if error.raw_os_error() != Some(Errno::NOMEM.raw_os_error()) {
        return error.to_string();
    }
    let Some(limit) = getrlimit(Resource::Memlock).current else {
        return format!("{error}: the machine can't lock so much memory");
    };
    let needed = already.saturating_add(bytes);
    format!(
        "the process may lock {} (RLIMIT_MEMLOCK) and needs {} or more: \
         run `sudo prlimit --memlock=unlimited --pid $$` in this shell and start again, \
         or set memlock for your user in /etc/security/limits.conf",
        in_kib(limit),
        in_kib(needed)
    )
}

fn in_kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_limit_is_explained_as_one() {
        let other = explain(&Errno::INVAL.into(), 4096, 0);
        assert!(!other.contains("MEMLOCK"), "{other}");
        let limit = explain(&Errno::NOMEM.into(), 2 << 20, 1 << 20);
        if getrlimit(Resource::Memlock).current.is_some() {
            assert!(
                limit.contains("RLIMIT_MEMLOCK") && limit.contains("3072 KiB"),
                "{limit}"
            );
            assert!(limit.contains("prlimit"), "{limit}");
        }
    }
}
