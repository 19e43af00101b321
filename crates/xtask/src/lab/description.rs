//! The guests: one shell script each, with a head that says what it needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{kernel, programs};

/// What begins a line of the head.
const MARK: &str = "#%";

/// A guest, as its script describes it.
pub(crate) struct Guest {
    /// The script's file name without `.sh`.
    pub(crate) name: String,
    pub(crate) script: PathBuf,
    pub(crate) needs: Needs,
}

/// The head of a script: TOML, each line after `#%`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Needs {
    /// What it shows, in a line.
    pub(crate) about: String,
    /// Which kernel it runs.
    #[serde(default)]
    pub(crate) kernel: kernel::Choice,
    /// What is added to the kernel's command line.
    #[serde(default)]
    pub(crate) options: String,
    /// Kernel modules it may load, without those that they need themselves.
    #[serde(default)]
    pub(crate) modules: Vec<String>,
    /// Programs besides busybox and kmod.
    #[serde(default)]
    pub(crate) programs: Vec<String>,
    /// Network cards, in the order in which the guest finds them.
    #[serde(default)]
    pub(crate) cards: Vec<Card>,
    /// The IOMMU that the cards are behind.
    #[serde(default)]
    pub(crate) iommu: Iommu,
    /// Memory in MiB.
    #[serde(default = "default_memory")]
    pub(crate) memory: u32,
    /// Seconds from start to power-off.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: u64,
    /// Rules that served cards must see broken, as parts of what they then say. Any other, or one
    /// of these that was kept, is the guest's failure.
    #[serde(default)]
    pub(crate) broken: Vec<String>,
}

fn default_memory() -> u32 {
    512
}

fn default_timeout() -> u64 {
    180
}

/// A network card of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    /// `served`, for one that `barewire nic serve` makes of what `--device` says; `served:CARD` for
    /// one that it makes of this; or the name and properties of a device of QEMU.
    pub(crate) device: String,
    /// The cable it is plugged into. Two cards at one cable are joined.
    #[serde(default)]
    pub(crate) cable: String,
    /// What a served card is plugged into in place of a cable, as `barewire nic serve --wire` has
    /// it.
    pub(crate) wire: Option<String>,
}

impl Card {
    /// Whether it is one of ours.
    pub(crate) fn is_served(&self) -> bool {
        self.served("").is_some()
    }

    /// What `barewire nic serve` is to make, if it is one of ours: `usual` where nothing else is
    /// said.
    pub(crate) fn served<'a>(&'a self, usual: &'a str) -> Option<&'a str> {
        match self.device.strip_prefix("served")? {
            "" => Some(usual),
            rest => rest.strip_prefix(':'),
        }
    }
}

/// What translates the addresses that cards use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Iommu {
    /// Cards reach all memory.
    #[default]
    None,
    /// Intel VT-d.
    Intel,
}

/// All guests, by name.
pub(crate) fn all() -> Result<Vec<Guest>> {
    scripts(&folder().join("guests"))?
        .iter()
        .map(|path| Guest::read(path))
        .collect()
}

/// What guests' scripts are made of, by file name.
pub(crate) fn parts() -> Result<Vec<(String, PathBuf)>> {
    let scripts = scripts(&folder().join("parts"))?;
    let named = scripts.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some((name, path))
    });
    Ok(named.collect())
}

/// The shell scripts in a folder, in order.
fn scripts(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut scripts = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sh"));
    scripts.sort();
    Ok(scripts)
}

/// The guests of these names, or all without names.
pub(crate) fn named(names: &[String]) -> Result<Vec<Guest>> {
    let mut guests = all()?;
    for name in names {
        if !guests.iter().any(|guest| guest.name == *name) {
            let known: Vec<_> = guests.iter().map(|guest| guest.name.as_str()).collect();
            bail!(
                "no guest is called {name:?}: there are {}",
                known.join(", ")
            );
        }
    }
    if !names.is_empty() {
        guests.retain(|guest| names.contains(&guest.name));
    }
    Ok(guests)
}

/// The folder with what runs in the guests.
pub(crate) fn folder() -> PathBuf {
    programs::package().join("src/lab")
}

impl Guest {
    fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        let needs = parse(&text).with_context(|| format!("in the head of {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            script: path.to_owned(),
            needs,
        })
    }
}

fn parse(script: &str) -> Result<Needs> {
    let head: Vec<_> = script
        .lines()
        .filter_map(|line| line.strip_prefix(MARK))
        .collect();
    Ok(toml::from_str(&head.join("\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_has_a_sound_head() {
        let guests = all().unwrap();
        assert!(!guests.is_empty());
        for guest in guests {
            assert!(!guest.needs.about.is_empty(), "{}", guest.name);
        }
    }

    #[test]
    fn a_head_is_read() {
        let needs = parse(
            "#!/bin/sh\n\
             #% about = \"a card\"\n\
             #% cards = [{ device = \"served\", cable = \"a\" }]\n\
             #% iommu = \"intel\"\n\
             echo hello\n",
        )
        .unwrap();
        assert_eq!(needs.about, "a card");
        assert_eq!(needs.iommu, Iommu::Intel);
        assert_eq!(needs.cards[0].served("82599"), Some("82599"));
        assert_eq!(needs.kernel, kernel::Choice::Stock);
    }

    #[test]
    fn a_served_card_may_say_what_it_is() {
        let card = |device: &str| Card {
            device: device.into(),
            cable: "a".into(),
            wire: None,
        };
        let word = "served:virtio-net:pairs=2";
        assert_eq!(card(word).served("82599"), Some("virtio-net:pairs=2"));
        assert_eq!(card("igb").served("82599"), None);
        assert_eq!(card("servedd").served("82599"), None);
    }

    #[test]
    fn a_misspelt_need_is_an_error() {
        assert!(parse("#% about = \"\"\n#% memori = 3\n").is_err());
        assert!(parse("#% about = \"\"\n#% kernel = \"stok\"\n").is_err());
    }

    #[test]
    fn an_unknown_guest_is_an_error_that_names_the_known() {
        let error = named(&["linux-ixgbee".into()]).err().unwrap().to_string();
        assert!(
            error.contains("there are") && error.contains("linux-igb"),
            "{error}"
        );
    }
}
