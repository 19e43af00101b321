use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn pair() -> (Connection, Connection, UnixStream) {
    let (left, right) = UnixStream::pair().unwrap();
    let raw = right.try_clone().unwrap();
    (
        Connection::new(left).unwrap(),
        Connection::new(right).unwrap(),
        raw,
    )
}

/// A file with one byte in it, to be told apart from others.
fn marked(mark: u8) -> File {
    let mut file = File::from(memfd_create("mark", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&[mark]).unwrap();
    file
}

fn mark(fd: OwnedFd) -> u8 {
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&File::from(fd), &mut byte, 0).unwrap();
    byte[0]
}

fn header(number: u16, size: usize) -> [u8; HEADER_BYTES] {
    let kind = Kind::Request { posted: false };
    let id = 7;
    Header {
        id,
        number,
        size,
        kind,
    }
    .encode()
}

#[test]
fn descriptors_stay_with_their_message() {
    let (mut left, mut right, _) = pair();
    // All of it is under way before the first message is read.
    let files: Vec<_> = (0..6).map(marked).collect();
    let counts = [0, 1, 0, 0, 3, 1, 0, 1];
    let mut next = 0;
    for count in counts {
        let fds: Vec<_> = files[next..next + count]
            .iter()
            .map(|file| file.as_fd())
            .collect();
        next += count;
        left.request(Command::DmaMap, &[&[count as u8; 9]], &fds, LIMIT)
            .unwrap();
    }
    let mut expected = 0;
    for (id, count) in counts.into_iter().enumerate() {
        let message = right.receive(LIMIT).unwrap();
        assert_eq!(usize::from(message.header.id), id);
        assert_eq!(message.payload, [count as u8; 9]);
        let marks: Vec<_> = message.fds.into_iter().map(mark).collect();
        let wanted: Vec<_> = (expected..expected + count as u8).collect();
        assert_eq!(marks, wanted);
        expected += count as u8;
    }
}

#[test]
fn more_descriptors_than_the_limit_are_closed_and_reported() {
    let (left, mut right, _) = pair();
    let file = marked(1);
    let fds = vec![file.as_fd(); MAX_FDS + 10];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS + 10))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = header(2, HEADER_BYTES);
    let parts = [IoSlice::new(&bytes)];
    sendmsg(&left.stream, &parts, &mut control, SendFlags::empty()).unwrap();
    let message = right.receive(LIMIT).unwrap();
    assert!(message.surplus_fds);
    assert!(message.fds.len() <= MAX_FDS);
}

#[test]
fn a_message_in_pieces_is_one_message() {
    let (mut left, _right, raw) = pair();
    let mut raw = raw;
    let mut bytes = header(9, HEADER_BYTES + 5).to_vec();
    bytes.extend_from_slice(b"hello");
    for (index, byte) in bytes.iter().enumerate() {
        assert!(left.try_receive().unwrap().is_none());
        assert_eq!(left.incomplete_since().is_some(), index > 0);
        raw.write_all(&[*byte]).unwrap();
    }
    assert_eq!(left.try_receive().unwrap().unwrap().payload, b"hello");
    assert!(left.incomplete_since().is_none());
}

#[test]
fn the_end_is_told_from_a_cut() {
    let (mut left, right, raw) = pair();
    drop((right, raw));
    assert!(matches!(left.receive(LIMIT), Err(ConnectionError::Closed)));
    let (mut left, right, mut raw) = pair();
    raw.write_all(&header(9, 40)).unwrap();
    drop((right, raw));
    assert!(matches!(left.receive(LIMIT), Err(ConnectionError::Cut)));
}

#[test]
fn a_huge_size_costs_nothing_and_ends_the_connection() {
    let (mut left, _right, mut raw) = pair();
    raw.write_all(&header(9, usize::MAX)).unwrap();
    assert!(matches!(
        left.receive(LIMIT),
        Err(ConnectionError::Header(_))
    ));
    let (mut left, _right, mut raw) = pair();
    raw.write_all(&header(9, MAX_MESSAGE)).unwrap();
    assert!(left.try_receive().unwrap().is_none());
    assert!(left.partial.payload.capacity() <= 2 * STRIDE);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let (mut left, _right, _raw) = pair();
    let data = vec![0; super::super::MAX_DATA];
    let short = Duration::from_millis(20);
    let failed = (0..64).find_map(|_| {
        left.request(Command::RegionWrite, &[&data], &[], short)
            .err()
    });
    assert!(matches!(failed, Some(ConnectionError::Timeout { .. })));
    let (mut left, _right, _raw) = pair();
    assert!(matches!(
        left.receive(short),
        Err(ConnectionError::Timeout { .. })
    ));
}

#[test]
fn two_that_send_at_the_same_time_do_not_wait_for_each_other() {
    let (mut left, mut right, _) = pair();
    let data = vec![0x5A; super::super::MAX_DATA];
    let talk = |connection: &mut Connection| {
        for _ in 0..3 {
            connection
                .request(Command::DmaWrite, &[&data], &[], LIMIT)
                .unwrap();
        }
        for _ in 0..3 {
            assert_eq!(connection.receive(LIMIT).unwrap().payload, data);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| talk(&mut left));
        talk(&mut right);
    });
}

#[test]
fn a_call_finds_its_reply_and_keeps_requests() {
    let (mut left, mut right, _) = pair();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let asked = right.receive(LIMIT).unwrap();
            right
                .request(Command::DmaRead, &[b"mine"], &[], LIMIT)
                .unwrap();
            let stale = Header {
                id: 999,
                ..asked.header
            };
            right.reply(&stale, &[], &[], LIMIT).unwrap();
            right.reply(&asked.header, &[b"yours"], &[], LIMIT).unwrap();
        });
        let reply = left.call(Command::RegionRead, &[], &[], LIMIT).unwrap();
        assert_eq!(reply.payload, b"yours");
        assert!(left.has_kept());
        assert_eq!(left.try_receive().unwrap().unwrap().payload, b"mine");
        assert!(!left.has_kept());
    });
}

#[test]
fn a_flood_while_waiting_ends_the_connection() {
    let (mut left, mut right, _) = pair();
    std::thread::scope(|scope| {
        scope.spawn(
            move || {
                while right.post(Command::RegionWrite, &[&[0; 8]], LIMIT).is_ok() {}
            },
        );
        let failed = left.call(Command::DmaRead, &[], &[], LIMIT);
        assert!(matches!(failed, Err(ConnectionError::Flooded { .. })));
        drop(left);
    });
}

#[test]
fn a_request_that_wants_no_reply_gets_none() {
    let (mut left, mut right, mut raw) = pair();
    left.post(Command::RegionWrite, &[&[1]], LIMIT).unwrap();
    let posted = right.receive(LIMIT).unwrap();
    assert!(!posted.header.wants_reply());
    right.reply(&posted.header, &[], &[], LIMIT).unwrap();
    right.refuse(&posted.header, Errno::INVAL, LIMIT).unwrap();
    drop((left, right));
    let mut rest = Vec::new();
    raw.set_nonblocking(false).unwrap();
    raw.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}
