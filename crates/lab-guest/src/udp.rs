//! Numbered datagrams whose content is checked.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::pattern::Pattern;
use crate::{PATIENCE, tried};

/// Datagrams that are under way at once, and bytes: a card's ring and a socket's buffer hold them.
const WINDOW: usize = 16;
const WINDOW_BYTES: usize = 60_000;

/// How long a datagram may be under way before it counts as lost.
const LOST: Duration = Duration::from_secs(5);

/// The largest datagram that UDP over IPv4 can carry.
const LARGEST: usize = 65_507;

/// The shortest, which is the number alone.
const SHORTEST: usize = 8;

/// The number that says that it is enough.
const ENOUGH: u64 = u64::MAX;

/// Sends each datagram back to where it came from, until one says that it is enough.
pub(crate) fn echo(port: u16) -> Result<String, String> {
    let socket = tried("listen", UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    tried("set up", socket.set_read_timeout(Some(PATIENCE)))?;
    let mut buffer = vec![0; LARGEST];
    let mut count = 0_u64;
    loop {
        let (length, peer) = tried("receive", socket.recv_from(&mut buffer))?;
        let datagram = buffer.get(..length).unwrap_or_default();
        if number(datagram) == Some(ENOUGH) {
            return Ok(format!("sent {count} datagrams back"));
        }
        tried("send", socket.send_to(datagram, peer))?;
        count += 1;
    }
}

/// Sends `count` datagrams of `size` bytes and checks that each comes back once and whole.
pub(crate) fn ask(address: &str, port: u16, count: u64, size: usize) -> Result<String, String> {
    let socket = open(address, port, size)?;
    tried(
        "set up",
        socket.set_read_timeout(Some(Duration::from_millis(200))),
    )?;
    let mut buffer = vec![0; LARGEST];
    let mut datagram = vec![0; size];
    // a server that is just starting: until one comes back, none counts
    let started = Instant::now();
    loop {
        make(ENOUGH - 1, &mut datagram);
        // refused until the server is there
        let _refused = socket.send(&datagram);
        match socket.recv(&mut buffer) {
            Ok(_) => break,
            Err(_) if started.elapsed() < PATIENCE => {}
            Err(error) => return Err(format!("no answer: {error}")),
        }
    }
    let mut back = vec![false; usize::try_from(count).map_err(|_| "too many".to_owned())?];
    let window = u64::try_from((WINDOW_BYTES / size).clamp(1, WINDOW)).unwrap_or(1);
    let (mut sent, mut received) = (0, 0);
    let mut last = Instant::now();
    while received < count {
        while sent < count && sent - received < window {
            make(sent, &mut datagram);
            tried("send", socket.send(&datagram))?;
            sent += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let datagram = buffer.get(..length).unwrap_or_default();
                if number(datagram) == Some(ENOUGH - 1) {
                    continue;
                }
                let number = check(datagram, size)?;
                let seen = usize::try_from(number).ok().and_then(|at| back.get_mut(at));
                match seen {
                    Some(seen) if !*seen => *seen = true,
                    Some(_) => return Err(format!("datagram {number} came twice")),
                    None => return Err(format!("datagram {number} was never sent")),
                }
                received += 1;
                last = Instant::now();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if last.elapsed() > LOST {
                    return Err(format!("{} of {sent} datagrams lost", sent - received));
                }
            }
            Err(error) => return Err(format!("receive: {error}")),
        }
    }
    make(ENOUGH, &mut datagram);
    tried("send", socket.send(&datagram))?;
    Ok(format!(
        "{count} datagrams of {size} bytes went and came back"
    ))
}

/// Sends `count` datagrams as fast as the socket takes them.
pub(crate) fn flood(address: &str, port: u16, count: u64, size: usize) -> Result<String, String> {
    let socket = open(address, port, size)?;
    tried("set up", socket.set_write_timeout(Some(PATIENCE)))?;
    let mut datagram = vec![0; size];
    let (mut sent, mut refused) = (0_u64, 0_u64);
    for number in 0..count {
        make(number, &mut datagram);
        match socket.send(&datagram) {
            Ok(_) => sent += 1,
            // nobody listens at the other end, or the queue is full
            Err(error)
                if error.kind() == ErrorKind::ConnectionRefused
                    || error.raw_os_error() == Some(105) =>
            {
                refused += 1;
            }
            Err(error) => return Err(format!("send: {error}")),
        }
    }
    Ok(format!("sent {sent} datagrams, {refused} refused"))
}

fn open(address: &str, port: u16, size: usize) -> Result<UdpSocket, String> {
    if !(SHORTEST..=LARGEST).contains(&size) {
        return Err(format!("a datagram has {SHORTEST} to {LARGEST} bytes"));
    }
    let socket = tried("open", UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    tried("connect", socket.connect((address, port)))?;
    Ok(socket)
}

/// Its number, then the pattern of that number.
fn make(number: u64, datagram: &mut [u8]) {
    if let Some((head, rest)) = datagram.split_first_chunk_mut() {
        *head = number.to_le_bytes();
        Pattern::new(number).fill(rest);
    }
}

fn number(datagram: &[u8]) -> Option<u64> {
    datagram.first_chunk().map(|head| u64::from_le_bytes(*head))
}

/// The number of a datagram that is as it was sent.
fn check(datagram: &[u8], size: usize) -> Result<u64, String> {
    let Some((head, rest)) = datagram.split_first_chunk() else {
        return Err(format!("a datagram of {} bytes", datagram.len()));
    };
    let number = u64::from_le_bytes(*head);
    if datagram.len() != size {
        return Err(format!(
            "datagram {number} has {} of {size} bytes",
            datagram.len()
        ));
    }
    match Pattern::new(number).difference(rest) {
        Some(at) => Err(format!("byte {} of datagram {number} is wrong", at + 8)),
        None => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_checked() {
        let mut datagram = [0; 100];
        make(5, &mut datagram);
        assert_eq!(check(&datagram, 100), Ok(5));
        assert!(check(&datagram[..99], 100).is_err());
        datagram[60] ^= 1;
        assert_eq!(
            check(&datagram, 100),
            Err("byte 60 of datagram 5 is wrong".to_owned())
        );
        assert!(check(&[], 100).is_err());
    }

    #[test]
    fn all_come_back() {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let far = std::thread::spawn(move || echo(port));
        ask("127.0.0.1", port, 500, 1400).unwrap();
        assert!(far.join().unwrap().is_ok());
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        assert!(flood("127.0.0.1", 9, 1, 7).is_err());
        assert!(flood("127.0.0.1", 9, 1, 65_508).is_err());
    }
}
