//! One stream, checked byte by byte at its end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use crate::pattern::{Checksum, Pattern};
use crate::{PATIENCE, tried};

/// Bytes at once.
const PIECE: usize = 64 * 1024;

/// Takes one stream: its length as 8 bytes, then that many of the pattern. Answers with a checksum.
pub(crate) fn serve(port: u16) -> Result<String, String> {
    let listener = tried("listen", TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let (mut stream, _) = tried("accept", accept(&listener))?;
    let length = take(&mut stream)?;
    Ok(format!("took {length} bytes"))
}

fn take(stream: &mut TcpStream) -> Result<u64, String> {
    tried("set up", limit(stream))?;
    let mut word = [0; 8];
    tried("read the length", stream.read_exact(&mut word))?;
    let length = u64::from_le_bytes(word);
    let mut pattern = Pattern::new(length);
    let mut checksum = Checksum::new();
    let mut buffer = vec![0; PIECE];
    let mut taken = 0_u64;
    while taken < length {
        let room = usize::try_from(length - taken).map_or(PIECE, |left| left.min(PIECE));
        let piece = buffer.get_mut(..room).unwrap_or_default();
        let got = tried("read", stream.read(piece))?;
        if got == 0 {
            return Err(format!("the stream ended after {taken} of {length} bytes"));
        }
        let piece = piece.get(..got).unwrap_or_default();
        if let Some(at) = pattern.difference(piece) {
            let at = taken + u64::try_from(at).unwrap_or(0);
            return Err(format!("byte {at} is wrong"));
        }
        checksum.add(piece);
        taken += u64::try_from(got).unwrap_or(0);
    }
    tried("answer", stream.write_all(&checksum.value().to_le_bytes()))?;
    Ok(taken)
}

/// Sends `length` bytes, and checks the checksum that comes back.
pub(crate) fn send(address: &str, port: u16, length: u64) -> Result<String, String> {
    let mut stream = tried("connect", connect(address, port))?;
    tried("set up", limit(&stream))?;
    let started = Instant::now();
    tried("write the length", stream.write_all(&length.to_le_bytes()))?;
    let mut pattern = Pattern::new(length);
    let mut checksum = Checksum::new();
    let mut buffer = vec![0; PIECE];
    let mut sent = 0_u64;
    while sent < length {
        let room = usize::try_from(length - sent).map_or(PIECE, |left| left.min(PIECE));
        let piece = buffer.get_mut(..room).unwrap_or_default();
        pattern.fill(piece);
        checksum.add(piece);
        tried("write", stream.write_all(piece))?;
        sent += u64::try_from(piece.len()).unwrap_or(0);
    }
    let mut word = [0; 8];
    tried("read the answer", stream.read_exact(&mut word))?;
    if u64::from_le_bytes(word) != checksum.value() {
        return Err("the other end has another checksum".to_owned());
    }
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    let megabits = std::time::Duration::from_micros(sent * 8).as_secs_f64() / seconds;
    Ok(format!(
        "sent {sent} bytes, checksum {:016x}, {megabits:.1} Mbit/s",
        checksum.value()
    ))
}

fn limit(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// Waits for a peer, with a limit.
fn accept(listener: &TcpListener) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
    listener.set_nonblocking(true)?;
    let started = Instant::now();
    loop {
        match listener.accept() {
            Err(error)
                if error.kind() == std::io::ErrorKind::WouldBlock
                    && started.elapsed() < PATIENCE =>
            {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Ok((stream, peer)) => {
                stream.set_nonblocking(false)?;
                return Ok((stream, peer));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Connects, also to a server that is just starting.
fn connect(address: &str, port: u16) -> std::io::Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect((address, port)) {
            Err(error)
                if error.kind() == std::io::ErrorKind::ConnectionRefused
                    && started.elapsed() < PATIENCE =>
            {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = accept(&listener).unwrap();
        (near, far)
    }

    #[test]
    fn a_stream_arrives() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let far = std::thread::spawn(move || take(&mut accept(&listener).unwrap().0));
        let said = send("127.0.0.1", port, 200_001).unwrap();
        assert!(said.starts_with("sent 200001 bytes"), "{said}");
        assert_eq!(far.join().unwrap(), Ok(200_001));
    }

    #[test]
    fn a_wrong_byte_is_named() {
        let (mut near, mut far) = pair();
        near.write_all(&100_u64.to_le_bytes()).unwrap();
        let mut bytes = [0; 100];
        Pattern::new(100).fill(&mut bytes);
        bytes[42] ^= 1;
        near.write_all(&bytes).unwrap();
        assert_eq!(take(&mut far), Err("byte 42 is wrong".to_owned()));
    }

    #[test]
    fn a_short_stream_is_an_error() {
        let (mut near, mut far) = pair();
        near.write_all(&100_u64.to_le_bytes()).unwrap();
        drop(near);
        let error = take(&mut far).unwrap_err();
        assert!(error.contains("after 0 of 100"), "{error}");
    }
}
