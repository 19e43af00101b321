//! Two ends in one process, ends of other makes, and ends that vanish.

use super::*;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn end(&self, local: &str, remote: &str) -> SocketCable {
        SocketCable::open(&self.path(local), &self.path(remote)).unwrap()
    }
}

fn frame_of(number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![0xa5; length];
    frame[..4].copy_from_slice(&number.to_be_bytes());
    frame
}

fn pull_all(wire: &mut impl Wire, now: Nanos) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut frame = vec![1, 2, 3];
    while wire.pull(now, false, &mut frame) {
        frames.push(frame.clone());
    }
    frames
}

#[test]
fn both_directions_carry_their_own_frames_of_all_lengths() {
    let place = Place::new();
    let (mut a, mut b) = (place.end("c", "c.peer"), place.end("c.peer", "c"));
    for length in [60, 61, 1514, 9724, LONGEST_CARRIED] {
        a.push(Nanos::ZERO, &frame_of(1, length));
        b.push(Nanos::ZERO, &frame_of(2, length));
        assert_eq!(pull_all(&mut a, Nanos::ZERO), [frame_of(2, length)]);
        assert_eq!(pull_all(&mut b, Nanos::ZERO), [frame_of(1, length)]);
    }
    assert_eq!(a.counters().sent.get(), 5);
    assert_eq!(a.counters().received.get(), 5);
    let bytes = 60 + 61 + 1514 + 9724 + widen(LONGEST_CARRIED);
    assert_eq!(b.counters().received_bytes.get(), bytes);
    assert_eq!(b.counters().sent_bytes.get(), bytes);
}

#[test]
fn a_burst_longer_than_the_sockets_queue_arrives_whole_and_in_order() {
    let place = Place::new();
    let (mut a, mut b) = (place.end("c", "c.peer"), place.end("c.peer", "c"));
    let count = 500;
    for number in 0..count {
        a.push(Nanos::ZERO, &frame_of(number, 60));
    }
    assert!(!a.idle() && a.readiness().is_none());
    let mut arrived = Vec::new();
    while arrived.len() < count as usize {
        let before = arrived.len();
        arrived.extend(pull_all(&mut b, Nanos::ZERO));
        assert!(pull_all(&mut a, Nanos::ZERO).is_empty());
        assert!(arrived.len() > before, "stuck at {before}");
    }
    for (number, frame) in (0..count).zip(&arrived) {
        assert_eq!(*frame, frame_of(number, 60));
    }
    assert!(a.idle() && a.readiness().is_some());
    assert_eq!(a.counters().full_dropped.get(), 0);
}

#[test]
fn a_far_end_that_does_not_read_costs_frames_and_never_time() {
    let place = Place::new();
    let mut a = place.end("c", "c.peer");
    let reader = UnixDatagram::bind(place.path("c.peer")).unwrap();
    for number in 0..5_000 {
        a.push(Nanos::ZERO, &frame_of(number, 60));
    }
    let (sent, dropped) = (a.counters().sent.get(), a.counters().full_dropped.get());
    assert_eq!(sent + dropped + widen(HELD), 5_000);
    // after its patience it holds nothing any more
    let late = PATIENCE + Nanos(1);
    assert!(pull_all(&mut a, late).is_empty());
    assert!(a.idle());
    a.push(late, &frame_of(1, 60));
    assert_eq!(a.counters().full_dropped.get(), 5_001 - sent);
    assert!(a.idle());
    // and begins anew when the far end reads again
    let mut buffer = [0; 100];
    reader.set_nonblocking(true).unwrap();
    while reader.recv(&mut buffer).is_ok() {}
    a.push(late, &frame_of(7, 60));
    assert_eq!(reader.recv(&mut buffer).unwrap(), 60);
    assert_eq!(buffer[..4], [0, 0, 0, 7]);
}

#[test]
fn a_far_end_may_come_late_vanish_and_return() {
    let place = Place::new();
    let mut a = place.end("c", "c.peer");
    a.push(Nanos::ZERO, &frame_of(1, 60));
    assert_eq!(a.counters().unplugged_dropped.get(), 1);

    let mut b = place.end("c.peer", "c");
    a.push(Nanos::ZERO, &frame_of(2, 60));
    b.push(Nanos::ZERO, &frame_of(3, 60));
    assert_eq!(pull_all(&mut b, Nanos::ZERO), [frame_of(2, 60)]);
    drop(b);
    a.push(Nanos::ZERO, &frame_of(4, 60));
    assert_eq!(a.counters().unplugged_dropped.get(), 2);
    // what was under way still arrives
    assert_eq!(pull_all(&mut a, Nanos::ZERO), [frame_of(3, 60)]);

    // a far end that was killed leaves its file
    let left = UnixDatagram::bind(place.path("c.peer")).unwrap();
    drop(left);
    a.push(Nanos::ZERO, &frame_of(5, 60));
    assert_eq!(a.counters().unplugged_dropped.get(), 3);

    // nothing of all that waits for the next one
    let mut b = place.end("c.peer", "c");
    assert!(pull_all(&mut b, Nanos::ZERO).is_empty());
    a.push(Nanos::ZERO, &frame_of(6, 60));
    assert_eq!(pull_all(&mut b, Nanos::ZERO), [frame_of(6, 60)]);
}

