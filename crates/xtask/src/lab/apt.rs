//! The distribution's packages, through apt with a state of its own: the machine's installation is
//! neither read nor changed, and no root is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::children::{command, output};

/// The release the guests come from, and the one with a new enough QEMU.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-backports"];

/// The suite of newer versions.
pub(crate) const BACKPORTS: &str = "trixie-backports";

/// What Debian calls its releases in a source list.
const DEBIAN: &[&str] = &[
    "stable",
    "oldstable",
    "testing",
    "unstable",
    "sid",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

/// Debian's keys, where its packages put them.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Lists older than this are fetched again before something else is.
const FRESH: Duration = Duration::from_hours(12);

/// Limits of time: for questions, for the lists, for a set of packages.
const ASK: Duration = Duration::from_mins(1);
const LISTS: Duration = Duration::from_mins(5);
const PACKAGES: Duration = Duration::from_mins(15);

/// apt with a state of its own in the cache.
pub(crate) struct Apt {
    folder: PathBuf,
    release: String,
}

impl Apt {
    /// Sets the state up, and fetches the lists of packages if they are not fresh.
    pub(crate) fn open(cache: &Cache, mirror: Option<&str>) -> Result<Self> {
        for (program, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg")] {
            if !can_run(program) {
                bail!(
                    "{program} is missing. The lab's guests are made of Debian's packages, so it \
                     runs on Debian and its relatives (package {package} there); elsewhere, run it \
                     in a Debian container"
                );
            }
        }
        let apt = Self {
            folder: cache.path("apt"),
            release: release(),
        };
        for name in ["lists/partial", "archives/partial", "parts"] {
            let path = apt.folder.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("can't create {}", path.display()))?;
        }
        apt.write("status", "")?;
        apt.configure()?;
        let Some(keyring) = KEYRINGS.iter().find(|path| Path::new(path).is_file()) else {
            bail!("Debian's archive keys are missing: install the package debian-archive-keyring");
        };
        let mirror = match mirror {
            Some(mirror) => mirror.trim_end_matches('/').to_owned(),
            None => apt.mirror()?,
        };
        let mut sources = Vec::new();
        for suite in SUITES {
            sources.push(format!("deb [signed-by={keyring}] {mirror} {suite} main\n"));
        }
        if !SUITES.contains(&apt.release.as_str()) {
            let release = &apt.release;
            sources.push(format!(
                "deb [signed-by={keyring}] {mirror} {release} main\n"
            ));
        }
        let sources = sources.concat();
        let known = fs::read_to_string(apt.folder.join("sources")).unwrap_or_default();
        if known != sources || !apt.lists_are_fresh() {
            apt.write("sources", &sources)?;
            apt.run("apt-get", &["--quiet", "update"], LISTS)
                .context("can't fetch the lists of Debian's packages")?;
            apt.write("fetched", "")?;
        }
        Ok(apt)
    }

    /// The release of Debian that this machine runs.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// The packages named and all they need, as `name=version`.
    pub(crate) fn closure(&self, names: &[String], suite: Option<&str>) -> Result<Vec<String>> {
        let mut arguments = vec!["--simulate", "--no-install-recommends"];
        if let Some(suite) = suite {
            arguments.extend(["--target-release", suite]);
        }
        arguments.push("install");
        arguments.extend(names.iter().map(String::as_str));
        let text = self.run("apt-get", &arguments, ASK)?;
        // Inst zlib1g (1:1.3 Debian:13.5/stable [amd64])
        let packages: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.strip_prefix("Inst ")?.split_whitespace();
                let name = words.next()?;
                let version = words.next()?.strip_prefix('(')?;
                Some(format!("{name}={version}"))
            })
            .collect();
        if packages.is_empty() {
            bail!("apt names no package for {}", names.join(" "));
        }
        Ok(packages)
    }

    /// What a package depends on, without alternatives.
    pub(crate) fn dependencies(&self, name: &str, suite: Option<&str>) -> Result<Vec<String>> {
        let named = suite.map_or_else(|| name.to_owned(), |suite| format!("{name}/{suite}"));
        let text = self.run("apt-cache", &["depends", "--important", &named], ASK)?;
        Ok(text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .map(str::to_owned)
            .collect())
    }

    /// Fetches packages, given as `name` or `name=version`, and unpacks them into `folder`.
    pub(crate) fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        let fetched = tempfile::tempdir_in(self.folder.join("archives"))?;
        let mut get = self.command("apt-get");
        get.current_dir(fetched.path())
            .args(["--quiet", "download"])
            .args(packages);
        output("apt-get", &mut get, &self.log(), PACKAGES).with_context(|| {
            format!(
                "can't download {}",
                packages.first().map_or("", String::as_str)
            )
        })?;
        let mut archives: Vec<_> = fs::read_dir(fetched.path())?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        archives.sort();
        if archives.len() != packages.len() {
            bail!(
                "apt fetched {} of {} packages: see {}",
                archives.len(),
                packages.len(),
                self.log().display()
            );
        }
        for archive in archives {
            let mut unpack = command("dpkg-deb");
            unpack.arg("--extract").arg(&archive).arg(folder);
            output("dpkg-deb", &mut unpack, &self.log(), PACKAGES)?;
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
    }

    fn lists_are_fresh(&self) -> bool {
        let age = |modified| SystemTime::now().duration_since(modified).ok();
        fs::metadata(self.folder.join("fetched"))
            .and_then(|data| data.modified())
            .ok()
            .and_then(age)
            .is_some_and(|age| age < FRESH)
    }

    /// A configuration that takes from the machine's only how to reach servers.
    fn configure(&self) -> Result<()> {
        let folder = self.folder.display();
        let mut text = format!(
            "Dir::State \"{folder}\";\n\
             Dir::State::status \"{folder}/status\";\n\
             Dir::State::lists \"{folder}/lists/\";\n\
             Dir::Cache \"{folder}\";\n\
             Dir::Cache::archives \"{folder}/archives/\";\n\
             Dir::Etc::main \"/dev/null\";\n\
             Dir::Etc::parts \"{folder}/parts\";\n\
             Dir::Etc::sourcelist \"{folder}/sources\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::Etc::netrc \"/etc/apt/auth.conf\";\n\
             Dir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::http::Timeout \"30\";\n\
             Acquire::https::Timeout \"30\";\n"
        );
        let dump = output(
            "apt-config",
            command("apt-config").arg("dump"),
            &self.log(),
            ASK,
        )?;
        for line in dump.lines() {
            if line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets") {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str("Acquire::Languages \"none\";\n");
        self.write("configuration", &text)
    }

    /// Where the machine itself gets Debian's packages from.
    fn mirror(&self) -> Result<String> {
        let mut update = command("apt-get");
        update
            .arg("--option")
            .arg(format!(
                "Dir::State::lists={}/lists/",
                self.folder.display()
            ))
            .args(["--print-uris", "update"]);
        let text = output("apt-get", &mut update, &self.log(), ASK)?;
        debian_mirror(&text).context(
            "apt on this machine has no Debian source list. The lab's guests are made of Debian's \
             packages: name a mirror with --mirror URL",
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command
            .env("APT_CONFIG", self.folder.join("configuration"))
            .env("LC_ALL", "C");
        command
    }

    fn run(&self, program: &'static str, arguments: &[&str], limit: Duration) -> Result<String> {
        let mut command = self.command(program);
        command.args(arguments);
        output(program, &mut command, &self.log(), limit)
    }
}

