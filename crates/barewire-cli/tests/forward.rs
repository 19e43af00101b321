//! The main job, by the built program.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod pcap;
mod program;

use std::io::{BufRead, BufReader, Read};
use std::process::Command;

use program::{barewire, command, forward, report, stderr, stdout, wire};
use serde_json::Value;
use tempfile::tempdir;

/// A run with so many frames each way, of which none may go astray.
fn clean(arguments: &[&str], packets: u64) -> Value {
    let count = packets.to_string();
    let report = forward(&[&["--packets", &count], arguments].concat());
    for (name, expected) in [
        ("offered", 2 * packets),
        ("delivered", 2 * packets),
        ("lost", 0),
        ("reordered", 0),
        ("corrupted", 0),
        ("undersize_padded", 0),
        ("oversize_dropped", 0),
        ("source_skipped", 0),
    ] {
        assert_eq!(wire(&report, name), expected, "{arguments:?}: {name}");
    }
    assert_eq!(report["violations"], 0, "{arguments:?}");
    for port in report["ports"].as_array().unwrap() {
        assert_eq!(port["rx_packets"], packets, "{arguments:?}");
        assert_eq!(port["tx_packets"], packets, "{arguments:?}");
        for count in ["rx_dropped", "rx_errors", "tx_errors"] {
            assert_eq!(port[count], 0, "{arguments:?}: {count}");
        }
    }
    report
}

#[test]
fn frames_are_forwarded_between_all_software_cards() {
    for ports in [
        ["sim-virtio", "sim-virtio:with=RING_PACKED"],
        [
            "sim",
            "sim-virtio:shuffled,with=RING_PACKED,without=MRG_RXBUF",
        ],
        [
            "sim-virtio:transitional,without=EVENT_IDX",
            "sim-virtio:with=IN_ORDER",
        ],
    ] {
        let report = clean(&ports, 5_000);
        assert_eq!(report["ports"][1]["driver"], "virtio-net");
    }
    clean(
        &["sim-virtio", "sim-virtio", "--queues", "2", "--flows", "8"],
        5_000,
    );
}

#[test]
fn frames_are_forwarded_both_ways_and_counted() {
    let report = clean(&[], 50_000);
    let object = report.as_object().unwrap();
    assert_eq!(object.len(), 5);
    let (seconds, mpps) = (
        report["seconds"].as_f64().unwrap(),
        report["mpps"].as_f64().unwrap(),
    );
    assert!(seconds > 0.0);
    assert!(
        (mpps - 0.1 / seconds).abs() < 1e-6 * mpps,
        "{mpps} in {seconds}"
    );
    let port = &report["ports"][0];
    assert_eq!(port.as_object().unwrap().len(), 10);
    assert_eq!(
        (&port["port"], &port["driver"]),
        (&"sim0".into(), &"ixgbe".into())
    );
    assert_eq!(
        (&port["rx_bytes"], &port["link_mbits"]),
        (&3_000_000.into(), &10_000.into())
    );
    assert_eq!(report["wire"].as_object().unwrap().len(), 8);
}

#[test]
fn every_option_keeps_all_frames() {
    for arguments in [
        &["--batch", "1"][..],
        &["--batch", "512", "--ring", "64"],
        &["--ring", "4096"],
        &["--size", "61", "--touch", "off"],
        &["--size", "imix", "--flows", "1000"],
        &["--size", "1514", "--ring", "64"],
        &["--size", "9014", "--mtu", "9000", "--ring", "64"],
        &["sim:left", "sim:right"],
    ] {
        clean(arguments, 5_000);
    }
}

#[test]
fn several_queues_share_the_frames() {
    for queues in ["2", "3", "16", "64"] {
        clean(&["--queues", queues, "--ring", "64"], 5_000);
    }
}

#[test]
fn named_ports_are_reported_by_name() {
    let report = clean(&["sim:left", "sim"], 10);
    assert_eq!(report["ports"][0]["port"], "sim:left");
    assert_eq!(report["ports"][1]["port"], "sim1");
}

#[test]
fn frames_larger_than_the_port_takes_are_dropped_and_counted() {
    let report = forward(&["-n", "1000", "--size", "1515"]);
    assert_eq!(wire(&report, "oversize_dropped"), 2_000);
    assert_eq!((wire(&report, "delivered"), wire(&report, "lost")), (0, 0));
    assert_eq!(report["ports"][1]["rx_errors"], 1_000);
}

