//! The guest's kernel and its modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};
use serde::Deserialize;

use super::apt::BACKPORTS;
use super::cache::Cache;
use super::children::{command, output};
use super::own_kernel;
use super::packages::Packages;
use super::screen::Screen;

/// The package that depends on the newest kernel.
const NEWEST: &str = "linux-image-amd64";

/// Which kernel a guest runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Choice {
    /// The one of the distribution's release.
    #[default]
    Stock,
    /// The one of its backports.
    Backports,
    /// One that is built for the lab, with what the distribution's lacks.
    Own,
    /// A kernel image, or a folder with `boot` and `lib/modules` or `usr/lib/modules`.
    Path(PathBuf),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stock" => Ok(Self::Stock),
            "backports" => Ok(Self::Backports),
            "own" => Ok(Self::Own),
            path if path.contains('/') => Ok(Self::Path(path.into())),
            _ => Err(format!(
                "{text:?} is none of stock, backports, own, and no path with a / either"
            )),
        }
    }
}

impl TryFrom<String> for Choice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A kernel that has been fetched.
pub(crate) struct Kernel {
    /// What QEMU loads.
    pub(crate) image: PathBuf,
    /// Its release, as `uname -r` says it in the guest; empty where it has no modules.
    pub(crate) release: String,
    /// What depmod reads besides the modules.
    pub(crate) lists: Vec<PathBuf>,
    /// All its modules, by name.
    files: BTreeMap<String, PathBuf>,
    /// Modules that are part of the image.
    built_in: BTreeSet<String>,
    /// Where modules lie uncompressed once they were used.
    plain: PathBuf,
    /// The program that uncompresses them.
    busybox: PathBuf,
}

impl Kernel {
    /// Fetches the kernel of this choice.
    pub(crate) fn fetch(
        choice: &Choice,
        packages: &Packages,
        cache: &Cache,
        screen: &Screen,
    ) -> Result<Self> {
        let root = match choice {
            Choice::Stock => packages.exactly("kernel-stock", |apt| {
                Ok(vec![versioned(&apt.dependencies(NEWEST, None)?)?])
            })?,
            Choice::Backports => packages.exactly("kernel-backports", |apt| {
                let image = versioned(&apt.dependencies(NEWEST, Some(BACKPORTS))?)?;
                let parts = apt.dependencies(&image, None)?;
                // split packages: what has the image and what has the modules
                let parts = parts.into_iter().filter(|name| {
                    name.starts_with("linux-binary-") || name.starts_with("linux-modules-")
                });
                Ok(std::iter::once(image.clone()).chain(parts).collect())
            })?,
            Choice::Own => own_kernel::fetch(packages, cache, screen)?,
            Choice::Path(path) => path.clone(),
        };
        let busybox = packages.program("busybox")?;
        Self::find(&root, cache, busybox.root.join(busybox.path))
            .with_context(|| format!("{} can't be used as a kernel", root.display()))
    }