/// Finds the base of a Debian archive among the addresses of package lists.
fn debian_mirror(uris: &str) -> Option<String> {
    uris.lines().find_map(|line| {
        let uri = line.strip_prefix('\'')?.split('\'').next()?;
        let (base, rest) = uri.split_once("/dists/")?;
        let mut parts = rest.split('/');
        let release = parts.next()?;
        let component = parts.next()?;
        let list = parts.next()?.starts_with("binary-");
        (DEBIAN.contains(&release) && component == "main" && list).then(|| base.to_owned())
    })
}

/// The release of Debian that this machine runs, or the guests' where it runs something else.
fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'));
    name.filter(|name| DEBIAN.contains(name))
        .unwrap_or(SUITES[0])
        .to_owned()
}

fn can_run(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_with_a_debian_release() {
        let uris = "\
            'http://other.example/apt/dists/tool/InRelease' other 0 \n\
            'http://other.example/apt/dists/tool/main/binary-amd64/Packages.xz' other 0 \n\
            'http://mirror.example/debian-security/dists/bookworm-security/main/binary-amd64/Packages.xz' a 0 \n\
            'http://mirror.example/debian/dists/bookworm/InRelease' b 0 \n\
            'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' c 0 \n";
        assert_eq!(
            debian_mirror(uris).as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(debian_mirror(""), None);
        assert_eq!(
            debian_mirror(
                "'http://u.example/ubuntu/dists/noble/main/binary-amd64/Packages.xz' d 0"
            ),
            None
        );
    }
}
