//! Which shared libraries a program needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf::FileHeader64;
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, elf};

/// Where packages put libraries, and where the loader of Debian looks for them.
const FOLDERS: &[&str] = &["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// The loader, inside a package and in the guest.
pub(crate) const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// Libraries by name, with their files.
pub(crate) type Libraries = BTreeMap<String, PathBuf>;

/// Adds the libraries below `root` that the program `file` needs, and that those need.
pub(crate) fn add_needed(file: &Path, root: &Path, libraries: &mut Libraries) -> Result<()> {
    let mut open = vec![file.to_owned()];
    while let Some(file) = open.pop() {
        for name in needed(&file)? {
            if let Some(found) = add(&name, root, libraries)
                .with_context(|| format!("{} needs it", file.display()))?
            {
                open.push(found);
            }
        }
    }
    Ok(())
}

/// Adds one library and what it needs.
pub(crate) fn add_loaded(name: &str, root: &Path, libraries: &mut Libraries) -> Result<()> {
    match add(name, root, libraries)? {
        Some(file) => add_needed(&file, root, libraries),
        None => Ok(()),
    }
}

/// The loader below `root`.
pub(crate) fn loader(root: &Path) -> Result<PathBuf> {
    ["usr/lib64/ld-linux-x86-64.so.2", LOADER]
        .iter()
        .map(|path| root.join(path))
        .find_map(|path| fs::canonicalize(path).ok())
        .with_context(|| format!("{} has no loader", root.display()))
}

/// The file of the library, if it is a new one.
fn add(name: &str, root: &Path, libraries: &mut Libraries) -> Result<Option<PathBuf>> {
    if libraries.contains_key(name) || name.starts_with("ld-linux") {
        return Ok(None);
    }
    for folder in FOLDERS {
        if let Ok(file) = fs::canonicalize(root.join(folder).join(name)) {
            libraries.insert(name.to_owned(), file.clone());
            return Ok(Some(file));
        }
    }
    bail!("{} has no library {name}", root.display())
}

/// What an ELF file names as needed. Nothing for a static program.
fn needed(file: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    parse(&bytes).with_context(|| format!("{} is not a sound ELF file", file.display()))
}

fn parse(bytes: &[u8]) -> Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let Some((entries, strings)) = sections.dynamic(endian, bytes)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, strings)?;
    entries
        .iter()
        .filter(|entry| entry.tag(endian) == elf::DT_NEEDED)
        .map(|entry| Ok(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_the_c_library() {
        let needed = needed(&std::env::current_exe().unwrap()).unwrap();
        assert!(needed.contains(&"libc.so.6".to_owned()), "{needed:?}");
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        assert!(parse(b"#!/bin/sh\n").is_err());
    }
}
