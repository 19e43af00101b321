//! The fuzz targets, for longer than the tests run them.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Package, test binary and test of each target.
const TARGETS: &[(&str, &str, &str)] = &[
    ("barewire-bus", "vfio_user_peer", "any_bytes_do_no_harm"),
    (
        "barewire-bus",
        "vfio_user_peer",
        "messages_survive_any_cutting",
    ),
    (
        "barewire-bus",
        "vfio_user_client",
        "lies::a_lying_server_does_no_harm",
    ),
    ("barewire", "lying_device", "a_lying_device_does_no_harm"),
    (
        "barewire-sim",
        "lying_virtio",
        "a_lying_virtio_device_does_no_harm",
    ),
    (
        "barewire-sim",
        "hostile_client",
        "a_hostile_client_does_no_harm",
    ),
    (
        "barewire-sim",
        "hostile_virtio_driver",
        "a_hostile_driver_does_no_harm",
    ),
    (
        "barewire-sim",
        "hostile_capture",
        "hostile_bytes_do_no_harm",
    ),
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the random scripts; another one each time if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Only targets whose name contains this
    #[arg(default_value = "")]
    name: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|(_, binary, _)| binary.contains(&arguments.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|(_, binary, _)| *binary).collect();
        bail!(
            "no fuzz target is called {:?}: there are {}",
            arguments.name,
            names.join(", ")
        );
    }
    for (package, binary, test) in chosen {
        println!("{binary}: {} s", arguments.seconds);
        // cargo is content with a name that no test has
        let listed = target(package, binary, test).arg("--list").output();
        let listed = listed.context("can't run cargo")?;
        if !is_listed(&String::from_utf8_lossy(&listed.stdout), test) {
            bail!(
                "{binary} has no test {test}, or does not build:\n{}",
                String::from_utf8_lossy(&listed.stderr)
            );
        }
        let mut cargo = target(package, binary, test);
        cargo
            .env(
                "BOLERO_RANDOM_TEST_TIME_MS",
                (arguments.seconds.saturating_mul(1000)).to_string(),
            )
            .env("BOLERO_RANDOM_ITERATIONS", u32::MAX.to_string());
        if let Some(seed) = arguments.seed {
            cargo.env("BOLERO_RANDOM_SEED", seed.to_string());
        }
        let status = cargo.status().context("can't run cargo")?;
        if !status.success() {
            bail!("{binary} found something: its script is printed above");
        }
    }
    Ok(())
}

/// The command that runs a target.
fn target(package: &str, binary: &str, test: &str) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["test", "--release", "--package", package, "--test", binary]);
    cargo.args(["--", "--exact", test]);
    cargo
}

/// Whether a test is among those that its binary lists.
fn is_listed(list: &str, test: &str) -> bool {
    list.lines()
        .any(|line| line.strip_suffix(": test") == Some(test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_has_another_name_is_missed() {
        let list = "lies::a_test: test\nanother: test\n\n2 tests, 0 benchmarks\n";
        assert!(is_listed(list, "lies::a_test"));
        assert!(!is_listed(list, "a_test"));
        assert!(!is_listed("0 tests, 0 benchmarks", "another"));
    }
}
