//! The folder in which the lab keeps what it has fetched and built, for later runs and other
//! clones.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use anyhow::{Context, Result, bail};

use super::children::{LOOK, check_stopped};
use super::screen::Screen;

/// Changes when what is kept changes its form, so that an older lab's folder is left alone.
const FORM: &str = "1";

/// The file in a folder that says what it was filled with.
const DEFINITION: &str = ".definition";

/// The folder, locked for this process.
pub(crate) struct Cache {
    root: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens the folder, and waits while another lab is fetching or building.
    pub(crate) fn open(screen: &Screen) -> Result<Self> {
        let root = folder()?.join(FORM);
        fs::create_dir_all(&root).with_context(|| {
            format!(
                "can't create {}: set XDG_CACHE_HOME to a folder that can be written",
                root.display()
            )
        })?;
        let lock = File::create(root.join("lock"))
            .with_context(|| format!("can't lock {}", root.display()))?;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        screen.say("waiting for another lab that is fetching or building");
                        told = true;
                    }
                    check_stopped()?;
                    sleep(LOOK);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).context(format!("can't lock {}", root.display()));
                }
            }
        }
        Ok(Self { root, _lock: lock })
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder `name`: as a former run left it, or filled by `fill`. One that was filled to
    /// another `definition`, or not to the end, does not count: a folder gets its name when it is
    /// complete.
    pub(crate) fn folder(
        &self,
        name: &str,
        definition: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let complete = self.path(name);
        if complete.is_dir() {
            if fs::read_to_string(complete.join(DEFINITION)).is_ok_and(|text| text == definition) {
                return Ok(complete);
            }
            remove(&complete)?;
        }
        let partial = self.path(&format!("{name}.partial"));
        if partial.exists() {
            remove(&partial)?;
        }
        fs::create_dir_all(&partial)
            .with_context(|| format!("can't create {}", partial.display()))?;
        if let Err(error) = fill(&partial) {
            // what made it fail matters more than what is left
            let _left = remove(&partial);
            return Err(error);
        }
        fs::write(partial.join(DEFINITION), definition)
            .with_context(|| format!("can't write to {}", partial.display()))?;
        fs::rename(&partial, &complete)
            .with_context(|| format!("can't rename {}", partial.display()))?;
        Ok(complete)
    }

    /// Removes what former runs have left, so that all is fetched and built again.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.is_dir() {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("can't remove {}", folder.display()))
}

fn folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(cache) = absolute("XDG_CACHE_HOME") {
        return Ok(cache.join("barewire-lab"));
    }
    if let Some(home) = absolute("HOME") {
        return Ok(home.join(".cache/barewire/lab"));
    }
    bail!("neither XDG_CACHE_HOME nor HOME says where to keep the lab's downloads: set one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(root: &Path) -> Cache {
        Cache {
            root: root.to_owned(),
            _lock: File::create(root.join("lock")).unwrap(),
        }
    }

    #[test]
    fn a_folder_is_filled_once() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let fill = |folder: &Path| Ok(fs::write(folder.join("file"), "1")?);
        let first = cache.folder("a", "one", fill).unwrap();
        fs::write(first.join("file"), "2").unwrap();
        let second = cache.folder("a", "one", fill).unwrap();
        assert_eq!(fs::read_to_string(second.join("file")).unwrap(), "2");
        let third = cache.folder("a", "two", fill).unwrap();
        assert_eq!(fs::read_to_string(third.join("file")).unwrap(), "1");
    }

    #[test]
    fn what_was_not_filled_to_the_end_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let half = |folder: &Path| {
            fs::write(folder.join("half"), "")?;
            bail!("the network has gone")
        };
        assert!(cache.folder("a", "", half).is_err());
        assert!(!cache.path("a").exists());
        // as a killed lab leaves it
        fs::create_dir_all(cache.path("a.partial")).unwrap();
        fs::write(cache.path("a.partial").join("half"), "").unwrap();
        let folder = cache.folder("a", "", |_| Ok(())).unwrap();
        assert!(!folder.join("half").exists());
    }
}
