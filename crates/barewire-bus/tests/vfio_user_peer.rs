//! Whatever a peer sends, nothing panics, nothing grows without bound, and messages that were sent
//! arrive as they were, however the socket cuts them.
#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::panic)]

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use barewire_bus::vfio_user::{
    Connection, ConnectionError, DeviceInfo, DmaAccess, HEADER_BYTES, Header, IrqInfo, Kind,
    MAX_MESSAGE, MapRequest, RegionAccess, RegionInfo, RegionWrite, RegionWrites, SetIrqs,
    UnmapRequest, Version,
};

/// Everything that reads a payload, and that what it read is written back the same.
fn decode_all(payload: &[u8]) {
    if let Ok(version) = Version::decode(payload) {
        assert_eq!(Version::decode(&version.encode()), Ok(version));
    }
    if let Ok(map) = MapRequest::decode(payload) {
        assert_eq!(MapRequest::decode(&map.encode()), Ok(map));
    }
    if let Ok(unmap) = UnmapRequest::decode(payload) {
        assert_eq!(UnmapRequest::decode(&unmap.encode()), Ok(unmap));
    }
    if let Ok((access, data)) = DmaAccess::decode_with_data(payload) {
        assert_eq!([&access.encode()[..], data].concat(), payload);
    }
    let _ = DmaAccess::decode(payload);
    let _ = DeviceInfo::decode(payload);
    if let Ok(info) = RegionInfo::decode(payload) {
        let again = RegionInfo::decode(&info.encode(u32::MAX)).unwrap();
        assert_eq!(again.areas, info.areas);
    }
    let _ = IrqInfo::decode(payload);
    if let Ok(set) = SetIrqs::decode(payload) {
        assert_eq!(SetIrqs::decode(&set.encode()), Ok(set));
    }
    let _ = RegionAccess::decode(payload);
    if let Ok(write) = RegionWrite::decode(payload) {
        assert_eq!([&write.access.encode()[..], write.data].concat(), payload);
    }
    if let Ok(writes) = RegionWrites::decode(payload) {
        assert_eq!(writes.encode(), payload);
    }
}

#[test]
fn any_bytes_do_no_harm() {
    bolero::check!().for_each(|bytes: &[u8]| {
        decode_all(bytes);
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(near).unwrap();
        far.write_all(bytes).unwrap();
        drop(far);
        let mut left = bytes;
        loop {
            match connection.receive(Duration::from_secs(20)) {
                Ok(message) => {
                    assert_eq!(message.header.size, HEADER_BYTES + message.payload.len());
                    assert_eq!(left[HEADER_BYTES..message.header.size], message.payload);
                    left = &left[message.header.size..];
                }
                Err(ConnectionError::Closed) => return assert!(left.is_empty()),
                Err(ConnectionError::Cut) => return assert!(!left.is_empty()),
                Err(ConnectionError::Header(_)) => return assert!(left.len() >= HEADER_BYTES),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn messages_survive_any_cutting() {
    // Sizes of messages, whether each carries a descriptor, and where the stream of bytes is cut.
    let script = bolero::generator::produce::<(Vec<(u16, bool)>, Vec<u16>)>();
    bolero::check!()
        .with_generator(script)
        .for_each(|(messages, cuts)| {
            let messages: Vec<_> = messages.iter().take(16).copied().collect();
            let (near, far) = UnixStream::pair().unwrap();
            let mut connection = Connection::new(near).unwrap();
            let mut received = Vec::new();
            let mut cuts = cuts.iter().copied().cycle();
            for (number, (size, with_fd)) in messages.iter().copied().enumerate() {
                let size = HEADER_BYTES + usize::from(size % 3000);
                assert!(size <= MAX_MESSAGE);
                let header = Header {
                    id: number as u16,
                    number: 10,
                    size,
                    kind: Kind::Request { posted: true },
                };
                let mut bytes = header.encode().to_vec();
                bytes.resize(size, number as u8);
                let first = usize::from(cuts.next().unwrap_or(9)) % size + 1;
                send(&far, &bytes[..first], with_fd);
                take(&mut connection, &mut received, number.is_multiple_of(2));
                let mut rest = &bytes[first..];
                while !rest.is_empty() {
                    let piece = usize::from(cuts.next().unwrap_or(9)) % rest.len() + 1;
                    send(&far, &rest[..piece], false);
                    rest = &rest[piece..];
                    take(&mut connection, &mut received, piece.is_multiple_of(2));
                }
            }
            take(&mut connection, &mut received, true);
            assert_eq!(received.len(), messages.len());
            for (number, (size, with_fd)) in messages.iter().enumerate() {
                let (id, bytes, fds) = received[number];
                assert_eq!(usize::from(id), number);
                assert_eq!(bytes, usize::from(size % 3000));
                assert_eq!(fds, usize::from(*with_fd));
            }
        });
}

/// Takes what is there, or leaves it for later.
fn take(connection: &mut Connection, received: &mut Vec<(u16, usize, usize)>, now: bool) {
    while let Some(message) = now.then(|| connection.try_receive().unwrap()).flatten() {
        let number = message.header.id as u8;
        assert!(message.payload.iter().all(|byte| *byte == number));
        received.push((message.header.id, message.payload.len(), message.fds.len()));
    }
}

fn send(stream: &UnixStream, bytes: &[u8], with_fd: bool) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [stream.as_fd()];
    if with_fd {
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    let parts = [std::io::IoSlice::new(bytes)];
    let sent = sendmsg(stream, &parts, &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}