    fn find(root: &Path, cache: &Cache, busybox: PathBuf) -> Result<Self> {
        let mut kernel = Self {
            image: root.to_owned(),
            release: String::new(),
            lists: Vec::new(),
            files: BTreeMap::new(),
            built_in: BTreeSet::new(),
            plain: PathBuf::new(),
            busybox,
        };
        if root.is_file() {
            return Ok(kernel);
        }
        let modules = ["usr/lib/modules", "lib/modules"]
            .iter()
            .find_map(|folder| only_folder(&root.join(folder)))
            .context("it has no folder lib/modules/RELEASE")?;
        kernel.release = modules
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        kernel.image = [
            root.join(format!("boot/vmlinuz-{}", kernel.release)),
            modules.join("vmlinuz"),
        ]
        .into_iter()
        .find(|path| path.is_file())
        .context("it has neither boot/vmlinuz-RELEASE nor lib/modules/RELEASE/vmlinuz")?;
        index(&modules, &mut kernel.files)?;
        kernel.lists = [
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.order",
        ]
        .iter()
        .map(|name| modules.join(name))
        .filter(|path| path.is_file())
        .collect();
        kernel.built_in = fs::read_to_string(modules.join("modules.builtin"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| module_name(Path::new(line)))
            .collect();
        // a folder of one's own may be built anew under the same release
        kernel.plain = cache.path("modules").join(&kernel.release);
        Ok(kernel)
    }

    /// The files of these modules and of all they need, uncompressed, in the order to load them.
    pub(crate) fn modules(&self, wanted: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut chosen = Vec::new();
        let mut seen = BTreeSet::new();
        if self.release.is_empty() {
            return Ok(chosen);
        }
        for name in wanted {
            self.add(&name.replace('-', "_"), &mut seen, &mut chosen)?;
        }
        Ok(chosen)
    }

    fn add(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        chosen: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        if self.built_in.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            bail!("kernel {} has no module {name}", self.release);
        };
        let bytes = self.plain(name, file)?;
        for need in depends(&bytes).with_context(|| format!("{} is no module", file.display()))? {
            self.add(&need, seen, chosen)?;
        }
        chosen.push((name.to_owned(), bytes));
        Ok(())
    }

    fn plain(&self, name: &str, file: &Path) -> Result<Vec<u8>> {
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("can't read {}", path.display()));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("ko") => return read(file),
            Some("xz") => {}
            _ => bail!(
                "{} is compressed in a way that the lab does not know",
                file.display()
            ),
        }
        let plain = self.plain.join(format!("{name}.ko"));
        if !plain.is_file() {
            fs::create_dir_all(&self.plain)?;
            let partial = self.plain.join(format!("{name}.partial"));
            let log = self.plain.join("log");
            let mut unpack = command(&self.busybox);
            unpack.args(["sh", "-c", "exec unxz -c \"$0\" >\"$1\""]);
            unpack.arg(file).arg(&partial);
            output("busybox unxz", &mut unpack, &log, Duration::from_mins(1))?;
            fs::rename(&partial, &plain)?;
        }
        read(&plain)
    }
}

/// The package of one version among the dependencies of the newest.
fn versioned(dependencies: &[String]) -> Result<String> {
    dependencies
        .iter()
        .find(|name| name.starts_with("linux-image-"))
        .cloned()
        .with_context(|| format!("{NEWEST} depends on no linux-image package"))
}

fn only_folder(folder: &Path) -> Option<PathBuf> {
    let mut folders = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir());
    let only = folders.next()?;
    folders.next().is_none().then_some(only)
}

fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            index(&entry.path(), files)?;
        } else if let Some(name) = module_name(&entry.path()) {
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

/// The module in the file `name.ko` or `name.ko.xz`.
fn module_name(file: &Path) -> Option<String> {
    let (name, rest) = file.file_name()?.to_str()?.split_once(".ko")?;
    (rest.is_empty() || rest.starts_with('.')).then(|| name.replace('-', "_"))
}

/// What a module says it depends on.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("no .modinfo")?;
    Ok(section
        .data()?
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(b"depends="))
        .flat_map(|names| names.split(|&byte| byte == b','))
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).replace('-', "_"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_name() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(
            name("kernel/drivers/vfio/vfio-pci.ko.xz").as_deref(),
            Some("vfio_pci")
        );
        assert_eq!(name("a/ixgbe.ko").as_deref(), Some("ixgbe"));
        assert_eq!(name("modules.order"), None);
        assert_eq!(name("a.kodak"), None);
    }

    #[test]
    fn a_kernel_is_chosen_by_word_or_path() {
        assert_eq!("stock".parse(), Ok(Choice::Stock));
        assert_eq!("./bzImage".parse(), Ok(Choice::Path("./bzImage".into())));
        assert!("bzImage".parse::<Choice>().is_err());
    }
}
