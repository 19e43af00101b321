//! The guest's file system: pieces in the cpio format, unpacked by the kernel into memory.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

use super::description::{self, Guest};
use super::kernel::Kernel;
use super::libraries::{self, Libraries};
use super::packages::Packages;
use super::programs::{self, Own};

/// Folders that every guest has.
const FOLDERS: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "root",
    "etc",
    "lab",
    "bin",
    "sbin",
    "lib",
    "lib64",
    "usr",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib/x86_64-linux-gnu",
    "var",
    "var/run",
];

/// Names under which kmod does its work.
const KMOD: &[&str] = &["depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod"];

/// Programs of every guest.
const ALWAYS: &[&str] = &["busybox", "kmod"];

/// A file system while it is put together.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    inode: u32,
}

impl Initramfs {
    /// The file system of one guest: programs with their libraries, modules, `init` and its script.
    pub(crate) fn of(
        guest: &Guest,
        kernel: &Kernel,
        packages: &Packages,
        own: &Own,
    ) -> Result<Self> {
        let mut system = Self::default();
        for folder in FOLDERS {
            system.folder(Path::new(folder))?;
        }
        system.copy("init", &description::folder().join("init.sh"), true)?;
        for (name, file) in description::parts()? {
            system.copy(&format!("lab/{name}"), &file, false)?;
        }
        system.copy("lab/guest.sh", &guest.script, false)?;
        let mut loaders = BTreeSet::new();
        let mut shared = Libraries::new();
        let wanted = guest.needs.programs.iter().map(String::as_str);
        let wanted = wanted.filter(|name| *name != programs::BAREWIRE);
        for name in ALWAYS.iter().copied().chain(wanted) {
            let program = packages.program(name)?;
            let file = program.root.join(program.path);
            system.copy(program.path, &file, true)?;
            for path in program.files {
                system.copy(path, &program.root.join(path), true)?;
            }
            for (link, target) in program.links {
                system.link(link, target)?;
            }
            let before = shared.len();
            libraries::add_needed(&file, &program.root, &mut shared)?;
            for library in program.loads {
                libraries::add_loaded(library, &program.root, &mut shared)?;
            }
            if shared.len() > before {
                loaders.insert(libraries::loader(&program.root)?);
            }
        }
        for (name, file) in &shared {
            system.copy(&format!("usr/lib/x86_64-linux-gnu/{name}"), file, true)?;
        }
        if let Some(loader) = loaders.first() {
            system.copy(libraries::LOADER, loader, true)?;
        }
        for name in KMOD {
            system.link(&format!("sbin/{name}"), "/usr/bin/kmod")?;
        }
        system.link("bin/sh", "/usr/bin/busybox")?;
        for (path, file) in own.of(guest) {
            system.copy(path, &file, true)?;
        }
        for file in &kernel.lists {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let path = format!("lib/modules/{}/{name}", kernel.release);
            system.copy(&path, file, false)?;
        }
        for (name, bytes) in kernel.modules(&guest.needs.modules)? {
            let path = format!("lib/modules/{}/kernel/{name}.ko", kernel.release);
            system.file(&path, &bytes, false)?;
        }
        Ok(system)
    }

    /// Writes it where QEMU can load it.
    pub(crate) fn write(mut self, path: &Path) -> Result<()> {
        trailer(&mut self.bytes)?;
        fs::write(path, &self.bytes).with_context(|| format!("can't write {}", path.display()))
    }

    fn copy(&mut self, path: &str, file: &Path, executable: bool) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
        self.file(path, &bytes, executable)
    }

    fn file(&mut self, path: &str, bytes: &[u8], executable: bool) -> Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        self.entry(path, ModeFileType::Regular, mode, bytes)
    }

    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.entry(path, ModeFileType::Symlink, 0o777, target.as_bytes())
    }

    fn folder(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        self.entry(&path.to_string_lossy(), ModeFileType::Directory, 0o755, &[])
    }

    fn entry(&mut self, path: &str, kind: ModeFileType, mode: u32, bytes: &[u8]) -> Result<()> {
        if let Some(parent) = Path::new(path).parent() {
            self.folder(parent)?;
        }
        self.inode += 1;
        let size = u32::try_from(bytes.len()).with_context(|| format!("{path} is too large"))?;
        let mut writer = Builder::new(path)
            .ino(self.inode)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind)
            .write(&mut self.bytes, size);
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(())
    }
}
