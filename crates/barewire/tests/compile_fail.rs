//! What the types forbid: each program in `compile_fail/` must not compile, for the reason that
//! stands beside it.
//!
//! The reasons are the words of one version of the compiler. With another version the programs are
//! copied, and only that they do not compile is checked.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// The compiler whose words stand in the `.stderr` files.
const WORDS_OF: &str = "rustc 1.95.";

/// Where the programs are, for the test that runs itself again.
const FOLDER: &str = "BAREWIRE_COMPILE_FAIL";

#[test]
fn misuse_does_not_compile() {
    if let Ok(folder) = std::env::var(FOLDER) {
        trybuild::TestCases::new().compile_fail(format!("{folder}/*.rs"));
        return;
    }
    if compiler().starts_with(WORDS_OF) {
        trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    for entry in std::fs::read_dir(programs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "misuse_does_not_compile"])
        .env(FOLDER, copy.path())
        .env("TRYBUILD", "overwrite")
        .status()
        .unwrap();
    assert!(status.success(), "a program compiles that must not");
}

fn compiler() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
