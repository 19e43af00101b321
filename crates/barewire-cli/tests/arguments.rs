//! Bad arguments, help and what is installed beside the program.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod pcap;
mod program;

use program::{barewire, stderr, stdout};
use tempfile::tempdir;

#[test]
fn bad_arguments_give_one_line_that_says_what_is_allowed() {
    for (arguments, allowed) in [
        (&["--batch", "0"][..], "1 to 512"),
        (&["--batch", "513"], "1 to 512"),
        (&["--queues", "0"], "1 to 64"),
        (&["--queues", "65"], "1 to 64"),
        (&["--ring", "100"], "a power of two from 64 to 4096"),
        (&["--ring", "8192"], "a power of two from 64 to 4096"),
        (&["--mtu", "67"], "68 to 9710"),
        (&["--mtu", "9711"], "68 to 9710"),
        (&["--size", "59"], "60 to"),
        (&["--rate", "often"], "5Mpps"),
        (&["--touch", "yes"], "on, off"),
        (&["--duration", "soon"], "ms, s, m or h"),
        (&["--packets", "0"], "from 1 on"),
        (&["--replay", "a", "--packets", "1"], "cannot be used with"),
        (&["--batches", "1"], "--batch"),
        (&["eth0", "eth1"], "allowed: sim, sim:NAME"),
        (
            &["sim", "0000:3:00.0"],
            "allowed: sim, sim:NAME, sim-virtio[:OPTION,...], vfio-user:PATH, PCI address (0000:03:00.0)",
        ),
        (&["sim", "03:00.0", "--backend", "any"], "vfio, uio"),
        (
            &["vfio-user:", "sim"],
            "PATH is missing; allowed: vfio-user:PATH",
        ),
        (&["sim:a", "sim:a"], "allowed: two different ones"),
        (&["sim"], "allowed: twice"),
        (&["sim", "sim", "sim"], "allowed: twice"),
    ] {
        let output = barewire(&[&["forward"], arguments].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(allowed), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_unknown_command_is_refused() {
    let output = barewire(&["frward"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'forward'"), "{output:?}");
}

#[test]
fn help_is_there_with_and_without_being_asked_for() {
    let output = barewire(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: barewire"), "{output:?}");
    let output = barewire(&["forward", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    for part in ["[PORT PORT]", "--replay", "imix", "Exit status"] {
        assert!(stdout(&output).contains(part), "{part}");
    }
    let output = barewire(&["--version"]);
    assert!(stdout(&output).starts_with("barewire "), "{output:?}");
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish"] {
        let output = barewire(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("--replay") || stdout(&output).contains("replay"));
    }
    let directory = tempdir().unwrap();
    let folder = directory.path().join("man1");
    let output = barewire(&["man", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = std::fs::read_to_string(folder.join("barewire-forward.1")).unwrap();
    assert!(page.contains("Exit status"), "{page}");
}

#[test]
fn manual_pages_that_cannot_be_written_are_reported() {
    let output = barewire(&["man", "/dev/null/man1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("/dev/null/man1"), "{output:?}");
}

#[test]
fn a_pci_device_that_is_not_there_is_said_to_be_absent() {
    let output = barewire(&["forward", "ffff:ff:1f.7", "sim"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("no PCI device ffff:ff:1f.7"), "{text}");
}