#[test]
fn a_far_end_that_goes_while_frames_are_held_is_unplugged() {
    let place = Place::new();
    let mut a = place.end("c", "c.peer");
    let b = place.end("c.peer", "c");
    for number in 0..100 {
        a.push(Nanos::ZERO, &frame_of(number, 60));
    }
    assert!(!a.idle());
    drop(b);
    assert!(pull_all(&mut a, Nanos::ZERO).is_empty());
    assert!(a.idle());
    let counters = a.counters();
    assert_eq!(counters.sent.get() + counters.unplugged_dropped.get(), 100);
}

#[test]
fn what_is_no_frame_is_dropped_and_short_frames_are_padded() {
    let place = Place::new();
    let mut a = place.end("c", "c.peer");
    let stranger = UnixDatagram::unbound().unwrap();
    for length in [0, 13, 14, LONGEST_CARRIED + 1, 59] {
        stranger.send_to(&vec![7; length], place.path("c")).unwrap();
    }
    let frames = pull_all(&mut a, Nanos::ZERO);
    let padded = |length: usize| [vec![7; length], vec![0; 60 - length]].concat();
    assert_eq!(frames, [padded(14), padded(59)]);
    let counters = a.counters();
    assert_eq!(counters.malformed_dropped.get(), 2);
    assert_eq!(counters.oversize_dropped.get(), 1);
    assert_eq!(counters.undersize_padded.get(), 2);
    assert_eq!(counters.received.get(), 2);
}

#[test]
fn a_pull_ends_whatever_arrives() {
    let place = Place::new();
    let mut a = place.end("c", "c.peer");
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.set_nonblocking(true).unwrap();
    let mut sent = 0;
    for _ in 0..100 {
        while stranger.send_to(&[], place.path("c")).is_ok() {
            sent += 1;
        }
        let before = a.counters().malformed_dropped.get();
        assert!(!a.pull(Nanos::ZERO, true, &mut Vec::new()));
        assert!(a.counters().malformed_dropped.get() - before <= widen(ATTEMPTS));
    }
    assert!(pull_all(&mut a, Nanos::ZERO).is_empty());
    assert_eq!(a.counters().malformed_dropped.get(), sent);
}

#[test]
fn the_descriptor_is_readable_when_a_frame_is_there() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let place = Place::new();
    let (mut a, mut b) = (place.end("c", "c.peer"), place.end("c.peer", "c"));
    let readable = |wire: &SocketCable| {
        let fd = wire.readiness().unwrap();
        let now = Timespec::default();
        poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&now),
        )
        .unwrap()
            == 1
    };
    assert!(!readable(&b));
    a.push(Nanos::ZERO, &frame_of(1, 60));
    assert!(readable(&b));
    assert_eq!(pull_all(&mut b, Nanos::ZERO).len(), 1);
    assert!(!readable(&b));
}

#[test]
fn the_socket_file_is_ours_alone() {
    let place = Place::new();
    let (here, there) = (place.path("c"), place.path("c.peer"));
    let first = SocketCable::open(&here, &there).unwrap();
    // one that is read is not taken
    let refusal = SocketCable::open(&here, &there).unwrap_err();
    assert!(
        matches!(refusal, SocketCableError::InUse { .. }),
        "{refusal}"
    );
    drop(first);
    assert!(!here.exists());
    // one that is left over is replaced
    drop(UnixDatagram::bind(&here).unwrap());
    assert!(here.exists());
    let second = SocketCable::open(&here, &there).unwrap();
    // somebody else's is not removed
    fs::remove_file(&here).unwrap();
    fs::write(&here, b"mine").unwrap();
    drop(second);
    assert_eq!(fs::read(&here).unwrap(), b"mine");
    // and what is no socket is left alone
    let refusal = SocketCable::open(&here, &there).unwrap_err();
    assert!(
        matches!(refusal, SocketCableError::NotASocket { .. }),
        "{refusal}"
    );
}

#[test]
fn names_that_cannot_be_are_refused_by_name() {
    let place = Place::new();
    let long = place.path(&"x".repeat(108));
    let fine = place.path("c");
    for (local, remote, why) in [
        (&long, &fine, "107 bytes"),
        (&fine, &long, "107 bytes"),
        (&place.path("no/c"), &fine, "must exist"),
    ] {
        let refusal = SocketCable::open(local, remote).unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
    assert!(!fine.exists());
    assert!(SocketCable::open(Path::new("/proc/c"), &fine).is_err());
}
