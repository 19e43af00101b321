//! Served cards, by the built program: alone, cabled, and under `forward`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod pcap;
mod program;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use program::{barewire, command, report, stderr};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A running `barewire nic serve`, which is killed if a test gives it up.
struct Served {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    headline: String,
}

impl Served {
    /// Starts it and waits until it says that it serves.
    fn start(socket: &Path, arguments: &[&str]) -> Self {
        let socket = socket.to_str().unwrap();
        let all = [&["nic", "serve", "--json", "--socket", socket], arguments].concat();
        let mut child = command(&all).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut headline = String::new();
        errors.read_line(&mut headline).unwrap();
        Self {
            child,
            errors,
            headline,
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status();
        assert!(killed.unwrap().success());
    }

    /// Asks it what it has counted so far.
    fn status(&mut self) -> Value {
        self.signal("USR1");
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        serde_json::from_str(line.strip_prefix("status: ").unwrap()).unwrap()
    }

    /// Ends it by a signal; its status, its report, and what it said on standard error.
    fn end(mut self, signal: &str) -> (ExitStatus, Value, String) {
        self.signal(signal);
        let mut output = Vec::new();
        let mut said = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut output)
            .unwrap();
        self.errors.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        (
            status,
            serde_json::from_slice(&output).unwrap_or_default(),
            said,
        )
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn port(&self, name: &str) -> String {
        format!("vfio-user:{}", self.path(name).display())
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
}

fn count(report: &Value, group: &str, name: &str) -> u64 {
    report[group][name]
        .as_u64()
        .unwrap_or_else(|| panic!("{group}.{name}: {report}"))
}

#[test]
fn a_signal_ends_it_cleanly_and_removes_its_sockets() {
    for signal in ["INT", "TERM"] {
        let place = Place::new();
        let socket = place.path("nic");
        let wire = format!("cable:{}", place.path("c").display());
        let mut served = Served::start(&socket, &["--wire", &wire, "--mac", "02:00:00:00:00:07"]);
        let expected = format!("serving an 82599 at {}, wire {wire}", socket.display());
        assert!(
            served.headline.starts_with(&expected),
            "{}",
            served.headline
        );
        assert!(UnixStream::connect(&socket).is_ok());
        let status = served.status();
        assert_eq!(
            (&status["device"], &status["violations"]),
            (&"82599".into(), &0.into())
        );
        let (status, report, said) = served.end(signal);
        assert!(status.success(), "{said}");
        assert_eq!(report["device"], "82599");
        assert_eq!(report["mac"], "02:00:00:00:00:07");
        assert_eq!(
            (&report["far_end"], &report["violations"]),
            (&wire.into(), &0.into())
        );
        assert_eq!(count(&report, "wire", "received"), 0);
        assert_eq!(count(&report, "counters", "rx_packets"), 0);
        assert_eq!(place.files(), 0, "{signal}");
    }
}

#[test]
fn each_controller_can_be_served() {
    for device in ["82599", "X540", "x550"] {
        let place = Place::new();
        let served = Served::start(&place.path("nic"), &["--device", device, "--wire", "none"]);
        let (status, report, _) = served.end("TERM");
        assert!(status.success());
        assert_eq!(report["device"], device.to_uppercase());
    }
}

#[test]
fn what_cannot_be_served_is_refused_by_name_and_leaves_nothing() {
    let place = Place::new();
    let socket = place.path("nic");
    let serve = |arguments: &[&str]| {
        let all = [
            &["nic", "serve", "--socket", socket.to_str().unwrap()],
            arguments,
        ]
        .concat();
        barewire(&all)
    };
    let live = UnixListener::bind(&socket).unwrap();
    let output = serve(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use"), "{}", stderr(&output));
    drop(live);
    std::fs::remove_file(&socket).unwrap();

    let taken = place.path("c");
    let _reader = UnixDatagram::bind(&taken).unwrap();
    for (wire, reason) in [
        (
            format!("cable:{}", taken.display()),
            "another program has this end",
        ),
        (
            format!("pcap:{}", place.path("missing").display()),
            "No such file",
        ),
        (
            format!("cable:{}", place.path("no/c").display()),
            "must exist",
        ),
    ] {
        let output = serve(&["--wire", &wire]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1);
        assert!(!socket.exists());
    }
    for (arguments, reason) in [
        (vec!["--wire", "cabel:x"], "loopback, cable:PATH"),
        (vec!["--mac", "ff:ff:ff:ff:ff:ff"], "02:42:57"),
        (vec!["--device", "82576"], "X540"),
    ] {
        let output = serve(&arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
    let own_end = format!("cable:{}", socket.display());
    assert_eq!(serve(&["--wire", &own_end]).status.code(), Some(2));
}

#[test]
fn frames_of_served_cards_are_waited_for() {
    const FRAMES: u64 = 10_000;
    for mode in ["interrupt", "adaptive"] {
        let place = Place::new();
        let wire = format!("generator:packets={FRAMES}");
        let [a, b] =
            ["a", "b"].map(|name| Served::start(&place.path(name), &["--wire", &wire, "--strict"]));
        let (first, second) = (place.port("a"), place.port("b"));
        forwarded(&first, &second, FRAMES, &["--mode", mode]);
        for served in [a, b] {
            let (status, report, said) = served.end("TERM");
            assert!(status.success(), "{report} {said}");
            assert_eq!(count(&report, "wire", "delivered"), FRAMES, "{report}");
        }
    }
}

/// Forwards `packets` frames from each of the two ports to the other.
fn forwarded(a: &str, b: &str, packets: u64, more: &[&str]) -> Value {
    let packets = packets.to_string();
    let arguments = ["forward", "--json", "-d", "60", "-n", &packets, a, b];
    report(&barewire(&[&arguments[..], more].concat()))
}

#[test]
fn two_served_cards_are_forwarded_between_and_every_frame_is_verified() {
    const FRAMES: u64 = 20_000;
    for doorbells in ["mapped", "trapped"] {
        let place = Place::new();
        let wire = format!("generator:packets={FRAMES},size=imix,flows=4");
        let arguments = ["--wire", &wire, "--strict", "--doorbells", doorbells];
        let [a, b] = ["a", "b"].map(|name| Served::start(&place.path(name), &arguments));
        let run = forwarded(&place.port("a"), &place.port("b"), FRAMES, &[]);
        // their far ends are not of the program that forwards
        assert!(
            run.get("wire").is_none() && run.get("violations").is_none(),
            "{run}"
        );
        for port in run["ports"].as_array().unwrap() {
            assert_eq!(port["driver"], "ixgbe");
            assert_eq!(
                (&port["rx_packets"], &port["tx_packets"]),
                (&FRAMES.into(), &FRAMES.into())
            );
            assert_eq!(
                (&port["rx_dropped"], &port["rx_errors"]),
                (&0.into(), &0.into())
            );
        }
        for served in [a, b] {
            let (status, report, said) = served.end("TERM");
            assert!(status.success(), "{report} {said}");
            assert_eq!(count(&report, "wire", "offered"), FRAMES);
            assert_eq!(count(&report, "wire", "delivered"), FRAMES, "{report}");
            for bad in ["lost", "reordered", "duplicated", "corrupted", "foreign"] {
                assert_eq!(count(&report, "wire", bad), 0, "{bad}");
            }
            assert_eq!(count(&report, "counters", "rx_packets"), FRAMES);
            assert_eq!(count(&report, "counters", "tx_packets"), FRAMES);
            assert_eq!(report["violations"], 0, "{report}");
        }
        assert_eq!(place.files(), 0);
    }
}

#[test]
fn a_software_card_and_a_served_one_are_forwarded_between() {
    let place = Place::new();
    let served = Served::start(&place.path("a"), &["--wire", "generator:packets=3000"]);
    let run = forwarded("sim", &place.port("a"), 3_000, &[]);
    assert!(run.get("wire").is_none());
    assert_eq!(run["violations"], 0);
    for port in run["ports"].as_array().unwrap() {
        assert_eq!(
            (&port["rx_packets"], &port["tx_packets"]),
            (&3_000.into(), &3_000.into())
        );
    }
    let (status, report, _) = served.end("TERM");
    assert!(status.success());
    // the generator of the software card sends what the served one's verifier knows
    assert_eq!(count(&report, "wire", "delivered"), 3_000);
    assert_eq!(
        count(&report, "wire", "corrupted") + count(&report, "wire", "foreign"),
        0
    );
}

#[test]
fn a_second_client_finds_the_card_as_the_first_did() {
    let place = Place::new();
    let served = Served::start(&place.path("a"), &["--wire", "generator", "--strict"]);
    for _ in 0..2 {
        let run = forwarded(&place.port("a"), "sim", 100, &[]);
        assert!(run["ports"][0]["rx_packets"].as_u64().unwrap() >= 100);
    }
    let (status, report, said) = served.end("TERM");
    assert!(status.success(), "{report} {said}");
    // what the first client saw is not forgotten
    assert_eq!(
        report["statistics"]["GPRC"],
        report["counters"]["rx_packets"]
    );
    assert!(count(&report, "counters", "rx_packets") >= 200);
}

#[test]
fn a_cable_leads_to_whoever_has_its_other_end() {
    let place = Place::new();
    let [here, there] = ["c", "c.peer"].map(|name| place.path(name));
    let wire = format!("cable:{}", here.display());
    let served = Served::start(&place.path("a"), &["--wire", &wire]);
    let peer = UnixDatagram::bind(&there).unwrap();
    peer.set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let (a, b) = (place.port("a"), "sim");
    let arguments = ["forward", "--json", "-n", "10", "-d", "20", &a, b];
    let forwarding = command(&arguments).spawn().unwrap();
    // frames of the software card come out of the cable, ten of them
    let mut frame = [0; 2048];
    for _ in 0..10 {
        assert_eq!(peer.recv(&mut frame).unwrap(), 60);
    }
    // and ten that are put in get as far as the software card
    for number in 0..10 {
        peer.send_to(&[number; 60], &here).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let run = report(&forwarding.wait_with_output().unwrap());
    assert_eq!(
        (
            &run["ports"][0]["rx_packets"],
            &run["ports"][1]["tx_packets"]
        ),
        (&10.into(), &10.into())
    );
    let (_, report, _) = served.end("TERM");
    assert_eq!(
        (
            count(&report, "wire", "sent"),
            count(&report, "wire", "received")
        ),
        (10, 10)
    );
}

#[test]
fn a_capture_goes_through_two_served_cards_unchanged() {
    let place = Place::new();
    // a first run makes the capture
    let [made, out] = ["made.pcap", "out.pcap"].map(|name| place.path(name));
    let arguments = [
        "forward", "--json", "-n", "500", "--size", "imix", "--record",
    ];
    report(&barewire(
        &[&arguments[..], &[made.to_str().unwrap()]].concat(),
    ));
    let source = format!("pcap:{}", made.display());
    let sink = format!("pcap:{},{}", made.display(), out.display());
    let a = Served::start(&place.path("a"), &["--wire", &source]);
    let b = Served::start(&place.path("b"), &["--wire", &sink]);
    forwarded(&place.port("a"), &place.port("b"), 500, &["--touch", "off"]);
    drop(a);
    let (status, report, said) = b.end("INT");
    assert!(status.success(), "{said}");
    assert_eq!(count(&report, "wire", "recorded"), 500);
    let [made, out] = [made, out].map(|path| {
        pcap::read(&path)
            .into_iter()
            .map(|record| record.data)
            .collect::<Vec<_>>()
    });
    assert_eq!(made.len(), 500);
    assert_eq!(made, out);
}

#[test]
fn a_trace_names_registers_and_descriptors() {
    let place = Place::new();
    let file = place.path("trace");
    let arguments = [
        "--wire",
        "generator:packets=5",
        "--trace",
        file.to_str().unwrap(),
    ];
    let served = Served::start(&place.path("a"), &arguments);
    forwarded(&place.port("a"), "sim", 5, &[]);
    assert!(served.end("TERM").0.success());
    let text = std::fs::read_to_string(&file).unwrap();
    for part in [
        " ms  write     RXCTRL = 0x00000001\n",
        " ms  read      STATUS = 0x",
        " ms  write     RDLEN[0] = 0x00002000\n",
        " ms  config    0x004 = 0x",
        ": 60 bytes into 0x1",
        " (DD EOP",
        " ms  DMA       TX[0] descriptor 0 at 0x1",
        ": sends 60 bytes from 0x1",
        "(EOP IFCS",
        " ms  power     ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.is_ascii() && text.lines().all(|line| line.contains(" ms  ")));
    let output = barewire(&[
        "nic",
        "serve",
        "--socket",
        place.path("b").to_str().unwrap(),
        "--trace",
        "/nowhere/trace",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nowhere/trace"));
}

#[test]
fn a_client_that_talks_nonsense_does_no_harm() {
    use std::io::Write;
    let place = Place::new();
    let served = Served::start(&place.path("a"), &["--wire", "generator", "--strict"]);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 64], &[]] {
        let mut client = UnixStream::connect(place.path("a")).unwrap();
        let _ = client.write_all(garbage);
    }
    let run = forwarded(&place.port("a"), "sim", 100, &[]);
    assert!(run["ports"][0]["rx_packets"].as_u64().unwrap() >= 100);
    let (status, report, _) = served.end("TERM");
    assert!(status.success(), "{report}");
}

#[test]
fn a_server_that_is_killed_is_an_error_that_names_it_and_the_other_port_goes_on() {
    for mode in ["poll", "adaptive"] {
        let place = Place::new();
        let serve = |name: &str| Served::start(&place.path(name), &["--wire", "generator"]);
        let (killed, mut other) = (serve("a"), serve("b"));
        let (a, b) = (place.port("a"), place.port("b"));
        let mut forwarding = command(&["forward", "-d", "4", "--mode", mode, &a, &b])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines();
        // it runs when the first line of progress is there
        assert!(lines.any(|line| line.unwrap().contains("Mpps")));
        killed.signal("KILL");
        // a second later the loss is known
        assert!(lines.any(|line| line.unwrap().contains("Mpps")));
        let then = count(&other.status(), "wire", "offered");
        for line in lines {
            line.unwrap();
        }
        let output = forwarding.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(&a) && !said.contains(&b), "{said}");
        assert!(count(&other.status(), "wire", "offered") > then);
    }
}