#[test]
fn an_open_loop_accounts_for_every_frame() {
    let rate = 50_000.0;
    for ring in ["64", "4096"] {
        let report = forward(&["--rate", "50kpps", "-d", "300ms", "--ring", ring]);
        let [offered, delivered, lost] =
            ["offered", "delivered", "lost"].map(|name| wire(&report, name));
        assert!(delivered > 0);
        assert_eq!(offered, delivered + lost);
        let dropped = |port: usize| report["ports"][port]["rx_dropped"].as_u64().unwrap();
        assert_eq!(lost, dropped(0) + dropped(1));
        let due = 2.0 * (1.0 + rate * report["seconds"].as_f64().unwrap());
        assert!(
            f64::from(u32::try_from(offered).unwrap()) <= due,
            "{offered} of {due}"
        );
    }
}

#[test]
fn more_than_the_program_can_take_is_lost_and_no_failure() {
    let report = forward(&[
        "--rate", "linerate", "-d", "200ms", "--ring", "64", "--batch", "1",
    ]);
    let lost = wire(&report, "lost");
    let dropped = |port: usize| report["ports"][port]["rx_dropped"].as_u64().unwrap();
    assert_eq!(lost, dropped(0) + dropped(1));
    assert_eq!(wire(&report, "offered"), wire(&report, "delivered") + lost);
}

#[test]
fn people_get_lines_and_a_summary_on_standard_output() {
    let output = barewire(&["forward", "--duration", "1100ms"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    for part in [
        "forwarding between sim0 and sim1",
        "60-byte frames",
        "1.0 s  sim0  rx",
        "1.0 s  sim1  rx",
        "Mpps",
        "Mbit/s",
        "delivered\n",
        "0 lost, 0 reordered, 0 corrupted",
        "no rule broken",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(80), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn with_json_the_lines_go_to_standard_error_and_quiet_is_quiet() {
    let output = barewire(&["forward", "--json", "-d", "1100ms"]);
    assert!(wire(&report(&output), "delivered") > 0);
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stderr(&output).contains("1.0 s  sim0  rx"), "{output:?}");
    let output = barewire(&["forward", "--json", "-q", "-n", "10"]);
    report(&output);
    assert_eq!(stderr(&output), "");
}

#[test]
fn signals_end_a_run_cleanly() {
    for signal in ["INT", "TERM"] {
        let mut child = command(&["forward", "--json", "-d", "1h"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("forwarding"), "{line}");
        // the first line of progress: it is running
        while !line.contains("Mpps") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0);
        }
        let pid = child.id().to_string();
        let killed = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(killed.unwrap().success());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        let output = child.wait_with_output().unwrap();
        let report = report(&output);
        assert_eq!(wire(&report, "lost"), 0, "{signal}: {rest}");
        assert_eq!(
            wire(&report, "offered"),
            wire(&report, "delivered"),
            "{signal}"
        );
        assert_eq!(report["violations"], 0, "{signal}");
    }
}

#[test]
fn generated_frames_can_be_recorded() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("out.pcap");
    clean(&["--record", path.to_str().unwrap(), "--size", "100"], 300);
    let records = pcap::read(&path);
    assert_eq!(records.len(), 300);
    assert!(
        records
            .iter()
            .all(|record| record.data.len() == 100 && record.original == 100)
    );
}

#[test]
fn a_full_disk_is_reported() {
    for packets in ["10", "100000"] {
        let output = barewire(&["forward", "--json", "-n", packets, "--record", "/dev/full"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = stderr(&output);
        assert!(
            text.contains("cannot write /dev/full: No space left"),
            "{text}"
        );
    }
}

#[test]
fn a_recording_that_cannot_be_created_is_reported() {
    let directory = tempdir().unwrap();
    let missing = directory.path().join("missing/out.pcap");
    let missing = missing.to_str().unwrap();
    let output = barewire(&["forward", "--json", "-n", "10", "--record", missing]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains(missing), "{output:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_reader_that_has_gone_is_no_crash() {
    let mut child = command(&["forward", "-n", "1000"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(1), "")
    );
}

#[test]
fn threads_that_sleep_lose_nothing() {
    for mode in ["interrupt", "adaptive"] {
        clean(&["--mode", mode, "--rate", "50kpps"], 5_000);
        clean(&["--mode", mode, "--queues", "2"], 20_000);
    }
}
